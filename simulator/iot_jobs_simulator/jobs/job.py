"""Job: a document for targets. Owns what is kept of one and which statuses it has."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from iot_jobs_simulator.jobs.execution import ExecutionStatus, JobExecution

MAX_TARGETS: Final = 100


class JobStatus(StrEnum):
    """Status of a job (control plane API, Job.status), in the order in which ListJobs groups them."""

    IN_PROGRESS = "IN_PROGRESS"
    SCHEDULED = "SCHEDULED"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"
    DELETION_IN_PROGRESS = "DELETION_IN_PROGRESS"


ACTIVE: Final = frozenset({JobStatus.IN_PROGRESS, JobStatus.SCHEDULED})


class TargetSelection(StrEnum):
    """Whether things that join a target group later get the job too."""

    SNAPSHOT = "SNAPSHOT"
    CONTINUOUS = "CONTINUOUS"


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What an operator asked for. `document` is the text as sent, known to be JSON. `""` is the default namespace.

    `written_document` is the text before the parameters of a managed template were put into it.
    """

    job_id: str
    targets: tuple[str, ...]
    document: str
    written_document: str = ""
    document_source: str = ""
    namespace: str = ""
    description: str | None = None
    presigned_url_config: Mapping[str, Any] = field(default_factory=dict)
    timeout_config: Mapping[str, Any] = field(default_factory=dict)
    retry_config: Mapping[str, Any] = field(default_factory=dict)
    rollout_config: Mapping[str, Any] = field(default_factory=dict)
    abort_config: Mapping[str, Any] = field(default_factory=dict)
    scheduling_config: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[Mapping[str, str], ...] = ()
    target_selection: TargetSelection = TargetSelection.SNAPSHOT
    template_arn: str | None = None
    document_parameters: Mapping[str, str] = field(default_factory=dict)
    destination_package_versions: tuple[str, ...] = ()

    @property
    def is_continuous(self) -> bool:
        """True if things that join a target group later get the job too."""
        return self.target_selection is TargetSelection.CONTINUOUS


@dataclass(slots=True, eq=False)
class Job:
    """A request that was accepted, and what became of it.

    `waiting_things` have no execution yet and get one at the job's rate, `joined_things` as soon as the job is open:
    while it is neither ahead of its start nor outside its maintenance windows nor past its end. `retrying_things` had
    one that failed, that one, and get another. `notified` counts the things that had to wait and do no more, `batches`
    what is being done to many things. `executions` counts its executions by status, `retried` those of them that were
    retried; `group_ids` are the groups among its targets. `is_being_canceled` until the event `canceled` is due.
    """

    request: JobRequest
    arn: str
    created_at: float
    last_updated_at: float
    waiting_things: dict[str, None]
    group_ids: tuple[str, ...] = ()
    joined_things: dict[str, None] = field(default_factory=dict)
    retrying_things: dict[str, JobExecution] = field(default_factory=dict)
    notified: int = 0
    is_open: bool = False
    has_opened: bool = False
    has_ended: bool = False
    next_rollout_at: float | None = None
    batches: int = 0
    executions: Counter[ExecutionStatus] = field(default_factory=Counter)
    retried: Counter[ExecutionStatus] = field(default_factory=Counter)
    status: JobStatus = JobStatus.IN_PROGRESS
    completed_at: float | None = None
    is_being_canceled: bool = False
    is_force_canceled: bool = False
    reason_code: str | None = None
    comment: str | None = None

    @property
    def job_id(self) -> str:
        """Unique in the account."""
        return self.request.job_id

    @property
    def is_continuous(self) -> bool:
        """True if things that join a target group later get the job too."""
        return self.request.is_continuous

    @property
    def is_active(self) -> bool:
        """True while it counts as an active job (page job-limits)."""
        return self.status in ACTIVE

    @property
    def is_concurrent(self) -> bool:
        """True while executions are being rolled out or canceled (API reference, Job.isConcurrent)."""
        is_rolled_out = self.status is JobStatus.IN_PROGRESS and bool(self.waiting_things or self.joined_things)
        return is_rolled_out or self.batches > 0

    @property
    def has_open_ends(self) -> bool:
        """True while an execution is pending or still to come."""
        pending = self.executions[ExecutionStatus.QUEUED] + self.executions[ExecutionStatus.IN_PROGRESS]
        return bool(pending or self.waiting_things or self.joined_things or self.retrying_things or self.batches)

    def close(self) -> None:
        """Give no more executions out for now."""
        self.is_open = False
        self.next_rollout_at = None

    def call_off(self) -> None:
        """Give no more executions out ever."""
        self.close()
        self.waiting_things, self.joined_things, self.retrying_things = {}, {}, {}
