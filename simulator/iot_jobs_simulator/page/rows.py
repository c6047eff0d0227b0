"""Rows of the page's four lists, by position, so that the page fetches only what is in view."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

from iot_jobs_simulator.jobs.execution import ExecutionStatus, JobExecution
from iot_jobs_simulator.jobs.job import Job
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.jobs.views import Json, control_summary, job_summary, moment
from iot_jobs_simulator.refusals import invalid

MAX_ROWS: Final = 500


def rows(store: JobStore, kind: str, query: Mapping[str, str]) -> Json:
    """The rows from position `first` on, `count` of them, and how many there are in `total`.

    `jobs` come newest first, `things` and `groups` by name, `executions` of one `job` by thing, of one `thing` newest
    first; `status` leaves only the executions that have it. Raises Refused.
    """
    table = _TABLES.get(kind)
    if table is None:
        raise invalid(f"There is no list of {kind}; there are {', '.join(_TABLES)}")
    first, count = _number(query, "first", 0, 10**9), _number(query, "count", 100, MAX_ROWS)
    total, found = table(store, query, first, count)
    return {"total": total, "first": first, "rows": found}


def totals(store: JobStore) -> Json:
    """How many jobs, things and groups there are."""
    registry = store.registry
    return {"jobs": len(store.jobs), "things": len(registry.by_name), "groups": len(registry.groups.by_name)}


def job_row(job: Job) -> Json:
    """A job as ListJobs shows it, with how many executions it has, and how many things still wait for one."""
    waiting = len(job.waiting_things) + len(job.joined_things) + len(job.retrying_things)
    return job_summary(job) | {"executions": counts(job), "waiting": waiting}


def execution_row(execution: JobExecution) -> Json:
    """An execution as the two lists of executions show it."""
    return {"jobId": execution.job_id, "thingName": execution.thing_name} | control_summary(execution)


def counts(job: Job) -> dict[str, int]:
    """How many executions of the job have each status, those that none has left out."""
    return {status: job.executions[status] for status in ExecutionStatus if job.executions[status]}


def _jobs(store: JobStore, _query: Mapping[str, str], first: int, count: int) -> tuple[int, list[Json]]:
    shown = islice(reversed(store.jobs.values()), first, first + count)
    return len(store.jobs), [job_row(job) for job in shown]


def _things(store: JobStore, _query: Mapping[str, str], first: int, count: int) -> tuple[int, list[Json]]:
    things = store.registry.by_name
    return len(things), [
        {
            "thingName": thing.name,
            "thingArn": thing.arn,
            "attributes": dict(thing.attributes),
            "thingGroups": [group.name for group in store.registry.groups.of_thing(thing.name)],
            "executions": store.executions.count_of_thing(thing.name),
        }
        for thing in things.between(first, first + count)
    ]


def _groups(store: JobStore, _query: Mapping[str, str], first: int, count: int) -> tuple[int, list[Json]]:
    groups = store.registry.groups.by_name
    return len(groups), [
        {
            "thingGroupName": group.name,
            "thingGroupArn": group.arn,
            "parentGroupName": group.parent.name if group.parent is not None else "",
            "creationDate": moment(group.created_at),
            "things": len(group.things),
        }
        for group in groups.between(first, first + count)
    ]


def _executions(store: JobStore, query: Mapping[str, str], first: int, count: int) -> tuple[int, list[Json]]:
    job_id, thing_name, status = query.get("job", ""), query.get("thing", ""), query.get("status", "")
    if bool(job_id) == bool(thing_name):
        raise invalid("Name either a job or a thing whose executions are wanted")
    if status and status not in ExecutionStatus.__members__:
        raise invalid(f"status must be one of {', '.join(ExecutionStatus)}")
    end = first + count
    if thing_name:
        store.registry.find(thing_name)
        found = [each for each in store.executions.of_thing(thing_name) if not status or each.status == status]
        return len(found), [execution_row(each) for each in found[first:end]]
    job, listed = store.find_job(job_id), store.executions.of_job(job_id)
    if not status:
        return len(listed), [execution_row(each) for each in listed.between(first, end)]
    shown = islice((each for each in listed if each.status == status), first, end)
    return job.executions[ExecutionStatus(status)], [execution_row(each) for each in shown]


def _number(query: Mapping[str, str], name: str, usual: int, most: int) -> int:
    text = query.get(name, str(usual))
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and int(text) <= most):
        raise invalid(f"{name} must be a whole number from 0 to {most}")
    return int(text)


_Table = Callable[[JobStore, Mapping[str, str], int, int], tuple[int, list[Json]]]
_TABLES: Final[Mapping[str, _Table]] = {
    "jobs": _jobs,
    "things": _things,
    "groups": _groups,
    "executions": _executions,
}
