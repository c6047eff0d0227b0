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
    tags: tuple[Mapping[str, str], ...] = ()
    target_selection: TargetSelection = TargetSelection.SNAPSHOT
    template_arn: str | None = None
    document_parameters: Mapping[str, str] = field(default_factory=dict)
    destination_package_versions: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Job:
    """A request that was accepted, and what became of it.

    `waiting_things` have no execution yet. `retrying_things` had one that failed, that one, and get
    another. `executions` counts
    its executions by status, `group_ids` are the groups among its targets.
    """

    request: JobRequest
    arn: str
    created_at: float
    last_updated_at: float
    waiting_things: dict[str, None]
    group_ids: tuple[str, ...] = ()
    retrying_things: dict[str, JobExecution] = field(default_factory=dict)
    executions: Counter[ExecutionStatus] = field(default_factory=Counter)
    status: JobStatus = JobStatus.IN_PROGRESS
    completed_at: float | None = None
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
        return self.request.target_selection is TargetSelection.CONTINUOUS

    @property
    def is_concurrent(self) -> bool:
        """True while executions are being rolled out (API reference, Job.isConcurrent)."""
        return bool(self.waiting_things)

    @property
    def has_open_ends(self) -> bool:
        """True while an execution is pending or still to come."""
        pending = self.executions[ExecutionStatus.QUEUED] + self.executions[ExecutionStatus.IN_PROGRESS]
        return bool(pending or self.waiting_things or self.retrying_things)
