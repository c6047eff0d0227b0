"""The course of a job's rollout: how many executions had which status when, as far as the executions still tell.

An execution knows when it was queued, started and ended, so nothing needs to be recorded while jobs run, and what
happened while the clock was put forward stands at its own time.
"""

from collections.abc import Iterator
from itertools import accumulate, islice
from typing import Final

from iot_jobs_simulator.jobs.execution import ExecutionStatus, JobExecution
from iot_jobs_simulator.jobs.execution_index import by_thing
from iot_jobs_simulator.jobs.job import Job
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.jobs.views import Json, moment

POINTS: Final = 240
_SLICE: Final = 250  # executions looked at between two turns of the event loop; a millisecond or so


class History:
    """Counts by status at POINTS moments from the creation of a job until now, or until it was over."""

    def __init__(self, begin: float, end: float) -> None:
        self._begin = begin
        self._step_s = max(end - begin, 0.001) / (POINTS - 1)
        self._changes = {status: [0] * POINTS for status in ExecutionStatus}

    def add(self, execution: JobExecution) -> None:
        """Count one execution."""
        status = ExecutionStatus.QUEUED
        self._changes[status][self._point(execution.queued_at)] += 1
        if execution.started_at is not None:
            status = self._move(status, ExecutionStatus.IN_PROGRESS, execution.started_at)
        if execution.status is not status:
            self._move(status, execution.status, execution.last_updated_at)

    def shown(self) -> Json:
        """The times of the first and the last point, and the counts of each status that occurs."""
        end = self._begin + self._step_s * (POINTS - 1)
        counted = {status: list(accumulate(changes)) for status, changes in self._changes.items()}
        return {
            "begin": moment(self._begin),
            "end": moment(end),
            "executions": {status: numbers for status, numbers in counted.items() if any(numbers)},
        }

    def _move(self, before: ExecutionStatus, after: ExecutionStatus, at: float) -> ExecutionStatus:
        point = self._point(at)
        self._changes[before][point] -= 1
        self._changes[after][point] += 1
        return after

    def _point(self, at: float) -> int:
        """The first point that is not before the time; what came in after the last one counts there."""
        return min(max(0, -int((self._begin - at) // self._step_s)), POINTS - 1)


def history_of(store: JobStore, job: Job, now: float) -> Iterator[Json | None]:
    """Work in slices: None after each of them, with the history at the end. Others may change the store in between."""
    end = now
    if not job.has_open_ends:
        end = job.last_updated_at
        for executions in _slices(store, job):
            end = max(end, *(each.last_updated_at for each in executions))
            yield None
    history = History(job.created_at, end)
    for executions in _slices(store, job):
        for each in executions:
            history.add(each)
        yield None
    yield history.shown()


def _slices(store: JobStore, job: Job) -> Iterator[list[JobExecution]]:
    key: tuple[str, int] | None = None
    while found := [each for _, each in islice(store.executions.of_job(job.job_id).after(key), _SLICE)]:
        yield found
        key = by_thing(found[-1])
