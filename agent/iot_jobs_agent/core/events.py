"""What can happen. Everything that happens is one of these events, in one inbox; `decide` answers each.

`ticket` names the request that an answer belongs to: an answer that nobody waits for is ignored. `jitter` is a number
in [0, 1) that is drawn where the event is made, so that `decide` needs no randomness of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from iot_jobs_agent.core.job import AttemptId, AttemptResult, ExecutionId, ExecutionStatus, Outcome, Plan, Refusal
from iot_jobs_agent.core.state import Execution


@dataclass(frozen=True, slots=True)
class JournalOpened:
    """The journal can be used. `executions` are those under way, `settled` the outcomes of the recent past.

    `agent_id` marks this installation's claims; it is kept beside the journal.
    """

    agent_id: str
    executions: tuple[Execution, ...] = ()
    settled: Mapping[ExecutionId, Outcome] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Connected:
    """The connection is up, and every subscription has been tried once."""

    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection was lost."""


@dataclass(frozen=True, slots=True)
class Notified:
    """A notification: a hint, never the truth. `is_complete`: it is the list (notify), not its head (notify-next)."""

    namespace: str
    pending: tuple[ExecutionId, ...]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """The answer to a `Fetch`, IN_PROGRESS first. `is_complete`: all that the service shows, not only the head."""

    namespace: str
    ticket: int
    pending: tuple[ExecutionId, ...]
    is_complete: bool
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """A `Fetch` was refused or not answered in time."""

    namespace: str
    ticket: int
    code: str
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class Described:
    """The answer to a `Describe`. `agent_id` is the detail `agent`; `verdict` is what we make of the document."""

    execution: ExecutionId
    ticket: int
    status: ExecutionStatus
    version: int
    agent_id: str
    verdict: Plan | Refusal
    operation: str = ""
    at: float = 0.0
    jitter: float = 0.0


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

    `current` is the execution's status, where the service's refusal says it.
    """

    execution: ExecutionId
    ticket: int
    code: str
    current: ExecutionStatus | None = None
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """The attempt's directory exists and its shim was started, or was found alive after a restart of the agent."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class AttemptNeverStarted:
    """After a restart of the agent: the attempt was about to be started and has no directory, so it never was."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class AttemptProgressed:
    """The handler said something on fd 3. Only the members that it gave are set; `extend_s` is in seconds from now."""

    attempt: AttemptId
    progress: float | None = None
    message: str | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    extend_s: float | None = None


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """The attempt ended, and nothing of it is alive unless `result.leftovers_alive` says so."""

    attempt: AttemptId
    result: AttemptResult


@dataclass(frozen=True, slots=True)
class RebootFailed:
    """The system refused to reboot, for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Paused:
    """Somebody set or lifted the pause."""

    is_paused: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """The time that `next_deadline` named has come."""


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
