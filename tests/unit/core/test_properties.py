"""What holds whatever happens: random lives of an agent, with answers lost, late, doubled or wrong."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import LARGE
from tests.support.playbook import ME

from iot_jobs_agent.core import backoff
from iot_jobs_agent.core.decide import decide, next_deadline
from iot_jobs_agent.core.effects import (
    JOURNAL,
    Describe,
    Fetch,
    Forget,
    Reboot,
    Save,
    Settle,
    StartAttempt,
    StopAttempt,
    Update,
)
from iot_jobs_agent.core.events import (
    AttemptEnded,
    AttemptNeverStarted,
    AttemptProgressed,
    AttemptStarted,
    Connected,
    Described,
    DescribeFailed,
    Disconnected,
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
from iot_jobs_agent.core.job import (
    AttemptId,
    AttemptResult,
    Ending,
    ExecutionId,
    ExecutionStatus,
    OnInterrupt,
    Plan,
    Refusal,
    Step,
    StepKind,
)
from iot_jobs_agent.core.slots import may_go_on
from iot_jobs_agent.core.state import Delayed, Execution, Rebooting, Reporting, Running, Settings, State, Stopping
from iot_jobs_agent.state.encoding import decode_phase, encode_phase

NAMESPACES = ("", "team-a")
EXECUTIONS = [ExecutionId(ns, f"job-{n}", k) for ns in NAMESPACES for n in range(2) for k in (1, 2)]
PLANS = [
    Plan((Step("only", "h", StepKind.HANDLER),)),
    Plan((Step("one", "h", StepKind.COMMAND, ignore_failure=True), Step("two", "h", StepKind.COMMAND))),
    Plan((Step("only", "h", StepKind.HANDLER, on_interrupt=OnInterrupt.RESUME, may_reboot=True, exclusive=True),)),
    Plan(
        (
            Step("one", "h", StepKind.HANDLER, on_interrupt=OnInterrupt.RERUN, retry_limit=1),
            Step("two", "h", StepKind.HANDLER, may_reboot=True),
        )
    ),
]
CODES = [
    "", "InternalError", "RequestThrottled", "Surprise", "InvalidRequest", "InvalidTopic", "VersionMismatch",
    "InvalidStateTransition", "TerminalStateReached", "ResourceNotFound",
]  # fmt: skip
RESULTS = [
    AttemptResult(Ending.EXITED, code=0),
    AttemptResult(Ending.EXITED, code=3),
    AttemptResult(Ending.SIGNALED, signal=9),
    AttemptResult(Ending.LOST),
    AttemptResult(Ending.EXITED, code=0, handler_result={"outcome": "retry"}),
    AttemptResult(Ending.EXITED, code=0, handler_result={"outcome": "reboot"}),
]


@dataclass
class World:
    """The agent's journal and processes as its effects left them, and the promises that are checked on the way."""

    state: State
    journal: dict[ExecutionId, Execution] = field(default_factory=dict)
    alive: set[AttemptId] = field(default_factory=set)
    started: set[AttemptId] = field(default_factory=set)
    settled: set[ExecutionId] = field(default_factory=set)
    in_flight: dict[int, Any] = field(default_factory=dict)
    answered: list[Any] = field(default_factory=list)
    boot: int = 1
    now: float = 0.0

    def hears(self, event: Any) -> None:
        self.state, effects = decide(self.state, event, self.now)
        acts = False
        for effect in effects:
            assert not (isinstance(effect, JOURNAL) and acts), "an act came before a journal effect"
            acts = acts or not isinstance(effect, JOURNAL)
            self.performs(effect)
        assert len(self.alive) <= self.state.settings.max_concurrent
        self.nothing_is_forgotten()

    def performs(self, effect: Any) -> None:
        match effect:
            case Save(execution):
                name, text = encode_phase(execution.phase)
                assert decode_phase(name, text) == execution.phase, "a phase did not survive the journal"
                assert execution.durable == execution
                self.journal[execution.id] = execution
            case Forget(execution):
                del self.journal[execution]
            case Settle(execution=execution):
                del self.journal[execution]
                assert not any(a.execution == execution for a in self.alive), "settled while a handler is alive"
                self.started = {a for a in self.started if a.execution != execution}
            case StartAttempt(attempt=attempt):
                self.starts(attempt)
            case Reboot():
                assert not self.alive
                assert any(isinstance(e.phase, Rebooting) and e.phase.is_ordered for e in self.journal.values())
            case StopAttempt(attempt=attempt):
                assert isinstance(self.journal[attempt.execution].phase, Stopping)
            case Update():
                self.in_flight[effect.ticket] = effect
                kept = self.journal.get(effect.execution)
                assert kept is not None, "the service was told of something that is not in the journal"
                if effect.status is not ExecutionStatus.IN_PROGRESS:
                    assert isinstance(kept.phase, Reporting)
                    assert kept.phase.outcome.status == effect.status
            case Describe() | Fetch():
                self.in_flight[effect.ticket] = effect

    def starts(self, attempt: AttemptId) -> None:
        phase = self.journal[attempt.execution].phase
        assert isinstance(phase, Running), "started without a journalled intent"
        assert (phase.work.step, phase.work.number) == (attempt.step, attempt.number)
        assert attempt not in self.started, "an attempt was started twice"
        self.started.add(attempt)
        self.alive.add(attempt)
        beside = [self.journal[a.execution].phase.work.plan for a in self.alive if a != attempt]
        plan = phase.work.plan
        assert not beside or not any(p.is_exclusive for p in (plan, *beside)), "an exclusive one is not alone"
        same = [a for a in self.alive if a != attempt and a.execution.job == attempt.execution.job]
        assert not same, "two executions of one job overlap"
        waits = [e for e in self.state.executions.values() if isinstance(e.phase, Rebooting)]
        assert not waits, "started before a reboot that is wanted"

    @property
    def taken(self) -> list[Execution]:
        return [e for e in self.state.executions.values() if e.holds_a_slot]

    def nothing_is_forgotten(self) -> None:
        """Every execution waits for an answer, for a process, or for a time that `next_deadline` knows."""
        if not (self.state.is_connected and self.state.is_journal_usable):
            return
        deadline = next_deadline(self.state, self.now)
        for execution in self.state.executions.values():
            phase = execution.phase
            if isinstance(phase, Running | Stopping):
                assert execution.attempt in self.started
            elif isinstance(phase, Rebooting):
                assert phase.is_ordered or self.alive or phase.updates.ticket
            elif isinstance(phase, Delayed):
                is_held = not may_go_on(self.state, execution, self.now)
                assert is_held or phase.due_at > self.now or len(self.taken) >= self.state.settings.max_concurrent
            elif not phase.ticket and not may_go_on(self.state, execution, self.now):
                assert len(self.state.executions) > 1
            elif not phase.ticket:
                until = backoff.of(self.state, execution.id).until
                assert until > self.now
                assert deadline is not None
                assert deadline <= until


def verdicts() -> st.SearchStrategy[Any]:
    return st.one_of(st.sampled_from(PLANS), st.just(Refusal("no")))


def answer(draw: Any, request: Any) -> Any:
    """Any answer to a request, right or wrong, that the service or the network may give."""
    jitter = draw(st.sampled_from([0.0, 0.5, 0.99]))
    match request:
        case Fetch(namespace=ns, ticket=ticket):
            if draw(st.booleans()):
                return FetchFailed(ns, ticket, draw(st.sampled_from(CODES)), jitter)
            pending = draw(st.lists(st.sampled_from([e for e in EXECUTIONS if e.namespace == ns]), unique=True))
            return Listed(ns, ticket, tuple(pending), draw(st.booleans()), jitter)
        case Describe(execution=execution, ticket=ticket):
            if draw(st.integers(0, 3)) == 0:
                return DescribeFailed(execution, ticket, draw(st.sampled_from(CODES)), jitter)
            status = draw(st.sampled_from(["QUEUED", "QUEUED", "IN_PROGRESS", "IN_PROGRESS", *ExecutionStatus]))
            claimed_by = draw(st.sampled_from(["me", "me", "other", ""]))
            return Described(
                execution, ticket, ExecutionStatus(status), 1, claimed_by, draw(verdicts()), "h", 1.0, jitter
            )
        case Update(execution=execution, ticket=ticket):
            if draw(st.booleans()):
                return UpdateAccepted(execution, ticket)
            current = draw(st.none() | st.sampled_from(list(ExecutionStatus)))
            return UpdateFailed(execution, ticket, draw(st.sampled_from(CODES)), current, jitter)


def plan_of(execution: ExecutionId) -> Plan:
    return PLANS[EXECUTIONS.index(execution) % len(PLANS)]


def expected_answer(draw: Any, world: World, request: Any) -> Any:
    """What a service in order says of a thing with plenty to do, where now and then somebody cancels."""
    match request:
        case Fetch(namespace=ns, ticket=ticket):
            return Listed(ns, ticket, tuple(e for e in EXECUTIONS if e.namespace == ns), is_complete=True)
        case Describe(execution=execution, ticket=ticket) if draw(st.integers(0, 9)):
            status = ExecutionStatus.IN_PROGRESS if execution in world.journal else ExecutionStatus.QUEUED
            return Described(execution, ticket, status, 1, "me", plan_of(execution), "h", 1.0)
        case Describe(execution=execution, ticket=ticket):
            return Described(execution, ticket, ExecutionStatus.CANCELED, 1, "me", PLANS[0], "h", 1.0)
        case Update(execution=execution, ticket=ticket):
            return UpdateAccepted(execution, ticket)


OTHERS = ["late", "notified", "tick", "connection", "pause", "no reboot"]


def event(draw: Any, world: World) -> Any:
    kind = draw(st.sampled_from(["right"] * 8 + ["answer"] * 2 + ["attempt"] * 2 + OTHERS))
    if kind in {"right", "answer"} and world.in_flight:
        request = world.in_flight.pop(draw(st.sampled_from(sorted(world.in_flight))))
        world.answered.append(request)
        return expected_answer(draw, world, request) if kind == "right" else answer(draw, request)
    if kind == "late" and world.answered:
        return answer(draw, draw(st.sampled_from(world.answered)))
    if kind == "attempt" and world.alive:
        attempt = draw(st.sampled_from(sorted(world.alive)))
        what = draw(st.sampled_from(["started", "progress", "ended"]))
        if what == "ended":
            world.alive.discard(attempt)
            return AttemptEnded(attempt, draw(st.sampled_from(RESULTS)))
        return AttemptStarted(attempt) if what == "started" else AttemptProgressed(attempt, 5, "x", {"a": "b"}, 60.0)
    if kind == "notified":
        namespace = draw(st.sampled_from([*NAMESPACES, "unserved"]))
        pending = [e for e in draw(st.lists(st.sampled_from(EXECUTIONS), unique=True)) if e.namespace == namespace]
        return Notified(namespace, tuple(pending), draw(st.booleans()))
    if kind == "pause":
        return Paused(draw(st.booleans()))
    if kind == "no reboot":
        return RebootFailed("no")
    if kind == "connection":
        return draw(st.sampled_from([Connected(), Disconnected()]))
    world.now = next_deadline(world.state, world.now) or world.now + 1
    return Tick()


@pytest.mark.timeout(120)  # many lives, and the machine may be busy
@settings(LARGE, max_examples=60)
@given(st.data(), st.integers(1, 3), st.integers(20, 120))
def test_the_promises_hold_whatever_happens(data: Any, max_concurrent: int, length: int) -> None:
    config = Settings(NAMESPACES, max_concurrent, boot_id="boot-1")
    world = World(State(config))
    world.hears(JournalOpened(ME))
    world.hears(Connected())
    for _ in range(length):
        if data.draw(st.integers(0, 30)) == 0:
            restart(world, config, is_reboot=data.draw(st.booleans()))
        else:
            world.hears(event(data.draw, world))


def restart(world: World, config: Settings, *, is_reboot: bool) -> None:
    """The agent is killed and starts again: it has its journal, and finds its attempts by their directories."""
    if is_reboot:
        world.boot += 1
        world.alive.clear()
    config = replace(config, boot_id=f"boot-{world.boot}")
    world.state, world.in_flight, world.answered = State(config), {}, []
    known = tuple(world.journal.values())
    world.hears(JournalOpened(ME, known))
    for execution in known:
        attempt = execution.attempt
        if attempt is None:
            continue
        if attempt not in world.started:
            world.hears(AttemptNeverStarted(attempt))
        elif attempt in world.alive:
            world.hears(AttemptStarted(attempt))
        else:
            world.hears(AttemptEnded(attempt, AttemptResult(Ending.LOST)))
    world.hears(Connected())


@pytest.mark.timeout(120)  # as above
@settings(LARGE, max_examples=60)
@given(st.data())
def test_once_the_service_answers_everything_pending_is_settled(data: Any) -> None:
    """Liveness: after any prelude, a service that answers rightly brings the agent to rest with every outcome told."""
    config = Settings(NAMESPACES, max_concurrent=2, boot_id="boot-1")
    world = World(State(config))
    world.hears(JournalOpened(ME))
    world.hears(Connected())
    for _ in range(data.draw(st.integers(0, 40))):
        world.hears(event(data.draw, world))
    world.hears(Disconnected())
    world.hears(Connected())
    for _ in range(600):
        if any(isinstance(e.phase, Rebooting) and e.phase.is_ordered for e in world.state.executions.values()):
            restart(world, config, is_reboot=True)
        elif world.in_flight:
            world.hears(right_answer(world, world.in_flight.pop(min(world.in_flight))))
        elif world.alive:
            world.hears(AttemptEnded(world.alive.pop(), RESULTS[0]))
        elif world.state.executions:
            world.now = next_deadline(world.state, world.now) or world.now
            world.hears(Tick())
        else:
            break
    assert world.state.executions == {}
    assert world.journal == {}


def plan_told(phase: Any) -> Plan:
    plan: Plan = getattr(getattr(phase, "work", phase), "plan", PLANS[0])
    return plan


def right_answer(world: World, request: Any) -> Any:
    match request:
        case Fetch(namespace=ns, ticket=ticket):
            return Listed(ns, ticket, (), is_complete=True)
        case Describe(execution=execution, ticket=ticket):
            kept = world.journal.get(execution)
            status = ExecutionStatus.IN_PROGRESS if kept else ExecutionStatus.CANCELED
            return Described(execution, ticket, status, 1, "me", plan_told(kept.phase) if kept else PLANS[0])
        case Update(execution=execution, ticket=ticket):
            return UpdateAccepted(execution, ticket)
