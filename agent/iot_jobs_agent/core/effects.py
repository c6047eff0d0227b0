"""What can be done. `decide` asks for these, in this order; only `daemon` performs them.

Effects that act on the world wait until the journal effects before them are on the disk (`JOURNAL`).
"""

from dataclasses import dataclass, field
from typing import TypeAlias

from iot_jobs_agent.core.job import AttemptId, ExecutionId, ExecutionStatus, Outcome, StartReason, StatusDetails, Step
from iot_jobs_agent.core.state import Execution


@dataclass(frozen=True, slots=True)
class Save:
    """Journal where we stand with an execution (its durable form)."""

    execution: Execution


@dataclass(frozen=True, slots=True)
class Forget:
    """Take an execution out of the journal: it turned out not to be ours."""

    execution: ExecutionId


@dataclass(frozen=True, slots=True)
class Settle:
    """Take an execution out of the journal and into the history. `was_accepted`: the service took our report."""

    execution: ExecutionId
    operation: str
    outcome: Outcome
    claimed_at: float
    was_accepted: bool


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask for the pending list of a namespace, or, if not `is_complete`, at least for its head."""

    namespace: str
    ticket: int
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Describe:
    """Ask what an execution is, with its document, and judge the document."""

    execution: ExecutionId
    ticket: int


@dataclass(frozen=True, slots=True)
class Update:
    """Tell the service a status.

    `details` None leaves the stored ones; `expected_version` 0 and `step_timeout_minutes` 0 are not sent.
    """

    execution: ExecutionId
    ticket: int
    status: ExecutionStatus
    details: StatusDetails | None = field(default=None, repr=False)
    expected_version: int = 0
    step_timeout_minutes: int = 0


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """Start the step's process, once. A resumed one goes on where it was, others start from the beginning."""

    attempt: AttemptId
    step: Step
    reason: StartReason = StartReason.FIRST
    is_resumed: bool = False


@dataclass(frozen=True, slots=True)
class StopAttempt:
    """Stop every process of the attempt: SIGTERM, grace, SIGKILL. Doing it twice is harmless."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class ForgetAttempts:
    """Remove what the attempts of a settled execution left on the disk."""

    execution: ExecutionId


@dataclass(frozen=True, slots=True)
class Reboot:
    """Tell the system to reboot. Nothing of ours runs."""


@dataclass(frozen=True, slots=True)
class Note:
    """Tell people (the log). `what` is stable; `why` may name codes and reasons, never values of a document."""

    execution: ExecutionId
    what: str
    why: str = ""
    is_problem: bool = False


JournalEffect: TypeAlias = Save | Forget | Settle
JOURNAL = (Save, Forget, Settle)
Effect: TypeAlias = (
    JournalEffect | Fetch | Describe | Update | StartAttempt | StopAttempt | ForgetAttempts | Reboot | Note
)
