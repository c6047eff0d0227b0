"""Rules of the requests an execution needs: which is awaited, which is due, and what it says."""

from dataclasses import replace
from typing import assert_never

from agent.core import running
from agent.core.claiming import step_timeout_minutes
from agent.core.details import Told, status_details
from agent.core.effects import Describe, Effect, Update
from agent.core.job import ExecutionStatus
from agent.core.state import Call, Claiming, Execution, Judging, Phase, Preparing, Reporting, Running, State, Stopping

# The order in which requests go out: what is known first, so that lists are asked for when they can be right.
_ORDER = (Reporting, Running, Preparing, Claiming, Judging)


def is_awaited(phase: Phase, ticket: int) -> bool:
    """Tell whether `ticket` is the request that the phase waits for."""
    match phase:
        case Running(call=call, probe=probe):
            return ticket in (call.ticket, probe.ticket if probe else 0)
        case Judging(call=call) | Claiming(call=call) | Preparing(call=call) | Reporting(call=call):
            return ticket == call.ticket
        case Stopping():
            return False
    assert_never(phase)


def answered(execution: Execution, ticket: int) -> Execution:
    """Return the execution with the request `ticket` no longer in flight, and nothing due in its place."""
    match execution.phase:
        case Running(call=call) as phase if call.ticket == ticket:
            return replace(execution, phase=replace(phase, call=replace(call, ticket=0)))
        case Running(probe=Call() as probe) as phase:
            return replace(execution, phase=replace(phase, probe=replace(probe, ticket=0)))
        case (Judging(call=call) | Claiming(call=call) | Preparing(call=call) | Reporting(call=call)) as phase:
            return replace(execution, phase=replace(phase, call=replace(call, ticket=0)))
        case _:
            return execution


def due_again(state: State) -> State:
    """Make every request due that waits out a back-off: there is a new connection. Those in flight will fail."""
    for execution in state.executions.values():
        match execution.phase:
            case (Judging() | Claiming() | Preparing() | Reporting()) as phase if not phase.call.ticket:
                state = state.with_phase(execution, replace(phase, call=Call()))
            case Running(probe=Call(ticket=0)) as phase:
                state = state.with_phase(execution, replace(phase, probe=Call()))
            case _:
                pass
    return state


def due_requests(state: State, now: float) -> tuple[State, list[Effect]]:
    """Send every request whose time has come."""
    effects: list[Effect] = []
    for execution in sorted(state.executions.values(), key=lambda e: _rank(e.phase)):
        ticket = state.last_ticket + 1
        asked, effect = _request(state, execution, ticket, now)
        if effect is not None:
            state = replace(state, last_ticket=ticket).with_execution(asked)
            effects.append(effect)
    return state, effects


def deadlines(phase: Phase) -> list[float]:
    """Return when the phase needs its next request to go out (monotonic seconds)."""
    match phase:
        case Running(report_at=report_at, call=call, probe=probe):
            times = [report_at] if report_at is not None and not call.ticket else []
            return [*times, probe.retry_at] if probe is not None and not probe.ticket else times
        case Judging(call=call) | Claiming(call=call) | Preparing(call=call) | Reporting(call=call):
            return [] if call.ticket else [call.retry_at]
        case Stopping():
            return []
    assert_never(phase)


def _rank(phase: Phase) -> int:
    return next((i for i, kind in enumerate(_ORDER) if isinstance(phase, kind)), len(_ORDER))


def _request(state: State, execution: Execution, ticket: int, now: float) -> tuple[Execution, Effect | None]:
    match execution.phase:
        case Running() as phase:
            return _running_request(state, execution, phase, ticket, now)
        case Stopping():
            return execution, None
        case phase:
            if phase.call.ticket or phase.call.retry_at > now:
                return execution, None
            asked = replace(execution, phase=replace(phase, call=replace(phase.call, ticket=ticket)))
            return asked, _effect(state, execution, phase, ticket)


def _running_request(
    state: State, execution: Execution, phase: Running, ticket: int, now: float
) -> tuple[Execution, Effect | None]:
    if phase.probe is not None and not phase.probe.ticket and phase.probe.retry_at <= now:
        probing = replace(phase, probe=replace(phase.probe, ticket=ticket))
        return replace(execution, phase=probing), Describe(execution.id, ticket)
    if phase.call.ticket or phase.report_at is None or phase.report_at > now:
        return execution, None
    reporting = replace(phase, call=replace(phase.call, ticket=ticket), report_at=None, reported_at=now)
    return replace(execution, phase=reporting), running.progress_update(state, execution, phase, ticket, now)


def _effect(
    state: State, execution: Execution, phase: Judging | Claiming | Preparing | Reporting, ticket: int
) -> Effect:
    match phase:
        case Judging() | Preparing() | Claiming(version=0):
            return Describe(execution.id, ticket)
        case Claiming(plan=plan, version=version):
            return Update(
                execution.id,
                ticket,
                ExecutionStatus.IN_PROGRESS,
                status_details(Told(agent=state.settings.agent_id, operation=execution.operation)),
                expected_version=version,
                step_timeout_minutes=step_timeout_minutes(plan.steps[0]),
            )
        case Reporting(outcome=outcome, details=details, version=version, is_bare=is_bare):
            agent_id, operation = state.settings.agent_id, execution.operation
            known = details or status_details(Told(agent=agent_id, operation=operation, reason=outcome.reason))
            return Update(execution.id, ticket, outcome.status, None if is_bare else known, expected_version=version)
    assert_never(phase)
