"""Effects: everything the agent can do. `decide` returns them in order; only `daemon` and `exchange` perform them.

Effects that act on the outside world wait until the journal effects before them (`JOURNAL`) are on disk.
"""

from typing import TypeAlias

from iot_jobs_agent.core.job import AttemptId, ExecutionId, ExecutionStatus, Outcome, StartReason, StatusDetails, Step
from iot_jobs_agent.core.state import Execution, State
from iot_jobs_agent.core.value import dataclass, field


@dataclass(frozen=True, slots=True)
class Save:
    """Journal an execution in its durable form."""

    execution: Execution


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete an execution from the journal: it turned out not to be ours."""

    execution: ExecutionId


@dataclass(frozen=True, slots=True)
class Settle:
    """Move an execution from the journal to the history. `service_accepted`: the service accepted our report."""

    execution: ExecutionId
    operation: str
    outcome: Outcome
    claimed_at: float
    service_accepted: bool
    queued_at: int = 0


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask for the pending list of a namespace; the head of the list will do unless `is_complete`."""

    namespace: str
    ticket: int
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Describe:
    """Ask the service for an execution and its document, and judge the document."""

    execution: ExecutionId
    ticket: int


@dataclass(frozen=True, slots=True)
class Update:
    """Report a status to the service.

    With `details` None, the service keeps those that it has. A 0 in the other two members is not sent.
    """

    execution: ExecutionId
    ticket: int
    status: ExecutionStatus
    details: StatusDetails | None = field(default=None, repr=False)
    expected_version: int = 0
    step_timeout_minutes: int = 0


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """Start the step's process, once. A resumed attempt continues where the last one stopped; others begin again."""

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
    """Delete the files that the attempts of a settled execution left on disk."""

    execution: ExecutionId


@dataclass(frozen=True, slots=True)
class Reboot:
    """Order a reboot from the system. No handler is running any more."""


@dataclass(frozen=True, slots=True)
class Note:
    """Log a line for people. `what` is stable; `why` may contain codes and reasons, but never values of a document."""

    execution: ExecutionId
    what: str
    why: str = ""
    is_problem: bool = False


JournalEffect: TypeAlias = Save | Forget | Settle
JOURNAL = (Save, Forget, Settle)
Effect: TypeAlias = (
    JournalEffect | Fetch | Describe | Update | StartAttempt | StopAttempt | ForgetAttempts | Reboot | Note
)
Turn: TypeAlias = tuple[State, list[Effect]]  # what a rule returns: the state after an event, and the effects
