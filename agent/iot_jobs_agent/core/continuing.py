"""Rules for going on when another attempt follows: after a retry, a reboot or an interruption."""

from iot_jobs_agent.core import backoff
from iot_jobs_agent.core.effects import Effect, Note, Reboot, Turn
from iot_jobs_agent.core.events import RebootFailed
from iot_jobs_agent.core.job import AttemptResult, ExecutionStatus, OnInterrupt, Outcome, StartReason, StatusDetails
from iot_jobs_agent.core.settling import begin_report
from iot_jobs_agent.core.slots import has_slot, is_quiet, may_go_on, wants_reboot
from iot_jobs_agent.core.state import Delayed, Execution, Preparing, Rebooting, Running, State, Updates, Work
from iot_jobs_agent.core.value import replace

INTERRUPTIONS = 3  # an execution that is interrupted this often has failed
REBOOTS = 10  # the most that one execution may ask for, so that it cannot reboot the device for ever
LONGEST_DELAY_S = 3600.0  # doubling stops here; a handler may ask for a longer delay from the start
REBOOT_PATIENCE_S = 600.0  # an orderly shutdown waits for other programs to end


def delay_retry(state: State, execution: Execution, phase: Running, details: StatusDetails, now: float) -> Turn:
    """Delay the next attempt, because the handler asked for a retry. The delay doubles each time."""
    delay_s = retry_delay_s(phase.work)
    work = phase.work.next_attempt(StartReason.RETRY)
    delayed = Delayed(work, delay_s, details, now + delay_s, Updates(report_at=now))
    return state.with_phase(execution, delayed), [Note(execution.id, "delayed", details.get("reason", ""))]


def retry_delay_s(work: Work) -> float:
    """Return how many seconds to wait before the step's next attempt."""
    first_s = work.current.retry_delay_s
    return max(first_s, min(LONGEST_DELAY_S, first_s * 2.0 ** min(work.retries, 20)))


def await_reboot(state: State, execution: Execution, phase: Running, details: StatusDetails, spent_s: float) -> Turn:
    """Wait for the reboot that the handler asked for; if the machine has rebooted already, prepare the next attempt."""
    work = phase.work.next_attempt(StartReason.REBOOT, spent_s)
    if phase.boot_id != state.settings.boot_id:
        return state.with_phase(execution, Preparing(work)), []
    rebooting = Rebooting(work, phase.boot_id, details, updates=Updates(report_at=0.0))
    return state.with_phase(execution, rebooting), [Note(execution.id, "reboot wanted", details.get("reason", ""))]


def after_interruption(state: State, phase: Running, result: AttemptResult, now: float) -> Work | Outcome:
    """Return the work to go on with, or the failure if there is none. The interruption is already counted."""
    has_rebooted = phase.boot_id != state.settings.boot_id
    how = "by power loss or a reboot" if has_rebooted else "when its shim was killed"
    work = phase.work
    if work.interruptions >= INTERRUPTIONS:
        reason = f"interrupted {INTERRUPTIONS} times, the last time {how}"
        return Outcome(ExecutionStatus.FAILED, reason, "interrupted")
    reason = StartReason.POWER_LOSS if has_rebooted else StartReason.KILLED
    match work.current.on_interrupt:
        case OnInterrupt.RERUN:
            return work.next_attempt(reason)
        case OnInterrupt.RESUME:
            resumed = work.next_attempt(reason, used_s(phase, result, now))
            if resumed.current.timeout_s > 0:
                return resumed
            return Outcome(ExecutionStatus.FAILED, f"interrupted {how}, after its deadline", "deadline")
        case _:
            return Outcome(ExecutionStatus.FAILED, f"interrupted {how}", "lost")


def used_s(phase: Running, result: AttemptResult, now: float) -> float:
    """Return how much of the step's timeout is used up, as far as we know; extensions can make it negative."""
    watched_s = 0.0 if phase.started_at is None else now - phase.started_at
    current = phase.work.current
    deadline_s = current.timeout_s if phase.deadline_s is None else phase.deadline_s
    left_s = deadline_s - max(watched_s, result.duration_s)
    return phase.work.plan.steps[phase.work.step].timeout_s - left_s


def recover(execution: Execution, boot_id: str, now: float) -> Execution:
    """Return the execution as it stands after a restart of the agent or of the machine. Its times count from `now`."""
    match execution.phase:
        case Delayed(delay_s=delay_s) as phase:
            return replace(execution, phase=replace(phase, due_at=now + delay_s))
        case Rebooting(work=work, boot_id=before) if before != boot_id:
            return replace(execution, phase=Preparing(work))
        case Rebooting(is_ordered=True) as phase:
            return replace(execution, phase=replace(phase, due_at=now + REBOOT_PATIENCE_S))
        case _:
            return execution


def resume_due(state: State, now: float) -> Turn:
    """Give up on a reboot that did not happen in time, then resume delayed executions that are due and have a slot."""
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
            case Delayed(work=work, due_at=due_at) if due_at <= now:
                if has_slot(state) and may_go_on(state, execution, now):
                    state = state.with_phase(execution, Preparing(work))
            case _:
                pass
    return state, effects


def order_reboot(state: State, now: float) -> Turn:
    """Order the reboot once nothing runs and, while connected, once we have tried to tell the service."""
    waiting = [e for e in state.executions.values() if isinstance(e.phase, Rebooting) and not e.phase.is_ordered]
    if not waiting or not is_quiet(state) or (state.is_connected and any(_is_unreported(state, e) for e in waiting)):
        return state, []
    effects: list[Effect] = [Reboot()]
    for execution in state.executions.values():
        if isinstance(execution.phase, Rebooting):
            phase = replace(execution.phase, is_ordered=True, due_at=now + REBOOT_PATIENCE_S)
            state = state.with_phase(execution, phase)
            effects.append(Note(execution.id, "rebooting"))
    return state, effects


def on_reboot_failed(state: State, event: RebootFailed) -> Turn:
    """Fail every execution that waits for a reboot: the system refused it."""
    effects: list[Effect] = []
    for execution in state.executions.values():
        if isinstance(execution.phase, Rebooting):
            state, more = _not_rebooted(state, execution, execution.phase, event.reason)
            effects += more
    return state, effects


def deadlines(state: State) -> list[float]:
    """Return when delayed executions are due, and when to give up on a reboot (monotonic seconds)."""
    phases = [e.phase for e in state.executions.values()]
    due = [p.due_at for p in phases if isinstance(p, Rebooting) and p.due_at is not None]
    if not wants_reboot(state):
        due += [p.due_at for p in phases if isinstance(p, Delayed)]
    return due


def _is_unreported(state: State, execution: Execution) -> bool:
    updates = getattr(execution.phase, "updates", Updates())
    has_failed = backoff.of(state, execution.id).failures > 0
    return not has_failed and (updates.report_at is not None or updates.ticket > 0)


def _not_rebooted(state: State, execution: Execution, phase: Rebooting, why: str) -> Turn:
    outcome = Outcome(ExecutionStatus.FAILED, f"the reboot did not happen: {why}", "reboot-failed")
    details = {**phase.details, "reason": outcome.reason}
    return begin_report(state, execution, outcome, details)
