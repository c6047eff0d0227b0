"""Every rule of the product, found from here: `decide(state, event, now) -> (state, effects)`, pure and total.

Theory of operation. An event changes where one execution stands (its phase) or what a namespace shows (its queue).
Then, whatever the event was, the same pump runs: what waited goes on; free slots are filled with pending executions;
requests whose time has come are sent, reports first; lists are fetched. Who may start what beside whom is in
`core.slots`. Last, what changed durably is put in front as journal effects,
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
    Claiming   | ours, but settled   | Claiming   | Describe, five times; then Reporting: FAILED journal-lost
    Claiming   | over                | -          | Fetch
    Preparing  | IN_PROGRESS, plan   | Running    | StartAttempt
    Preparing  | IN_PROGRESS, refusal| Reporting  | Update REJECTED (nothing ran yet) or FAILED
    Preparing  | over                | -          | Settle, ForgetAttempts, Fetch
    Running    | progress            | Running    | Update IN_PROGRESS, at most one an interval
    Running    | step ended well     | Preparing  | Describe (more steps to come)
    Running    | "retry"             | Waiting    | Update IN_PROGRESS; the slot is free
    Running    | "reboot"            | Rebooting  | Update IN_PROGRESS; Reboot once nothing runs
    Running    | cut short           | Preparing  | Describe; on_interrupt "rerun" or "resume", twice at most
    Running    | last step, failure  | Reporting  | Update SUCCEEDED or FAILED
    Running    | not listed any more | Running    | Describe (probe)
    Running    | a new connection    | Running    | Describe (probe); QUEUED, six times: over, another one is there
    Running    | over                | Stopping   | StopAttempt
    Running    | never started       | Preparing  | Describe (after an agent restart)
    Waiting    | its time, a slot    | Preparing  | Describe
    Rebooting  | another boot        | Preparing  | Describe
    Rebooting  | refused, no reboot  | Reporting  | Update FAILED reboot-failed
    either     | over                | -          | Settle, ForgetAttempts, Fetch
    Stopping   | ended               | -          | Settle, ForgetAttempts, Fetch; nothing is reported
    Reporting  | accepted, over      | -          | Settle, ForgetAttempts, Fetch
    Reporting  | silence, throttled  | Reporting  | Update again after a back-off
    Reporting  | a new connection    | Reporting  | Describe, then Update; QUEUED, six times: it is over, unreported
    Reporting  | InvalidRequest      | Reporting  | Update with the bare status; refused again: hourly, slot freed

"Over" is a terminal status, ResourceNotFound, TerminalStateReached or InvalidStateTransition. An answer whose ticket
nobody waits for, and an event of an execution that is not tracked, change nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import assert_never

from iot_jobs_agent.core import calls, claiming, queues, running, settling, talking, waiting
from iot_jobs_agent.core.effects import JOURNAL, Effect, Forget, Save, Settle, StopAttempt
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
    Awaiting,
    Claiming,
    Execution,
    Judging,
    Preparing,
    Rebooting,
    Reporting,
    Running,
    State,
    Stopping,
    Waiting,
)

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
    times = waiting.deadlines(state)
    if state.is_connected:
        times += [queue.fetch_at for queue in state.queues.values() if queue.fetch_at is not None and not queue.ticket]
        for execution in state.executions.values():
            times += calls.deadlines(execution.phase)
    return min((t for t in times if t > now), default=None)


def is_idle(state: State) -> bool:
    """Tell whether everything the service showed us is settled, belongs to others, or cannot be reported for now."""
    settled = [q.is_known and not (q.ticket or q.failures or q.doubts or q.misses) for q in state.queues.values()]
    is_free = not any(e.holds_a_slot or isinstance(e.phase, Waiting) for e in state.executions.values())
    return state.is_connected and is_free and all(settled) and len(settled) > 0


def untaken(state: State) -> list[ExecutionId]:
    """Return what is pending and neither under way nor left to others. In an idle agent that is for a pause alone."""
    named = [execution for queue in state.queues.values() for execution in queue.pending]
    return [execution for execution in named if execution not in state.executions and execution not in state.foreign]


def _pumped(state: State, now: float) -> Turn:
    """Do whatever can be done now."""
    if not state.is_journal_usable:
        return state, []
    state, effects = waiting.taken_up(state, now)
    if state.is_connected:
        state = queues.taken_on(state, now)
        state, requests = calls.due_requests(state, now)
        state, fetches = queues.due_fetches(state, now)
        effects += [*requests, *fetches]
    state, reboots = waiting.asked_for_reboot(state, now)
    return state, [*effects, *reboots]


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
        case Notified() | Listed() | FetchFailed():
            return _shown(state, event, now), []
        case AttemptStarted() | AttemptNeverStarted() | AttemptProgressed() | AttemptEnded():
            return _on_attempt(state, event, now)
        case Described() | DescribeFailed() | UpdateAccepted() | UpdateFailed():
            return _on_awaited_answer(state, event, now)
        case JournalOpened(agent_id, executions, settled):
            known = {e.id: waiting.recovered(e, state.settings.boot_id, now) for e in executions}
            opened = replace(state, is_journal_usable=True, agent_id=agent_id, executions=known, settled=settled)
            return calls.due_again(opened), _stopped_again(executions)
        case RebootFailed():
            return waiting.on_reboot_failed(state, event)
        case _:
            return _changed(state, event), []


def _shown(state: State, event: Notified | Listed | FetchFailed, now: float) -> State:
    match event:
        case Notified():
            return queues.on_notified(state, event, now)
        case Listed():
            return queues.on_listed(state, event, now)
        case FetchFailed():
            return queues.on_fetch_failed(state, event, now)
    assert_never(event)


def _changed(state: State, event: Connected | Disconnected | Paused | Tick) -> State:
    match event:
        case Connected():
            return calls.due_again(queues.on_connected(state))
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
    if not calls.is_awaited(execution.phase, event.ticket):
        return state, []
    phase = calls.answered(execution.phase, event.ticket)
    return _on_answer(state.with_phase(execution, phase), replace(execution, phase=phase), phase, event, now)


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
            return running.on_ended(state, execution, phase, event, now)
        case Stopping() as phase, AttemptEnded():
            return running.on_stopped(state, execution, phase, now)
        case (Running() | Stopping()) as phase, AttemptNeverStarted():
            return running.on_never_started(state, execution, phase, now)
        case _:
            return state, []


def _on_answer(state: State, execution: Execution, phase: Awaiting, event: Answer, now: float) -> Turn:
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


def _on_described(state: State, execution: Execution, phase: Awaiting, event: Described, now: float) -> Turn:
    match phase:
        case Judging():
            return claiming.on_described_while_judging(state, execution, event, now)
        case Claiming():
            return claiming.on_described_while_claiming(state, execution, phase, event, now)
        case Preparing():
            return claiming.on_described_while_preparing(state, execution, phase, event, now)
        case Running() | Waiting() | Rebooting():
            return talking.on_probed(state, execution, phase, event, now)
        case Reporting():
            return settling.on_described_while_reporting(state, execution, phase, event, now)
    assert_never(phase)


def _on_describe_failed(state: State, execution: Execution, phase: Awaiting, event: DescribeFailed, now: float) -> Turn:
    match phase:
        case Judging() | Claiming() | Preparing():
            return claiming.on_describe_failed(state, execution, phase, event, now)
        case Running() | Waiting() | Rebooting():
            return talking.on_probe_failed(state, execution, phase, event, now)
        case Reporting():
            return settling.on_describe_failed_while_reporting(state, execution, phase, event, now)
    assert_never(phase)


def _on_update_accepted(state: State, execution: Execution, phase: Awaiting, now: float) -> Turn:
    match phase:
        case Claiming():
            return claiming.on_claimed(state, execution, phase)
        case Running() | Waiting() | Rebooting():
            return talking.on_update_accepted(state, execution, phase)
        case Reporting():
            return settling.on_report_accepted(state, execution, phase, now)
        case _:
            return state, []


def _on_update_failed(state: State, execution: Execution, phase: Awaiting, event: UpdateFailed, now: float) -> Turn:
    match phase:
        case Claiming():
            return claiming.on_claim_failed(state, execution, phase, event, now)
        case Running() | Waiting() | Rebooting():
            return talking.on_update_failed(state, execution, phase, event, now)
        case Reporting():
            return settling.on_report_failed(state, execution, phase, event, now)
        case _:
            return state, []
