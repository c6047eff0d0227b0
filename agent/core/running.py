"""Rules while a step's process exists: progress, the end of the step, and the service changing its mind."""

from dataclasses import replace

from agent.core import backoff
from agent.core.claiming import step_timeout_minutes
from agent.core.details import result_text, status_details
from agent.core.effects import Effect, Note, StopAttempt, Update
from agent.core.events import AttemptEnded, AttemptProgressed, Described, DescribeFailed, UpdateFailed
from agent.core.job import AttemptId, ExecutionStatus, Outcome, StatusDetails
from agent.core.outcome import outcome_of
from agent.core.settling import outcome_reached, over
from agent.core.state import Execution, Preparing, Running, State, Stopping, current_step

Turn = tuple[State, list[Effect]]


def on_started(state: State, execution: Execution, phase: Running, now: float) -> Turn:
    """The step's process exists: its deadline counts from here."""
    if phase.started_at is not None:
        return state, []
    step = current_step(phase)
    running = replace(phase, started_at=now, deadline_s=step.timeout_s)
    return state.with_phase(execution, running), [Note(execution.id, "started", step_label(execution, phase))]


def on_progressed(state: State, execution: Execution, phase: Running, event: AttemptProgressed, now: float) -> Turn:
    """Keep what the handler said, and send it: the first at once, then at most one update per interval."""
    words = [] if event.progress is None else [f"{event.progress:g}%"]
    progress = " ".join([*words, *([event.message] if event.message else [])])
    report_at = max(now, phase.reported_at + state.settings.progress_interval_s)
    running = replace(
        phase,
        progress=progress or phase.progress,
        details={**phase.details, **event.details},
        report_at=report_at if phase.report_at is None else min(phase.report_at, report_at),
    )
    if event.extend_s is not None and phase.started_at is not None:
        longest_s = current_step(phase).max_timeout_s
        running = replace(running, deadline_s=min(longest_s, now - phase.started_at + event.extend_s))
    return state.with_phase(execution, running), [Note(execution.id, "progress", progress)] if progress else []


def progress_update(state: State, execution: Execution, phase: Running, ticket: int, now: float) -> Update:
    """Return the update that carries the progress and renews the step timer."""
    elapsed_s = 0.0 if phase.started_at is None else now - phase.started_at
    remaining_s = None if phase.deadline_s is None else phase.deadline_s - elapsed_s
    details = status_details(
        agent=state.settings.agent_id,
        operation=execution.operation,
        step=step_label(execution, phase),
        progress=phase.progress,
        details=phase.details,
        steps=phase.results,
    )
    minutes = step_timeout_minutes(current_step(phase), remaining_s)
    return Update(execution.id, ticket, ExecutionStatus.IN_PROGRESS, details, step_timeout_minutes=minutes)


def step_label(execution: Execution, phase: Preparing | Running | Stopping) -> str:
    """Return the detail `step`: `name, 1/1, attempt 1`."""
    return f"{current_step(phase).name or execution.operation}, {phase.step + 1}/{len(phase.plan.steps)}, attempt {phase.number}"


def on_ended(state: State, execution: Execution, phase: Running, event: AttemptEnded) -> Turn:
    """The step is over: on to the next one, or to the outcome."""
    step = current_step(phase)
    outcome = outcome_of(event.result)
    results = (*phase.results, f"{step.name}={outcome.status}")
    may_go_on = outcome.status is ExecutionStatus.SUCCEEDED or step.ignore_failure
    if may_go_on and phase.step + 1 < len(phase.plan.steps):
        note = Note(execution.id, "step ended", results[-1])
        return state.with_phase(execution, Preparing(phase.plan, phase.step + 1, 1, results)), [note]
    if may_go_on:
        outcome = replace(outcome, status=ExecutionStatus.SUCCEEDED)
    return outcome_reached(state, execution, outcome, _last_details(state, execution, phase, event, outcome, results))


def _last_details(
    state: State, execution: Execution, phase: Running, event: AttemptEnded, outcome: Outcome, results: tuple[str, ...]
) -> StatusDetails:
    step = current_step(phase)
    return status_details(
        agent=state.settings.agent_id,
        operation=execution.operation,
        step=step_label(execution, phase),
        progress=phase.progress,
        result=result_text(event.result),
        reason=outcome.reason,
        stdout=event.result.stdout if step.include_stdout else "",
        stderr=event.result.stderr,
        details={**phase.details, **outcome.details},
        steps=results if len(phase.plan.steps) > 1 else (),
    )


def on_stopped(state: State, execution: Execution, phase: Stopping, now: float) -> Turn:
    """Nothing of the attempt is alive any more: close it. Nothing is sent: the service ended it."""
    return over(state, execution, phase.outcome, now)


def on_never_started(state: State, execution: Execution, phase: Running | Stopping, now: float) -> Turn:
    """The agent ended between the decision to start and the start: start now, with a fresh document."""
    match phase:
        case Running(plan=plan, step=step, number=number, results=results):
            return state.with_phase(execution, Preparing(plan, step, number, results)), []
        case Stopping():
            return on_stopped(state, execution, phase, now)


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
