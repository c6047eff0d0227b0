"""What the agent knows, as frozen values: the phases of an execution, the queues of the namespaces, the whole state.

A phase is journalled in its `durable` form, which leaves out whatever another process or boot could not use: requests
in flight, deadlines (monotonic), progress, and the secrets of a plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias, assert_never

from iot_jobs_agent.core.job import AttemptId, ExecutionId, Outcome, Plan, StartReason, StatusDetails, Step

SETTLED_KEPT = 200  # outcomes that are remembered, in memory, in the journal's history and among the results


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration, and this boot, decide about the rules.

    Durations are in seconds; `""` is the default namespace. `only` is a pattern (`*`, `?`, `[…]`): job ids that do not
    match are left alone. `ignores_unknown` leaves alone what no handler knows, instead of rejecting it. `boot_id` is
    the kernel's.
    """

    namespaces: tuple[str, ...] = ("",)
    max_concurrent: int = 1
    poll_interval_s: float = 1800.0
    progress_interval_s: float = 10.0
    only: str = "*"
    ignores_unknown: bool = False
    boot_id: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that a phase needs: in flight if `ticket` is not 0, otherwise due at `retry_at` (monotonic)."""

    ticket: int = 0
    retry_at: float = 0.0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Updates:
    """What is exchanged with the service about an execution while it is claimed and not closed.

    `report_at` is when the next update is due (monotonic; None: nothing is new), which `request` carries; `probe` asks
    whether the service still wants the execution.
    """

    report_at: float | None = None
    reported_at: float = float("-inf")
    request: Request = Request()
    probe: Request | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """A plan and how far it has come: the attempt that is next, or under way, and why it is made.

    `step` counts from 0, `number` from 1 within the step; `results` are (name, result) of the steps that ended.
    `retries` counts within the step, `interruptions` and `reboots` over the whole execution. `spent_s` is how much of
    the step's deadline was used by the attempts that this one resumes.
    """

    plan: Plan
    step: int = 0
    number: int = 1
    results: tuple[tuple[str, str], ...] = ()
    reason: StartReason = StartReason.FIRST
    is_resumed: bool = False
    retries: int = 0
    interruptions: int = 0
    reboots: int = 0
    spent_s: float = 0.0

    @property
    def without_secrets(self) -> "Work":
        """The work without what must not be journalled."""
        return replace(self, plan=self.plan.without_secrets)

    @property
    def current(self) -> Step:
        """The step it is at, with what is left of its deadline."""
        return self.plan.steps[self.step].after(self.spent_s)

    @property
    def is_untouched(self) -> bool:
        """True if this is the first attempt of all."""
        return self.step == 0 and self.number == 1

    @property
    def is_last(self) -> bool:
        """True at the last step."""
        return self.step + 1 == len(self.plan.steps)

    def next_step(self, results: tuple[tuple[str, str], ...]) -> "Work":
        """Return the work at its next step."""
        return Work(self.plan, self.step + 1, results=results, interruptions=self.interruptions, reboots=self.reboots)

    def next_attempt(self, reason: StartReason, spent_s: float | None = None) -> "Work":
        """Return the work at one more attempt at the step: a resumed one if `spent_s` of its deadline is given."""
        return replace(
            self,
            number=self.number + 1,
            reason=reason,
            is_resumed=spent_s is not None,
            spent_s=spent_s or 0.0,
            retries=self.retries + (reason is StartReason.RETRY),
            reboots=self.reboots + (reason is StartReason.REBOOT),
        )


@dataclass(frozen=True, slots=True)
class Judging:
    """The service is being asked what this execution is. Not journalled, since nothing has been promised yet."""

    request: Request = Request()


@dataclass(frozen=True, slots=True)
class Claiming:
    """We mean to run this. `version` is the claim's expectedVersion; 0 means to ask the service first."""

    plan: Plan
    version: int = 0
    request: Request = Request()


@dataclass(frozen=True, slots=True)
class Preparing:
    """Claimed; a fresh document is being fetched for the next attempt."""

    work: Work
    request: Request = Request()


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt was started, or is about to be: its directory tells which. `boot_id` is that of its start.

    `progress` is in percent. `deadline_s` counts from `started_at` (monotonic; None: not known to have started).
    """

    work: Work
    boot_id: str = ""
    started_at: float | None = None
    deadline_s: float | None = None
    progress: float | None = None
    message: str = ""
    details: StatusDetails = field(default_factory=dict)
    updates: Updates = Updates()


@dataclass(frozen=True, slots=True)
class Delayed:
    """The handler asked for a retry; `work` is at that next attempt. Holds no slot.

    `delay_s` is journalled and starts over after a restart of the agent; `due_at` is monotonic.
    """

    work: Work
    delay_s: float
    details: StatusDetails = field(default_factory=dict)
    due_at: float = 0.0
    updates: Updates = Updates()


@dataclass(frozen=True, slots=True)
class Rebooting:
    """The handler asked for a reboot during the boot `boot_id`; `work` is at the attempt to be made after it.

    The reboot waits until nothing runs; `is_ordered` once the system was told. If the boot is still the same at
    `due_at` (monotonic), the reboot did not happen.
    """

    work: Work
    boot_id: str
    details: StatusDetails = field(default_factory=dict)
    is_ordered: bool = False
    due_at: float | None = None
    updates: Updates = Updates()


@dataclass(frozen=True, slots=True)
class Stopping:
    """The service closed the execution; the attempt is being stopped, and nothing more will be reported."""

    work: Work
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Reporting:
    """The outcome is known and is reported until the service accepts it or closes the execution.

    `version` is set for a rejection straight from QUEUED, which is a claim as well. `omits_details`: the service
    refused the report with its details. `is_unreportable`: refused for a reason that waiting will hardly cure.
    `asks_first`: nobody saw what became of the execution meanwhile, so the service is asked before it is told.
    """

    outcome: Outcome
    details: StatusDetails = field(default_factory=dict)
    version: int = 0
    omits_details: bool = False
    is_unreportable: bool = False
    asks_first: bool = False
    request: Request = Request()


Underway: TypeAlias = Running | Delayed | Rebooting
Requesting: TypeAlias = Judging | Claiming | Preparing | Reporting
Answerable: TypeAlias = Requesting | Underway
Phase: TypeAlias = Answerable | Stopping


@dataclass(frozen=True, slots=True)
class Execution:
    """One job execution and its phase. `operation` is what people call it, `claimed_at` is in epoch seconds."""

    id: ExecutionId
    phase: Phase
    operation: str = ""
    claimed_at: float = 0.0

    @property
    def holds_a_slot(self) -> bool:
        """True while it counts against `max_concurrent`."""
        match self.phase:
            case Reporting(is_unreportable=is_unreportable):
                return not is_unreportable
            case phase:
                return not isinstance(phase, Delayed)

    @property
    def durable(self) -> "Execution | None":
        """What the journal keeps of it, or None where there is nothing to keep."""
        phase = durable_phase(self.phase)
        return None if phase is None else replace(self, phase=phase)

    @property
    def attempt(self) -> AttemptId | None:
        """The attempt whose process may be alive."""
        if isinstance(self.phase, Running | Stopping):
            return AttemptId(self.id, self.phase.work.step, self.phase.work.number)
        return None


def durable_phase(phase: Phase) -> Phase | None:
    """Return `phase` without what must not, or need not, outlive this process."""
    match phase:
        case Judging():
            return None
        case Claiming(plan=plan) | Preparing(work=Work(plan=plan, step=0, number=1)):
            return Claiming(plan.without_secrets)
        case Preparing(work=work):
            return Preparing(work.without_secrets)
        case Running(work=work, boot_id=boot_id):
            return Running(work.without_secrets, boot_id)
        case Delayed(work=work):
            return replace(phase, work=work.without_secrets, due_at=0.0, updates=Updates())
        case Rebooting(work=work):
            return replace(phase, work=work.without_secrets, due_at=None, updates=Updates())
        case Stopping(work=work):
            return replace(phase, work=work.without_secrets)
        case Reporting():
            return replace(phase, request=Request(), is_unreportable=False, asks_first=False)
    assert_never(phase)


@dataclass(frozen=True, slots=True)
class Queue:
    """What a namespace last showed us: `pending` in the service's order; `ticket` is that of the fetch in flight.

    `fetch_at` is when the list is fetched next (monotonic; None: not before something happens); `is_complete` says
    whether that must be the whole list, or its head will do. `is_known` once a list was seen on this connection.
    `doubts` is how many more answers that lack what a notification named are asked for again. `misses` counts, in a
    row, the listed executions that turned out to be closed.
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
    """Everything that `decide` knows. `settled` are outcomes of the recent past; `foreign` executions of other agents.

    `agent_id` marks what this installation claims; it is known once the journal can be used. `is_paused`: people want
    nothing new to be taken on.
    """

    settings: Settings
    is_connected: bool = False
    is_journal_usable: bool = False
    agent_id: str = ""
    is_paused: bool = False
    queues: Mapping[str, Queue] = field(default_factory=dict)
    executions: Mapping[ExecutionId, Execution] = field(default_factory=dict)
    settled: Mapping[ExecutionId, Outcome] = field(default_factory=dict)
    foreign: frozenset[ExecutionId] = frozenset()
    last_ticket: int = 0
    turn: int = 0

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
