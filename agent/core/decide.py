"""Every rule of the product, found from here: `decide(state, event, now) -> (state, effects)`, pure and total.

Theory of operation. An event changes where one execution stands (its phase) or what a namespace shows (its queue).
Then, whatever the event was, the same pump runs: requests whose time has come are sent, reports first; lists are
fetched; free slots are filled with pending executions. Last, what changed durably is put in front as journal effects,
so that nothing is done before it is written: no rule can forget to.

    phase      | event               | next phase | effects besides the journal's
    -----------|---------------------|------------|--------------------------------------------------------------
    (pending)  | a slot is free      | Judging    | Describe
    Judging    | QUEUED, plan        | Claiming   | Update IN_PROGRESS, expectedVersion, agent id, step timer
    Judging    | QUEUED, refusal     | Reporting  | Update REJECTED, expectedVersion
    Judging    | IN_PROGRESS, not us | -          | left alone while listed
    Judging    | IN_PROGRESS, us     | Reporting  | the known outcome again, or FAILED journal-lost
    Judging    | over                | -          | Fetch
    Claiming   | accepted            | Preparing  | Describe (a fresh document)
    Claiming   | silence, mismatch   | Claiming   | Describe; ours: start; QUEUED: judge and claim again
    Claiming   | over                | -          | Fetch
    Preparing  | IN_PROGRESS, plan   | Running    | StartAttempt
    Preparing  | IN_PROGRESS, refusal| Reporting  | Update REJECTED (nothing ran yet) or FAILED
    Preparing  | over                | -          | Settle, ForgetAttempts, Fetch
    Running    | progress            | Running    | Update IN_PROGRESS, at most one an interval
    Running    | step ended well     | Preparing  | Describe (more steps to come)
    Running    | last step, failure  | Reporting  | Update SUCCEEDED or FAILED
    Running    | not listed any more | Running    | Describe (probe)
    Running    | over                | Stopping   | StopAttempt
    Running    | never started       | Preparing  | Describe (after an agent restart)
    Stopping   | ended               | -          | Settle, ForgetAttempts, Fetch; nothing is reported
    Reporting  | accepted, over      | -          | Settle, ForgetAttempts, Fetch
    Reporting  | silence, throttled  | Reporting  | Update again after a back-off, and at once after a connect
    Reporting  | InvalidRequest      | Reporting  | Update with the bare status; refused again: hourly, slot freed

"Over" is a terminal status, ResourceNotFound, TerminalStateReached or InvalidStateTransition. An answer whose ticket
nobody waits for, and an event of an execution that is not tracked, change nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import assert_never

from agent.core import calls, claiming, queues, running, settling
from agent.core.effects import JOURNAL, Effect, Forget, Save, Settle, StopAttempt
from agent.core.events import (
    Answer,
    AttemptEnded,
    AttemptEvent,
    AttemptNeverStarted,
    AttemptProgressed,
    AttemptStarted,
    Connected,
    Described,
    DescribeFailed,
    Disconnected,
    Event,
    FetchFailed,
    JournalOpened,
    Listed,
    Notified,
    Tick,
    UpdateAccepted,
    UpdateFailed,
)
from agent.core.state import Claiming, Execution, Judging, Preparing, Reporting, Running, State, Stopping

Turn = tuple[State, list[Effect]]


def decide(state: State, event: Event, now: float) -> tuple[State, tuple[Effect, ...]]:
    """Return what is known after `event` and what is to be done about it. `now` is monotonic seconds."""
    after, effects = _answered(state, event, now)
    before = after if isinstance(event, JournalOpened) else state
    after, more = _pumped(after, now)
    acts = [*effects, *more]
    journal = [e for e in acts if isinstance(e, JOURNAL)]
    return after, (*journal, *_journalled(before, after, journal), *(e for e in acts if not isinstance(e, JOURNAL)))


def next_deadline(state: State, now: float) -> float | None:
    """Return when a `Tick` is needed next (monotonic seconds), or None. What is due already waits for an event."""
    if not state.is_connected:
        return None
    times = [queue.fetch_at for queue in state.queues.values() if queue.fetch_at is not None and not queue.ticket]
    for execution in state.executions.values():
        times += calls.deadlines(execution.phase)
    return min((t for t in times if t > now), default=None)


def is_idle(state: State) -> bool:
    """Tell whether everything the service showed us is settled, belongs to others, or cannot be reported for now."""
    settled = [queue.is_known and not queue.ticket and not queue.doubts for queue in state.queues.values()]
    is_free = not any(execution.holds_a_slot for execution in state.executions.values())
    return state.is_connected and is_free and all(settled) and len(settled) > 0


def _pumped(state: State, now: float) -> Turn:
    """Do whatever can be done now."""
    if not (state.is_connected and state.is_journal_usable):
        return state, []
    state = queues.taken_on(state)
    state, requests = calls.due_requests(state, now)
    state, fetches = queues.due_fetches(state, now)
    return state, [*requests, *fetches]


def _journalled(before: State, after: State, already: Sequence[Effect]) -> list[Effect]:
    """Return the journal effects that bring the journal from `before` to `after`, less those that a rule gave."""
    settled = {e.execution for e in already if isinstance(e, Settle)}
    kept = {k: d for k, e in before.executions.items() if (d := e.durable) is not None}
    wanted = {k: d for k, e in after.executions.items() if (d := e.durable) is not None}
    saves: list[Effect] = [Save(d) for k, d in wanted.items() if kept.get(k) != d]
    return [*saves, *(Forget(k) for k in kept if k not in wanted and k not in settled)]


def _stopped_again(executions: Iterable[Execution]) -> list[Effect]:
    """After an agent restart: ask once more for every stop whose end was not seen."""
    return [StopAttempt(e.attempt) for e in executions if isinstance(e.phase, Stopping) and e.attempt is not None]


def _answered(state: State, event: Event, now: float) -> Turn:
    match event:
        case JournalOpened(executions, settled):
            known = {e.id: e for e in executions}
            return replace(state, is_journal_usable=True, executions=known, settled=settled), _stopped_again(executions)
        case Connected():
            return calls.due_again(queues.on_connected(state)), []
        case Disconnected():
            return replace(state, is_connected=False), []
        case Notified():
            return queues.on_notified(state, event, now), []
        case Listed():
            return queues.on_listed(state, event, now), []
        case FetchFailed():
            return queues.on_fetch_failed(state, event, now), []
        case Tick():
            return state, []
        case AttemptStarted() | AttemptNeverStarted() | AttemptProgressed() | AttemptEnded():
            return _on_attempt(state, event, now)
        case Described() | DescribeFailed() | UpdateAccepted() | UpdateFailed():
            return _on_awaited_answer(state, event, now)
    assert_never(event)


def _on_awaited_answer(state: State, event: Answer, now: float) -> Turn:
    execution = state.executions.get(event.execution)
    if execution is None or not calls.is_awaited(execution.phase, event.ticket):
        return state, []
    execution = calls.answered(execution, event.ticket)
    return _on_answer(state.with_execution(execution), execution, event, now)


def _on_attempt(state: State, event: AttemptEvent, now: float) -> Turn:
    execution = state.executions.get(event.attempt.execution)
    if execution is None or execution.attempt != event.attempt:
        return state, []
    match execution.phase, event:
        case Running() as phase, AttemptStarted():
            return running.on_started(state, execution, phase, now)
        case Running() as phase, AttemptProgressed():
            return running.on_progressed(state, execution, phase, event, now)
        case Running() as phase, AttemptEnded():
            return running.on_ended(state, execution, phase, event)
        case Stopping() as phase, AttemptEnded():
            return running.on_stopped(state, execution, phase, now)
        case (Running() | Stopping()) as phase, AttemptNeverStarted():
            return running.on_never_started(state, execution, phase, now)
        case _:
            return state, []


def _on_answer(state: State, execution: Execution, event: Answer, now: float) -> Turn:
    match event:
        case Described():
            return _on_described(state, execution, event, now)
        case DescribeFailed():
            return _on_describe_failed(state, execution, event, now)
        case UpdateAccepted():
            return _on_update_accepted(state, execution, now)
        case UpdateFailed():
            return _on_update_failed(state, execution, event, now)
    assert_never(event)


def _on_described(state: State, execution: Execution, event: Described, now: float) -> Turn:
    match execution.phase:
        case Judging():
            return claiming.on_described_while_judging(state, execution, event, now)
        case Claiming() as phase:
            return claiming.on_described_while_claiming(state, execution, phase, event, now)
        case Preparing() as phase:
            return claiming.on_described_while_preparing(state, execution, phase, event, now)
        case Running() as phase:
            return running.on_probed(state, execution, phase, event)
        case _:
            return state, []


def _on_describe_failed(state: State, execution: Execution, event: DescribeFailed, now: float) -> Turn:
    match execution.phase:
        case (Judging() | Claiming() | Preparing()) as phase:
            return claiming.on_describe_failed(state, execution, phase, event, now)
        case Running() as phase:
            return running.on_probe_failed(state, execution, phase, event, now)
        case _:
            return state, []


def _on_update_accepted(state: State, execution: Execution, now: float) -> Turn:
    match execution.phase:
        case Claiming() as phase:
            return claiming.on_claimed(state, execution, phase)
        case Reporting() as phase:
            return settling.on_report_accepted(state, execution, phase, now)
        case _:
            return state, []


def _on_update_failed(state: State, execution: Execution, event: UpdateFailed, now: float) -> Turn:
    match execution.phase:
        case Claiming() as phase:
            return claiming.on_claim_failed(state, execution, phase, event, now)
        case Running() as phase:
            return running.on_progress_failed(state, execution, phase, event, now)
        case Reporting() as phase:
            return settling.on_report_failed(state, execution, phase, event, now)
        case _:
            return state, []
