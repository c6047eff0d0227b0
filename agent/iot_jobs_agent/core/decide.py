"""Where every rule of the product starts: `decide(state, event, now) -> (state, effects)`, a pure and total function.

Theory of operation. An event usually changes the phase of one execution, or the queue of one namespace. Then, whatever
the event was, the same pump runs: it resumes delayed executions, fills free slots with pending executions, sends the
requests that are due (reports first), and fetches the lists that are due. `core.slots` decides which executions may run
beside each other. Last, a journal effect for every durable change is put in front of the other effects, so that nothing
is done before it is written down, and no rule can forget to write it down.

    phase      | event               | next phase | effects besides the journal's
    -----------|---------------------|------------|--------------------------------------------------------------
    (pending)  | a slot is free      | Judging    | Describe
    Judging    | QUEUED, plan        | Claiming   | Update IN_PROGRESS, expectedVersion, agent id, step timer
    Judging    | QUEUED, refusal     | Reporting  | Update REJECTED, expectedVersion
    Judging    | QUEUED, ended before| Reporting  | the known outcome again, after a claim; see `Execution.queued_at`
    Judging    | IN_PROGRESS, not us | -          | left alone while listed; said if it is a copy of us
    Judging    | IN_PROGRESS, us     | Reporting  | the known outcome again, or FAILED journal-lost
    Judging    | closed              | -          | Fetch
    Claiming   | accepted            | Preparing  | Describe (a fresh document)
    Claiming   | silence, mismatch   | Claiming   | Describe; QUEUED: judged and claimed again
    Claiming   | IN_PROGRESS, ours   | Running    | StartAttempt, Update IN_PROGRESS
    Claiming   | ours, but settled   | Reporting  | Describe, five times; then Update FAILED journal-lost
    Claiming   | closed, not ours    | -          | Fetch
    Preparing  | IN_PROGRESS, plan   | Running    | StartAttempt
    Preparing  | IN_PROGRESS, refusal| Reporting  | Update REJECTED (nothing ran yet) or FAILED
    Preparing  | QUEUED, nothing ran | Claiming   | Describe: the claim is in doubt
    Preparing  | closed              | -          | Settle, ForgetAttempts, Fetch
    Running    | progress            | Running    | Update IN_PROGRESS, at most one per interval
    Running    | step ended well     | Preparing  | Describe (more steps to come)
    Running    | "retry"             | Delayed    | Update IN_PROGRESS; the slot is free
    Running    | "reboot"            | Rebooting  | Update IN_PROGRESS; Reboot once nothing runs
    Running    | interrupted         | Preparing  | Describe; on_interrupt "rerun" or "resume", twice at most
    Running    | last step, failure  | Reporting  | Update SUCCEEDED or FAILED
    Running    | no longer listed    | Running    | Describe (probe)
    Running    | a new connection    | Running    | Describe (probe); QUEUED later than ours: closed, it is another one
    Running    | closed somehow      | Running    | Update: its refusal says how
    Running    | closed              | Stopping   | StopAttempt
    Running    | never started       | Preparing  | Describe (after a restart, or once the device can start handlers)
    Running    | first, never started| Claiming   | Describe (after a restart of the agent)
    Delayed    | its time, a slot    | Preparing  | Describe
    Rebooting  | another boot        | Preparing  | Describe
    Rebooting  | refused, no reboot  | Reporting  | Update FAILED reboot-failed
    either     | closed              | -          | Settle, ForgetAttempts, Fetch
    Stopping   | ended               | -          | Settle, ForgetAttempts, Fetch; nothing is reported
    Reporting  | accepted, closed    | -          | Settle, ForgetAttempts, Fetch
    Reporting  | silence, throttled  | Reporting  | Update again after a back-off
    Reporting  | a new connection    | Reporting  | Describe, then Update; QUEUED later than ours: closed, unreported
    Reporting  | refused otherwise   | Reporting  | Update again after a back-off; five times: the slot is freed
    Reporting  | InvalidRequest      | Reporting  | Update with the bare status; refused again: hourly, slot freed

"Closed" is a terminal status, ResourceNotFound, TerminalStateReached or InvalidStateTransition. An answer to a request
that no phase waits for changes nothing, and neither does an event about an execution that the state does not track.
"""

from collections.abc import Iterable, Sequence
from typing import assert_never

from iot_jobs_agent.core import backoff, claiming, continuing, progress, queues, requests, running, settling, slots
from iot_jobs_agent.core.effects import JOURNAL, Effect, Forget, Save, Settle, StopAttempt, Turn
from iot_jobs_agent.core.events import (
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
    Paused,
    RebootFailed,
    Tick,
    UpdateAccepted,
    UpdateFailed,
)
from iot_jobs_agent.core.job import ExecutionId
from iot_jobs_agent.core.state import (
    Answerable,
    Claiming,
    Delayed,
    Execution,
    Judging,
    Preparing,
    Rebooting,
    Reporting,
    Running,
    State,
    Stopping,
)
from iot_jobs_agent.core.value import replace


def decide(state: State, event: Event, now: float) -> tuple[State, tuple[Effect, ...]]:
    """Return the state after `event`, and the effects to perform in order. `now` is in monotonic seconds."""
    after, effects = _apply(state, event, now)
    before = after if isinstance(event, JournalOpened) else state
    after, more = _pump(after, now)
    acts = [*effects, *more]
    journal = [e for e in acts if isinstance(e, JOURNAL)]
    return after, (
        *journal,
        *_journal_effects(before, after, journal),
        *(e for e in acts if not isinstance(e, JOURNAL)),
    )


def next_deadline(state: State, now: float) -> float | None:
    """Return when the next `Tick` is needed (monotonic seconds), or None. Work already due waits for another event."""
    times = [*continuing.deadlines(state), state.device_fault_until]
    if state.is_connected:
        times += [queue.fetch_at for queue in state.queues.values() if queue.fetch_at is not None and not queue.ticket]
        for execution in state.executions.values():
            times += requests.deadlines(state, execution)
        times += [backoff.of(state, listed).until for listed in untaken(state)]
    return min((t for t in times if t > now), default=None)


def is_idle(state: State) -> bool:
    """Return whether every execution the service has shown us is settled, left alone, or refused again and again."""
    settled = [q.is_known and not (q.ticket or q.failures or q.doubts) for q in state.queues.values()]
    is_free = not any(e.holds_a_slot or isinstance(e.phase, Delayed) for e in state.executions.values())
    is_tried_again = any(backoff.of(state, each).failures == 1 for each in untaken(state))
    return state.is_connected and is_free and not is_tried_again and all(settled) and len(settled) > 0


def may_start_soon(state: State, execution: ExecutionId) -> bool:
    """Return whether an attempt will follow if the service's next answer about the execution is as we hope."""
    known = state.executions.get(execution)
    return known is not None and isinstance(known.phase, Judging | Preparing)


def untaken(state: State) -> list[ExecutionId]:
    """Return the pending executions neither under way nor left alone. An idle agent has some if paused, or refused."""
    listed = [execution for queue in state.queues.values() for execution in queue.pending]
    return [execution for execution in listed if execution not in state.executions and execution not in state.foreign]


def _pump(state: State, now: float) -> Turn:
    """Start everything that can be started now."""
    if not state.is_journal_usable:
        return state, []
    state = slots.forget_fault(state, now)
    state, effects = continuing.resume_due(state, now)
    if state.is_connected:
        state = queues.fill_slots(state, now)
        state, due = requests.due_requests(state, now)
        state, fetches = queues.due_fetches(state, now)
        effects += [*due, *fetches]
    state, reboots = continuing.order_reboot(state, now)
    return state, [*effects, *reboots]


def _journal_effects(before: State, after: State, already: Sequence[Effect]) -> list[Effect]:
    """Return the journal effects that lead from `before` to `after`, except those that a rule has already returned."""
    if before.executions is after.executions:
        return []
    settled = {e.execution for e in already if isinstance(e, Settle)}
    old = {k: e for k, e in before.executions.items() if after.executions.get(k) is not e}
    new = {k: e for k, e in after.executions.items() if before.executions.get(k) is not e}
    kept = {k: d for k, e in old.items() if (d := e.durable) is not None}
    wanted = {k: d for k, e in new.items() if (d := e.durable) is not None}
    saves: list[Effect] = [Save(d) for k, d in wanted.items() if kept.get(k) != d]
    return [*saves, *(Forget(k) for k in kept if k not in wanted and k not in settled)]


def _stops_to_repeat(executions: Iterable[Execution]) -> list[Effect]:
    """Return, after a restart of the agent, the stops that were under way: nobody saw whether they finished."""
    return [StopAttempt(e.attempt) for e in executions if isinstance(e.phase, Stopping) and e.attempt is not None]


def _apply(state: State, event: Event, now: float) -> Turn:
    match event:
        case Notified() | Listed() | FetchFailed():
            return _apply_list(state, event, now), []
        case AttemptStarted() | AttemptNeverStarted() | AttemptProgressed() | AttemptEnded():
            return _on_attempt(state, event, now)
        case Described() | DescribeFailed() | UpdateAccepted() | UpdateFailed():
            return _on_awaited_answer(state, event, now)
        case JournalOpened(claimant, executions, settled):
            known = {e.id: continuing.recover(e, state.settings.boot_id, now) for e in executions}
            opened = replace(state, is_journal_usable=True, claimant=claimant, executions=known, settled=settled)
            return requests.make_due(opened), _stops_to_repeat(executions)
        case RebootFailed():
            return continuing.on_reboot_failed(state, event)
        case _:
            return _apply_change(state, event), []


def _apply_list(state: State, event: Notified | Listed | FetchFailed, now: float) -> State:
    match event:
        case Notified():
            return queues.on_notified(state, event, now)
        case Listed():
            return queues.on_listed(state, event, now)
        case FetchFailed():
            return queues.on_fetch_failed(state, event, now)
    assert_never(event)


def _apply_change(state: State, event: Connected | Disconnected | Paused | Tick) -> State:
    match event:
        case Connected():
            return requests.make_due(queues.on_connected(state))
        case Disconnected():
            return replace(state, is_connected=False)
        case Paused(is_paused):
            return replace(state, is_paused=is_paused)
        case Tick():
            return state
    assert_never(event)


def _on_awaited_answer(state: State, event: Answer, now: float) -> Turn:
    execution = state.executions.get(event.execution)
    if execution is None or isinstance(execution.phase, Stopping):
        return state, []
    if not requests.is_awaited(execution.phase, event.ticket):
        return state, []
    phase = requests.without_request(execution.phase, event.ticket)
    return _on_answer(state.with_phase(execution, phase), replace(execution, phase=phase), phase, event, now)


def _on_attempt(state: State, event: AttemptEvent, now: float) -> Turn:
    execution = state.executions.get(event.attempt.execution)
    if execution is None or execution.attempt != event.attempt:
        return state, []
    if not isinstance(event, AttemptProgressed):
        state = backoff.end(state, execution.id)
    match execution.phase, event:
        case Running() as phase, AttemptStarted():
            return running.on_started(state, execution, phase, now)
        case Running() as phase, AttemptProgressed():
            return running.on_progressed(state, execution, phase, event, now)
        case Running() as phase, AttemptEnded():
            return running.on_ended(state, execution, phase, event, now)
        case Stopping() as phase, AttemptEnded():
            return running.on_stopped(state, execution, phase, now)
        case (Running() | Stopping()) as phase, AttemptNeverStarted():
            return running.on_never_started(state, execution, phase, event, now)
        case _:
            return state, []


def _on_answer(state: State, execution: Execution, phase: Answerable, event: Answer, now: float) -> Turn:
    match event:
        case Described():
            return _on_described(state, execution, phase, event, now)
        case DescribeFailed():
            return _on_describe_failed(state, execution, phase, event, now)
        case UpdateAccepted():
            return _on_update_accepted(state, execution, phase, now)
        case UpdateFailed():
            return _on_update_failed(state, execution, phase, event, now)
    assert_never(event)


def _on_described(state: State, execution: Execution, phase: Answerable, event: Described, now: float) -> Turn:
    if execution.follows(event.queued_at) and not backoff.is_insistent(state, execution.id):  # an outdated answer
        outdated = DescribeFailed(event.execution, event.ticket, backoff.CONTRADICTED, event.jitter)
        return _on_describe_failed(state, execution, phase, outdated, now)
    match phase:
        case Judging():
            return claiming.on_described_while_judging(state, execution, event, now)
        case Claiming():
            return claiming.on_described_while_claiming(state, execution, phase, event, now)
        case Preparing():
            return claiming.on_described_while_preparing(state, execution, phase, event, now)
        case Running() | Delayed() | Rebooting():
            return progress.on_probed(state, execution, phase, event, now)
        case Reporting():
            return settling.on_described_while_reporting(state, execution, phase, event, now)
    assert_never(phase)


def _on_describe_failed(
    state: State, execution: Execution, phase: Answerable, event: DescribeFailed, now: float
) -> Turn:
    match phase:
        case Judging() | Claiming() | Preparing():
            return claiming.on_describe_failed(state, execution, phase, event, now)
        case Running() | Delayed() | Rebooting():
            return progress.on_probe_failed(state, execution, phase, event, now)
        case Reporting():
            return settling.on_describe_failed_while_reporting(state, execution, phase, event, now)
    assert_never(phase)


def _on_update_accepted(state: State, execution: Execution, phase: Answerable, now: float) -> Turn:
    match phase:
        case Claiming():
            return claiming.on_claimed(state, execution, phase)
        case Running() | Delayed() | Rebooting():
            return progress.on_update_accepted(state, execution, phase)
        case Reporting():
            return settling.on_report_accepted(state, execution, phase, now)
        case _:
            return state, []


def _on_update_failed(state: State, execution: Execution, phase: Answerable, event: UpdateFailed, now: float) -> Turn:
    match phase:
        case Claiming():
            return claiming.on_claim_failed(state, execution, phase, event, now)
        case Running() | Delayed() | Rebooting():
            return progress.on_update_failed(state, execution, phase, event, now)
        case Reporting():
            return settling.on_report_failed(state, execution, phase, event, now)
        case _:
            return state, []
