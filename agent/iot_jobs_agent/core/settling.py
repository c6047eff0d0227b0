"""Rules of the end: an outcome is journalled, sent until the service has it or calls it over, then settled."""

from collections.abc import Mapping
from dataclasses import replace

from iot_jobs_agent.core import backoff
from iot_jobs_agent.core.effects import Effect, ForgetAttempts, Note, Settle
from iot_jobs_agent.core.events import Described, DescribeFailed, UpdateFailed
from iot_jobs_agent.core.job import ExecutionId, ExecutionStatus, Outcome, StatusDetails
from iot_jobs_agent.core.queues import dropped
from iot_jobs_agent.core.state import Call, Execution, Judging, Reporting, State, Talking

Turn = tuple[State, list[Effect]]

REMEMBERED = 200
GONE = "the service does not have it any more"


def outcome_reached(
    state: State, execution: Execution, outcome: Outcome, details: StatusDetails | None = None, version: int = 0
) -> Turn:
    """Start reporting `outcome`. `version` guards a rejection straight from QUEUED, which is a claim as well."""
    asks_first = isinstance(execution.phase, Talking) and execution.phase.talk.probe is not None
    note = Note(
        execution.id, outcome.status.lower(), outcome.reason, is_problem=outcome.status == ExecutionStatus.FAILED
    )
    return state.with_phase(execution, Reporting(outcome, details or {}, version, asks_first=asks_first)), [note]


def over(state: State, execution: Execution, outcome: Outcome, now: float) -> Turn:
    """Close an execution that the service ended: nothing more is sent, what we know goes into the history."""
    return _settled(state, execution, outcome, now, was_accepted=False)


def on_described_while_reporting(
    state: State, execution: Execution, phase: Reporting, event: Described, now: float
) -> Turn:
    """We asked whether the execution is still the one that was claimed: if it is, the report may go out."""
    if event.status is phase.outcome.status:  # by a report of ours whose answer was lost
        return _settled(state, execution, phase.outcome, now, was_accepted=True)
    if event.status.is_terminal:
        return over(state, execution, Outcome(event.status, "the service ended it first"), now)
    if event.status is ExecutionStatus.QUEUED:  # older than our claim, or another one under its id
        call = backoff.again(phase.call, now, event.jitter)
        if call.failures > backoff.STALE_ANSWERS:
            return over(state, execution, Outcome(ExecutionStatus.REMOVED, backoff.QUEUED_AGAIN), now)
        return state.with_phase(execution, replace(phase, call=call)), []
    if event.status is ExecutionStatus.IN_PROGRESS and event.agent_id not in {"", state.agent_id}:
        return over(state, execution, Outcome(ExecutionStatus.REMOVED, "another agent took it over"), now)
    return state.with_phase(execution, replace(phase, asks_first=False, call=Call())), []


def on_describe_failed_while_reporting(
    state: State, execution: Execution, phase: Reporting, event: DescribeFailed, now: float
) -> Turn:
    """Let go of one that is gone. Where it is over some way, or cannot be asked about, the answer to the report tells.

    Otherwise ask again later.
    """
    if event.code == "ResourceNotFound":
        return over(state, execution, Outcome(ExecutionStatus.REMOVED, GONE), now)
    if event.code in backoff.OVER | backoff.HOPELESS:
        return state.with_phase(execution, replace(phase, asks_first=False, call=Call())), []
    call = backoff.again(phase.call, now, event.jitter, event.code)
    return state.with_phase(execution, replace(phase, call=call)), []


def on_report_accepted(state: State, execution: Execution, phase: Reporting, now: float) -> Turn:
    """The service has the outcome."""
    return _settled(state, execution, phase.outcome, now, was_accepted=True)


def on_report_failed(state: State, execution: Execution, phase: Reporting, event: UpdateFailed, now: float) -> Turn:
    """Send it again, send it otherwise, or accept that the service has the last word."""
    outcome = phase.outcome
    if event.current is not None and event.current == outcome.status:
        return _settled(state, execution, outcome, now, was_accepted=True)
    if event.code == "VersionMismatch" and phase.version:
        return state.with_phase(execution, Judging()), []
    if event.code == "InvalidStateTransition" and _may_fail_instead(outcome, event):
        failed = replace(outcome, status=ExecutionStatus.FAILED)
        return state.with_phase(execution, Reporting(failed, phase.details)), []
    if event.code in backoff.OVER:
        return _settled(state, execution, _ended(outcome, event), now, was_accepted=False)
    if event.code == "InvalidRequest" and not phase.is_bare:
        return state.with_phase(execution, replace(phase, is_bare=True, call=replace(phase.call, ticket=0))), []
    if event.code in backoff.HOPELESS:
        call = replace(phase.call, ticket=0, failures=phase.call.failures + 1, retry_at=now + backoff.HOPELESS_S)
        note = Note(execution.id, "outcome cannot be reported", event.code, is_problem=True)
        return state.with_phase(execution, replace(phase, is_unreportable=True, call=call)), [note]
    call = backoff.again(phase.call, now, event.jitter, event.code)
    return state.with_phase(execution, replace(phase, call=call)), []


def _ended(outcome: Outcome, event: UpdateFailed) -> Outcome:
    """Return how it ended; where the service does not say, perhaps by a report of ours whose answer was lost."""
    if event.current is not None:
        return Outcome(event.current, "the service ended it first")
    if event.code == "ResourceNotFound":
        return Outcome(ExecutionStatus.REMOVED, GONE)
    return outcome


def _may_fail_instead(outcome: Outcome, event: UpdateFailed) -> bool:
    """Tell whether the service takes no REJECTED from here, but would take FAILED."""
    return outcome.status is ExecutionStatus.REJECTED and event.current is ExecutionStatus.IN_PROGRESS


def _settled(state: State, execution: Execution, outcome: Outcome, now: float, *, was_accepted: bool) -> Turn:
    settle = Settle(execution.id, execution.operation, outcome, execution.claimed_at, was_accepted)
    state = dropped(state, execution.id, now)
    state = replace(state, settled=remembered(state.settled, execution.id, outcome))
    return state, [settle, ForgetAttempts(execution.id)]


def remembered(
    settled: Mapping[ExecutionId, Outcome], new: ExecutionId, outcome: Outcome
) -> dict[ExecutionId, Outcome]:
    """Return the outcomes of the recent past with one more, the oldest forgotten."""
    kept = {**{k: v for k, v in settled.items() if k != new}, new: outcome}
    return dict(list(kept.items())[-REMEMBERED:])
