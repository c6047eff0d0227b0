"""What the agent knows, as frozen values: the phases of an execution, the queues of the namespaces, the whole state.

A phase is journalled in its `durable` form, which leaves out whatever another process or boot could not use: requests
in flight, deadlines (monotonic), progress, and the secrets of a plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias, assert_never

from agent.core.job import AttemptId, ExecutionId, Outcome, Plan, StatusDetails, Step


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration decides about the rules. Durations in seconds; `""` is the default namespace."""

    agent_id: str
    namespaces: tuple[str, ...] = ("",)
    max_concurrent: int = 1
    poll_interval_s: float = 1800.0
    progress_interval_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Call:
    """A request that a phase needs: in flight if `ticket` is not 0, otherwise due at `retry_at` (monotonic)."""

    ticket: int = 0
    retry_at: float = 0.0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Judging:
    """The service is being asked what this execution is. Not journalled: nothing was promised yet."""

    call: Call = Call()


@dataclass(frozen=True, slots=True)
class Claiming:
    """We mean to run this. `version` is the claim's expectedVersion; 0 = ask the service first how things stand."""

    plan: Plan
    version: int = 0
    call: Call = Call()


@dataclass(frozen=True, slots=True)
class Preparing:
    """Claimed; a fresh document is being fetched for the next step. `results` are (name, result) of those before."""

    plan: Plan
    step: int = 0
    number: int = 1
    results: tuple[tuple[str, str], ...] = ()
    call: Call = Call()


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt was started, or is about to be: its directory tells which.

    `progress` is in percent. `deadline_s` counts from `started_at` (monotonic; None: not known to have started).
    `probe` asks the service whether the execution is still wanted; `report_at` is when progress is next sent (None:
    there is nothing new to say).
    """

    plan: Plan
    step: int
    number: int
    results: tuple[tuple[str, str], ...] = ()
    started_at: float | None = None
    deadline_s: float | None = None
    progress: float | None = None
    message: str = ""
    details: StatusDetails = field(default_factory=dict)
    report_at: float | None = None
    reported_at: float = float("-inf")
    call: Call = Call()
    probe: Call | None = None


@dataclass(frozen=True, slots=True)
class Stopping:
    """The service called the execution over; the attempt is being stopped, and nothing more will be said of it."""

    plan: Plan
    step: int
    number: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Reporting:
    """The outcome is known and is sent until the service accepts it or calls the execution over.

    `version` is set for a rejection straight from QUEUED, which is a claim as well. `is_bare` leaves the details out,
    after the service found fault with them. `is_unreportable`: refused for a reason that waiting will hardly cure.
    """

    outcome: Outcome
    details: StatusDetails = field(default_factory=dict)
    version: int = 0
    is_bare: bool = False
    is_unreportable: bool = False
    call: Call = Call()


Phase: TypeAlias = Judging | Claiming | Preparing | Running | Stopping | Reporting


@dataclass(frozen=True, slots=True)
class Execution:
    """One job execution and where we stand with it. `operation` is what people call it, `claimed_at` epoch seconds."""

    id: ExecutionId
    phase: Phase
    operation: str = ""
    claimed_at: float = 0.0

    @property
    def holds_a_slot(self) -> bool:
        """True while it counts against `max_concurrent`."""
        return not (isinstance(self.phase, Reporting) and self.phase.is_unreportable)

    @property
    def durable(self) -> "Execution | None":
        """What the journal keeps of it, or None where there is nothing to keep."""
        phase = durable_phase(self.phase)
        return None if phase is None else replace(self, phase=phase)

    @property
    def attempt(self) -> AttemptId | None:
        """The attempt whose process may be alive."""
        if isinstance(self.phase, Running | Stopping):
            return AttemptId(self.id, self.phase.step, self.phase.number)
        return None


def durable_phase(phase: Phase) -> Phase | None:
    """Return `phase` without what must not, or need not, outlive this process."""
    match phase:
        case Judging():
            return None
        case Claiming(plan=plan) | Preparing(plan=plan, step=0, number=1):
            return Claiming(plan.bare)
        case Preparing():
            return replace(phase, plan=phase.plan.bare, call=Call())
        case Running(plan=plan, step=step, number=number, results=results):
            return Running(plan.bare, step, number, results)
        case Stopping():
            return replace(phase, plan=phase.plan.bare)
        case Reporting():
            return replace(phase, call=Call(), is_unreportable=False)
    assert_never(phase)


def current_step(phase: Preparing | Running | Stopping) -> Step:
    """Return the step that the phase is at."""
    return phase.plan.steps[phase.step]


@dataclass(frozen=True, slots=True)
class Queue:
    """What a namespace last showed us: `pending` in the service's order, `fetch` the request for the list.

    `fetch_at` is when the list is asked for next (monotonic; None: not before something happens); `is_complete` says
    whether that must be the whole list, or its head will do. `is_known` once a list was seen on this connection.
    `doubts` is how often an answer that lacks what a notification named is still asked for again. `misses` counts what
    was named in vain, one after the other: the service called it over as soon as it was asked.
    """

    pending: tuple[ExecutionId, ...] = ()
    ticket: int = 0
    fetch_at: float | None = None
    is_complete: bool = True
    is_known: bool = False
    failures: int = 0
    doubts: int = 0
    misses: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """Everything `decide` knows. `settled` are outcomes of the recent past; `foreign` executions of other agents."""

    settings: Settings
    is_connected: bool = False
    is_journal_usable: bool = False
    queues: Mapping[str, Queue] = field(default_factory=dict)
    executions: Mapping[ExecutionId, Execution] = field(default_factory=dict)
    settled: Mapping[ExecutionId, Outcome] = field(default_factory=dict)
    foreign: frozenset[ExecutionId] = frozenset()
    last_ticket: int = 0
    turn: int = 0

    @property
    def slots_free(self) -> int:
        """How many more executions may be taken on."""
        return self.settings.max_concurrent - sum(e.holds_a_slot for e in self.executions.values())

    def with_execution(self, execution: Execution) -> "State":
        """Return the state in which `execution` stands as given."""
        return replace(self, executions={**self.executions, execution.id: execution})

    def with_phase(self, execution: Execution, phase: Phase) -> "State":
        """Return the state in which `execution` is in `phase`."""
        return self.with_execution(replace(execution, phase=phase))

    def without_execution(self, gone: ExecutionId) -> "State":
        """Return the state that no longer tracks `gone`."""
        return replace(self, executions={k: v for k, v in self.executions.items() if k != gone})

    def with_queue(self, namespace: str, queue: Queue) -> "State":
        """Return the state in which the namespace's queue stands as given."""
        return replace(self, queues={**self.queues, namespace: queue})
