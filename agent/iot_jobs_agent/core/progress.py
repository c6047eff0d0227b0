"""Rules of what is said while an execution is claimed and not over: how it stands, and whether it is still wanted."""

from dataclasses import replace
from typing import assert_never

from iot_jobs_agent.core import backoff
from iot_jobs_agent.core.claiming import step_timeout_minutes
from iot_jobs_agent.core.details import Told, status_details
from iot_jobs_agent.core.effects import Effect, Note, StopAttempt, Update
from iot_jobs_agent.core.events import Described, DescribeFailed, UpdateFailed
from iot_jobs_agent.core.job import AttemptId, ExecutionStatus, Outcome
from iot_jobs_agent.core.settling import over
from iot_jobs_agent.core.state import Call, Execution, Rebooting, Running, State, Stopping, Talk, Talking, Waiting

Turn = tuple[State, list[Effect]]


def told(state: State, execution: Execution, phase: Running) -> Told:
    """Return what is known of a running step, for people."""
    work = phase.work
    return Told(
        agent=state.agent_id,
        operation=execution.operation,
        step_name=work.current.name,
        step=work.step,
        step_count=len(work.plan.steps),
        attempt=work.number,
        progress=phase.progress,
        message=phase.message,
        details=phase.details,
        steps=work.results,
    )


def with_talk(state: State, execution: Execution, phase: Talking, talk: Talk) -> State:
    """Return the state in which `talk` is what is being said of the execution."""
    return state.with_phase(execution, replace(phase, talk=talk))


def update(state: State, execution: Execution, phase: Talking, ticket: int, now: float) -> Update:
    """Return the update that tells how things stand, and renews the step timer."""
    match phase:
        case Running(work=work, started_at=started_at, deadline_s=deadline_s):
            details = status_details(told(state, execution, phase))
            elapsed_s = 0.0 if started_at is None else now - started_at
            minutes = step_timeout_minutes(work.current, None if deadline_s is None else deadline_s - elapsed_s)
        case Waiting(work=work, details=details, due_at=due_at):
            minutes = step_timeout_minutes(work.current, delay_s=max(0.0, due_at - now))
        case Rebooting(work=work, details=details):
            minutes = step_timeout_minutes(work.current)
        case _:
            assert_never(phase)
    return Update(execution.id, ticket, ExecutionStatus.IN_PROGRESS, details, step_timeout_minutes=minutes)


def on_update_accepted(state: State, execution: Execution, phase: Talking) -> Turn:
    """The service knows."""
    return with_talk(state, execution, phase, replace(phase.talk, call=Call())), []


def on_update_failed(state: State, execution: Execution, phase: Talking, event: UpdateFailed, now: float) -> Turn:
    """A refused update says whether the execution is over; an unanswered one is sent again."""
    if event.code in backoff.OVER:
        status = event.current or ExecutionStatus.REMOVED
        return ended(state, execution, phase, Outcome(status, f"the service answered {event.code}"), now)
    if event.code in backoff.HOPELESS:
        note = Note(execution.id, "progress refused", event.code, is_problem=True)
        return with_talk(state, execution, phase, replace(phase.talk, call=Call())), [note]
    call = backoff.again(phase.talk.call, now, event.jitter, event.code)
    return with_talk(state, execution, phase, replace(phase.talk, call=call, report_at=call.retry_at)), []


def on_probed(state: State, execution: Execution, phase: Talking, event: Described, now: float) -> Turn:
    """We asked whether the execution is still wanted, and ours."""
    if event.status.is_terminal:
        return ended(state, execution, phase, Outcome(event.status, "the service ended it"), now)
    if event.status is ExecutionStatus.IN_PROGRESS and event.agent_id not in {"", state.agent_id}:
        outcome = Outcome(ExecutionStatus.REMOVED, "another agent took it over")
        return ended(state, execution, phase, outcome, now)
    if event.status is ExecutionStatus.QUEUED:  # older than our claim, or another one under its id
        probe = backoff.again(phase.talk.probe or Call(), now, event.jitter)
        if probe.failures > backoff.STALE_ANSWERS:
            return ended(state, execution, phase, Outcome(ExecutionStatus.REMOVED, backoff.QUEUED_AGAIN), now)
        return with_talk(state, execution, phase, replace(phase.talk, probe=probe)), []
    return with_talk(state, execution, phase, replace(phase.talk, probe=None)), []


def on_probe_failed(state: State, execution: Execution, phase: Talking, event: DescribeFailed, now: float) -> Turn:
    """Refused because it is over: stop. Otherwise ask again after a back-off."""
    if event.code in backoff.OVER:
        status = ExecutionStatus.REMOVED if event.code == "ResourceNotFound" else ExecutionStatus.CANCELED
        how = "deleted" if event.code == "ResourceNotFound" else "cancelled, timed out or ended by somebody else"
        return ended(state, execution, phase, Outcome(status, f"the service answered {event.code}: {how}"), now)
    probe = backoff.again(phase.talk.probe or Call(), now, event.jitter, event.code)
    return with_talk(state, execution, phase, replace(phase.talk, probe=probe)), []


def ended(state: State, execution: Execution, phase: Talking, outcome: Outcome, now: float) -> Turn:
    """The service ended it: stop the whole process tree, where there is one. Nothing more is said."""
    if not isinstance(phase, Running):
        return over(state, execution, outcome, now)
    attempt = AttemptId(execution.id, phase.work.step, phase.work.number)
    note = Note(execution.id, "stopping", outcome.reason)
    return state.with_phase(execution, Stopping(phase.work, outcome)), [StopAttempt(attempt), note]
