"""What the service will do by itself, by the time when it is due. Pure; the shell arms one timer for the first."""

import heapq
from dataclasses import dataclass
from typing import TypeAlias

from iot_jobs_simulator.jobs.execution import JobExecution
from iot_jobs_simulator.jobs.job import Job


@dataclass(frozen=True, slots=True)
class Rollout:
    """Give the things that wait for the job their executions."""

    job: Job


@dataclass(frozen=True, slots=True)
class TimeOut:
    """See whether an execution has reached its deadline, which was then but may have moved since."""

    execution: JobExecution
    deadline: float


@dataclass(frozen=True, slots=True)
class Retry:
    """Queue the next execution after one that failed."""

    failed: JobExecution


@dataclass(frozen=True, slots=True)
class EndDeletion:
    """Forget a job whose deletion is in progress."""

    job: Job


Task: TypeAlias = Rollout | TimeOut | Retry | EndDeletion


class Agenda:
    """Tasks in order of time; those of the same time in the order in which they were added."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Task]] = []
        self._added = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: float, task: Task) -> None:
        """Due at a time in seconds since the epoch, which may have passed."""
        self._added += 1
        heapq.heappush(self._heap, (at, self._added, task))

    @property
    def next_due(self) -> float | None:
        """When the first task is due."""
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: float) -> tuple[float, Task] | None:
        """The first task that is due, with its time; None if none is."""
        if not self._heap or self._heap[0][0] > now:
            return None
        at, _, task = heapq.heappop(self._heap)
        return at, task
