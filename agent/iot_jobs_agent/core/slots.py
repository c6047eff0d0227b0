"""Rules for what may start now: slots, exclusive handlers, a reboot that a handler waits for, and the pause."""

from iot_jobs_agent.core.state import Claiming, Delayed, Execution, Preparing, Rebooting, Running, State, Stopping
from iot_jobs_agent.core.value import replace


def may_take_on(state: State, now: float) -> bool:
    """Return whether one more pending execution may be taken on."""
    executions = state.executions.values()
    slots_free = state.settings.max_concurrent - sum(e.holds_a_slot for e in executions)
    return slots_free > 0 and not (
        state.is_paused
        or (state.device_fault and (now < state.device_fault_until or any(map(_waits_to_start, executions))))
        or wants_reboot(state)
        or any(_is_exclusive(e) and _wants_to_run(state, e, now) for e in executions)
    )


def forget_fault(state: State, now: float) -> State:
    """Forget that the device could not start attempts, once nothing waits for it any more."""
    is_over = state.device_fault and now >= state.device_fault_until
    if not is_over or any(map(_waits_to_start, state.executions.values())):
        return state
    return replace(state, device_fault="", device_fault_until=0.0)


def wants_reboot(state: State) -> bool:
    """Return whether a handler waits for a reboot; nothing new starts before that."""
    return any(isinstance(e.phase, Rebooting) for e in state.executions.values())


def is_quiet(state: State) -> bool:
    """Return whether no process of any attempt can be alive."""
    return all(e.attempt is None for e in state.executions.values())


def may_go_on(state: State, execution: Execution, now: float) -> bool:
    """Return whether `execution` may be claimed, or make its next attempt, now.

    It waits while the device cannot start attempts, and for an earlier execution of the same job, which may still be
    stopping. An exclusive execution waits for those that were claimed before it. The others wait while an exclusive one
    runs and, before their claim, also while an exclusive one waits to run, so that it does not starve.
    """
    if wants_reboot(state) or now < state.device_fault_until:
        return False
    others = [e for e in state.executions.values() if e.id != execution.id]
    if any(e.id.job == execution.id.job and _is_active(e) for e in others):
        return False
    if _is_exclusive(execution):
        return not any(_is_active(e) or (_is_claimed(e) and _goes_before(e, execution)) for e in others)
    if isinstance(execution.phase, Claiming):
        return not any(_is_exclusive(e) and _wants_to_run(state, e, now) for e in others)
    return not any(_is_exclusive(e) and _is_active(e) for e in others)


def has_slot(state: State) -> bool:
    """Return whether a slot is free for a delayed execution to come back to."""
    return sum(e.holds_a_slot for e in state.executions.values()) < state.settings.max_concurrent


def _goes_before(other: Execution, execution: Execution) -> bool:
    """Return whether `other` goes first. Of two exclusive executions exactly one must, so their ids decide."""
    return not _is_exclusive(other) or other.id < execution.id


def _is_exclusive(execution: Execution) -> bool:
    match execution.phase:
        case Claiming(plan=plan):
            return plan.is_exclusive
        case Preparing(work=work) | Running(work=work) | Delayed(work=work) | Stopping(work=work):
            return work.plan.is_exclusive
        case _:
            return False


def _wants_to_run(state: State, execution: Execution, now: float) -> bool:
    """Return whether others must wait for this exclusive execution: not if it waits for a slot that they hold."""
    phase = execution.phase
    return not isinstance(phase, Delayed) or (phase.due_at <= now and has_slot(state))


def _waits_to_start(execution: Execution) -> bool:
    match execution.phase:
        case Claiming() | Preparing() | Running(started_at=None):
            return True
        case _:
            return False


def _is_claimed(execution: Execution) -> bool:
    return isinstance(execution.phase, Preparing)


def _is_active(execution: Execution) -> bool:
    """Return whether a process of the execution may be alive, or a request in flight may soon lead to one."""
    match execution.phase:
        case Running() | Stopping():
            return True
        case Claiming(ticket=ticket) | Preparing(ticket=ticket):
            return ticket > 0
        case _:
            return False
