"""What the service will do by itself, by the time when it is due. Pure; the shell arms one timer for the first.

What concerns thousands of things is a `Batch`, which is done in slices.
"""

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias, assert_never

from iot_jobs_simulator.jobs.execution import JobExecution
from iot_jobs_simulator.jobs.job import Job

SWEEP_AFTER: Final = 100  # tasks at least


@dataclass(frozen=True, slots=True)
class Start:
    """Begin to give executions out, or wait for the first maintenance window."""

    job: Job


@dataclass(frozen=True, slots=True)
class Rollout:
    """Give the next things that wait for the job their executions."""

    job: Job


@dataclass(frozen=True, slots=True)
class Admit:
    """Give the things that joined the job their executions."""

    job: Job


@dataclass(frozen=True, slots=True)
class OpenWindow:
    """Begin a maintenance window."""

    job: Job


@dataclass(frozen=True, slots=True)
class CloseWindow:
    """End a maintenance window, unless another one goes on."""

    job: Job


@dataclass(frozen=True, slots=True)
class EndJob:
    """Do what the job's endBehavior says."""

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


Task: TypeAlias = Start | Rollout | Admit | OpenWindow | CloseWindow | EndJob | TimeOut | Retry | EndDeletion


class Deed(Enum):
    """What a batch does to each of its things."""

    QUEUE = "queue"
    RESUME = "resume"
    HIDE = "hide"
    CANCEL = "cancel"
    CANCEL_BY_FORCE = "cancel by force"
    WITHDRAW = "withdraw"
    DELETE = "delete"


class Batch:
    """A deed to be done to many things of a job, as of one time, some now and some later: those that are `left`."""

    def __init__(self, job: Job, deed: Deed, at: float, things: Iterable[str]) -> None:
        self.job, self.deed, self.at = job, deed, at
        self._order = deque(things)
        self.left = set(self._order)

    def __bool__(self) -> bool:
        return bool(self.left)

    def things_left(self) -> list[str]:
        """The things that are left, in order."""
        return [thing_name for thing_name in self._order if thing_name in self.left]

    def take(self, thing_name: str) -> bool:
        """Whether the thing is still left, which it is no more now."""
        if thing_name not in self.left:
            return False
        self.left.remove(thing_name)
        return True

    def take_next(self) -> str:
        """The first thing that is left, which it is no more now."""
        while not self.take(thing_name := self._order.popleft()):
            pass
        return thing_name


class Agenda:
    """Tasks in order of time; those of the same time in the order in which they were added.

    Tasks that have nothing to do any more, such as the end in a year of a job that was deleted, are swept out once as
    many tasks were added as were left by the last time. So the agenda keeps few of them, and a sweep costs each task
    that is added no more than a look at two.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Task]] = []
        self._added = 0
        self._added_since_sweep = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: float, task: Task) -> None:
        """Due at a time in seconds since the epoch, which may have passed."""
        self._added += 1
        heapq.heappush(self._heap, (at, self._added, task))
        self._added_since_sweep += 1
        if self._added_since_sweep > max(SWEEP_AFTER, len(self._heap) // 2):
            self._heap = [entry for entry in self._heap if not _is_moot(entry[-1])]
            heapq.heapify(self._heap)
            self._added_since_sweep = 0

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


def _is_moot(task: Task) -> bool:
    """Whether the task would do nothing, whenever it came."""
    match task:
        case TimeOut(execution, deadline):
            return execution.watched_from != deadline
        case Retry() | EndDeletion():
            return False
        case Start(job) | Rollout(job) | Admit(job) | OpenWindow(job) | CloseWindow(job) | EndJob(job):
            return not job.is_active
        case _:
            assert_never(task)
