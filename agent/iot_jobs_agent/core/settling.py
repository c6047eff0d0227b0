"""Rules for the end: journal the outcome, report it until the service has it or closes the execution, then settle."""

from collections.abc import Mapping

from iot_jobs_agent.core import backoff
from iot_jobs_agent.core.effects import ForgetAttempts, Note, Settle, Turn
from iot_jobs_agent.core.events import Described, DescribeFailed, UpdateFailed
from iot_jobs_agent.core.job import ExecutionId, ExecutionStatus, Outcome, StatusDetails
from iot_jobs_agent.core.queues import drop
from iot_jobs_agent.core.state import SETTLED_KEPT, Execution, Judging, Reporting, Settled, State, Underway
from iot_jobs_agent.core.value import replace

REFUSALS = 5  # after that many, an outcome that the service refuses gives its slot to others
GONE = "the service does not have it any more"


def begin_report(
    state: State, execution: Execution, outcome: Outcome, details: StatusDetails | None = None, version: int = 0
) -> Turn:
    """Begin to report `outcome`. `version` is for rejecting a QUEUED execution, because that is a claim as well."""
    asks_first = isinstance(execution.phase, Underway) and execution.phase.updates.probe is not None
    note = Note(
        execution.id, outcome.status.lower(), outcome.reason, is_problem=outcome.status == ExecutionStatus.FAILED
    )
    return state.with_phase(execution, Reporting(outcome, details or {}, version, asks_first=asks_first)), [note]


def close(state: State, execution: Execution, outcome: Outcome, now: float, *, jitter: float = 0.0) -> Turn:
    """Settle an execution that the service ended: report nothing more, and put what we know into the history.

    Back off, in case the service goes on to list it.
    """
    state = backoff.back_off(state, execution.id, now, jitter, backoff.CONTRADICTED, relists=True)
    return _settle(state, execution, outcome, now, service_accepted=False)


def on_described_while_reporting(
    state: State, execution: Execution, phase: Reporting, event: Described, now: float
) -> Turn:
    """Let the report go out if the service still has the execution that we claimed; otherwise close it."""
    if event.status is phase.outcome.status:  # it already has our report; only the answer was lost
        state = backoff.back_off(state, execution.id, now, event.jitter, backoff.CONTRADICTED, relists=True)
        return _settle(state, execution, phase.outcome, now, service_accepted=True)
    if event.status.is_terminal:
        return close(state, execution, Outcome(event.status, "the service ended it first"), now, jitter=event.jitter)
    if event.status is ExecutionStatus.QUEUED:  # older than our claim, or another execution under the same id
        if execution.is_queued_at(event.queued_at):
            return state.with_phase(execution, replace(phase, version=event.version, asks_first=False)), []
        state = backoff.back_off(state, execution.id, now, event.jitter, backoff.CONTRADICTED)
        if execution.precedes(event.queued_at) or backoff.is_insistent(state, execution.id):
            return close(
                state, execution, Outcome(ExecutionStatus.REMOVED, backoff.QUEUED_AGAIN), now, jitter=event.jitter
            )
        return state, []
    if event.status is ExecutionStatus.IN_PROGRESS and state.claimant.is_another(event.claimed_by):
        return close(
            state, execution, Outcome(ExecutionStatus.REMOVED, "another agent took it over"), now, jitter=event.jitter
        )
    return state.with_phase(execution, replace(phase, asks_first=False)), []


def on_describe_failed_while_reporting(
    state: State, execution: Execution, phase: Reporting, event: DescribeFailed, now: float
) -> Turn:
    """Close an execution that is gone. If it was ended, or cannot be described, report: that answer tells us more.

    Otherwise ask again later.
    """
    if event.code == "ResourceNotFound":
        return close(state, execution, Outcome(ExecutionStatus.REMOVED, GONE), now, jitter=event.jitter)
    if event.code in backoff.CLOSED | backoff.HOPELESS:
        state = backoff.go_on(state, execution.id, now, event.jitter, event.code)
        return state.with_phase(execution, replace(phase, asks_first=False)), []
    return backoff.back_off(state, execution.id, now, event.jitter, event.code), []


def on_report_accepted(state: State, execution: Execution, phase: Reporting, now: float) -> Turn:
    """Settle the execution: the service has the outcome. If it was only the claim before it, report the outcome now."""
    if phase.needs_claim:
        return state.with_phase(execution, replace(phase, version=0)), []
    return _settle(backoff.end(state, execution.id), execution, phase.outcome, now, service_accepted=True)


def on_report_failed(state: State, execution: Execution, phase: Reporting, event: UpdateFailed, now: float) -> Turn:
    """Report the outcome again, report it in another form, or accept that the service has the last word."""
    if event.current is not None and event.current == phase.outcome.status:
        state = backoff.back_off(state, execution.id, now, event.jitter, event.code, relists=True)
        return _settle(state, execution, phase.outcome, now, service_accepted=True)
    if event.code == "InvalidRequest" and not phase.omits_details:
        state = backoff.go_on(state, execution.id, now, event.jitter, event.code)
        return state.with_phase(execution, replace(phase, omits_details=True)), []
    is_closed = event.code in backoff.CLOSED or (event.current is not None and event.current.is_terminal)
    was_queued = event.code == "VersionMismatch" and phase.version > 0
    is_hopeless = event.code in backoff.HOPELESS and not (is_closed or was_queued)
    what = "outcome cannot be reported" if is_hopeless else "report refused"
    notes = backoff.note_refusal(state, execution.id, what, event.code)
    if is_hopeless:
        state = backoff.wait_hopeless(state, execution.id, now, event.code)
        return state.with_phase(execution, replace(phase, is_unreportable=True)), notes
    if is_closed:
        after, effects = _on_report_closed(state, execution, phase, event, now)
        return after, [*notes, *effects]
    if was_queued:
        state = backoff.back_off(state, execution.id, now, event.jitter, event.code)
        asking = replace(phase, version=0, asks_first=True) if phase.needs_claim else Judging()
        return state.with_phase(execution, asking), notes
    state = backoff.back_off(state, execution.id, now, event.jitter, event.code)
    is_unreportable = bool(event.code) and backoff.of(state, execution.id).failures >= REFUSALS
    return state.with_phase(execution, replace(phase, is_unreportable=is_unreportable)), notes


def _on_report_closed(state: State, execution: Execution, phase: Reporting, event: UpdateFailed, now: float) -> Turn:
    """Report FAILED where only REJECTED is no longer accepted; otherwise settle: the service closed the execution."""
    if event.code == "InvalidStateTransition" and _may_fail_instead(phase.outcome, event):
        failed = replace(phase.outcome, status=ExecutionStatus.FAILED)
        state = backoff.go_on(state, execution.id, now, event.jitter, event.code)
        return state.with_phase(execution, Reporting(failed, phase.details)), []
    state = backoff.back_off(state, execution.id, now, event.jitter, event.code, relists=True)
    return _settle(state, execution, _known_outcome(phase.outcome, event), now, service_accepted=False)


def _known_outcome(outcome: Outcome, event: UpdateFailed) -> Outcome:
    """Return how the execution ended. If the service does not say, assume that it took an earlier report of ours."""
    if event.current is not None and event.current.is_terminal:
        return Outcome(event.current, "the service ended it first")
    if event.code == "ResourceNotFound":
        return Outcome(ExecutionStatus.REMOVED, GONE)
    return outcome


def _may_fail_instead(outcome: Outcome, event: UpdateFailed) -> bool:
    """Return whether the service no longer accepts REJECTED but would accept FAILED."""
    return outcome.status is ExecutionStatus.REJECTED and event.current is ExecutionStatus.IN_PROGRESS


def _settle(state: State, execution: Execution, outcome: Outcome, now: float, *, service_accepted: bool) -> Turn:
    """Move the execution to the history; once more only if that tells more than what is there already."""
    settled = Settled(outcome, execution.queued_at)
    is_known = not service_accepted and execution.queued_at and state.settled.get(execution.id) == settled
    settle = Settle(
        execution.id, execution.operation, outcome, execution.claimed_at, service_accepted, execution.queued_at
    )
    state = drop(replace(state, settled=remember(state.settled, execution.id, settled)), execution.id, now)
    return state, [*([] if is_known else [settle]), ForgetAttempts(execution.id)]


def remember(settled: Mapping[ExecutionId, Settled], new: ExecutionId, outcome: Settled) -> dict[ExecutionId, Settled]:
    """Return the recent outcomes with one added, and the oldest ones beyond SETTLED_KEPT dropped."""
    kept = {**{k: v for k, v in settled.items() if k != new}, new: outcome}
    return dict(list(kept.items())[-SETTLED_KEPT:])
