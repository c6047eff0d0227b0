"""What the agent knows, as frozen values: the phases of an execution, the queues of the namespaces, the whole state.

A phase is journalled in its `durable` form, which leaves out whatever another process or boot could not use: requests
in flight, deadlines (monotonic), progress, and the secrets of a plan.
"""

from collections.abc import Mapping
from typing import TypeAlias, assert_never

from iot_jobs_agent.core.claimant import Claimant
from iot_jobs_agent.core.job import (
    AttemptId,
    ExecutionId,
    ExecutionStatus,
    Outcome,
    Plan,
    StartReason,
    StatusDetails,
    Step,
)
from iot_jobs_agent.core.value import dataclass, field, replace

SETTLED_KEPT = 200  # outcomes that are remembered, in memory, in the journal's history and among the results


@dataclass(frozen=True, slots=True)
class Settings:
    """The parameters of the rules: the configuration's, and the kernel's id of this boot.

    Durations are in seconds; `""` is the default namespace. `only` is a pattern (`*`, `?`, `[…]`): job ids that do not
    match are left alone. With `ignores_unknown`, a document that no handler knows is left alone instead of rejected.
    """

    namespaces: tuple[str, ...] = ("",)
    max_concurrent: int = 1
    poll_interval_s: float = 1800.0
    progress_interval_s: float = 10.0
    only: str = "*"
    ignores_unknown: bool = False
    boot_id: str = ""


@dataclass(frozen=True, slots=True)
class BackOff:
    """How an execution's requests fared since it last made progress, whatever phases it passed through.

    `requests` were sent; `failures` of them, in a row, were refused, not answered, or answered with what contradicts
    what we know, as `contradictions` of them were. `code` says how the last one failed ("" if it was not answered), and
    `charged` is what `requests` was then. Until `until` (monotonic), nothing is asked about the execution, and nothing
    is reported.
    """

    requests: int = 0
    charged: int = 0
    failures: int = 0
    contradictions: int = 0
    code: str = ""
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class Settled:
    """The outcome of an execution that ended here. `queued_at`: see `Execution`."""

    outcome: Outcome
    queued_at: int = 0

    def is_of(self, queued_at: int) -> bool:
        """Whether it is the outcome of the very execution that was queued at that time."""
        return self.queued_at == queued_at != 0


@dataclass(frozen=True, slots=True)
class Updates:
    """What we exchange with the service about an execution from the claim until it is closed.

    `report_at` is when the next update is due (monotonic; None: there is nothing new to report), `ticket` is that of an
    update in flight. `probe` is the ticket of the question whether the service still wants the execution (0: it is to
    be asked; None: it need not be).
    """

    report_at: float | None = None
    reported_at: float = float("-inf")
    ticket: int = 0
    probe: int | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """A plan and how far it has come: the attempt that is under way or comes next, and the reason for it.

    `step` counts from 0, `number` from 1 within the step; `results` are (name, result) of the steps that ended.
    `retries` counts within the step, `interruptions` and `reboots` over the whole execution. `spent_s` is how much of
    the step's deadline the attempts that this one resumes have used.
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
        """The work, without the secrets that must not be journalled."""
        return replace(self, plan=self.plan.without_secrets)

    @property
    def current(self) -> Step:
        """The current step, with the time left before its deadline as its timeout."""
        return self.plan.steps[self.step].after(self.spent_s)

    @property
    def is_untouched(self) -> bool:
        """True if this is the first attempt at the first step."""
        return self.step == 0 and self.number == 1

    @property
    def is_last(self) -> bool:
        """True at the last step."""
        return self.step + 1 == len(self.plan.steps)

    def next_step(self, results: tuple[tuple[str, str], ...]) -> "Work":
        """Return the work, moved on to its next step."""
        return Work(self.plan, self.step + 1, results=results, interruptions=self.interruptions, reboots=self.reboots)

    def next_attempt(self, reason: StartReason, spent_s: float | None = None) -> "Work":
        """Return the work, moved on to the next attempt at this step. Giving `spent_s` makes that a resumed attempt."""
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
    """We are asking the service what this execution is. Not journalled, since we have promised nothing yet."""

    ticket: int = 0


@dataclass(frozen=True, slots=True)
class Claiming:
    """We intend to run this. `version` is the claim's expectedVersion; 0 means that we ask the service first."""

    plan: Plan
    version: int = 0
    ticket: int = 0


@dataclass(frozen=True, slots=True)
class Preparing:
    """The execution is claimed, and we are fetching a fresh document for its next attempt."""

    work: Work
    ticket: int = 0


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt was started, or is about to be; whether its directory exists tells which.

    `boot_id` is the boot in which it was started. `progress` is in percent. `deadline_s` counts from `started_at`
    (monotonic; None: we have not seen it start).
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
    """The handler asked for a retry, and `work` is already at that attempt. A delayed execution holds no slot.

    `delay_s` is journalled and starts over after a restart of the agent; `due_at` is monotonic.
    """

    work: Work
    delay_s: float
    details: StatusDetails = field(default_factory=dict)
    due_at: float = 0.0
    updates: Updates = Updates()


@dataclass(frozen=True, slots=True)
class Rebooting:
    """The handler asked for a reboot in the boot `boot_id`; `work` is already at the attempt that follows the reboot.

    The reboot waits until nothing runs; `is_ordered` is true once we have asked the system for it. If the machine is
    still in the same boot at `due_at` (monotonic), the reboot did not happen.
    """

    work: Work
    boot_id: str
    details: StatusDetails = field(default_factory=dict)
    is_ordered: bool = False
    due_at: float | None = None
    updates: Updates = Updates()


@dataclass(frozen=True, slots=True)
class Stopping:
    """The service closed the execution. We are stopping its attempt and report nothing more."""

    work: Work
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Reporting:
    """The outcome is known, and we report it until the service accepts it or closes the execution.

    `version` is set while the execution is QUEUED: a rejection is reported from there with it, and any other outcome is
    preceded by a claim with it. `omits_details`: the service refused the report with details, so it goes out without.
    `is_unreportable`: refused for a reason that waiting is unlikely to cure. `asks_first`: the execution may have
    changed while we were not looking, so we describe it before we report.
    """

    outcome: Outcome
    details: StatusDetails = field(default_factory=dict)
    version: int = 0
    omits_details: bool = False
    is_unreportable: bool = False
    asks_first: bool = False
    ticket: int = 0

    @property
    def needs_claim(self) -> bool:
        """Whether the execution is QUEUED, and can only end after it was IN_PROGRESS."""
        return self.version > 0 and self.outcome.status is not ExecutionStatus.REJECTED


Underway: TypeAlias = Running | Delayed | Rebooting
Requesting: TypeAlias = Judging | Claiming | Preparing | Reporting
Answerable: TypeAlias = Requesting | Underway
Phase: TypeAlias = Answerable | Stopping


@dataclass(frozen=True, slots=True)
class Execution:
    """One job execution and its phase. `operation` is the name people know it by; `claimed_at` is in epoch seconds.

    `queued_at` is when the service queued it, in whole epoch seconds, 0 if it did not say. Together with the id, it
    tells an execution from another one that was created later under the same id.
    """

    id: ExecutionId
    phase: Phase
    operation: str = ""
    claimed_at: float = 0.0
    queued_at: int = 0

    def is_queued_at(self, queued_at: int) -> bool:
        """Whether this is the very execution that was queued at that time."""
        return self.queued_at == queued_at != 0

    def precedes(self, queued_at: int) -> bool:
        """Whether what was queued at that time is another execution, created later under the same id."""
        return 0 < self.queued_at < queued_at

    def follows(self, queued_at: int) -> bool:
        """Whether what was queued at that time is another execution, which had the same id earlier."""
        return 0 < queued_at < self.queued_at

    @property
    def holds_a_slot(self) -> bool:
        """True while the execution counts against `max_concurrent`."""
        match self.phase:
            case Reporting(is_unreportable=is_unreportable):
                return not is_unreportable
            case phase:
                return not isinstance(phase, Delayed)

    @property
    def durable(self) -> "Execution | None":
        """The form that the journal keeps, or None if there is nothing to keep."""
        phase = durable_phase(self.phase)
        return None if phase is None else replace(self, phase=phase)

    @property
    def attempt(self) -> AttemptId | None:
        """The attempt whose process may be alive."""
        if isinstance(self.phase, Running | Stopping):
            return AttemptId(self.id, self.phase.work.step, self.phase.work.number)
        return None


def durable_phase(phase: Phase) -> Phase | None:
    """Return `phase` without the fields that must not, or need not, outlive this process."""
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
            return replace(phase, ticket=0, is_unreportable=False, asks_first=False)
    assert_never(phase)


@dataclass(frozen=True, slots=True)
class Queue:
    """The pending list of a namespace as we last saw it, in the service's order; `ticket` is that of a fetch in flight.

    `fetch_at` is when to fetch the list next (monotonic; None: not until something happens); `is_complete` says whether
    to fetch the whole list, or only its head. `is_known` is true once this connection has shown us a list. `doubts` is
    how many more times to ask again if an answer lacks what a notification named.
    """

    pending: tuple[ExecutionId, ...] = ()
    ticket: int = 0
    fetch_at: float | None = None
    is_complete: bool = True
    is_known: bool = False
    failures: int = 0
    doubts: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """Everything that `decide` knows. `settled` holds recent outcomes; `foreign` holds the executions to leave alone.

    `back_offs` also holds executions that are not tracked now, so that one which comes back goes on waiting.

    `claimant` marks what this installation claims; it is known once the journal can be used. `is_paused`: somebody
    asked the agent to take on nothing new. `device_fault` says why the device cannot start an attempt now, "" if it
    can; until `device_fault_until` (monotonic), no attempt is tried.
    """

    settings: Settings
    is_connected: bool = False
    is_journal_usable: bool = False
    claimant: Claimant = field(default_factory=Claimant)
    is_paused: bool = False
    device_fault: str = ""
    device_fault_until: float = 0.0
    queues: Mapping[str, Queue] = field(default_factory=dict)
    executions: Mapping[ExecutionId, Execution] = field(default_factory=dict)
    settled: Mapping[ExecutionId, Settled] = field(default_factory=dict)
    foreign: frozenset[ExecutionId] = frozenset()
    back_offs: Mapping[ExecutionId, BackOff] = field(default_factory=dict)
    last_ticket: int = 0
    turn: int = 0

    def with_execution(self, execution: Execution) -> "State":
        """Return the state with `execution` added, or replaced by it."""
        return replace(self, executions={**self.executions, execution.id: execution})

    def with_phase(self, execution: Execution, phase: Phase) -> "State":
        """Return the state with `execution` in `phase`."""
        return self.with_execution(replace(execution, phase=phase))

    def without_execution(self, gone: ExecutionId) -> "State":
        """Return the state without the execution `gone`."""
        return replace(self, executions={k: v for k, v in self.executions.items() if k != gone})

    def with_queue(self, namespace: str, queue: Queue) -> "State":
        """Return the state with the namespace's queue replaced by `queue`."""
        return replace(self, queues={**self.queues, namespace: queue})
