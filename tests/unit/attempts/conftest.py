"""Real attempts for tests: a state directory, an `Attempts` on the test's loop, and what it posts, in order."""

import asyncio
import contextlib
import ctypes
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.support.buses import Systemd, UnitLauncher, place_of_its_own

from iot_jobs_agent.attempts.attempts import Attempts
from iot_jobs_agent.attempts.directory import Facts
from iot_jobs_agent.attempts.launchers import Launcher, plain
from iot_jobs_agent.attempts.units import Units
from iot_jobs_agent.core.events import AttemptEnded, AttemptEvent, AttemptProgressed, AttemptStarted
from iot_jobs_agent.core.job import AttemptId, AttemptResult, ExecutionId, Step, StepKind
from iot_jobs_agent.shim import bus

ATTEMPT = AttemptId(ExecutionId("", "job-1", 1), 0, 1)
FACTS = Facts(thing_name="thing-1")
WITHIN_S = 15.0


@dataclass
class Story:
    """Everything that one agent's attempts posted, and ways to wait for more of it."""

    state: Path
    launcher: Launcher = plain
    own_units: Units | None = None
    events: list[AttemptEvent] = field(default_factory=list)
    gates: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.attempts = Attempts(self.state, self.launcher, self._post, own_units=self.own_units)
        self._news = asyncio.Event()
        self.attempts.prepare()
        self.attempts.open()

    def _post(self, event: AttemptEvent) -> None:
        self.events.append(event)
        self._news.set()

    async def until(self, is_so: Callable[[], object], within_s: float = WITHIN_S) -> None:
        async with asyncio.timeout(within_s):
            while not is_so():
                self._news.clear()
                await self._news.wait()

    async def started(self, attempt: AttemptId = ATTEMPT) -> None:
        await self.until(lambda: AttemptStarted(attempt) in self.events)

    async def said(self, message: str) -> None:
        await self.until(lambda: any(e.message == message for e in self.progressed))

    async def ended(self, attempt: AttemptId = ATTEMPT) -> AttemptResult:
        await self.until(lambda: any(isinstance(e, AttemptEnded) and e.attempt == attempt for e in self.events))
        (end,) = [e for e in self.events if isinstance(e, AttemptEnded) and e.attempt == attempt]
        return end.result

    @property
    def progressed(self) -> list[AttemptProgressed]:
        return [e for e in self.events if isinstance(e, AttemptProgressed)]

    def directory(self, attempt: AttemptId = ATTEMPT) -> Path:
        return self.state / "attempts" / attempt.directory_name

    def job_directory(self) -> Path:
        return self.state / "jobs" / ".job-1.1"

    @staticmethod
    def step(script: str, **changes: object) -> Step:
        """Make a step that runs a shell script, under protocol 1 unless told otherwise."""
        argv = ("/bin/sh", "-c", script, "sh")
        members = {"timeout_s": 20.0, "max_timeout_s": 20.0, "grace_s": 5.0, "kind": StepKind.HANDLER, "argv": argv}
        return Step(name="step", handler="shell", **{**members, **changes})

    def start(self, script: str, attempt: AttemptId = ATTEMPT, facts: Facts = FACTS, **changes: object) -> None:
        self.attempts.start(attempt, self.step(script, **changes), facts)

    async def run(self, script: str, **changes: object) -> AttemptResult:
        self.start(script, **changes)
        return await self.ended()

    async def python(self, script: str, **changes: object) -> AttemptResult:
        return await self.run("", argv=(sys.executable, "-I", "-c", script), **changes)

    def go(self, job: str = "job-1") -> None:
        """Let a handler go on that waits with `mkfifo go; …; read word < go`; it reads "heard". Never blocks."""
        self.gates.append(os.open(self.state / "jobs" / f".{job}.1" / "go", os.O_RDWR))
        os.write(self.gates[-1], b"heard\n")

    def close(self) -> None:
        self.attempts.close()
        for gate in self.gates:
            os.close(gate)

    def pid_of_shim(self) -> int:
        return int((self.directory() / "lock").read_text().split()[0])

    def alive(self) -> list[int]:
        """Tell which processes have a token of these attempts in their environment."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"JOB_DIR={self.state}".encode() in path.read_bytes():
                    found.append(int(path.parent.name))
        return found


@pytest.fixture
def new_story(tmp_path: Path) -> Iterator[Callable[..., Story]]:
    """Make an agent on the test's state directory; a second one is the agent after a restart."""
    stories: list[Story] = []

    def make(launcher: Launcher = plain, own_units: Units | None = None) -> Story:
        stories.append(Story(tmp_path / "state", launcher, own_units))
        return stories[-1]

    yield make
    for story in stories:
        story.close()


@pytest.fixture
async def story(new_story: Callable[..., Story]) -> Story:
    return new_story()


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    """A stand-in for systemd on a bus of its own, for this process and for shims."""
    if shutil.which("dbus-daemon") is None:
        pytest.skip("dbus-daemon is not installed")
    with place_of_its_own() as place:
        stand_in = Systemd(place)
        monkeypatch.setattr(bus, "SYSTEM_BUS", str(stand_in.bus))
        try:
            stand_in.start()
            yield stand_in
        finally:
            stand_in.close()


@pytest.fixture
async def unit_story(new_story: Callable[..., Story], systemd: Systemd, tmp_path: Path) -> Story:
    """An agent whose handlers run in units of their own."""
    return new_story(UnitLauncher(systemd.place), Units(tmp_path / "state", "network", {"fixed": "packages"}))


@pytest.fixture
def ordinary() -> Iterator[None]:
    """Take from this thread, and those it starts, what lets root read and write everything (capabilities(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice
    assert libc.capget(header, sets) == 0
    before = sets[0]
    sets[0] = before & ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, sets) == 0
    yield
    sets[0] = before
    assert libc.capset(header, sets) == 0
