"""Rules while a step's process exists: its start, what the handler says, and its end."""

from dataclasses import replace
from typing import assert_never

from iot_jobs_agent.core import waiting
from iot_jobs_agent.core.details import Told, status_details
from iot_jobs_agent.core.effects import Effect, Note
from iot_jobs_agent.core.events import AttemptEnded, AttemptProgressed
from iot_jobs_agent.core.job import AttemptResult, Ending, ExecutionStatus, Outcome
from iot_jobs_agent.core.outcome import Wish, ending_in_words, outcome_of, reason_given, wish_of
from iot_jobs_agent.core.settling import outcome_reached, over
from iot_jobs_agent.core.state import Claiming, Execution, Preparing, Running, State, Stopping, Work
from iot_jobs_agent.core.talking import told

Turn = tuple[State, list[Effect]]


def on_started(state: State, execution: Execution, phase: Running, now: float) -> Turn:
    """The step's process exists: its deadline counts from here."""
    if phase.started_at is not None:
        return state, []
    work = phase.work
    running = replace(phase, started_at=now, deadline_s=work.current.timeout_s)
    what = f"{work.current.name}, {work.step + 1}/{len(work.plan.steps)}"
    again = f", attempt {work.number} ({work.reason})" if work.number > 1 else ""
    return state.with_phase(execution, running), [Note(execution.id, "started", what + again)]


def on_progressed(state: State, execution: Execution, phase: Running, event: AttemptProgressed, now: float) -> Turn:
    """Keep what the handler said, and send it: the first at once, then at most one update per interval."""
    talk = phase.talk
    report_at = max(now, talk.reported_at + state.settings.progress_interval_s)
    running = replace(
        phase,
        progress=phase.progress if event.progress is None else event.progress,
        message=phase.message if event.message is None else event.message,
        details={**phase.details, **event.details},
        talk=replace(talk, report_at=report_at if talk.report_at is None else min(talk.report_at, report_at)),
    )
    if event.extend_s is not None and phase.started_at is not None:
        longest_s = phase.work.current.max_timeout_s
        running = replace(running, deadline_s=min(longest_s, now - phase.started_at + event.extend_s))
    return state.with_phase(execution, running), []


def on_ended(state: State, execution: Execution, phase: Running, event: AttemptEnded, now: float) -> Turn:
    """The attempt is over: on to another one, now or later, to the next step, or to the outcome."""
    result, step = event.result, phase.work.current
    if result.ending is Ending.LOST and not result.unswept:
        phase = replace(phase, work=replace(phase.work, interruptions=phase.work.interruptions + 1))
        match waiting.interrupted(state, phase, result, now):
            case Work(reason=reason) as work:
                return state.with_phase(execution, Preparing(work)), [Note(execution.id, "interrupted", reason)]
            case outcome:
                return _concluded(state, execution, phase, result, outcome)
    wish = wish_of(result)
    if wish is Wish.RETRY and phase.work.retries < step.retry_limit:
        said = f"tried again in {waiting.retry_delay_s(phase.work):g} s: {reason_given(result)}"
        details = status_details(_told_last(state, execution, phase, result, said))
        return waiting.tried_later(state, execution, phase, details, now)
    if wish is Wish.REBOOT and step.may_reboot and phase.work.reboots >= waiting.REBOOTS:
        why = f"asked for a reboot after {waiting.REBOOTS} of them: {reason_given(result)}"
        outcome = Outcome(ExecutionStatus.FAILED, why, "reboot-limit")
        return _concluded(state, execution, phase, result, outcome)
    if wish is Wish.REBOOT and step.may_reboot:
        said = f"reboots: {reason_given(result)}"
        details = status_details(_told_last(state, execution, phase, result, said))
        return waiting.rebooted(state, execution, phase, details, waiting.used_s(phase, result, now))
    return _concluded(state, execution, phase, result, outcome_of(result, step.allow_stderr))


def _concluded(state: State, execution: Execution, phase: Running, result: AttemptResult, outcome: Outcome) -> Turn:
    """The step is over: on to the next one, or to the outcome."""
    work, step = phase.work, phase.work.current
    results = (*work.results, (step.name, outcome.status.value))
    is_ignored = step.ignore_failure and not result.unswept and work.interruptions < waiting.INTERRUPTIONS
    may_go_on = outcome.status is ExecutionStatus.SUCCEEDED or is_ignored
    if may_go_on and not work.is_last:
        note = Note(execution.id, "step ended", "=".join(results[-1]))
        return state.with_phase(execution, Preparing(work.stepped(results))), [note]
    if may_go_on:
        outcome = Outcome(ExecutionStatus.SUCCEEDED, details=outcome.details)
    elif outcome.status is ExecutionStatus.REJECTED and (work.results or work.interruptions):
        outcome = replace(outcome, status=ExecutionStatus.FAILED)  # a rejection says that no work was done
    last = _told_last(state, execution, phase, result, outcome.reason)
    last = replace(last, details={**last.details, **outcome.details}, steps=results if len(work.plan.steps) > 1 else ())
    return outcome_reached(state, execution, outcome, status_details(last))


def _told_last(state: State, execution: Execution, phase: Running, result: AttemptResult, reason: str) -> Told:
    """Return what people are told of an attempt that is over."""
    return replace(
        told(state, execution, phase),
        result=ending_in_words(result),
        reason=reason,
        stdout=result.stdout if phase.work.current.include_stdout else "",
        stderr=result.stderr,
    )


def on_stopped(state: State, execution: Execution, phase: Stopping, now: float) -> Turn:
    """Nothing of the attempt is alive any more: close it. Nothing is sent: the service ended it."""
    return over(state, execution, phase.outcome, now)


def on_never_started(state: State, execution: Execution, phase: Running | Stopping, now: float) -> Turn:
    """The agent ended between the decision to start and the start: start now, with a fresh document."""
    match phase:
        case Running(work=Work(is_untouched=True, plan=plan)):
            return state.with_phase(execution, Claiming(plan)), []  # as after a restart before the decision
        case Running(work=work):
            return state.with_phase(execution, Preparing(work)), []
        case Stopping():
            return on_stopped(state, execution, phase, now)
    assert_never(phase)
