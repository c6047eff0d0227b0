"""Rules of the requests an execution needs: which is awaited, which is due, and what it says."""

from dataclasses import replace
from typing import assert_never

from iot_jobs_agent.core import talking
from iot_jobs_agent.core.claiming import step_timeout_minutes
from iot_jobs_agent.core.details import Told, status_details
from iot_jobs_agent.core.effects import Describe, Effect, Update
from iot_jobs_agent.core.job import ExecutionStatus
from iot_jobs_agent.core.slots import may_go_on
from iot_jobs_agent.core.state import (
    Asking,
    Awaiting,
    Call,
    Claiming,
    Execution,
    Judging,
    Phase,
    Preparing,
    Rebooting,
    Reporting,
    Running,
    State,
    Stopping,
    Talking,
    Waiting,
)

# The order in which requests go out: what is known first, so that lists are asked for when they can be right.
_ORDER = (Reporting, Running, Waiting, Rebooting, Preparing, Claiming, Judging)


def is_awaited(phase: Phase, ticket: int) -> bool:
    """Tell whether `ticket` is the request that the phase waits for."""
    match phase:
        case Running(talk=talk) | Waiting(talk=talk) | Rebooting(talk=talk):
            return ticket in (talk.call.ticket, talk.probe.ticket if talk.probe else 0)
        case Judging(call=call) | Claiming(call=call) | Preparing(call=call) | Reporting(call=call):
            return ticket == call.ticket
        case Stopping():
            return False
    assert_never(phase)


def answered(phase: Awaiting, ticket: int) -> Awaiting:
    """Return the phase with the request `ticket` no longer in flight, and nothing due in its place."""
    match phase:
        case Running(talk=talk) | Waiting(talk=talk) | Rebooting(talk=talk):
            if talk.call.ticket == ticket:
                talk = replace(talk, call=replace(talk.call, ticket=0))
            else:
                talk = replace(talk, probe=replace(talk.probe or Call(), ticket=0))
            return replace(phase, talk=talk)
        case Judging(call=call) | Claiming(call=call) | Preparing(call=call) | Reporting(call=call):
            return replace(phase, call=replace(call, ticket=0))
    assert_never(phase)


def due_again(state: State) -> State:
    """Make every request due that waits out a back-off: there is a new connection. Those in flight will fail.

    Of what is claimed it is asked first whether it still is: nobody saw whether it was deleted meanwhile, and another
    one created under its id, of which the service would take what we say.
    """
    for execution in state.executions.values():
        match execution.phase:
            case Reporting() as phase:
                call = phase.call if phase.call.ticket else Call()
                state = state.with_phase(execution, replace(phase, asks_first=not phase.version, call=call))
            case (Judging() | Claiming() | Preparing()) as phase if not phase.call.ticket:
                state = state.with_phase(execution, replace(phase, call=Call()))
            case (Running() | Waiting() | Rebooting()) as phase if not (phase.talk.probe and phase.talk.probe.ticket):
                state = talking.with_talk(state, execution, phase, replace(phase.talk, probe=Call()))
            case _:
                pass
    return state


def due_requests(state: State, now: float) -> tuple[State, list[Effect]]:
    """Send every request whose time has come."""
    effects: list[Effect] = []
    for known in sorted(state.executions.values(), key=lambda e: _rank(e.phase)):
        ticket = state.last_ticket + 1
        asked, effect = _request(state, known, ticket, now)
        if effect is not None:
            state = replace(state, last_ticket=ticket).with_execution(asked)
            effects.append(effect)
    return state, effects


def deadlines(phase: Phase) -> list[float]:
    """Return when the phase needs its next request to go out (monotonic seconds)."""
    match phase:
        case Running(talk=talk) | Waiting(talk=talk) | Rebooting(talk=talk):
            times = [talk.report_at] if talk.report_at is not None and not talk.call.ticket else []
            return [*times, talk.probe.retry_at] if talk.probe is not None and not talk.probe.ticket else times
        case Judging(call=call) | Claiming(call=call) | Preparing(call=call) | Reporting(call=call):
            return [] if call.ticket else [call.retry_at]
        case Stopping():
            return []
    assert_never(phase)


def _rank(phase: Phase) -> int:
    return next((i for i, kind in enumerate(_ORDER) if isinstance(phase, kind)), len(_ORDER))


def _request(state: State, execution: Execution, ticket: int, now: float) -> tuple[Execution, Effect | None]:
    match execution.phase:
        case Running() | Waiting() | Rebooting() as phase:
            return _talk(state, execution, phase, ticket, now)
        case Stopping():
            return execution, None
        case phase:
            if phase.call.ticket or phase.call.retry_at > now or _is_held(state, execution, now):
                return execution, None
            asked = replace(execution, phase=replace(phase, call=replace(phase.call, ticket=ticket)))
            return asked, _effect(state, execution, phase, ticket)


def _is_held(state: State, execution: Execution, now: float) -> bool:
    """Tell whether it must wait for others before it claims, or makes its next attempt."""
    return isinstance(execution.phase, Claiming | Preparing) and not may_go_on(state, execution, now)


def _talk(
    state: State, execution: Execution, phase: Talking, ticket: int, now: float
) -> tuple[Execution, Effect | None]:
    talk = phase.talk
    if talk.probe is not None and not talk.probe.ticket and talk.probe.retry_at <= now:
        probing = replace(phase, talk=replace(talk, probe=replace(talk.probe, ticket=ticket)))
        return replace(execution, phase=probing), Describe(execution.id, ticket)
    if talk.probe is not None or talk.call.ticket or talk.report_at is None or talk.report_at > now:
        return execution, None
    telling = replace(talk, call=replace(talk.call, ticket=ticket), report_at=None, reported_at=now)
    asked = replace(execution, phase=replace(phase, talk=telling))
    return asked, talking.update(state, execution, phase, ticket, now)


def _effect(state: State, execution: Execution, phase: Asking, ticket: int) -> Effect:
    match phase:
        case Judging() | Preparing() | Claiming(version=0) | Reporting(asks_first=True):
            return Describe(execution.id, ticket)
        case Claiming(plan=plan, version=version):
            return Update(
                execution.id,
                ticket,
                ExecutionStatus.IN_PROGRESS,
                status_details(Told(agent=state.agent_id, operation=execution.operation)),
                expected_version=version,
                step_timeout_minutes=step_timeout_minutes(plan.steps[0]),
            )
        case Reporting(outcome=outcome, details=details, version=version, is_bare=is_bare):
            agent_id, operation = state.agent_id, execution.operation
            known = details or status_details(Told(agent=agent_id, operation=operation, reason=outcome.reason))
            return Update(execution.id, ticket, outcome.status, None if is_bare else known, expected_version=version)
    assert_never(phase)
