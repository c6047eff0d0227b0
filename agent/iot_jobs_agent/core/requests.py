"""Rules for the requests of an execution: which one it waits for, which one is due, and what that one says."""

from typing import assert_never

from iot_jobs_agent.core import backoff, progress
from iot_jobs_agent.core.claiming import STEP_TIMER_SLACK_MINUTES, step_timeout_minutes
from iot_jobs_agent.core.details import StatusFacts, status_details
from iot_jobs_agent.core.effects import Describe, Effect, Update
from iot_jobs_agent.core.job import ExecutionStatus
from iot_jobs_agent.core.slots import may_go_on
from iot_jobs_agent.core.state import (
    Answerable,
    Claiming,
    Delayed,
    Execution,
    Judging,
    Phase,
    Preparing,
    Rebooting,
    Reporting,
    Requesting,
    Running,
    State,
    Stopping,
    Underway,
)
from iot_jobs_agent.core.value import replace

# Requests go out in this order: outcomes first, so that a list that we fetch afterwards already reflects them.
_ORDER = (Reporting, Running, Delayed, Rebooting, Preparing, Claiming, Judging)


def is_awaited(phase: Phase, ticket: int) -> bool:
    """Return whether `ticket` belongs to a request that the phase is waiting for."""
    match phase:
        case Running(updates=updates) | Delayed(updates=updates) | Rebooting(updates=updates):
            return ticket in (updates.ticket, updates.probe)
        case Judging() | Claiming() | Preparing() | Reporting():
            return ticket == phase.ticket
        case Stopping():
            return False
    assert_never(phase)


def without_request(phase: Answerable, ticket: int) -> Answerable:
    """Return the phase with the request `ticket` no longer in flight."""
    match phase:
        case Running(updates=updates) | Delayed(updates=updates) | Rebooting(updates=updates):
            answered = replace(updates, ticket=0) if updates.ticket == ticket else replace(updates, probe=0)
            return replace(phase, updates=answered)
        case Judging() | Claiming() | Preparing() | Reporting():
            return replace(phase, ticket=0)
    assert_never(phase)


def make_due(state: State) -> State:
    """Make every request due now that waits after silence: the connection is new. Requests in flight will fail.

    For executions that are already claimed, ask the service first whether they still are ours. While we were away, one
    may have been deleted and another one created under its id, and the service would take our report for the new one.
    """
    state = backoff.end_silence(state, *state.back_offs)
    for execution in state.executions.values():
        match execution.phase:
            case Reporting() as phase:
                state = backoff.end_wait(state, execution.id) if phase.is_unreportable else state
                state = state.with_phase(execution, replace(phase, asks_first=not phase.version))
            case (Running() | Delayed() | Rebooting()) as phase if not phase.updates.probe:
                state = progress.with_updates(state, execution, phase, replace(phase.updates, probe=0))
            case _:
                pass
    return state


def due_requests(state: State, now: float) -> tuple[State, list[Effect]]:
    """Send every request that is due."""
    effects: list[Effect] = []
    for known in sorted(state.executions.values(), key=lambda e: _rank(e.phase)):
        if backoff.must_wait(state, known.id, now):
            continue
        ticket = state.last_ticket + 1
        requesting, effect = _request(state, known, ticket, now)
        if effect is not None:
            state = backoff.count_request(replace(state, last_ticket=ticket), known.id).with_execution(requesting)
            effects.append(effect)
    return state, effects


def deadlines(state: State, execution: Execution) -> list[float]:
    """Return when the next requests about the execution are due (monotonic seconds)."""
    until = backoff.of(state, execution.id).until
    match execution.phase:
        case Running(updates=updates) | Delayed(updates=updates) | Rebooting(updates=updates):
            times = [until] if updates.probe == 0 else []
            return [*times, max(until, updates.report_at)] if updates.report_at is not None else times
        case Judging() | Claiming() | Preparing() | Reporting():
            return [] if execution.phase.ticket else [until]
        case Stopping():
            return []
    assert_never(execution.phase)


def _rank(phase: Phase) -> int:
    return next((i for i, kind in enumerate(_ORDER) if isinstance(phase, kind)), len(_ORDER))


def _request(state: State, execution: Execution, ticket: int, now: float) -> tuple[Execution, Effect | None]:
    match execution.phase:
        case Running() | Delayed() | Rebooting() as phase:
            return _update(state, execution, phase, ticket, now)
        case Stopping():
            return execution, None
        case phase:
            if phase.ticket or _must_wait(state, execution, now):
                return execution, None
            return replace(execution, phase=replace(phase, ticket=ticket)), _effect(state, execution, phase, ticket)


def _must_wait(state: State, execution: Execution, now: float) -> bool:
    """Return whether the execution must wait for others before its claim, or before its next attempt."""
    return isinstance(execution.phase, Claiming | Preparing) and not may_go_on(state, execution, now)


def _update(
    state: State, execution: Execution, phase: Underway, ticket: int, now: float
) -> tuple[Execution, Effect | None]:
    updates = phase.updates
    if updates.probe == 0:
        probing = replace(phase, updates=replace(updates, probe=ticket))
        return replace(execution, phase=probing), Describe(execution.id, ticket)
    if updates.probe is not None or updates.ticket or updates.report_at is None or updates.report_at > now:
        return execution, None
    sending = replace(updates, ticket=ticket, report_at=None, reported_at=now)
    requesting = replace(execution, phase=replace(phase, updates=sending))
    return requesting, progress.update(state, execution, phase, ticket, now)


def _effect(state: State, execution: Execution, phase: Requesting, ticket: int) -> Effect:
    match phase:
        case Judging() | Preparing() | Claiming(version=0) | Reporting(asks_first=True):
            return Describe(execution.id, ticket)
        case Claiming(plan=plan, version=version):
            return _claim(state, execution, ticket, version, step_timeout_minutes(plan.steps[0]))
        case Reporting(needs_claim=True, version=version):
            return _claim(state, execution, ticket, version, STEP_TIMER_SLACK_MINUTES)
        case Reporting(outcome=outcome, details=details, version=version, omits_details=omits_details):
            facts = StatusFacts(agent=state.claimant.mark, operation=execution.operation, reason=outcome.reason)
            known = None if omits_details else details or status_details(facts)
            return Update(execution.id, ticket, outcome.status, known, expected_version=version)
    assert_never(phase)


def _claim(state: State, execution: Execution, ticket: int, version: int, minutes: int) -> Update:
    details = status_details(StatusFacts(agent=state.claimant.mark, operation=execution.operation))
    return Update(execution.id, ticket, ExecutionStatus.IN_PROGRESS, details, version, minutes)
