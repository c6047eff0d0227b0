"""Rules for the life of a step's process: its start, what the handler reports meanwhile, and its end."""

from typing import assert_never

from iot_jobs_agent.core import continuing
from iot_jobs_agent.core.details import StatusFacts, status_details
from iot_jobs_agent.core.effects import Effect, Note, Turn
from iot_jobs_agent.core.events import AttemptEnded, AttemptNeverStarted, AttemptProgressed
from iot_jobs_agent.core.job import AttemptResult, Ending, ExecutionStatus, Outcome
from iot_jobs_agent.core.outcome import Followup, ending_in_words, followup_of, outcome_of, reason_given
from iot_jobs_agent.core.progress import status_facts
from iot_jobs_agent.core.settling import begin_report, close
from iot_jobs_agent.core.state import Claiming, Execution, Preparing, Running, State, Stopping, Work
from iot_jobs_agent.core.value import replace

DEVICE_FAULT_S = 30.0  # how long to wait before the next try to start a handler, if the device could not


def on_started(state: State, execution: Execution, phase: Running, now: float) -> Turn:
    """Let the step's deadline count from now, because its process exists.

    So the device can start handlers again, unless it could not only just now: the start may have been on its way then.
    """
    if now >= state.device_fault_until:
        state = replace(state, device_fault="", device_fault_until=0.0)
    if phase.started_at is not None:
        return state, []
    work = phase.work
    running = replace(phase, started_at=now, deadline_s=work.current.timeout_s)
    what = f"{work.current.name}, {work.step + 1}/{len(work.plan.steps)}"
    again = f", attempt {work.number} ({work.reason})" if work.number > 1 else ""
    return state.with_phase(execution, running), [Note(execution.id, "started", what + again)]


def on_progressed(state: State, execution: Execution, phase: Running, event: AttemptProgressed, now: float) -> Turn:
    """Keep what the handler said, and report it: at once the first time, then at most once per interval."""
    updates = phase.updates
    report_at = max(now, updates.reported_at + state.settings.progress_interval_s)
    running = replace(
        phase,
        progress=phase.progress if event.progress is None else event.progress,
        message=phase.message if event.message is None else event.message,
        details={**phase.details, **event.details},
        updates=replace(
            updates, report_at=report_at if updates.report_at is None else min(updates.report_at, report_at)
        ),
    )
    if event.extend_s is not None and phase.started_at is not None:
        longest_s = phase.work.current.max_timeout_s
        running = replace(running, deadline_s=min(longest_s, now - phase.started_at + event.extend_s))
    return state.with_phase(execution, running), []


def on_ended(state: State, execution: Execution, phase: Running, event: AttemptEnded, now: float) -> Turn:
    """Go on to another attempt (now or later), to the next step, or to the outcome, now that the attempt has ended."""
    result, step = event.result, phase.work.current
    if result.ending is Ending.LOST and not result.leftovers_alive:
        phase = replace(phase, work=replace(phase.work, interruptions=phase.work.interruptions + 1))
        match continuing.after_interruption(state, phase, result, now):
            case Work(reason=reason) as work:
                return state.with_phase(execution, Preparing(work)), [Note(execution.id, "interrupted", reason)]
            case outcome:
                return _conclude(state, execution, phase, result, outcome)
    followup = followup_of(result)
    if followup is Followup.RETRY and phase.work.retries < step.retry_limit:
        said = f"tried again in {continuing.retry_delay_s(phase.work):g} s: {reason_given(result)}"
        details = status_details(_last_facts(state, execution, phase, result, said))
        return continuing.delay_retry(state, execution, phase, details, now)
    if followup is Followup.REBOOT and step.may_reboot and phase.work.reboots >= continuing.REBOOTS:
        why = f"asked for a reboot after {continuing.REBOOTS} of them: {reason_given(result)}"
        outcome = Outcome(ExecutionStatus.FAILED, why, "reboot-limit")
        return _conclude(state, execution, phase, result, outcome)
    if followup is Followup.REBOOT and step.may_reboot:
        said = f"reboots: {reason_given(result)}"
        details = status_details(_last_facts(state, execution, phase, result, said))
        return continuing.await_reboot(state, execution, phase, details, continuing.used_s(phase, result, now))
    return _conclude(state, execution, phase, result, outcome_of(result, step.allow_stderr))


def _conclude(state: State, execution: Execution, phase: Running, result: AttemptResult, outcome: Outcome) -> Turn:
    """Go on to the next step, or to the outcome, now that the step has ended."""
    work, step = phase.work, phase.work.current
    results = (*work.results, (step.name, outcome.status.value))
    is_ignored = step.ignore_failure and not result.leftovers_alive and work.interruptions < continuing.INTERRUPTIONS
    may_go_on = outcome.status is ExecutionStatus.SUCCEEDED or is_ignored
    if may_go_on and not work.is_last:
        note = Note(execution.id, "step ended", "=".join(results[-1]))
        return state.with_phase(execution, Preparing(work.next_step(results))), [note]
    if may_go_on:
        outcome = Outcome(ExecutionStatus.SUCCEEDED, details=outcome.details)
    elif outcome.status is ExecutionStatus.REJECTED and (work.results or work.interruptions):
        outcome = replace(outcome, status=ExecutionStatus.FAILED)  # a rejection would claim that no work was done
    last = _last_facts(state, execution, phase, result, outcome.reason)
    last = replace(last, details={**last.details, **outcome.details}, steps=results if len(work.plan.steps) > 1 else ())
    return begin_report(state, execution, outcome, status_details(last))


def _last_facts(state: State, execution: Execution, phase: Running, result: AttemptResult, reason: str) -> StatusFacts:
    """Return the facts about an ended attempt that its status details show."""
    return replace(
        status_facts(state, execution, phase),
        result=ending_in_words(result),
        reason=reason,
        stdout=result.stdout if phase.work.current.include_stdout else "",
        stderr=result.stderr,
    )


def on_stopped(state: State, execution: Execution, phase: Stopping, now: float) -> Turn:
    """Close the execution now that its attempt is over. Nothing is reported, since the service ended it."""
    return close(state, execution, phase.outcome, now)


def on_never_started(
    state: State, execution: Execution, phase: Running | Stopping, event: AttemptNeverStarted, now: float
) -> Turn:
    """Start it with a fresh document: at once if the agent ended before the start, later if the device is at fault."""
    notes: list[Effect] = []
    if event.why:
        if event.why != state.device_fault:
            notes = [Note(execution.id, "cannot start handlers, trying again", event.why, is_problem=True)]
        state = replace(state, device_fault=event.why, device_fault_until=now + DEVICE_FAULT_S)
    match phase:
        case Running(work=Work(is_untouched=True, plan=plan)):
            return state.with_phase(execution, Claiming(plan)), notes  # as after a restart before the decision
        case Running(work=work):
            return state.with_phase(execution, Preparing(work)), notes
        case Stopping():
            return on_stopped(state, execution, phase, now)
    assert_never(phase)
