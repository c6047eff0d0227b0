"""Rules of waiting: when the next request about an execution may go out, and what a refusal means. In seconds.

The wait belongs to the execution and not to what is asked: it lasts through every phase, and beyond the time that the
execution is tracked. Only progress ends it: an attempt that starts or ends, an update that the service takes while we
work on it, an outcome that it takes. So a service that goes on refusing gets at most BURST requests in the first ten
seconds, and two a minute from then on.
"""

from collections.abc import Collection

from iot_jobs_agent.core.effects import Effect, Note
from iot_jobs_agent.core.job import ExecutionId
from iot_jobs_agent.core.state import SETTLED_KEPT, BackOff, State
from iot_jobs_agent.core.value import replace

SHORTEST_S = 1.0
LONGEST_S = 30.0
LONGEST_THROTTLED_S = 640.0
HOPELESS_S = 3600.0
BURST = 6
RELISTING = 2  # requests at most: for the head of the list, then for all of it
ROUND = 2  # requests at least: a description and a claim
EACH_S = 30.0  # what a request about an execution that is refused again and again costs

STALE_ANSWERS = 5  # descriptions older than what we know that are tolerated before they count as the truth
QUEUED_AGAIN = "the service queued it again"

THROTTLED = "RequestThrottled"
UNANSWERED = ""
CONTRADICTED = "contradicted"  # answered, but not as what we know allows

# The service no longer has the execution, or calls it closed (developer guide, page jobs-api, "ErrorCode").
CLOSED = frozenset({"InvalidStateTransition", "TerminalStateReached", "ResourceNotFound"})

# The request itself is wrong, so sending it again will not help.
HOPELESS = frozenset({"InvalidRequest", "InvalidJson", "InvalidTopic", "VersionMismatch"})


def delay_s(failures: int, jitter: float, code: str = UNANSWERED) -> float:
    """Return the wait after the `failures`-th failure in a row: doubled each time, capped, then 50 to 100 % of it."""
    cap = LONGEST_THROTTLED_S if code == THROTTLED else LONGEST_S
    return min(cap, SHORTEST_S * 2.0 ** min(failures - 1, 20)) * (0.5 + jitter / 2)


def of(state: State, execution: ExecutionId) -> BackOff:
    """Return how the execution's requests fare."""
    return state.back_offs.get(execution, BackOff())


def must_wait(state: State, execution: ExecutionId, now: float) -> bool:
    """Return whether nothing may be asked or reported about the execution yet."""
    return of(state, execution).until > now


def count_request(state: State, execution: ExecutionId) -> State:
    """Record that a request about the execution goes out."""
    known = of(state, execution)
    return _with(state, execution, replace(known, requests=known.requests + 1))


def back_off(
    state: State, execution: ExecutionId, now: float, jitter: float, code: str = UNANSWERED, *, relists: bool = False
) -> State:
    """Record that a request about the execution failed, and let the next one wait. `relists`: the list is fetched too.

    Each failure doubles the wait. As soon as another round of as many requests as the last one would go beyond BURST,
    each of them costs at least EACH_S if it is refused. Silence needs no more than that: it takes its time by itself.
    """
    known = of(state, execution)
    failures = known.failures + 1
    wait_s = delay_s(failures, jitter, code)
    in_round = max(ROUND, known.requests - known.charged + (RELISTING if relists else 0))
    if code and known.requests + in_round > BURST:
        wait_s = max(wait_s, EACH_S * in_round * (1.0 + jitter))
    contradictions = known.contradictions + (code == CONTRADICTED)
    failed = BackOff(known.requests, known.requests, failures, contradictions, code, now + wait_s)
    return _with(state, execution, failed)


def go_on(state: State, execution: ExecutionId, now: float, jitter: float, code: str) -> State:
    """Let another kind of request follow a refused one at once, but for an execution that has had its BURST."""
    return state if of(state, execution).requests < BURST else back_off(state, execution, now, jitter, code)


def is_insistent(state: State, execution: ExecutionId) -> bool:
    """Return whether what contradicts what we know was answered too often to be outdated."""
    return of(state, execution).contradictions > STALE_ANSWERS


def wait_hopeless(state: State, execution: ExecutionId, now: float, code: str) -> State:
    """Record a refusal that waiting will hardly cure."""
    known = of(state, execution)
    failed = replace(known, charged=known.requests, failures=known.failures + 1, code=code, until=now + HOPELESS_S)
    return _with(state, execution, failed)


def note_refusal(state: State, execution: ExecutionId, what: str, code: str) -> list[Effect]:
    """Return the line for people, unless the last request about the execution was refused in the same way."""
    is_known = code in {of(state, execution).code, UNANSWERED}
    return [] if is_known else [Note(execution, what, code, is_problem=True)]


def end(state: State, execution: ExecutionId) -> State:
    """Forget how the execution's requests fared: it made progress."""
    return replace(state, back_offs={k: v for k, v in state.back_offs.items() if k != execution})


def end_silence(state: State, *executions: ExecutionId) -> State:
    """End the executions' waits, but not those after a refusal that came from where things stand."""
    curable = (HOPELESS | {UNANSWERED, THROTTLED}) - {"VersionMismatch"}
    return _lift(state, [k for k in executions if of(state, k).code in curable])


def end_wait(state: State, execution: ExecutionId) -> State:
    """End the execution's wait, whatever it is for."""
    return _lift(state, [execution])


def _lift(state: State, executions: Collection[ExecutionId]) -> State:
    lifted = {k: replace(v, until=0.0) for k, v in state.back_offs.items() if k in executions}
    return replace(state, back_offs={**state.back_offs, **lifted})


def _with(state: State, execution: ExecutionId, known: BackOff) -> State:
    others = {k: v for k, v in state.back_offs.items() if k != execution}
    kept = list({**others, execution: known}.items())[-SETTLED_KEPT:]
    return replace(state, back_offs=dict(kept))
