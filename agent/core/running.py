"""Rules while a step's process exists: progress, the end of the step, and the service changing its mind."""

from dataclasses import replace
from typing import assert_never

from agent.core import backoff
from agent.core.claiming import step_timeout_minutes
from agent.core.details import Told, status_details
from agent.core.effects import Effect, Note, StopAttempt, Update
from agent.core.events import AttemptEnded, AttemptProgressed, Described, DescribeFailed, UpdateFailed
from agent.core.job import AttemptId, AttemptResult, ExecutionStatus, Outcome, StatusDetails
from agent.core.outcome import ending_in_words, outcome_of
from agent.core.settling import outcome_reached, over
from agent.core.state import Claiming, Execution, Preparing, Running, State, Stopping, current_step

Turn = tuple[State, list[Effect]]


def on_started(state: State, execution: Execution, phase: Running, now: float) -> Turn:
    """The step's process exists: its deadline counts from here."""
    if phase.started_at is not None:
        return state, []
    step = current_step(phase)
    running = replace(phase, started_at=now, deadline_s=step.timeout_s)
    return state.with_phase(execution, running), [
        Note(execution.id, "started", f"{step.name}, {phase.step + 1}/{len(phase.plan.steps)}")
    ]


def on_progressed(state: State, execution: Execution, phase: Running, event: AttemptProgressed, now: float) -> Turn:
    """Keep what the handler said, and send it: the first at once, then at most one update per interval."""
    report_at = max(now, phase.reported_at + state.settings.progress_interval_s)
    running = replace(
        phase,
        progress=phase.progress if event.progress is None else event.progress,
        message=phase.message if event.message is None else event.message,
        details={**phase.details, **event.details},
        report_at=report_at if phase.report_at is None else min(phase.report_at, report_at),
    )
    if event.extend_s is not None and phase.started_at is not None:
        longest_s = current_step(phase).max_timeout_s
        running = replace(running, deadline_s=min(longest_s, now - phase.started_at + event.extend_s))
    return state.with_phase(execution, running), []


def progress_update(state: State, execution: Execution, phase: Running, ticket: int, now: float) -> Update:
    """Return the update that carries the progress and renews the step timer."""
    elapsed_s = 0.0 if phase.started_at is None else now - phase.started_at
    remaining_s = None if phase.deadline_s is None else phase.deadline_s - elapsed_s
    details = status_details(told(state, execution, phase))
    minutes = step_timeout_minutes(current_step(phase), remaining_s)
    return Update(execution.id, ticket, ExecutionStatus.IN_PROGRESS, details, step_timeout_minutes=minutes)


def told(state: State, execution: Execution, phase: Running) -> Told:
    """Return what is known of a running step, for people."""
    step = current_step(phase)
    return Told(
        agent=state.settings.agent_id,
        operation=execution.operation,
        step_name=step.name,
        step=phase.step,
        step_count=len(phase.plan.steps),
        attempt=phase.number,
        progress=phase.progress,
        message=phase.message,
        details=phase.details,
        steps=phase.results,
    )


def on_ended(state: State, execution: Execution, phase: Running, event: AttemptEnded) -> Turn:
    """The step is over: on to the next one, or to the outcome."""
    step = current_step(phase)
    outcome = outcome_of(event.result, may_reboot=step.may_reboot, allow_stderr=step.allow_stderr)
    results = (*phase.results, (step.name, outcome.status.value))
    may_go_on = outcome.status is ExecutionStatus.SUCCEEDED or (step.ignore_failure and not event.result.unswept)
    if may_go_on and phase.step + 1 < len(phase.plan.steps):
        note = Note(execution.id, "step ended", "=".join(results[-1]))
        return state.with_phase(execution, Preparing(phase.plan, phase.step + 1, 1, results)), [note]
    if may_go_on:
        outcome = Outcome(ExecutionStatus.SUCCEEDED, details=outcome.details)
    elif outcome.status is ExecutionStatus.REJECTED and phase.results:
        outcome = replace(outcome, status=ExecutionStatus.FAILED)  # a rejection says that no work was done
    known = replace(told(state, execution, phase), steps=results if len(phase.plan.steps) > 1 else ())
    details = _last_details(known, event.result, outcome, shows_stdout=step.include_stdout)
    return outcome_reached(state, execution, outcome, details)


def _last_details(known: Told, result: AttemptResult, outcome: Outcome, *, shows_stdout: bool) -> StatusDetails:
    last = replace(
        known,
        result=ending_in_words(result),
        reason=outcome.reason,
        stdout=result.stdout if shows_stdout else "",
        stderr=result.stderr,
        details={**known.details, **outcome.details},
    )
    return status_details(last)


def on_stopped(state: State, execution: Execution, phase: Stopping, now: float) -> Turn:
    """Nothing of the attempt is alive any more: close it. Nothing is sent: the service ended it."""
    return over(state, execution, phase.outcome, now)


def on_never_started(state: State, execution: Execution, phase: Running | Stopping, now: float) -> Turn:
    """The agent ended between the decision to start and the start: start now, with a fresh document."""
    match phase:
        case Running(plan=plan, step=0, number=1):
            return state.with_phase(execution, Claiming(plan)), []  # as after a restart before the decision
        case Running(plan=plan, step=step, number=number, results=results):
            return state.with_phase(execution, Preparing(plan, step, number, results)), []
        case Stopping():
            return on_stopped(state, execution, phase, now)
    assert_never(phase)


def on_progress_failed(state: State, execution: Execution, phase: Running, event: UpdateFailed, now: float) -> Turn:
    """A refused progress report says whether the execution is over; an unanswered one is sent again."""
    if event.code in backoff.OVER:
        status = event.current or ExecutionStatus.REMOVED
        return _stop(state, execution, phase, Outcome(status, f"the service answered {event.code}"))
    if event.code in backoff.HOPELESS:
        note = Note(execution.id, "progress refused", event.code, is_problem=True)
        return state.with_phase(execution, replace(phase, call=replace(phase.call, ticket=0))), [note]
    call = backoff.again(phase.call, now, event.jitter, event.code)
    return state.with_phase(execution, replace(phase, call=call, report_at=call.retry_at)), []


def on_probed(state: State, execution: Execution, phase: Running, event: Described) -> Turn:
    """We asked whether the execution is still wanted."""
    if event.status.is_terminal:
        return _stop(state, execution, phase, Outcome(event.status, "the service ended it"))
    return state.with_phase(execution, replace(phase, probe=None)), []


def on_probe_failed(state: State, execution: Execution, phase: Running, event: DescribeFailed, now: float) -> Turn:
    """Refused because it is over: stop. Otherwise ask again after a back-off."""
    if event.code in backoff.OVER:
        status = ExecutionStatus.REMOVED if event.code == "ResourceNotFound" else ExecutionStatus.CANCELED
        return _stop(state, execution, phase, Outcome(status, f"the service answered {event.code}"))
    assert phase.probe is not None  # noqa: S101 - the ticket matched
    probe = backoff.again(phase.probe, now, event.jitter, event.code)
    return state.with_phase(execution, replace(phase, probe=probe)), []


def _stop(state: State, execution: Execution, phase: Running, outcome: Outcome) -> Turn:
    """Stop the whole process tree; what it ends with is no longer asked for."""
    attempt = AttemptId(execution.id, phase.step, phase.number)
    note = Note(execution.id, "stopping", outcome.reason)
    return state.with_phase(execution, Stopping(phase.plan, phase.step, phase.number, outcome)), [
        StopAttempt(attempt),
        note,
    ]
