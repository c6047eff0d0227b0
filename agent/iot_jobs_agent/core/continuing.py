"""Rules of what goes on later: a handler that asked for another try or for a reboot, and one that was cut short."""

from dataclasses import replace

from iot_jobs_agent.core.effects import Effect, Note, Reboot
from iot_jobs_agent.core.events import RebootFailed
from iot_jobs_agent.core.job import AttemptResult, ExecutionStatus, OnInterrupt, Outcome, StartReason, StatusDetails
from iot_jobs_agent.core.settling import outcome_reached
from iot_jobs_agent.core.slots import has_slot, is_quiet, may_go_on, wants_reboot
from iot_jobs_agent.core.state import Execution, Preparing, Rebooting, Running, State, Talk, Waiting, Work

Turn = tuple[State, list[Effect]]

INTERRUPTIONS = 3  # of one execution, after which it has failed
REBOOTS = 10  # of one execution, so that none reboots a device for ever
LONGEST_DELAY_S = 3600.0  # that doubling leads to; a handler may ask for a longer one
REBOOT_PATIENCE_S = 600.0  # an orderly shutdown waits for others


def tried_later(state: State, execution: Execution, phase: Running, details: StatusDetails, now: float) -> Turn:
    """The handler said "not now": its next attempt comes after a delay that doubles each time."""
    delay_s = retry_delay_s(phase.work)
    work = phase.work.again(StartReason.RETRY)
    waiting = Waiting(work, delay_s, details, now + delay_s, Talk(report_at=now))
    note = Note(execution.id, "waiting", details.get("reason", ""))
    return state.with_phase(execution, waiting), [note]


def retry_delay_s(work: Work) -> float:
    """Return how long to wait before the step's next try."""
    first_s = work.current.retry_delay_s
    return max(first_s, min(LONGEST_DELAY_S, first_s * 2.0 ** min(work.retries, 20)))


def rebooted(state: State, execution: Execution, phase: Running, details: StatusDetails, spent_s: float) -> Turn:
    """The handler asked for a reboot: it is resumed in another boot. That one may have come already."""
    work = phase.work.again(StartReason.REBOOT, spent_s)
    if phase.boot_id != state.settings.boot_id:
        return state.with_phase(execution, Preparing(work)), []
    rebooting = Rebooting(work, phase.boot_id, details, talk=Talk(report_at=0.0))
    return state.with_phase(execution, rebooting), [Note(execution.id, "waiting", details.get("reason", ""))]


def interrupted(state: State, phase: Running, result: AttemptResult, now: float) -> Work | Outcome:
    """Return how to go on after an attempt that was cut short (and counted), or that it has failed, as was chosen."""
    has_rebooted = phase.boot_id != state.settings.boot_id
    how = "by power loss or a reboot" if has_rebooted else "when its supervisor was killed"
    work = phase.work
    if work.interruptions >= INTERRUPTIONS:
        reason = f"interrupted {INTERRUPTIONS} times, the last time {how}"
        return Outcome(ExecutionStatus.FAILED, reason, "interrupted")
    reason = StartReason.POWER_LOSS if has_rebooted else StartReason.KILLED
    match work.current.on_interrupt:
        case OnInterrupt.RERUN:
            return work.again(reason)
        case OnInterrupt.RESUME:
            again = work.again(reason, used_s(phase, result, now))
            if again.current.timeout_s > 0:
                return again
            return Outcome(ExecutionStatus.FAILED, f"interrupted {how}, after its deadline", "deadline")
        case _:
            return Outcome(ExecutionStatus.FAILED, f"interrupted {how}", "lost")


def used_s(phase: Running, result: AttemptResult, now: float) -> float:
    """Return how much of the step's deadline is used up, as far as can be told; less than nothing if extended."""
    watched_s = 0.0 if phase.started_at is None else now - phase.started_at
    current = phase.work.current
    deadline_s = current.timeout_s if phase.deadline_s is None else phase.deadline_s
    left_s = deadline_s - max(watched_s, result.duration_s)
    return phase.work.plan.steps[phase.work.step].timeout_s - left_s


def recovered(execution: Execution, boot_id: str, now: float) -> Execution:
    """Return where it stands after a restart of the agent, and perhaps of the machine. Times start from now."""
    match execution.phase:
        case Waiting(delay_s=delay_s) as phase:
            return replace(execution, phase=replace(phase, due_at=now + delay_s))
        case Rebooting(work=work, boot_id=before) if before != boot_id:
            return replace(execution, phase=Preparing(work))
        case Rebooting(is_asked=True) as phase:
            return replace(execution, phase=replace(phase, due_at=now + REBOOT_PATIENCE_S))
        case _:
            return execution


def taken_up(state: State, now: float) -> Turn:
    """Give up on a reboot that does not come; then go on with what has waited long enough, where it may."""
    effects: list[Effect] = []
    for execution in state.executions.values():
        match execution.phase:
            case Rebooting(due_at=float() as due_at) as phase if due_at <= now:
                state, more = _not_rebooted(state, execution, phase, "the system went on running")
                effects += more
            case _:
                pass
    for execution in state.executions.values():
        match execution.phase:
            case Waiting(work=work, due_at=due_at) if due_at <= now:
                if has_slot(state) and may_go_on(state, execution, now):
                    state = state.with_phase(execution, Preparing(work))
            case _:
                pass
    return state, effects


def asked_for_reboot(state: State, now: float) -> Turn:
    """Reboot once nothing runs, and the service was told, if it can be told."""
    asking = [e for e in state.executions.values() if isinstance(e.phase, Rebooting) and not e.phase.is_asked]
    if not asking or not is_quiet(state) or (state.is_connected and any(_is_untold(e) for e in asking)):
        return state, []
    effects: list[Effect] = [Reboot()]
    for execution in state.executions.values():
        if isinstance(execution.phase, Rebooting):
            phase = replace(execution.phase, is_asked=True, due_at=now + REBOOT_PATIENCE_S)
            state = state.with_phase(execution, phase)
            effects.append(Note(execution.id, "rebooting"))
    return state, effects


def on_reboot_failed(state: State, event: RebootFailed) -> Turn:
    """The system refused: so much for those who wanted it."""
    effects: list[Effect] = []
    for execution in state.executions.values():
        if isinstance(execution.phase, Rebooting):
            state, more = _not_rebooted(state, execution, execution.phase, event.reason)
            effects += more
    return state, effects


def deadlines(state: State) -> list[float]:
    """Return when something that waits is due (monotonic seconds)."""
    phases = [e.phase for e in state.executions.values()]
    due = [p.due_at for p in phases if isinstance(p, Rebooting) and p.due_at is not None]
    if not wants_reboot(state):
        due += [p.due_at for p in phases if isinstance(p, Waiting)]
    return due


def _is_untold(execution: Execution) -> bool:
    talk = getattr(execution.phase, "talk", Talk())
    return not talk.call.failures and (talk.report_at is not None or talk.call.ticket > 0)


def _not_rebooted(state: State, execution: Execution, phase: Rebooting, why: str) -> Turn:
    outcome = Outcome(ExecutionStatus.FAILED, f"the reboot did not happen: {why}", "reboot-failed")
    details = {**phase.details, "reason": outcome.reason}
    return outcome_reached(state, execution, outcome, details)
