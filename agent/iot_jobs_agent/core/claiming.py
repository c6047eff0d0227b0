"""Rules from the first look at an execution to the start of a step: judging, claiming, preparing."""

import math
from typing import assert_never

from iot_jobs_agent.core import backoff
from iot_jobs_agent.core.effects import Note, StartAttempt, Turn
from iot_jobs_agent.core.events import Described, DescribeFailed, UpdateFailed
from iot_jobs_agent.core.job import AttemptId, ExecutionStatus, Outcome, Plan, Refusal, Step
from iot_jobs_agent.core.queues import confirm_listed, drop_refused, drop_waiting, leave_alone
from iot_jobs_agent.core.settling import begin_report, close
from iot_jobs_agent.core.slots import wants_reboot
from iot_jobs_agent.core.state import (
    Claiming,
    Execution,
    Judging,
    Preparing,
    Reporting,
    Running,
    Settled,
    State,
    Updates,
    Work,
)
from iot_jobs_agent.core.value import replace

STEP_TIMER_SLACK_MINUTES = 15
STEP_TIMER_LONGEST_MINUTES = 10080
UNANSWERED_LOOKS = 5  # after this many failures, an execution that we have not claimed yet gives its slot to others
COPIED = (
    "it has the same agent-id but another journal: give each agent a state directory of its own, and copy no agent-id"
)
REPORTABLE = (ExecutionStatus.SUCCEEDED, ExecutionStatus.FAILED, ExecutionStatus.REJECTED)


def step_timeout_minutes(step: Step, remaining_s: float | None = None, delay_s: float = 0.0) -> int:
    """Return stepTimeoutInMinutes: the delay, the time left before the deadline, the grace, and slack for an outage."""
    left_s = delay_s + (step.timeout_s if remaining_s is None else max(0.0, remaining_s)) + step.grace_s
    return min(STEP_TIMER_LONGEST_MINUTES, math.ceil(left_s / 60) + STEP_TIMER_SLACK_MINUTES)


def on_described_while_judging(state: State, execution: Execution, event: Described, now: float) -> Turn:
    """Decide whether the execution is ours to run, ours to report, or none of our business."""
    if event.status.is_terminal:
        return drop_refused(state, execution.id, now, event.jitter, backoff.CONTRADICTED), []
    state = confirm_listed(state, execution.id)
    execution = replace(execution, operation=event.operation, queued_at=event.queued_at)
    if event.status is ExecutionStatus.IN_PROGRESS:
        return _on_found_in_progress(state, execution, event)
    known = state.settled.get(execution.id)
    if known is not None and known.is_of(event.queued_at):
        return _report_again(state, execution, known, version=event.version)
    match event.verdict:
        case Refusal(is_unknown=True) if state.settings.ignores_unknown:
            return leave_alone(state, execution.id), [Note(execution.id, "left to another agent", "unknown here")]
        case Refusal(reason=reason):
            outcome = Outcome(ExecutionStatus.REJECTED, reason, "document-refused")
            return begin_report(state, execution, outcome, version=event.version)
        case Plan() as plan:
            execution = replace(execution, claimed_at=event.at)
            return state.with_phase(execution, Claiming(plan, event.version)), []
    assert_never(event.verdict)


def _on_found_in_progress(state: State, execution: Execution, event: Described) -> Turn:
    """Report an execution that is IN_PROGRESS by our claim but not in our journal; leave another agent's alone."""
    claimant, mark = state.claimant, event.claimed_by
    if not claimant.is_ours(mark):
        is_copy = claimant.shares_id(mark)
        why = COPIED if is_copy else mark or "it gave no id"
        return leave_alone(state, execution.id), [Note(execution.id, "left to another agent", why, is_problem=is_copy)]
    known = state.settled.get(execution.id)
    if known is not None and (known.is_of(event.queued_at) or not (known.queued_at and event.queued_at)):
        return _report_again(state, execution, known)
    reason = "this agent lost its journal while the job ran; whether it ran to its end is not known"
    return begin_report(state, execution, Outcome(ExecutionStatus.FAILED, reason, "journal-lost"))


def _report_again(state: State, execution: Execution, known: Settled, version: int = 0) -> Turn:
    """Report the outcome that we know already, and start nothing: the service forgot it, or its answer is outdated.

    If it was the service that ended the execution, we must not report, so we leave it alone.
    """
    if known.outcome.status not in REPORTABLE:
        return leave_alone(state, execution.id), [Note(execution.id, "left alone", "the service ended it before")]
    return state.with_phase(execution, Reporting(known.outcome, version=version)), []


def on_described_while_claiming(
    state: State, execution: Execution, phase: Claiming, event: Described, now: float
) -> Turn:
    """Find out what became of a claim in doubt. Remember a closed execution: a stale answer may still call it ours."""
    if event.status.is_terminal:
        return close(state, execution, Outcome(event.status, "the service ended it"), now, jitter=event.jitter)
    if event.status is ExecutionStatus.IN_PROGRESS and state.claimant.is_ours(event.claimed_by):
        known = state.settled.get(execution.id)
        if known is not None and known.is_of(event.queued_at):
            return _report_again(state, execution, known)
        if known is not None and not (known.queued_at and event.queued_at):
            return _on_ours_again(state, execution, phase, event, now)
        execution = replace(execution, queued_at=event.queued_at)
        return _on_ours(state, execution, Preparing(Work(phase.plan)), event, now, is_claim_old=True)
    return on_described_while_judging(state.with_phase(execution, Judging()), execution, event, now)


def _on_ours_again(state: State, execution: Execution, phase: Claiming, event: Described, now: float) -> Turn:
    """Ask again, then report a failure: this id has ended here before, and what it names now may have run already."""
    if backoff.of(state, execution.id).contradictions < backoff.STALE_ANSWERS:
        state = backoff.back_off(state, execution.id, now, event.jitter, backoff.CONTRADICTED)
        return state.with_phase(execution, replace(phase, version=0)), []
    reason = "an execution of this id has ended here before; whether this is another one is not known"
    return begin_report(state, execution, Outcome(ExecutionStatus.FAILED, reason, "journal-lost"))


def on_claimed(state: State, execution: Execution, phase: Claiming) -> Turn:
    """Go on to fetch a fresh document: the service accepted the claim."""
    return state.with_phase(execution, Preparing(Work(phase.plan))), [Note(execution.id, "claimed")]


def on_claim_failed(state: State, execution: Execution, phase: Claiming, event: UpdateFailed, now: float) -> Turn:
    """Drop the execution if it is closed, leave it alone if our claim was malformed; otherwise ask or claim again.

    Remember one that is known to be closed, because a stale answer may still call it ours.
    """
    notes = backoff.note_refusal(state, execution.id, "claim refused", event.code)
    if event.current is not None and event.current.is_terminal:
        ended = Outcome(event.current, "the service ended it")
        after, effects = close(state, execution, ended, now, jitter=event.jitter)
        return after, [*notes, *effects]
    if event.code in backoff.CLOSED:
        return drop_refused(state, execution.id, now, event.jitter, event.code), notes
    if event.code in backoff.HOPELESS and event.code != "VersionMismatch":
        return leave_alone(state, execution.id), notes
    state = backoff.back_off(state, execution.id, now, event.jitter, event.code)
    version = phase.version if event.code == backoff.THROTTLED else 0  # a throttled claim was not applied: do not ask
    return state.with_phase(execution, replace(phase, version=version)), notes


def on_described_while_preparing(
    state: State, execution: Execution, phase: Preparing, event: Described, now: float
) -> Turn:
    """Start the step with the fresh document, unless the execution is no longer ours."""
    if event.status.is_terminal:
        return close(state, execution, Outcome(event.status, "the service ended it"), now, jitter=event.jitter)
    is_same = execution.is_queued_at(event.queued_at)
    if event.status is ExecutionStatus.QUEUED and (phase.work.is_untouched or not is_same):
        return _on_queued_again(state, execution, phase, event, now)
    if event.status is ExecutionStatus.IN_PROGRESS and not state.claimant.is_ours(event.claimed_by):
        return close(
            state, execution, Outcome(ExecutionStatus.REMOVED, "another agent took it over"), now, jitter=event.jitter
        )
    return _on_ours(state, execution, phase, event, now)


def _on_queued_again(state: State, execution: Execution, phase: Preparing, event: Described, now: float) -> Turn:
    """Find out whether the answer predates our claim (the service is eventually consistent) or the execution is new.

    While nothing has run, go back to claiming: the expected version tells the two apart. Once something has run, ask
    a few times, because answers that old soon stop coming; then close the execution.
    """
    state = backoff.back_off(state, execution.id, now, event.jitter, backoff.CONTRADICTED)
    if phase.work.is_untouched:
        return state.with_phase(execution, Claiming(phase.work.plan)), []
    if execution.precedes(event.queued_at) or backoff.is_insistent(state, execution.id):
        return close(state, execution, Outcome(ExecutionStatus.REMOVED, backoff.QUEUED_AGAIN), now, jitter=event.jitter)
    return state, []


def _on_ours(
    state: State, execution: Execution, phase: Preparing, event: Described, now: float, *, is_claim_old: bool = False
) -> Turn:
    """Make the next attempt of an execution that the service knows as ours."""
    work = phase.work
    match event.verdict:
        case Refusal(reason=reason):
            status = ExecutionStatus.REJECTED if work.is_untouched else ExecutionStatus.FAILED
            return begin_report(state, execution, Outcome(status, reason, "document-refused"))
        case Plan(steps=steps) as plan:
            if [s.name for s in steps] != [s.name for s in work.plan.steps]:
                reason = "the document's steps are not those that were claimed"
                return begin_report(state, execution, Outcome(ExecutionStatus.FAILED, reason, "document-changed"))
            if wants_reboot(state):
                return state.with_phase(execution, Preparing(work)), []
            if plan.is_exclusive and not work.plan.is_exclusive:  # its manifest has changed: wait for its turn
                return state.with_phase(execution, Preparing(replace(work, plan=plan.without_secrets))), []
            running = Running(replace(work, plan=plan.without_secrets), state.settings.boot_id)
            if is_claim_old or not work.is_untouched or not _is_listed(state, execution):
                running = replace(running, updates=Updates(report_at=now))  # report it, and renew the step timer
            attempt = AttemptId(execution.id, work.step, work.number)
            step = replace(work, plan=plan).current
            return state.with_phase(execution, running), [StartAttempt(attempt, step, work.reason, work.is_resumed)]
    assert_never(event.verdict)


def _is_listed(state: State, execution: Execution) -> bool:
    """Return whether the last list names the execution. If not, it may have ended since the service described it."""
    queue = state.queues.get(execution.id.namespace)
    return queue is None or not queue.is_known or execution.id in queue.pending


def on_describe_failed(
    state: State, execution: Execution, phase: Judging | Claiming | Preparing, event: DescribeFailed, now: float
) -> Turn:
    """Drop an execution that is closed, or that we failed to judge too often; otherwise ask again after a back-off."""
    if event.code in backoff.CLOSED:
        if isinstance(phase, Claiming | Preparing):
            return close(
                state,
                execution,
                Outcome(ExecutionStatus.REMOVED, f"the service answered {event.code}"),
                now,
                jitter=event.jitter,
            )
        return drop_refused(state, execution.id, now, event.jitter, event.code), []
    state = backoff.back_off(state, execution.id, now, event.jitter, event.code)
    if isinstance(phase, Judging) and backoff.of(state, execution.id).failures >= UNANSWERED_LOOKS:
        note = Note(execution.id, "cannot be looked at, others go first", event.code, is_problem=True)
        return drop_waiting(state, execution.id, now), [note]
    return state, []
