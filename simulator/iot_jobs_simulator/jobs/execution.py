"""Job execution: one job on one thing. Owns its statuses, the moves a device may make, and the order of the queue."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - at run time too, as everywhere here
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from iot_jobs_simulator.refusals import invalid

MAX_DETAILS: Final = 10
MAX_DETAIL_VALUE_CHARS: Final = 1024
TIMEOUT_MINUTES: Final = range(1, 10081)
CANCEL_STEP_TIMER: Final = -1


class ExecutionStatus(StrEnum):
    """Status of a job execution (data plane API, JobExecution.status)."""

    QUEUED = "QUEUED"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    REJECTED = "REJECTED"
    REMOVED = "REMOVED"
    CANCELED = "CANCELED"

    @property
    def is_pending(self) -> bool:
        """True for the two statuses that can still change."""
        return self in PENDING


PENDING: Final = frozenset({ExecutionStatus.QUEUED, ExecutionStatus.IN_PROGRESS})

# Only the service sets these; a device that reports one is refused (docs/decisions.md, captures of 2026).
SERVICE_ONLY: Final = frozenset(
    {ExecutionStatus.QUEUED, ExecutionStatus.CANCELED, ExecutionStatus.TIMED_OUT, ExecutionStatus.REMOVED}
)

# Where a device may move an execution that is pending (developer guide, page iot-jobs-lifecycle). The guide draws
# SUCCEEDED and FAILED behind IN_PROGRESS, but no rule forbids them from QUEUED.
DEVICE_MAY_SET: Final = frozenset(
    {ExecutionStatus.IN_PROGRESS, ExecutionStatus.SUCCEEDED, ExecutionStatus.FAILED, ExecutionStatus.REJECTED}
)


# What `ServiceSettings.queued_may_end` is about.
EARLY_ENDS: Final = frozenset({ExecutionStatus.SUCCEEDED, ExecutionStatus.FAILED})


@dataclass(slots=True, eq=False)
class JobExecution:
    """One job on one thing, identified by job id, thing and number. Times are epoch seconds, with fractions."""

    job_id: str
    thing_name: str
    namespace: str
    number: int
    sequence: int
    queued_at: float
    last_updated_at: float
    status: ExecutionStatus = ExecutionStatus.QUEUED
    version: int = 1
    started_at: float | None = None
    status_details: Mapping[str, str] | None = None
    step_timeout_minutes: int | None = None
    is_force_canceled: bool = False
    retries: tuple[ExecutionStatus, ...] = ()  # the failures before it, since the thing got or joined the job
    in_progress_deadline: float | None = None
    step_deadline: float | None = None
    has_windows: bool = False  # its job has maintenance windows
    is_hidden: bool = False  # QUEUED outside its job's maintenance windows: in no list, for now
    previous: JobExecution | None = None  # the one of the same job on the same thing before it
    was_retried: bool = False  # another one was queued after it, or will be
    watched_from: float | None = None  # the time of the earliest entry in the agenda that looks at the deadlines

    @property
    def identity(self) -> tuple[str, int]:
        """What notifications compare: job id and execution number."""
        return (self.job_id, self.number)

    @property
    def is_listed(self) -> bool:
        """Whether it is in its thing's pending list."""
        return self.status in PENDING and not self.is_hidden

    @property
    def place_in_queue(self) -> tuple[bool, float, int]:
        """Sorts the pending list: IN_PROGRESS first, then by time queued (page jobs-comm-notifications)."""
        return (self.status is not ExecutionStatus.IN_PROGRESS, self.queued_at, self.sequence)

    @property
    def deadline(self) -> float | None:
        """When it times out: the earlier of its two timers."""
        running = [at for at in (self.in_progress_deadline, self.step_deadline) if at is not None]
        return min(running, default=None)

    def can_be_moved_by_device_to(self, status: ExecutionStatus) -> bool:
        """Whether an update from the device may set this status now."""
        return self.status.is_pending and status in DEVICE_MAY_SET

    def move_to(self, status: ExecutionStatus, now: float, in_progress_timeout_minutes: int | None = None) -> None:
        """Set the status, count the version, note the times.

        The in-progress timer starts with the first IN_PROGRESS and is never extended; both timers end with it
        (developer guide, page jobs-configurations-details).
        """
        if status is ExecutionStatus.IN_PROGRESS and self.started_at is None:
            self.started_at = now
            if in_progress_timeout_minutes is not None:
                self.in_progress_deadline = now + 60 * in_progress_timeout_minutes
        self.status = status
        self.is_hidden = False
        if status is not ExecutionStatus.REMOVED:  # docs/decisions.md, captures of 2026
            self.version += 1
        self.last_updated_at = now
        if not status.is_pending:
            self.stop_timers()

    def stop_timers(self) -> None:
        """Never time out; what looks at the deadlines looks no more."""
        self.step_timeout_minutes = self.step_deadline = self.in_progress_deadline = self.watched_from = None

    def set_step_timeout(self, minutes: int | None, now: float) -> None:
        """Start the step timer of an accepted request over: absent leaves it running as it is, -1 ends it."""
        if minutes is None:
            return
        is_on = minutes != CANCEL_STEP_TIMER
        self.step_timeout_minutes = minutes if is_on else None
        self.step_deadline = now + 60 * minutes if is_on else None


def check_details(details: Mapping[str, str] | None) -> None:
    """Quotas that the API's shapes do not state (general reference, AWS IoT Device Management quotas)."""
    if details is None:
        return
    if len(details) > MAX_DETAILS:
        raise invalid(f"statusDetails has {len(details)} pairs, at most {MAX_DETAILS} are allowed")
    for key, value in details.items():
        if len(value) > MAX_DETAIL_VALUE_CHARS:
            raise invalid(
                f"statusDetails.{key} has {len(value)} characters, at most {MAX_DETAIL_VALUE_CHARS} are allowed"
            )
