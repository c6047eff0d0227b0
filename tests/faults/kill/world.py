"""A world of one case: a thing with two jobs, a device's files, agents one after the other, and what they all left.

The handler notes in a ledger, outside the agent's state and on the disk, when it begins and when it is at its end.
"""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.end_to_end.agents import Device
from tests.faults.kill.own_units import OwnUnits
from tests.faults.kill.points import STRACE, Hit
from tests.support.configs import aws_of

from iot_jobs_agent.errors import JournalError
from iot_jobs_agent.shim.processes import processes
from iot_jobs_agent.state.journal import Journal, Recovered, _recover
from iot_jobs_simulator.jobs.execution import ExecutionStatus
from iot_jobs_simulator.server import RunningSimulator

AGENT = """
import sys
sys.executable = sys.argv.pop(1)  # by which the agent starts its shims
{defect}
from iot_jobs_agent.__main__ import main
sys.exit(main())
"""
TRACE = [STRACE, "-D", "-f", "-qq", "-b", "execve"]
WATCHDOG_S = 2.4
PENDING = {ExecutionStatus.QUEUED, ExecutionStatus.IN_PROGRESS}

LEDGER = """#!/bin/sh
note() { echo "$1 $JOB_ID $JOB_EXECUTION_NUMBER $JOB_STEP $JOB_ATTEMPT" >> LEDGER && sync LEDGER; }
note start
echo '{"progress": 50, "message": "half", "checkpoint": 1}' >&3
note end
"""


@dataclass
class Agent:
    """A running agent, and what it told its service manager. `started_at` is monotonic."""

    process: asyncio.subprocess.Process
    log: Path
    started_at: float
    ready_at: float | None = None
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)
    fed_at: list[float] = field(default_factory=list)

    async def ended(self, within_s: float) -> int | None:
        """Wait for its end: its exit status, or None if it still runs after so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                return await self.process.wait()
        return None

    async def end(self, number: int = signal.SIGKILL) -> int:
        """Send a signal, and wait for its end: its exit status."""
        if self.process.returncode is None:  # send_signal() would collect it unseen, if it has just ended
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)
        status = await self.ended(20)
        return await self.end() if status is None else status

    async def has_begun(self) -> None:
        """Wait until it is ready or has ended, but not long."""
        facts = {asyncio.create_task(self.is_ready.wait()), asyncio.create_task(self.process.wait())}
        _, pending = await asyncio.wait(facts, timeout=15, return_when=asyncio.FIRST_COMPLETED)
        for fact in pending:
            fact.cancel()

    @property
    def last_word_at(self) -> float:
        """When it last said something to its service manager, at first when it was started (monotonic)."""
        return max([self.started_at, *filter(None, [self.ready_at]), *self.fed_at])

    @property
    def longest_silence_s(self) -> float:
        """The longest time without a word to the watchdog, from being ready to the end."""
        times = [*filter(None, [self.ready_at]), *self.fed_at]
        return max((after - before for before, after in itertools.pairwise(times)), default=0.0)


class World:
    """One case. `jobs` are the ids of its jobs; `seen` gathers what was violated, by invariant.

    `script` is the handler, `defect` Python code that spoils the agent, `shim_defect` code that spoils shims of units.
    With `launcher` "units", handlers have units of their own, and systemd refuses the first ones as `refusals` say.
    """

    def __init__(
        self,
        sim: RunningSimulator,
        scratch: Path,
        number: int,
        *,
        script: str = LEDGER,
        names: tuple[str, ...] = ("a", "b"),
        defect: str = "",
        launcher: str = "plain",
        refusals: Sequence[str] = (),
        shim_defect: str = "",
    ) -> None:
        self.sim = sim
        self.name = f"w{number:05}w"
        self.directory = scratch / self.name
        self.jobs = tuple(f"{each}-{self.name}" for each in names)
        self.seen: list[str] = []
        self.agents: list[Agent] = []
        self.ledger_file = self.directory / "ledger"
        self.own = OwnUnits([*refusals], shim_defect) if launcher == "units" else None
        self._code = AGENT.format(defect=f"{self.own.code if self.own else ''}\n{defect}")
        self._python = self.directory / "python"
        self._notify: socket.socket | None = None
        (self.directory / "handlers").mkdir(parents=True)
        self.ledger_file.touch()
        self.device = Device(
            self.directory,
            {
                "aws": aws_of(sim, self.name) | {"request_timeout_s": 2, "keep_alive_s": 5},
                "agent": {"state_directory": str(self.directory / "state"), "progress_interval_s": 0.1},
                "handlers": {"enabled": [], "directories": [str(self.directory / "handlers")], "launcher": launcher},
            },
        )
        self.device.add_handler("ledger", script.replace("LEDGER", str(self.ledger_file)))
        self.device.write_config()
        self.target = sim.operate("CreateThing", thingName=self.name)["thingArn"]
        document = json.dumps({"operation": "ledger"})
        for job in self.jobs:
            sim.operate("CreateJob", jobId=job, targets=[self.target], document=document)
        self._watchers = [asyncio.create_task(self._watch(job)) for job in self.jobs]

    async def close(self) -> None:
        """End what still runs, and remove the files."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for agent in self.agents:
            await agent.end()
        for job in self.jobs:
            for pid in self.alive(job):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._deafen()
        if self.own is not None:
            await self.own.close()
        shutil.rmtree(self.directory)

    # What happens in it

    async def start(self, *hits: Hit, tracing: Sequence[str] = ()) -> Agent:
        """Start an agent, with hits on it or on each of its shims, or with strace's options `tracing` for all."""
        if self.own is not None:
            await self.own.start()
        number = len(self.agents)
        agent_options, shim_options = ([*tracing, *self._options(hits, role)] for role in ("agent", "shim"))
        trace = [*TRACE, "-o", f"{self.directory}/trace.{number}.agent", *agent_options] if agent_options else []
        self._provide_python(number, shim_options)
        log = self.directory / f"agent.{number}.log"
        with log.open("ab") as stderr:
            process = await asyncio.create_subprocess_exec(
                *(
                    *trace,
                    sys.executable,
                    "-c",
                    self._code,
                    str(self._python),
                    "run",
                    "--config",
                    str(self.device.config),
                ),
                "--once",  # it ends as soon as all is settled, which is what is waited for
                stderr=stderr,
                env=os.environ | {"NOTIFY_SOCKET": self._hear(), "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))},
            )
        self.agents.append(Agent(process, log, time.monotonic()))
        return self.agents[-1]

    def _options(self, hits: Sequence[Hit], role: str) -> list[str]:
        return [word for hit in hits if hit.point.role == role for word in hit.options(self.directory, self.name)]

    def _provide_python(self, number: int, options: list[str]) -> None:
        """Let the agent start its shims by a program that traces them, each with a log of its own."""
        trace = [*TRACE, "-o", f"{self.directory}/trace.{number}.shim.$$", *options] if options else []
        words = " ".join(f'"{word}"' for word in (*trace, sys.executable))
        self._python.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        self._python.chmod(0o755)

    def _hear(self) -> str:
        """Listen for the next agent as a service manager does: the socket's address."""
        self._deafen()
        address = self.directory / "notify"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._notify.bind(str(address))
        asyncio.get_running_loop().add_reader(self._notify, self._heard)
        return str(address)

    def _heard(self) -> None:
        assert self._notify is not None
        message, now = self._notify.recv(65536), time.monotonic()
        agent = self.agents[-1]
        if message.startswith(b"READY=1"):
            agent.ready_at = now
            agent.is_ready.set()
        elif message.startswith((b"WATCHDOG=1", b"STOPPING=1")):
            agent.fed_at.append(now)

    def _deafen(self) -> None:
        if self._notify is not None:
            asyncio.get_running_loop().remove_reader(self._notify)
            self._notify.close()
            self._notify = None
            (self.directory / "notify").unlink()

    async def _watch(self, job: str) -> None:
        """Look for what is alive of a job at the moment when the service calls it over."""
        await self.until(lambda: self.is_over(job), 600)
        if alive := self.alive(job):
            self.seen.append(f"P {job} is {self.status(job)}, and {len(alive)} processes of it are alive")
        if self.has_unit(job):
            self.seen.append(f"P {job} is {self.status(job)}, and its unit is not over")

    async def until(self, is_so: Callable[[], bool], within_s: float = 60) -> None:
        """Wait for a fact of the service's."""
        await self.sim.wait_until(is_so, within_s=within_s)

    # What became of it

    def status(self, job: str) -> ExecutionStatus | None:
        """Return what the service says."""
        return self.sim.status(self.name, job)

    def is_over(self, job: str) -> bool:
        """Tell whether the service calls the job's execution over."""
        return self.status(job) not in {None, *PENDING}

    def told(self, job: str) -> list[dict[str, Any]]:
        """Return the updates that the device sent, in order, without what differs between repeats."""
        topic = f"$aws/things/{self.name}/jobs/{job}/update"
        found = [json.loads(payload) for heard, payload in self.sim.received if heard == topic]
        return [{k: v for k, v in each.items() if k not in {"clientToken", "expectedVersion"}} for each in found]

    def ledger(self, word: str, job: str) -> list[str]:
        """Return the attempts of a job that began (`start`) or came to their end (`end`), as the handler noted them."""
        lines = self.ledger_file.read_text().splitlines()
        return [line.removeprefix(f"{word} ") for line in lines if line.startswith(f"{word} {job} ")]

    def journal(self) -> Recovered:
        """Return what the journal on the disk holds; of a dead agent's a copy is read. Raises JournalError."""
        if self.agents[-1].process.returncode is None:
            return self._live_journal()
        copy = self.directory / "journal"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for path in self.device.state.glob("journal.sqlite*"):
            if path.is_file():
                shutil.copy(path, copy)
        if not (copy / "journal.sqlite").exists():
            raise JournalError("there is no journal")
        journal = Journal(copy)
        try:
            return journal.open()
        finally:
            journal.close()
            journal.thread.shutdown()

    def _live_journal(self) -> Recovered:
        path = self.device.state / "journal.sqlite"
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            return _recover(database)

    def alive(self, job: str) -> list[int]:
        """Return the live processes of the job's attempts: those with its id in their environment, and its shims."""
        words = [f"JOB_ID={job}".encode()]
        if self.own is not None:  # the first process of its unit
            words.append(f"STATE_DIRECTORY={self.own.home(self.own.unit(self.device.state, job))}".encode())
        found = []
        for each in processes():
            try:
                environ = Path(f"/proc/{each.pid}/environ").read_bytes().split(b"\0")
                command = Path(f"/proc/{each.pid}/cmdline").read_bytes()
                cwd = str(Path(f"/proc/{each.pid}/cwd").readlink())
            except OSError:
                continue
            own = f"/attempts/.{job}."  # of a shim that was started early, only its directory tells
            is_shim = (own.encode() in command or own in cwd) and not command.startswith(STRACE.encode())
            if each.state not in "ZX" and (any(word in environ for word in words) or is_shim):
                found.append(each.pid)
        return found

    def has_unit(self, job: str) -> bool:
        """Tell whether systemd has a unit of the job that is not over."""
        return self.own is not None and self.own.unit(self.device.state, job) in self.own.live

    def counts_refused(self, job: str) -> bool:
        """Tell whether a start that systemd refused was taken for an attempt: it is kept among the job's results."""
        kept = self.device.state.glob(f"results/*.{job}.*/*/result.json")
        return any('"never-started"' in path.read_text() for path in kept)

    def story(self) -> str:
        """Return what the agents logged, and the ledger, for people."""
        files = [*sorted(self.directory.glob("agent.*.log")), self.ledger_file]
        return "\n".join(f"    {path.name}: {line}" for path in files for line in path.read_text().splitlines())

    def was_hit(self) -> bool:
        """Tell whether an injection was made; strace leaves only such calls in its logs besides those it counts."""
        marks = (b"(INJECTED)", b"(DELAYED)", b"stopped by SIGSTOP", b"killed by SIGKILL")
        return any(mark in log.read_bytes() for log in self.directory.glob("trace.*") for mark in marks)
