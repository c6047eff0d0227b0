"""Rules for a claimed execution until it is closed: what to tell the service, and whether it still wants the work."""

from typing import assert_never

from iot_jobs_agent.core import backoff
from iot_jobs_agent.core.claiming import step_timeout_minutes
from iot_jobs_agent.core.details import StatusFacts, status_details
from iot_jobs_agent.core.effects import Note, StopAttempt, Turn, Update
from iot_jobs_agent.core.events import Described, DescribeFailed, UpdateFailed
from iot_jobs_agent.core.job import AttemptId, ExecutionStatus, Outcome
from iot_jobs_agent.core.settling import close
from iot_jobs_agent.core.state import (
    Delayed,
    Execution,
    Rebooting,
    Running,
    State,
    Stopping,
    Underway,
    Updates,
)
from iot_jobs_agent.core.value import replace


def status_facts(state: State, execution: Execution, phase: Running) -> StatusFacts:
    """Return the facts about a running step that its status details show."""
    work = phase.work
    return StatusFacts(
        agent=state.claimant.mark,
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


def with_updates(state: State, execution: Execution, phase: Underway, updates: Updates) -> State:
    """Return the state with the execution's updates replaced by `updates`."""
    return state.with_phase(execution, replace(phase, updates=updates))


def update(state: State, execution: Execution, phase: Underway, ticket: int, now: float) -> Update:
    """Return the update that reports where the execution stands and renews the step timer."""
    match phase:
        case Running(work=work, started_at=started_at, deadline_s=deadline_s):
            details = status_details(status_facts(state, execution, phase))
            elapsed_s = 0.0 if started_at is None else now - started_at
            minutes = step_timeout_minutes(work.current, None if deadline_s is None else deadline_s - elapsed_s)
        case Delayed(work=work, details=details, due_at=due_at):
            minutes = step_timeout_minutes(work.current, delay_s=max(0.0, due_at - now))
        case Rebooting(work=work, details=details):
            minutes = step_timeout_minutes(work.current)
        case _:
            assert_never(phase)
    return Update(execution.id, ticket, ExecutionStatus.IN_PROGRESS, details, step_timeout_minutes=minutes)


def on_update_accepted(state: State, execution: Execution, phase: Underway) -> Turn:
    """Note the progress: the service has the update."""
    return with_updates(backoff.end(state, execution.id), execution, phase, phase.updates), []


def on_update_failed(state: State, execution: Execution, phase: Underway, event: UpdateFailed, now: float) -> Turn:
    """End the execution if the refusal says that it is closed; send the update again later if that can help."""
    if event.code in backoff.CLOSED and (event.current is None or event.current.is_terminal):
        outcome = _outcome_by_refusal(event)
        return end(state, execution, phase, outcome, now, jitter=event.jitter)
    notes = backoff.note_refusal(state, execution.id, "progress refused", event.code)
    state = backoff.back_off(state, execution.id, now, event.jitter, event.code)
    updates = replace(phase.updates, report_at=None if event.code in backoff.HOPELESS else now)
    updates = replace(updates, probe=0) if event.code in backoff.CLOSED else updates
    return with_updates(state, execution, phase, updates), notes


def _outcome_by_refusal(event: UpdateFailed) -> Outcome:
    """Return how the service ended the execution, as far as its refusal tells."""
    if event.current is not None:
        return Outcome(event.current, f"the service answered {event.code}")
    if event.code == "ResourceNotFound":
        return Outcome(ExecutionStatus.REMOVED, f"the service answered {event.code}: deleted")
    how = "cancelled, timed out or ended by somebody else"
    return Outcome(ExecutionStatus.CANCELED, f"the service answered {event.code}: {how}")


def on_probed(state: State, execution: Execution, phase: Underway, event: Described, now: float) -> Turn:
    """End the execution if the service has closed it or another agent took it over; otherwise the probe is done."""
    if event.status.is_terminal:
        return end(state, execution, phase, Outcome(event.status, "the service ended it"), now, jitter=event.jitter)
    if event.status is ExecutionStatus.IN_PROGRESS and state.claimant.is_another(event.claimed_by):
        outcome = Outcome(ExecutionStatus.REMOVED, "another agent took it over")
        return end(state, execution, phase, outcome, now, jitter=event.jitter)
    updates = replace(phase.updates, probe=None)
    if event.status is ExecutionStatus.QUEUED and execution.is_queued_at(event.queued_at):
        updates = replace(updates, report_at=now)  # the service forgot the claim, or this answer predates it
    elif event.status is ExecutionStatus.QUEUED:  # it predates our claim, or is about another execution of this id
        state = backoff.back_off(state, execution.id, now, event.jitter, backoff.CONTRADICTED)
        if execution.precedes(event.queued_at) or backoff.is_insistent(state, execution.id):
            return end(
                state,
                execution,
                phase,
                Outcome(ExecutionStatus.REMOVED, backoff.QUEUED_AGAIN),
                now,
                jitter=event.jitter,
            )
        updates = replace(updates, probe=0)
    else:
        state = backoff.end(state, execution.id)
        execution = replace(execution, queued_at=execution.queued_at or event.queued_at)
    return with_updates(state, execution, phase, updates), []


def on_probe_failed(state: State, execution: Execution, phase: Underway, event: DescribeFailed, now: float) -> Turn:
    """End the execution if it is gone; probe again after a back-off if that is not known.

    If it is closed, the service does not describe it. So send an update, whose refusal says how it was closed.
    """
    if event.code == "ResourceNotFound":
        outcome = Outcome(ExecutionStatus.REMOVED, f"the service answered {event.code}: deleted")
        return end(state, execution, phase, outcome, now, jitter=event.jitter)
    if event.code in backoff.CLOSED:
        return with_updates(state, execution, phase, replace(phase.updates, probe=None, report_at=now)), []
    state = backoff.back_off(state, execution.id, now, event.jitter, event.code)
    return with_updates(state, execution, phase, replace(phase.updates, probe=0)), []


def end(state: State, execution: Execution, phase: Underway, outcome: Outcome, now: float, *, jitter: float) -> Turn:
    """Stop the whole process tree, if there is one: the service ended the execution. Nothing more is reported."""
    if not isinstance(phase, Running):
        return close(state, execution, outcome, now, jitter=jitter)
    attempt = AttemptId(execution.id, phase.work.step, phase.work.number)
    note = Note(execution.id, "stopping", outcome.reason)
    return state.with_phase(execution, Stopping(phase.work, outcome)), [StopAttempt(attempt), note]
