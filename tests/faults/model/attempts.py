"""Processes and attempt directories of the model: they outlive the agent, and not the power.

The directory is the truth, as in `attempts`: none means never started, one with a result is over, one whose shim
lives is alive, any other is lost. What was not synced may be gone after a power cut.

On some devices each handler has a unit of systemd's own. Then its shim asks for it, and the handler begins later, or
never: systemd may refuse, and the attempt has never started (`Directory.why`). A unit outlives a killed shim until the
agent has ended it, which takes its time and may fail.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from tests.faults.model.oracle import brief

from iot_jobs_agent.core.events import AttemptEnded, AttemptNeverStarted, AttemptProgressed, AttemptStarted
from iot_jobs_agent.core.job import AttemptId, AttemptResult, Ending, ExecutionId, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.faults.model.daemon import Daemon
    from tests.faults.model.world import World

    from iot_jobs_agent.core.effects import StartAttempt

DONE = AttemptResult(Ending.EXITED, code=0, duration_s=1.0)
LOST = AttemptResult(Ending.LOST, reason="interrupted: its shim ended without a result")
CANNOT_BE_ENDED = AttemptResult(Ending.LOST, reason="interrupted, and its unit cannot be ended", leftovers_alive=1)
REFUSED = "systemd refused to start its unit"
UNDO_AGAIN_S = 5.0


class Unit(Enum):
    """How far a handler's own unit is. What is reset is over, and systemd has forgotten it."""

    NONE = 0
    ASKED = 1
    STARTED = 2
    ENDED = 3
    RESET = 4


@dataclass(frozen=True)
class Behaviour:
    """What a handler does in one attempt: for how long, and how it ends if nobody ends it before.

    `lasts_s` None: until it is stopped. `ignores_term`: it dies only when its grace is over.
    """

    lasts_s: float | None = 1.0
    result: AttemptResult = DONE
    ignores_term: bool = False
    progress: int = 0
    extend_s: float | None = None
    cannot_start: bool = False


@dataclass
class Directory:
    """One attempt: its directory, its shim and its handler."""

    attempt: AttemptId
    step: Step
    behaviour: Behaviour
    incarnation: int
    boot: int
    is_durable: bool = False
    is_alive: bool = False  # the handler
    has_shim: bool = False
    is_stop_wanted: bool = False
    is_ending: bool = False
    is_over: bool = False
    started_at: float = 0.0
    deadline: float = 0.0
    said: AttemptProgressed | None = None
    result: AttemptResult | None = None
    unit: Unit = Unit.NONE
    why: str = ""  # systemd refused to start the unit, as the shim has written
    was_undone: bool = False


@dataclass
class Attempts:
    """All attempt directories of the device. A power cut may bring back those that were undone and not synced."""

    world: World
    directories: dict[AttemptId, Directory] = field(default_factory=dict)
    undone: dict[AttemptId, Directory] = field(default_factory=dict)

    @property
    def alive(self) -> list[Directory]:
        return [d for d in self.directories.values() if d.is_alive]

    @property
    def is_quiet(self) -> bool:
        """True if nothing lives, or is about to."""
        return all(d.is_over for d in self.directories.values())

    def start(self, daemon: Daemon, effect: StartAttempt) -> None:
        world, attempt = self.world, effect.attempt
        world.oracle.starting(effect)
        if (found := self.directories.get(attempt)) is not None:
            if not (found.why or found.was_undone):
                world.oracle.violated("O", f"{attempt.directory_name} was started before")
            self._found(daemon, attempt)
            return
        behaviour = world.behaviour(effect)
        incarnation = world.service.incarnation(attempt.execution)
        directory = Directory(attempt, effect.step, behaviour, incarnation, world.boot)
        daemon.watched.add(attempt)
        self.directories[attempt] = directory
        world.after(world.disk_s(), lambda: self._launched(directory), daemon)

    def _launched(self, directory: Directory) -> None:
        """The agent's thread has synced the directory and started the shim."""
        world = self.world
        directory.is_durable = True
        self.undone.clear()
        if directory.behaviour.cannot_start:
            directory.is_over = True
            world.hear(AttemptEnded(directory.attempt, AttemptResult(Ending.CANNOT_START, reason="no memory")))
            return
        directory.has_shim = True
        directory.started_at = world.now
        directory.deadline = world.now + directory.step.timeout_s
        world.hear(AttemptStarted(directory.attempt))
        if not world.has_units:
            self._begins(directory)
        elif world.luck.chance("no unit", 0.5):
            wait_s = world.luck.choice("no unit", (0.1, 0.1, 0.5, 15.0))  # a bus that is silent costs its time-out
            self._with_shim(wait_s, lambda: self._is_refused(directory), directory)
        else:
            directory.unit = Unit.ASKED
            wait_s = world.luck.uniform("queued", 1.0, 30.0) if world.luck.chance("queued", 0.3) else 0.1
            self._with_shim(wait_s, lambda: self._begins(directory), directory)
        self._with_shim(directory.step.timeout_s, lambda: self._at_deadline(directory), directory)
        if world.luck.chance("shim", 0.5):
            self._with_shim(world.luck.uniform("shim", 0.0, 5.0), lambda: self.kill_shim(directory), directory)
        if directory.is_stop_wanted:
            self.stop(directory.attempt)

    def _begins(self, directory: Directory) -> None:
        """The handler runs, unless the start of its unit was taken back while it waited."""
        world, behaviour = self.world, directory.behaviour
        if directory.is_ending:
            return
        directory.is_alive = True
        if directory.unit is Unit.ASKED:
            directory.unit = Unit.STARTED
        world.oracle.launched(directory)
        if world.story is not None:
            world.tell(f"handler of {directory.attempt.directory_name} runs: {brief(behaviour)}")
        for n in range(behaviour.progress):
            at = (behaviour.lasts_s or 30.0) * (n + 1) / (behaviour.progress + 1)
            self._while_alive(at, lambda n=n: self._says(directory, n), directory)
        if behaviour.lasts_s is not None:
            self._while_alive(behaviour.lasts_s, lambda: self._ends(directory, behaviour.result), directory)

    def _is_refused(self, directory: Directory) -> None:
        """The shim has written that systemd refused, and is gone."""
        self.world.tell(f"SYSTEMD REFUSES to start the unit of {directory.attempt.directory_name}")
        directory.why = REFUSED
        directory.has_shim = False
        self.world.after(0.002, lambda: self._seen_over(directory))

    def _with_shim(self, delay_s: float, act: Callable[[], object], directory: Directory) -> None:
        """Do it if its shim still lives then."""
        self.world.after(delay_s, lambda: act() if directory.has_shim else None)

    def _while_alive(self, delay_s: float, act: Callable[[], object], directory: Directory) -> None:
        """Do it in the handler's own time, if it and its shim still live then."""
        self._with_shim(delay_s, lambda: act() if directory.is_alive else None, directory)

    def _says(self, directory: Directory, n: int) -> None:
        extend_s = directory.behaviour.extend_s
        directory.said = AttemptProgressed(directory.attempt, float(n), f"part {n}", {"part": str(n)}, extend_s)
        if extend_s is not None:
            longest = directory.started_at + directory.step.max_timeout_s
            directory.deadline = min(longest, self.world.now + extend_s)
            self._while_alive(directory.deadline - self.world.now, lambda: self._at_deadline(directory), directory)
        self.world.hear(directory.said)

    def _at_deadline(self, directory: Directory) -> None:
        if self.world.now >= directory.deadline - 1e-6:
            self._made_to_end(directory, Ending.DEADLINE)

    def stop(self, attempt: AttemptId) -> None:
        directory = self.directories.get(attempt)
        if directory is not None and not directory.is_over:
            directory.is_stop_wanted = True
            if directory.has_shim:
                self._made_to_end(directory, Ending.STOPPED)

    def _made_to_end(self, directory: Directory, ending: Ending) -> None:
        if directory.is_ending or not (directory.is_alive or directory.unit is Unit.ASKED):
            return
        directory.is_ending = True
        is_deaf = directory.is_alive and directory.behaviour.ignores_term
        delay_s = directory.step.grace_s if is_deaf else 0.05
        result = AttemptResult(ending, duration_s=self.world.now - directory.started_at + delay_s)
        self._with_shim(delay_s, lambda: self._ends(directory, result, is_forced=True), directory)

    def _ends(self, directory: Directory, result: AttemptResult, *, is_forced: bool = False) -> None:
        """The handler is gone; the shim sweeps, writes the result, and ends. Each takes its time."""
        if directory.is_ending and not is_forced:
            return
        directory.is_ending = True
        directory.is_alive = bool(result.leftovers_alive)
        self.world.oracle.ended(directory, result)
        delay_s = self.world.disk_s()
        if directory.unit is not Unit.NONE:
            directory.unit = Unit.ENDED
            delay_s += self.world.luck.uniform("queued", 0.02, 0.5)  # until systemd says that nothing of it is left
        self.world.after(delay_s, lambda: self._written(directory, result))

    def _written(self, directory: Directory, result: AttemptResult) -> None:
        if directory.has_shim:  # neither killed nor without power meanwhile
            directory.unit = Unit.NONE if directory.unit is Unit.NONE else Unit.RESET
            directory.result = result
            directory.has_shim = False
            self.world.after(0.002, lambda: self._seen_over(directory))

    def kill_shim(self, directory: Directory) -> None:
        """The shim alone is killed: whatever the handler started lives until the agent sweeps it."""
        directory.has_shim = False
        self.world.after(0.002, lambda: self._seen_over(directory))

    def _seen_over(self, directory: Directory) -> None:
        """The agent, if there is one that watches, notices that the shim is gone, and sweeps what it left."""
        world = self.world
        daemon = world.daemon
        if daemon is None or directory.attempt not in daemon.watched or directory.is_over:
            return
        is_clear = directory.why or directory.result is not None
        sweep_s = 0.05 if directory.unit is Unit.NONE else world.luck.uniform("queued", 0.05, 1.0)
        world.after(0.0 if is_clear else sweep_s, lambda: self._told(directory), daemon)

    def _told(self, directory: Directory) -> None:
        daemon = self.world.daemon
        if daemon is None or directory.attempt not in daemon.watched:
            return
        if directory.why:
            self._undo(directory, daemon)
            return
        daemon.watched.discard(directory.attempt)
        result = directory.result or self._swept(directory)
        directory.is_over = True
        if result.ending is Ending.LOST:
            directory.is_alive = bool(result.leftovers_alive)
            self.world.oracle.ended(directory, result)
        self.world.hear(AttemptEnded(directory.attempt, result))

    def _swept(self, directory: Directory) -> AttemptResult:
        """Whatever a shim left that was killed is ended, but for a unit that cannot be."""
        if directory.unit is Unit.STARTED and directory.is_alive and self.world.luck.chance("stuck", 0.3):
            directory.result = CANNOT_BE_ENDED
            return CANNOT_BE_ENDED
        directory.unit = Unit.NONE if directory.unit is Unit.NONE else Unit.RESET
        return LOST

    def _undo(self, directory: Directory, daemon: Daemon) -> None:
        """The agent's thread removes the directory of an attempt that never started, and syncs that."""
        world, attempt = self.world, directory.attempt

        def synced() -> None:
            self.undone.clear()
            daemon.watched.discard(attempt)
            world.oracle.refused(directory)
            world.hear(AttemptNeverStarted(attempt, directory.why))

        if world.luck.chance("disk", 0.2):  # it is full or sick, too
            world.after(UNDO_AGAIN_S, lambda: self._told(directory), daemon)
            return
        directory.was_undone = directory.is_over = True
        self.undone[attempt] = self.directories.pop(attempt)
        world.after(world.disk_s(), synced, daemon)

    def reattach(self, daemon: Daemon, attempts: Iterable[AttemptId]) -> None:
        """Find the attempts of an earlier agent again."""
        for attempt in attempts:
            if not self._found(daemon, attempt):
                self.world.hear(AttemptNeverStarted(attempt))

    def _found(self, daemon: Daemon, attempt: AttemptId) -> bool:
        directory = self.directories.get(attempt)
        if directory is None:
            return False
        daemon.watched.add(attempt)
        directory.is_over = False
        if directory.has_shim:
            self.world.hear(AttemptStarted(attempt))
            if directory.said is not None:
                self.world.hear(directory.said)
        else:
            self._seen_over(directory)
        return True

    def abandon_others(self, daemon: Daemon, known: set[ExecutionId]) -> list[AttemptId]:
        """Stop every attempt of executions that the journal does not know; the caller waits for their end."""
        others = [a for a in self.directories if a.execution not in known]
        for attempt in others:
            self._found(daemon, attempt)
            self.stop(attempt)
        return others

    def forget(self, execution: ExecutionId) -> None:
        for attempt in [a for a in self.directories if a.execution == execution]:
            self.world.oracle.forgotten(self.directories.pop(attempt))

    def lose_power(self) -> None:
        """Every process is gone, and what was not synced may be."""
        for attempt, directory in self.undone.items():
            if self.world.luck.chance("power", 0.5):
                self.directories.setdefault(attempt, directory)
        self.undone.clear()
        for attempt, directory in list(self.directories.items()):
            directory.is_alive = directory.has_shim = False
            directory.is_over = True
            directory.unit = Unit.NONE
            if not directory.is_durable and self.world.luck.chance("power", 0.5):
                del self.directories[attempt]
            directory.is_durable = True
