"""Rules for the pending lists: when to fetch them, how far to trust a notification, which execution to take on next."""

from fnmatch import fnmatchcase

from iot_jobs_agent.core import backoff
from iot_jobs_agent.core.effects import Effect, Fetch
from iot_jobs_agent.core.events import FetchFailed, Listed, Notified
from iot_jobs_agent.core.job import ExecutionId
from iot_jobs_agent.core.slots import may_take_on
from iot_jobs_agent.core.state import (
    Delayed,
    Execution,
    Judging,
    Preparing,
    Queue,
    Rebooting,
    Reporting,
    Running,
    State,
    Updates,
)
from iot_jobs_agent.core.value import replace

DOUBTS = 5
PENDING_KEPT = 100  # a bound on memory; the service lists 15 at most


def on_connected(state: State) -> State:
    """Make a fetch of the whole list due now, in every namespace."""
    queues = {
        ns: replace(state.queues.get(ns, Queue()), ticket=0, fetch_at=0.0, is_complete=True, is_known=False, failures=0)
        for ns in state.settings.namespaces
    }
    return replace(state, is_connected=True, queues=queues)


def on_notified(state: State, event: Notified, now: float) -> State:
    """Take the hint: put the executions that it names in the queue, and probe ours that it no longer names."""
    state = _leave_unwanted(state, event.pending)
    queue = state.queues.get(event.namespace)
    if queue is None:
        return state
    if event.is_complete:
        pending = event.pending
        state = _probe_missing(state, event.namespace, pending)
        missing = [e for e in queue.pending if e not in pending and _is_unknown(state, e)]
        if missing:  # they ended, or this hint is stale: ask, but not before one of them could be asked about
            soonest = max(now, min(backoff.of(state, e).until for e in missing))
            if queue.fetch_at is not None:  # the wait after a refused request for the list is not cut short
                soonest = queue.fetch_at if queue.failures else min(soonest, queue.fetch_at)
            queue = replace(queue, fetch_at=soonest, is_complete=True)
    else:
        pending = (*event.pending, *(known for known in queue.pending if known not in event.pending))
    pending = pending[:PENDING_KEPT]
    doubts = DOUBTS if any(_is_news(state, e, now) for e in event.pending) else queue.doubts
    return state.with_queue(event.namespace, replace(queue, pending=pending, doubts=doubts))


def on_listed(state: State, event: Listed, now: float) -> State:
    """Believe the answer, and ask again at the next poll, or soon if a notification promised more."""
    queue = state.queues.get(event.namespace)
    if queue is None or queue.ticket != event.ticket:
        return state
    state = _leave_unwanted(state, event.pending)
    next_at = now + state.settings.poll_interval_s * (0.9 + event.jitter / 5)
    if event.is_complete:
        state = _probe_missing(state, event.namespace, event.pending)
        listed = frozenset(event.pending)
        foreign = frozenset(f for f in state.foreign if f.namespace != event.namespace or f in listed)
        state = replace(state, foreign=foreign)
    is_served = any(_is_news(state, e, now) for e in event.pending)
    is_blocked = not (event.is_complete or queue.is_complete) and bool(event.pending) and not is_served
    doubts = 0 if is_served or not queue.doubts else queue.doubts - 1
    # A hint that came meanwhile may have asked for the whole list, which this answer is not.
    wanted_at = queue.fetch_at if queue.is_complete and not event.is_complete else None
    if is_blocked:
        next_at = now
    elif doubts:
        next_at = now + backoff.delay_s(DOUBTS - doubts, event.jitter)
    if wanted_at is not None:
        next_at = min(next_at, wanted_at)
    behind = () if event.is_complete or not event.pending else queue.pending
    listed_queue = Queue(
        pending=(*event.pending, *(e for e in behind if e not in event.pending)),
        fetch_at=next_at,
        is_complete=is_blocked or not doubts or wanted_at is not None,
        is_known=True,
        doubts=doubts,
    )
    return state.with_queue(event.namespace, listed_queue)


def on_fetch_failed(state: State, event: FetchFailed, now: float) -> State:
    """Ask again after a back-off."""
    queue = state.queues.get(event.namespace)
    if queue is None or queue.ticket != event.ticket:
        return state
    failures = queue.failures + 1
    fetch_at = now + backoff.delay_s(failures, event.jitter, event.code)
    return state.with_queue(event.namespace, replace(queue, ticket=0, failures=failures, fetch_at=fetch_at))


def drop(state: State, gone: ExecutionId, now: float) -> State:
    """Stop tracking `gone`, and fetch the list at once."""
    return _fetch_next(state.without_execution(gone), gone, now)


def drop_refused(state: State, refused: ExecutionId, now: float, jitter: float, code: str) -> State:
    """Stop tracking an execution that was listed, but is closed if it is described or claimed, and back off.

    The service is eventually consistent: for a while, a list may name executions that are closed when described.
    """
    state = backoff.back_off(state, refused, now, jitter, code, relists=True)
    known = backoff.of(state, refused)
    return drop_waiting(state, refused, now if known.failures == 1 else known.until)


def drop_waiting(state: State, waiting: ExecutionId, fetch_at: float) -> State:
    """Stop tracking an execution that must wait, let others go first, and fetch the list by `fetch_at`."""
    state = state.without_execution(waiting)
    queue = state.queues.get(waiting.namespace)
    if queue is None:
        return state
    fetch_at = fetch_at if queue.fetch_at is None else min(fetch_at, queue.fetch_at)
    return state.with_queue(waiting.namespace, replace(queue, fetch_at=fetch_at, is_complete=not queue.is_known))


def confirm_listed(state: State, found: ExecutionId) -> State:
    """Record that a listed execution really exists, which clears the doubts of its namespace."""
    queue = state.queues.get(found.namespace)
    return state if queue is None else state.with_queue(found.namespace, replace(queue, doubts=0))


def leave_alone(state: State, other: ExecutionId) -> State:
    """Leave `other` to the agent that it belongs to, for as long as the service lists it."""
    state = state.without_execution(other)
    queue = state.queues.get(other.namespace)
    if queue is not None:
        pending = tuple(e for e in queue.pending if e != other)
        state = state.with_queue(other.namespace, replace(queue, pending=pending))
    return replace(state, foreign=state.foreign | {other})


def _leave_unwanted(state: State, named: tuple[ExecutionId, ...]) -> State:
    """Leave alone every execution whose job id does not match `only`, without describing it."""
    others = {e for e in named if e not in state.executions and not fnmatchcase(e.job_id, state.settings.only)}
    return replace(state, foreign=state.foreign | others) if others else state


def _is_news(state: State, named: ExecutionId, now: float) -> bool:
    """Return whether the execution is new to us and may be asked about."""
    return _is_unknown(state, named) and not backoff.must_wait(state, named, now)


def _is_unknown(state: State, named: ExecutionId) -> bool:
    """Return whether the execution is neither tracked nor left alone."""
    return named not in state.executions and named not in state.foreign


def _fetch_next(state: State, gone: ExecutionId, fetch_at: float) -> State:
    queue = state.queues.get(gone.namespace)
    if queue is None:
        return state
    pending = tuple(e for e in queue.pending if e != gone)
    queue = replace(queue, pending=pending, fetch_at=fetch_at, is_complete=not queue.is_known)
    return state.with_queue(gone.namespace, queue)


def due_fetches(state: State, now: float) -> tuple[State, list[Effect]]:
    """Send the fetches that are due, unless a report is in flight: once answered, it changes what is pending."""
    effects: list[Effect] = []
    if any(isinstance(e.phase, Reporting) and e.phase.ticket for e in state.executions.values()):
        return state, effects
    for namespace, queue in state.queues.items():
        if queue.ticket or queue.fetch_at is None or queue.fetch_at > now:
            continue
        ticket = state.last_ticket + 1
        effects.append(Fetch(namespace, ticket, queue.is_complete))
        state = replace(state, last_ticket=ticket).with_queue(namespace, replace(queue, ticket=ticket, fetch_at=None))
    return state, effects


def fill_slots(state: State, now: float) -> State:
    """Fill the free slots with pending executions, in the service's order, taking turns between namespaces."""
    while may_take_on(state, now) and (chosen := _next_candidate(state, now)) is not None:
        state = replace(state, turn=state.turn + 1).with_execution(Execution(chosen, Judging()))
    return state


def _next_candidate(state: State, now: float) -> ExecutionId | None:
    namespaces = state.settings.namespaces
    for offset in range(len(namespaces)):
        queue = state.queues.get(namespaces[(state.turn + offset) % len(namespaces)], Queue())
        for candidate in queue.pending:
            if _is_news(state, candidate, now):
                return candidate
    return None


def _probe_missing(state: State, namespace: str, listed: tuple[ExecutionId, ...]) -> State:
    """Probe each execution of ours that a list no longer names: nothing else would tell us of a cancellation."""
    for execution in state.executions.values():
        if execution.id.namespace != namespace or execution.id in listed:
            continue
        match execution.phase:
            case (
                Running(updates=Updates(probe=None))
                | Delayed(updates=Updates(probe=None))
                | Rebooting(updates=Updates(probe=None))
            ) as phase:
                updates = replace(phase.updates, probe=0)
                state = state.with_phase(execution, replace(phase, updates=updates))
            case Preparing():
                state = backoff.end_silence(state, execution.id)
            case _:
                pass
    return state
