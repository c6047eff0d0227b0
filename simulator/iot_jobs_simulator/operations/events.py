"""Operations on event configurations. Only events of jobs and executions can be switched on."""

from collections.abc import Mapping
from typing import Final

from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.operations.operation import Operation, operation


def _update(store: JobStore, members: Json, now: float) -> Json:
    store.event_switches.change(members.get("eventConfigurations", {}), now)
    return {}


def _describe(store: JobStore, _members: Json, _now: float) -> Json:
    return store.event_switches.described()


OPERATIONS: Final[Mapping[str, Operation]] = {
    "UpdateEventConfigurations": operation("eventConfigurations", _update),
    "DescribeEventConfigurations": operation("", _describe),
}
