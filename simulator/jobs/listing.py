"""Lists of jobs and executions, page by page (API reference, ListJobs, ListJobExecutionsForJob and -ForThing).

A token is the sort key of the last entry seen: it stays good while entries come and go, and may be used again.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias, TypeVar

from simulator.jobs.execution import JobExecution
from simulator.jobs.job import Job, JobStatus
from simulator.jobs.store import JobStore
from simulator.refusals import invalid

Key: TypeAlias = tuple[Any, ...]
Entry = TypeVar("Entry")

PAGE_SIZE: Final = 250
_GROUP: Final = {status: place for place, status in enumerate(JobStatus)}


def jobs(
    store: JobStore, *, namespace: str, status: str | None, target_selection: str | None
) -> tuple[list[Job], Callable[[Job], Key]]:
    """ListJobs: grouped by status, newest first. Without a namespace, jobs of the default one."""
    found = [
        job
        for job in store.jobs.values()
        if job.request.namespace == namespace
        and status in (None, job.status)
        and target_selection in (None, job.request.target_selection)
    ]
    return found, lambda job: (_GROUP[job.status], -job.created_at, job.job_id)


def executions_of_job(
    store: JobStore, job_id: str, *, status: str | None
) -> tuple[list[JobExecution], Callable[[JobExecution], Key]]:
    """ListJobExecutionsForJob: by thing name and execution number."""
    store.find_job(job_id)
    found = [execution for execution in store.executions_of_job(job_id) if status in (None, execution.status)]
    return found, lambda execution: (execution.thing_name, execution.number)


def executions_of_thing(
    store: JobStore, thing_name: str, *, namespace: str, status: str | None, job_id: str | None
) -> tuple[list[JobExecution], Callable[[JobExecution], Key]]:
    """ListJobExecutionsForThing: newest first."""
    store.registry.find(thing_name)
    found = [
        execution
        for execution in store.executions_of_thing(thing_name)
        if execution.namespace == namespace
        and status in (None, execution.status)
        and job_id in (None, execution.job_id)
    ]
    return found, lambda execution: (-execution.sequence,)


def page(
    entries: Iterable[Entry], key: Callable[[Entry], Key], *, token: str | None, size: int | None
) -> tuple[list[Entry], str | None]:
    """One page, and the token of the next one if there is more."""
    after = _decoded(token) if token is not None else None
    rest = sorted(entries, key=key)
    if after is not None:
        try:
            rest = [entry for entry in rest if key(entry) > after]
        except TypeError:
            raise invalid(f"Invalid nextToken: {token}") from None
    shown = rest[: size or PAGE_SIZE]
    return shown, _encoded(key(shown[-1])) if len(shown) < len(rest) else None


def _encoded(key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _decoded(token: str) -> Key:
    try:
        key = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, binascii.Error):
        key = None
    if not isinstance(key, list):
        raise invalid(f"Invalid nextToken: {token}")
    return tuple(key)
