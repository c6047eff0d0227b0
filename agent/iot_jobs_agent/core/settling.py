"""Rules for the end: journal the outcome, report it until the service has it or closes the execution, then settle."""

from collections.abc import Mapping
from dataclasses import replace

from iot_jobs_agent.core import backoff
from iot_jobs_agent.core.effects import ForgetAttempts, Note, Settle, Turn
from iot_jobs_agent.core.events import Described, DescribeFailed, UpdateFailed
from iot_jobs_agent.core.job import ExecutionId, ExecutionStatus, Outcome, StatusDetails
from iot_jobs_agent.core.queues import drop
from iot_jobs_agent.core.state import SETTLED_KEPT, Execution, Judging, Reporting, Request, State, Underway

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


def close(state: State, execution: Execution, outcome: Outcome, now: float) -> Turn:
    """Settle an execution that the service ended: report nothing more, and put what we know into the history."""
    return _settle(state, execution, outcome, now, service_accepted=False)


def on_described_while_reporting(
    state: State, execution: Execution, phase: Reporting, event: Described, now: float
) -> Turn:
    """Let the report go out if the service still has the execution that we claimed; otherwise close it."""
    if event.status is phase.outcome.status:  # it already has our report; only the answer was lost
        return _settle(state, execution, phase.outcome, now, service_accepted=True)
    if event.status.is_terminal:
        return close(state, execution, Outcome(event.status, "the service ended it first"), now)
    if event.status is ExecutionStatus.QUEUED:  # older than our claim, or another execution under the same id
        request = backoff.retry_later(phase.request, now, event.jitter)
        if request.failures > backoff.STALE_ANSWERS:
            return close(state, execution, Outcome(ExecutionStatus.REMOVED, backoff.QUEUED_AGAIN), now)
        return state.with_phase(execution, replace(phase, request=request)), []
    if event.status is ExecutionStatus.IN_PROGRESS and event.agent_id not in {"", state.agent_id}:
        return close(state, execution, Outcome(ExecutionStatus.REMOVED, "another agent took it over"), now)
    return state.with_phase(execution, replace(phase, asks_first=False, request=Request())), []


def on_describe_failed_while_reporting(
    state: State, execution: Execution, phase: Reporting, event: DescribeFailed, now: float
) -> Turn:
    """Close an execution that is gone. If it was ended, or cannot be described, report: that answer tells us more.

    Otherwise ask again later.
    """
    if event.code == "ResourceNotFound":
        return close(state, execution, Outcome(ExecutionStatus.REMOVED, GONE), now)
    if event.code in backoff.CLOSED | backoff.HOPELESS:
        return state.with_phase(execution, replace(phase, asks_first=False, request=Request())), []
    request = backoff.retry_later(phase.request, now, event.jitter, event.code)
    return state.with_phase(execution, replace(phase, request=request)), []


def on_report_accepted(state: State, execution: Execution, phase: Reporting, now: float) -> Turn:
    """Settle the execution: the service has the outcome."""
    return _settle(state, execution, phase.outcome, now, service_accepted=True)


def on_report_failed(state: State, execution: Execution, phase: Reporting, event: UpdateFailed, now: float) -> Turn:
    """Report the outcome again, report it in another form, or accept that the service has the last word."""
    outcome = phase.outcome
    if event.current is not None and event.current == outcome.status:
        return _settle(state, execution, outcome, now, service_accepted=True)
    if event.code == "VersionMismatch" and phase.version:
        return state.with_phase(execution, Judging()), []
    if event.code == "InvalidStateTransition" and _may_fail_instead(outcome, event):
        failed = replace(outcome, status=ExecutionStatus.FAILED)
        return state.with_phase(execution, Reporting(failed, phase.details)), []
    if event.code in backoff.CLOSED:
        return _settle(state, execution, _known_outcome(outcome, event), now, service_accepted=False)
    if event.code == "InvalidRequest" and not phase.omits_details:
        return state.with_phase(
            execution, replace(phase, omits_details=True, request=replace(phase.request, ticket=0))
        ), []
    if event.code in backoff.HOPELESS:
        request = replace(
            phase.request, ticket=0, failures=phase.request.failures + 1, retry_at=now + backoff.HOPELESS_S
        )
        note = Note(execution.id, "outcome cannot be reported", event.code, is_problem=True)
        return state.with_phase(execution, replace(phase, is_unreportable=True, request=request)), [note]
    request = backoff.retry_later(phase.request, now, event.jitter, event.code)
    return state.with_phase(execution, replace(phase, request=request)), []


def _known_outcome(outcome: Outcome, event: UpdateFailed) -> Outcome:
    """Return how the execution ended. If the service does not say, assume that it took an earlier report of ours."""
    if event.current is not None:
        return Outcome(event.current, "the service ended it first")
    if event.code == "ResourceNotFound":
        return Outcome(ExecutionStatus.REMOVED, GONE)
    return outcome


def _may_fail_instead(outcome: Outcome, event: UpdateFailed) -> bool:
    """Return whether the service no longer accepts REJECTED but would accept FAILED."""
    return outcome.status is ExecutionStatus.REJECTED and event.current is ExecutionStatus.IN_PROGRESS


def _settle(state: State, execution: Execution, outcome: Outcome, now: float, *, service_accepted: bool) -> Turn:
    settle = Settle(execution.id, execution.operation, outcome, execution.claimed_at, service_accepted)
    state = drop(state, execution.id, now)
    state = replace(state, settled=remember(state.settled, execution.id, outcome))
    return state, [settle, ForgetAttempts(execution.id)]


def remember(settled: Mapping[ExecutionId, Outcome], new: ExecutionId, outcome: Outcome) -> dict[ExecutionId, Outcome]:
    """Return the recent outcomes with one added, and the oldest ones beyond SETTLED_KEPT dropped."""
    kept = {**{k: v for k, v in settled.items() if k != new}, new: outcome}
    return dict(list(kept.items())[-SETTLED_KEPT:])
