"""Operations on tags."""

from collections.abc import Mapping
from typing import Final

from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.operations.operation import Operation, listed, operation


def _tag(store: JobStore, members: Json, _now: float) -> Json:
    store.tags.add(members["resourceArn"], members["tags"])
    return {}


def _untag(store: JobStore, members: Json, _now: float) -> Json:
    store.tags.remove(members["resourceArn"], members["tagKeys"])
    return {}


def _list_tags(store: JobStore, members: Json, _now: float) -> Json:
    return listed(members, "tags", lambda key: store.tags.after(members["resourceArn"], key), dict)


OPERATIONS: Final[Mapping[str, Operation]] = {
    "TagResource": operation("resourceArn tags", _tag),
    "UntagResource": operation("resourceArn tagKeys", _untag),
    "ListTagsForResource": operation("resourceArn nextToken", _list_tags),
}
