"""Events: everything that can happen to the agent. They all arrive in one inbox, and `decide` handles them one by one.

`ticket` names the request that an answer belongs to; an answer whose ticket no phase waits for is ignored. `jitter` is
a random number in [0, 1), drawn where the event is created, so that `decide` needs no randomness of its own.
"""

from collections.abc import Mapping
from typing import TypeAlias

from iot_jobs_agent.core.claimant import Claimant
from iot_jobs_agent.core.job import AttemptId, AttemptResult, ExecutionId, ExecutionStatus, Plan, Refusal
from iot_jobs_agent.core.state import Execution, Settled
from iot_jobs_agent.core.value import dataclass, field


@dataclass(frozen=True, slots=True)
class JournalOpened:
    """The journal can be used. `executions` are those under way; `settled` holds recent outcomes.

    `claimant` marks this installation's claims; its parts are stored beside the journal too.
    """

    claimant: Claimant
    executions: tuple[Execution, ...] = ()
    settled: Mapping[ExecutionId, Settled] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Connected:
    """The connection is up, and every subscription has been tried once."""

    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection was lost."""


@dataclass(frozen=True, slots=True)
class Notified:
    """A notification: a hint, never the truth. `is_complete`: the whole list (notify), not its head (notify-next)."""

    namespace: str
    pending: tuple[ExecutionId, ...]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """The answer to a `Fetch`, IN_PROGRESS first. `is_complete`: all that the service lists, not only the head."""

    namespace: str
    ticket: int
    pending: tuple[ExecutionId, ...]
    is_complete: bool
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """A `Fetch` was refused with `code`, or not answered in time (`code` empty)."""

    namespace: str
    ticket: int
    code: str
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class Described:
    """The answer to a `Describe`. `claimed_by` is its status detail `agent`; `verdict` is ours on the document."""

    execution: ExecutionId
    ticket: int
    status: ExecutionStatus
    version: int
    claimed_by: str
    verdict: Plan | Refusal
    operation: str = ""
    at: float = 0.0
    jitter: float = 0.0
    queued_at: int = 0


@dataclass(frozen=True, slots=True)
class DescribeFailed:
    """A `Describe` was refused with `code`, or not answered in time (`code` empty)."""

    execution: ExecutionId
    ticket: int
    code: str
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class UpdateAccepted:
    """The service accepted an `Update`."""

    execution: ExecutionId
    ticket: int


@dataclass(frozen=True, slots=True)
class UpdateFailed:
    """An `Update` was refused with `code`, or not answered in time (`code` empty): it may or may not have been applied.

    `current` is the execution's status, if the refusal gives it.
    """

    execution: ExecutionId
    ticket: int
    code: str
    current: ExecutionStatus | None = None
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """The attempt's directory exists, and its shim was started, or found alive after a restart of the agent."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class AttemptNeverStarted:
    """An attempt that was about to start has no directory, so it never started and may be started again.

    After a restart of the agent, `why` is empty. Otherwise it says what the device lacks to start any attempt now.
    """

    attempt: AttemptId
    why: str = ""


@dataclass(frozen=True, slots=True)
class AttemptProgressed:
    """The handler wrote a line to fd 3. Only the members it gave are set; `extend_s` is in seconds from now."""

    attempt: AttemptId
    progress: float | None = None
    message: str | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    extend_s: float | None = None


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """The attempt ended, and none of its processes is alive unless `result.leftovers_alive` says so."""

    attempt: AttemptId
    result: AttemptResult


@dataclass(frozen=True, slots=True)
class RebootFailed:
    """The system refused to reboot; `reason` says why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Paused:
    """Somebody set or lifted the pause."""

    is_paused: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """The time that `next_deadline` returned has come."""


AttemptEvent: TypeAlias = AttemptStarted | AttemptNeverStarted | AttemptProgressed | AttemptEnded
Answer: TypeAlias = Described | DescribeFailed | UpdateAccepted | UpdateFailed
Event: TypeAlias = (
    JournalOpened
    | Connected
    | Disconnected
    | Notified
    | Listed
    | FetchFailed
    | Answer
    | AttemptEvent
    | RebootFailed
    | Paused
    | Tick
)
