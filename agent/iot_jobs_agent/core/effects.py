"""What can be done. `decide` asks for these, in this order; only the daemon performs them.

Effects that act on the world wait until the journal effects before them are on the disk (`JOURNAL`).
"""

from dataclasses import dataclass, field
from typing import TypeAlias

from iot_jobs_agent.core.job import AttemptId, ExecutionId, ExecutionStatus, Outcome, StartReason, StatusDetails, Step
from iot_jobs_agent.core.state import Execution, State


@dataclass(frozen=True, slots=True)
class Save:
    """Journal an execution in its durable form."""

    execution: Execution


@dataclass(frozen=True, slots=True)
class Forget:
    """Take an execution out of the journal: it turned out not to be ours."""

    execution: ExecutionId


@dataclass(frozen=True, slots=True)
class Settle:
    """Move an execution from the journal to the history. `service_accepted`: the service took our report."""

    execution: ExecutionId
    operation: str
    outcome: Outcome
    claimed_at: float
    service_accepted: bool


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
    """Report a status to the service.

    `details` None keeps the stored ones; `expected_version` 0 and `step_timeout_minutes` 0 are not sent.
    """

    execution: ExecutionId
    ticket: int
    status: ExecutionStatus
    details: StatusDetails | None = field(default=None, repr=False)
    expected_version: int = 0
    step_timeout_minutes: int = 0


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """Start the step's process, once. A resumed attempt goes on where the last one was, others begin again."""

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
    """Order a reboot from the system. No handler runs any more."""


@dataclass(frozen=True, slots=True)
class Note:
    """Log a line for people. `what` is stable; `why` may name codes and reasons, never values of a document."""

    execution: ExecutionId
    what: str
    why: str = ""
    is_problem: bool = False


JournalEffect: TypeAlias = Save | Forget | Settle
JOURNAL = (Save, Forget, Settle)
Effect: TypeAlias = (
    JournalEffect | Fetch | Describe | Update | StartAttempt | StopAttempt | ForgetAttempts | Reboot | Note
)
Turn: TypeAlias = tuple[State, list[Effect]]  # what a rule returns: the state after an event, and what is to be done
