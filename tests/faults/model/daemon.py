"""One process of the agent: the real `decide`, and around it what `daemon` does, on virtual time.

Effects go through one queue; a batch's journal effects are committed first, which takes time, and the rest follow one
by one. The process may end between any two of these.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from iot_jobs_agent.core import decide as core
from iot_jobs_agent.core.effects import (
    JOURNAL,
    Describe,
    Effect,
    Fetch,
    ForgetAttempts,
    Reboot,
    Save,
    Settle,
    StartAttempt,
    StopAttempt,
    Update,
)
from iot_jobs_agent.core.events import Connected, Disconnected, Event, JournalOpened, Tick
from iot_jobs_agent.core.job import AttemptId, ExecutionId, Outcome
from iot_jobs_agent.core.settling import remember
from iot_jobs_agent.core.state import Settled
from iot_jobs_agent.state.encoding import decode_phase, encode_phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.model.world import World

    from iot_jobs_agent.core.state import Execution, State

TIMER_S = 1e-6  # a timer never fires too early, whatever floats make of the sum


@dataclass
class Disk:
    """The journal's file: what was committed, as text, and the history."""

    rows: dict[ExecutionId, tuple[Execution, str, str]] = field(default_factory=dict)
    history: dict[ExecutionId, Settled] = field(default_factory=dict)

    def commit(self, effects: Sequence[Effect]) -> None:
        """All of them, or, if it is not called, none."""
        for effect in effects:
            match effect:
                case Save(execution):
                    self.rows[execution.id] = (execution, *encode_phase(execution.phase))
                case Settle(execution=gone, outcome=outcome, queued_at=queued_at):
                    self.rows.pop(gone, None)
                    kept = Settled(Outcome(outcome.status, outcome.reason, outcome.code), queued_at)
                    self.history = remember(self.history, gone, kept)
                case _:
                    self.rows.pop(effect.execution, None)  # type: ignore[union-attr]

    def read(self) -> tuple[Execution, ...]:
        rows = self.rows.values()
        return tuple(replace(kept, phase=decode_phase(name, text)) for kept, name, text in rows)


@dataclass
class Batch:
    """The effects of one decision. `learned` are executions that it knows to be over from the service."""

    effects: tuple[Effect, ...]
    learned: tuple[Any, ...] = ()

    @property
    def journal(self) -> list[Effect]:
        return [e for e in self.effects if isinstance(e, JOURNAL)]


@dataclass(eq=False)
class Daemon:
    """An agent's process. `asked` are its requests without an answer, `watched` the attempts that it watches."""

    world: World
    state: State
    batches: deque[Batch] = field(default_factory=deque)
    is_committing: bool = False
    is_performing: bool = False
    is_connected: bool = False
    session: int = 0
    timer: int = 0
    asked: dict[int, Any] = field(default_factory=dict)
    watched: set[AttemptId] = field(default_factory=set)
    lies: set[int] = field(default_factory=set)

    def open_journal(self) -> None:
        """Recover what the journal holds, after what it does not know has ended."""
        known = {*self.world.disk.rows}
        self._opened(self.world.attempts.abandon_others(self, known))

    def _opened(self, others: list[AttemptId]) -> None:
        world = self.world
        if any(a in self.watched for a in others):
            world.after(0.05, lambda: self._opened(others), self)
            return
        for attempt in others:
            world.attempts.forget(attempt.execution)
        executions = world.disk.read()
        world.hear(JournalOpened(world.claimant, executions, dict(world.disk.history)))
        world.attempts.reattach(self, [a for e in executions if (a := e.attempt) is not None])

    def connect(self) -> None:
        self.is_connected = True
        self.session += 1
        self.world.hear(Connected(self.world.luck.jitter()))
        self.world.network.connected()

    def disconnect(self) -> None:
        """Lose the connection: what was asked is not answered any more."""
        self.is_connected = False
        is_first = self.world.luck.chance("cut", 0.5)
        if is_first:
            self.world.hear(Disconnected())
        for ticket in list(self.asked):
            self.world.network.unanswered(self, ticket)
        if not is_first:
            self.world.hear(Disconnected())

    def hear(self, event: Event, *, is_stale: bool = False) -> None:
        """Decide on one event, and arm the timer."""
        world = self.world
        now = world.monotonic
        learned = () if is_stale else world.oracle.heard(self, event)
        self.state, effects = core.decide(self.state, event, now)
        world.oracle.decided(event, effects)
        self.batches.append(Batch(effects, learned))
        self.timer += 1
        deadline = core.next_deadline(self.state, now)
        if deadline is not None:
            world.after(max(0.0, deadline - now) + TIMER_S, lambda mine=self.timer: self._tick(mine), self)
        self.perform()

    def _tick(self, timer: int) -> None:
        if timer == self.timer:
            self.hear(Tick())

    def perform(self) -> None:
        """Perform batch after batch, in order."""
        while self.batches and not self.is_committing and not self.is_performing:
            if self.batches[0].journal:
                self.is_committing = True
                self.world.after(self.world.disk_s(), self._committed, self)
            else:
                self._acts(self.batches[0])

    def _committed(self) -> None:
        batch = self.batches[0]
        self.world.disk.commit(batch.journal)
        self.world.oracle.committed(batch.journal)
        self.is_committing = False
        self._acts(batch)
        self.perform()

    def _acts(self, batch: Batch) -> None:
        self.is_performing = True
        self.world.oracle.learned(batch.learned)
        for effect in batch.effects:
            if self.world.dies_here():
                self.world.kill()
            if self.world.daemon is not self:
                return
            self._act(effect)
        self.batches.popleft()
        self.is_performing = False

    def _act(self, effect: Effect) -> None:
        world = self.world
        match effect:
            case Fetch() | Describe() | Update():
                world.oracle.asking(self, effect)
                world.network.ask(self, effect)
            case StartAttempt():
                world.attempts.start(self, effect)
            case StopAttempt(attempt):
                world.attempts.stop(attempt)
            case ForgetAttempts(execution):
                world.attempts.forget(execution)
            case Reboot():
                world.reboot()
            case _:
                pass

    def torn(self) -> None:
        """Die: of a commit under way all is on the disk, or nothing."""
        if self.is_committing and self.world.luck.chance("torn", 0.5):
            self.world.disk.commit(self.batches[0].journal)
            self.world.oracle.committed(self.batches[0].journal)
