"""One device and its cloud on virtual time: an event queue, a clock, power, and the things that may happen to them.

Every choice is drawn from `Luck`: the same seed is the same story.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from tests.faults.model.attempts import Attempts, Behaviour
from tests.faults.model.daemon import Daemon, Disk
from tests.faults.model.network import Network
from tests.faults.model.oracle import Oracle
from tests.faults.model.service import Service

from iot_jobs_agent.core.claimant import Claimant
from iot_jobs_agent.core.events import RebootFailed
from iot_jobs_agent.core.job import ExecutionId, Plan, Refusal
from iot_jobs_agent.core.state import Settings, State

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence

    from iot_jobs_agent.core.effects import StartAttempt

T = TypeVar("T")

MOST_EVENTS = 30_000


class Luck:
    """Draws. A kind of fault happens as often as `rates` says; what is not named there never does."""

    def __init__(self, stream: Callable[[str], random.Random], rates: Mapping[str, float]) -> None:
        self._stream = stream
        self._streams: dict[str, random.Random] = {}
        self.rates = dict(rates)

    def of(self, kind: str) -> random.Random:
        """Return the stream of one kind, so that leaving one kind out changes little of the others."""
        found = self._streams.get(kind)
        if found is None:
            found = self._streams[kind] = self._stream(kind)
        return found

    def chance(self, kind: str, probability: float) -> bool:
        """Draw whether a fault happens now."""
        rate = self.rates.get(kind, 0.0)
        return rate > 0 and self.of(kind).random() < probability * rate

    def coin(self, kind: str, probability: float = 0.5) -> bool:
        """Draw what is not a fault."""
        return self.of(kind).random() < probability

    def choice(self, kind: str, among: Sequence[T]) -> T:
        return self.of(kind).choice(among)

    def uniform(self, kind: str, low: float, high: float) -> float:
        return low + (high - low) * self.of(kind).random()

    def jitter(self) -> float:
        return self.of("jitter").random() * 0.999


@dataclass(eq=False)
class World:
    """All there is. Times in seconds since its beginning, but for `monotonic` (of the boot) and `wall`."""

    luck: Luck
    config: Settings
    verdicts: Mapping[str, Plan | Refusal]
    behaviours: Callable[[StartAttempt], Behaviour]
    story: list[str] | None = None
    has_units: bool = False  # each handler has a unit of systemd's own
    now: float = 0.0
    boot: int = 1
    booted_at: float = -100.0
    wall_offset_s: float = 0.0
    daemon: Daemon | None = None
    starts: int = 0
    events: int = 0
    is_rebooting: bool = False
    is_backed_up: bool = False
    is_restored: bool = False
    queue: list[tuple[float, int, Callable[[], object], Daemon | None]] = field(default_factory=list)
    counter: Any = field(default_factory=itertools.count)
    nonces: Any = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.oracle = Oracle(self)
        self.disk = Disk()
        self.claimant = Claimant("me", "0000000a")
        self.network = Network(self)
        self.attempts = Attempts(self)
        self.service = Service(self.network.notify, lambda: self.now)

    @property
    def monotonic(self) -> float:
        return self.now - self.booted_at

    @property
    def wall(self) -> float:
        return 1.7e9 + self.now + self.wall_offset_s

    def after(self, delay_s: float, act: Callable[[], object], daemon: Daemon | None = None) -> None:
        """Do it later; if it is the business of an agent's process, only as long as that lives."""
        heapq.heappush(self.queue, (self.now + delay_s, next(self.counter), act, daemon))

    def hear(self, event: Any, *, is_stale: bool = False) -> None:
        """Put an event into the agent's inbox, if there is an agent."""
        daemon = self.daemon
        if daemon is not None:
            self.after(0.0, lambda: daemon.hear(event, is_stale=is_stale), daemon)

    def step(self) -> bool:
        """Do what is next. False if nothing ever will be."""
        due = self.service.next_due
        if due is not None and (not self.queue or due <= self.queue[0][0]):
            self.now = max(self.now, due)
            self.tell("service's own time")
            self.service.advance()
            return True
        if not self.queue:
            return False
        at, _, act, daemon = heapq.heappop(self.queue)
        self.now = max(self.now, at)
        if daemon is None or daemon is self.daemon:
            self.events += 1
            act()
            if self.events > MOST_EVENTS:
                self.oracle.violated("B", f"{self.events} events, and no end")
        return True

    @property
    def next_at(self) -> float | None:
        times = [t for t in (self.service.next_due, self.queue[0][0] if self.queue else None) if t is not None]
        return max(self.now, min(times)) if times else None

    def run_until(self, end: float) -> None:
        while (at := self.next_at) is not None and at <= end:
            self.step()
        self.now = max(self.now, end)

    def tell(self, line: str) -> None:
        if self.story is not None:
            self.story.append(f"{self.now:10.3f}  {line}")

    def disk_s(self) -> float:
        """Return how long the next fsync takes."""
        return self.luck.uniform("disk", 0.5, 5.0) if self.luck.chance("disk", 0.5) else 0.004

    def dies_here(self) -> bool:
        """Draw whether the agent is killed between two effects."""
        return self.luck.chance("crash", 0.05)

    def verdict(self, execution: ExecutionId) -> Plan | Refusal:
        """Judge the document as it is delivered now: each time with other secrets."""
        verdict = self.verdicts[execution.job_id]
        if isinstance(verdict, Refusal):
            return verdict
        secret = f'"secret-{next(self.nonces)}"'
        return Plan(tuple(replace(step, input=secret, argv=("/h", secret)) for step in verdict.steps))

    def behaviour(self, effect: StartAttempt) -> Behaviour:
        return self.behaviours(effect)

    def boots(self) -> None:
        """Start the agent, unless it runs."""
        self.is_rebooting = False
        if self.daemon is not None:
            return
        self.starts += 1
        self.tell(f"agent starts, boot {self.boot}")
        daemon = Daemon(self, State(replace(self.config, boot_id=f"boot-{self.boot}")))
        self.daemon = daemon
        self.after(self.luck.uniform("start", 0.01, 0.5) + self.disk_s(), daemon.open_journal, daemon)
        self.after(self.luck.uniform("start", 0.01, 1.0), daemon.connect, daemon)

    def _boots_later(self, delay_s: float) -> None:
        starts = self.starts
        self.after(delay_s, lambda: self.boots() if starts == self.starts else None)

    def kill(self) -> None:
        """End the agent's process: kill -9, or SIGTERM, which differ in nothing that counts. Handlers go on."""
        if self.daemon is None:
            return
        self.tell("AGENT KILLED")
        self._dies()
        self._boots_later(self.luck.uniform("kill", 0.1, 5.0))

    def _dies(self) -> None:
        if self.daemon is not None:
            self.daemon.torn()
            self.daemon = None

    def power_cut(self) -> None:
        """End everything on the device, and boot it again."""
        self.tell("POWER CUT")
        self._dies()
        self.attempts.lose_power()
        self.boot += 1
        self.booted_at = self.now + 1.0
        self._boots_later(self.luck.uniform("power", 2.0, 40.0))

    def reboot(self) -> None:
        """Do as the system does when it is told to reboot: soon, late, never; or it says no."""
        self.oracle.rebooting()
        how = self.luck.choice("reboot", ("soon", "soon", "soon", "refused", "late", "never"))
        if how in {"late", "never"} and not self.luck.rates:
            how = "soon"
        self.tell(f"REBOOT asked for: {how}")
        if how == "refused":
            self.after(0.5, lambda: self.hear(RebootFailed("systemctl ended with 1")), self.daemon)
        elif how != "never":
            boot = self.boot
            self.is_rebooting = True
            delay_s = self.luck.uniform("reboot", *((0.1, 20.0) if how == "soon" else (60.0, 900.0)))
            self.after(delay_s, lambda: self.power_cut() if boot == self.boot else None)

    def cut(self) -> None:
        """Cut the connection for a while."""
        daemon = self.daemon
        if daemon is not None and daemon.is_connected:
            self.tell("CONNECTION CUT")
            daemon.disconnect()
            down_s = self.luck.choice("cut", (0.5, 1.0, 5.0, 30.0, 300.0, 4000.0))
            self.after(down_s, self.restore, daemon)

    def restore(self) -> None:
        daemon = self.daemon
        if daemon is not None and not daemon.is_connected:
            daemon.connect()

    def kill_a_shim(self) -> None:
        living = [d for d in self.attempts.directories.values() if d.has_shim]
        if living:
            victim = self.luck.choice("shim", living)
            self.tell(f"SHIM KILLED of {victim.attempt.directory_name}")
            self.attempts.kill_shim(victim)

    def jump(self) -> None:
        """Set the wall clock to any time; monotonic time goes on."""
        self.wall_offset_s = self.luck.choice("clock", (-1.7e9, -6.3e8, -3600.0, 0.0, 6.3e8, 3600.0))
        self.tell(f"WALL CLOCK {self.wall_offset_s:+.0f} s")
