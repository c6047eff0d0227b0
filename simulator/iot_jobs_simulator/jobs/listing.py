"""Lists, page by page (API reference, ListJobs, ListJobExecutionsForJob and the other lists of the control plane).

A token is the sort key of the last entry seen: it stays good while entries come and go, and may be used again.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from iot_jobs_simulator.jobs.execution import JobExecution
from iot_jobs_simulator.jobs.execution_index import key_of_thing
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.ordered import Entry, Key
from iot_jobs_simulator.refusals import invalid

PAGE_SIZE: Final = 250


def executions_of_job(
    store: JobStore, job_id: str, key: Key | None, *, status: str | None
) -> Iterator[tuple[Key, JobExecution]]:
    """ListJobExecutionsForJob: by thing name and execution number, from a place on."""
    for place, execution in store.executions.of_job(store.find_job(job_id).job_id).after(key):
        if status in (None, execution.status):
            yield place, execution


def executions_of_thing(
    store: JobStore, thing_name: str, key: Key | None, *, namespace: str, status: str | None, job_id: str | None
) -> Iterator[tuple[Key, JobExecution]]:
    """ListJobExecutionsForThing: newest first, from a place on."""
    store.registry.find(thing_name)
    for execution in store.executions.of_thing(thing_name, key):
        is_wanted = status in (None, execution.status) and job_id in (None, execution.job_id)
        if is_wanted and execution.namespace == namespace:
            yield key_of_thing(execution), execution


def page(
    after: Callable[[Key | None], Iterator[tuple[Key, Entry]]],
    *,
    token: str | None,
    size: int | None,
    kinds: tuple[type, ...] = (str,),
) -> tuple[list[Entry], str | None]:
    """One page, and the token of the next one if there is more.

    `after` gives the entries from a key on; `kinds` are the types that a key of this list is made of.
    """
    key = None if token is None else _decoded(token, kinds)
    count = size or PAGE_SIZE
    found = list(islice(after(key), count + 1))
    shown = found[:count]
    return [entry for _, entry in shown], _encoded(shown[-1][0]) if len(found) > count else None


def _encoded(key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _decoded(token: str, kinds: tuple[type, ...]) -> Key:
    try:
        key = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, binascii.Error, RecursionError):
        key = None
    if not isinstance(key, list) or [_kind(part) for part in key] != list(kinds):
        raise invalid("Next token is invalid.")
    return tuple(key)


def _kind(part: object) -> type:
    """JSON does not tell 1.0 from 1, nor do our keys."""
    return float if isinstance(part, int | float) else type(part)
