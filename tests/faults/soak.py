"""Soak: thousands of jobs through one agent, with trouble all the while. Nothing lost, nothing twice, nothing grows.

A kind of job in ten ways: what its handler does is in its id, and so is what must become of it. Operators cancel,
shims are killed, messages are lost, doubled, late and refused, the broker goes and comes.
"""

import asyncio
import json
import os
import random
import signal
import statistics
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.harness import Options, Report
from tests.support.configs import aws_of, toml_of

from iot_jobs_simulator.faults.faults import Delay, Disconnect, Duplicate, EmptyNext, Lose, Reject, Reorder, Silence
from iot_jobs_simulator.server import RunningSimulator, running_simulator

if TYPE_CHECKING:
    from collections.abc import Callable

THING = "soak"
JOBS, FULL_JOBS, OUTSTANDING = 80, 10_000, 8
TROUBLE_EVERY, TROUBLE_EVERY_FULL = 4, 100  # jobs
STALL_S = 90.0
SLACK = {"rss_kb": 3072, "descriptors": 4, "threads": 2, "journal_kb": 4608, "state_kb": 8192}

HANDLER = """#!/bin/sh
[ "$1" = describe ] && exec echo '{"retry_delay_s": 0, "grace_s": 5}'
echo "$JOB_ID $JOB_EXECUTION_NUMBER $JOB_STEP $JOB_ATTEMPT" >> LEDGER
sync LEDGER
case $JOB_ID in
fail-*) echo no >&2; exit 3 ;;
dies-*) kill -9 $$ ;;
retry-*) [ "$JOB_ATTEMPT" = 2 ] || echo '{"outcome": "retry"}' > "$JOB_RESULT_FILE" ;;
loud-*) head -c 300000 /dev/zero | tr '\\0' x ;;
daemon-*) setsid tail -f /dev/null & ;;
talks-*) for n in 1 2 3; do echo "{\\"progress\\": $n, \\"details\\": {\\"n\\": \\"$n\\"}}" >&3; done ;;
lost-*) kill -9 $PPID; exec tail -f /dev/null ;;
long-*) exec tail -f /dev/null ;;
esac
"""
TWICE = 'sync LEDGER\n[ $JOB_ID = ok-3 ] && echo "$JOB_ID $JOB_EXECUTION_NUMBER $JOB_STEP $JOB_ATTEMPT" >> LEDGER\n'
BECOMES = {
    "ok": "SUCCEEDED",
    "fail": "FAILED",
    "dies": "FAILED",
    "retry": "SUCCEEDED",
    "loud": "SUCCEEDED",
    "daemon": "SUCCEEDED",
    "talks": "SUCCEEDED",
    "lost": "FAILED",
    "long": "CANCELED",
    "unknown": "REJECTED",
}
WEIGHTS = {"ok": 10, "lost": 1, "daemon": 1, "long": 1}  # the others 2
TERMINAL = {"SUCCEEDED", "FAILED", "REJECTED"}


@dataclass
class Soak:
    """One agent, one simulator, and what was seen of them."""

    sim: RunningSimulator
    directory: Path
    seed: int
    handler: str = HANDLER
    trouble_every: int = TROUBLE_EVERY
    samples: list[dict[str, int]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    told: dict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    troubles: Counter[str] = field(default_factory=Counter)
    done: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.ledger = self.directory / "ledger"
        self.state = self.directory / "state"
        self.stale: list[tuple[str, bytes]] = []

    async def run(self, jobs: int) -> None:
        """Give the agent `jobs` jobs, a few at a time, and look at each that ends."""
        self._write_device()
        arn = self.sim.operate("CreateThing", thingName=THING)["thingArn"]
        with (self.directory / "log").open("wb") as log:
            agent = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "iot_jobs_agent", "run", "--config", str(self.directory / "config.toml")),
                stderr=log,
            )
        try:
            async with asyncio.timeout(None) as stall:
                self._stall = stall
                await self._all(jobs, arn, agent.pid)
        except TimeoutError:
            pending = [j for j in self.sim.store.jobs if not self._is_over(j)]
            self.seen.append(f"L: nothing ended for {STALL_S:g} s; pending: {' '.join(pending[:5])}")
        if agent.returncode is not None:
            self.seen.append(f"R: the agent ended with {agent.returncode}")
        else:
            agent.send_signal(signal.SIGTERM)
        await agent.wait()
        self._check_ledger()

    async def _all(self, jobs: int, arn: str, pid: int) -> None:
        names = self._names(jobs)
        pending: dict[str, str] = {}
        while names or pending:
            while names and len(pending) < OUTSTANDING:
                name = names.pop()
                operation = "nowhere" if name.startswith("unknown") else "soak"
                document = json.dumps({"operation": operation})
                self.sim.operate("CreateJob", jobId=name, targets=[arn], document=document)
                pending[name] = BECOMES[name.partition("-")[0]]
            self._stall.reschedule(asyncio.get_running_loop().time() + STALL_S)
            await self._moved(pending)
            for name in [each for each in pending if self._is_over(each)]:
                self._check(name, pending.pop(name))
                self.done += 1
                if self.done % self.trouble_every == 0:
                    await self._trouble()
                if self.done % max(1, jobs // 40) == 0:
                    self.samples.append(self._sample(pid))

    async def _moved(self, pending: dict[str, str]) -> None:
        """Wait until a job ended; cancel those that never would, once they run."""

        def has_moved() -> bool:
            self._listen()
            return any(self._is_over(j) or (j.startswith("long") and self._status(j) == "IN_PROGRESS") for j in pending)

        await self.sim.wait_until(has_moved, within_s=STALL_S)
        for name in pending:
            if name.startswith("long") and self._status(name) == "IN_PROGRESS":
                self.sim.operate("CancelJob", jobId=name, force=True)

    def _names(self, jobs: int) -> list[str]:
        kinds = [kind for kind in BECOMES for _ in range(WEIGHTS.get(kind, 2))]
        return [f"{self.random.choice(kinds)}-{n}" for n in range(jobs)][::-1]

    def _status(self, job: str) -> str:
        status = self.sim.status(THING, job)
        return status.value if status else ""

    def _is_over(self, job: str) -> bool:
        return self._status(job) not in {"", "QUEUED", "IN_PROGRESS"}

    def _check(self, job: str, wanted: str) -> None:
        """T and S: the status that its handler has earned, whatever was lost on the way."""
        if (found := self._status(job)) != wanted:
            self.seen.append(f"S T: {job} became {found}, not {wanted}")

    def _listen(self) -> None:
        """T: of each execution one terminal status is told, however often."""
        while self.sim.received:
            topic, payload = self.sim.received.popleft()
            if topic.endswith("/update"):
                update = json.loads(payload)
                if update["status"] in TERMINAL:
                    told = self.told[topic, update.get("executionNumber", 0)]
                    told.add(update["status"])
                    if len(told) > 1:
                        self.seen.append(f"T: {topic} was told {' and '.join(sorted(told))}")

    def _check_ledger(self) -> None:
        """O: no attempt was started twice; D: a success has started."""
        lines = Counter(self.ledger.read_text().splitlines())
        self.seen += [f"O: started {count} times: {line}" for line, count in lines.items() if count > 1]
        started = {line.split()[0] for line in lines}
        for topic, _ in [key for key, told in self.told.items() if "SUCCEEDED" in told]:
            if topic.split("/")[4] not in started:
                self.seen.append(f"D: {topic} succeeded without a start")

    async def _trouble(self) -> None:
        """One thing goes wrong."""
        troubles: dict[str, Callable[[], object]] = {
            "lost reply": lambda: Lose(what="reply", times=1),
            "lost notification": lambda: Lose(what="notification", times=1),
            "doubled message": lambda: Duplicate(times=2, gap_ms=50),
            "late message": lambda: Delay(delay_ms=self.random.randrange(3000), times=1),
            "overtaken message": lambda: Reorder(times=1),
            "internal error": lambda: Reject(operation="UpdateJobExecution", code="InternalError", times=1),
            "throttled": lambda: Reject(code="RequestThrottled", times=1),
            "silence": lambda: Silence(times=2),
            "empty next": lambda: EmptyNext(times=1),
            "cut connection": lambda: Disconnect(packet="PUBLISH", times=1),
            "broker restart": lambda: None,
            "broker restart without sessions": lambda: None,
        }
        name = self.random.choice(list(troubles))
        self.troubles[name] += 1
        if name.startswith("broker"):
            await self.sim.restart_broker(keep_sessions="without" not in name)
        else:
            self.sim.faults.clear()
            self.sim.faults.add(troubles[name]())

    def _sample(self, pid: int) -> dict[str, int]:
        """What the agent takes of the machine."""
        process = Path(f"/proc/{pid}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line)
        return {
            "rss_kb": int(status["VmRSS"].split()[0]),
            "threads": int(status["Threads"]),
            "descriptors": len(list((process / "fd").iterdir())),
            "journal_kb": sum(p.stat().st_size for p in self.state.glob("journal.sqlite*")) // 1024,
            "state_kb": _size(self.state) // 1024,
        }

    def _write_device(self) -> None:
        handlers = self.directory / "handlers"
        handlers.mkdir()
        (handlers / "soak").write_text(self.handler.replace("LEDGER", str(self.ledger)))
        (handlers / "soak").chmod(0o755)
        self.ledger.touch()
        tables = {
            "aws": aws_of(self.sim, THING) | {"request_timeout_s": 1, "keep_alive_s": 5},
            "agent": {"state_directory": str(self.state), "max_concurrent": 3, "poll_interval_s": 5},
            "handlers": {"enabled": ["soak"], "directories": [str(handlers)]},
        }
        (self.directory / "config.toml").write_text(toml_of(tables))


def _size(tree: Path) -> int:
    total = 0
    for directory, _, names in os.walk(tree):
        for name in names:
            try:
                total += (Path(directory) / name).lstat().st_blocks * 512
            except OSError:
                continue
    return total


def growth(samples: list[dict[str, int]]) -> list[str]:
    """B: what the last quarter takes more than the second one, beyond what may vary."""
    quarter = len(samples) // 4
    if not quarter:
        return ["B: too few samples to tell"]
    grown = []
    for what, slack in SLACK.items():
        early = statistics.median(s[what] for s in samples[quarter : 2 * quarter])
        late = statistics.median(s[what] for s in samples[-quarter:])
        if late > early + slack:
            grown.append(f"B: {what} grew from {early:g} to {late:g}")
    return grown


def run(options: Options) -> Report:
    """Soak an agent; then one that is known to be bad."""
    return asyncio.run(_run(options))


async def _run(options: Options) -> Report:
    soak = await _soaked(options, "good", FULL_JOBS if options.is_full else JOBS)
    bad = await _soaked(options, "bad", 12, HANDLER.replace("sync LEDGER\n", TWICE), seed=3)
    leaking = [{what: n * slack for what, slack in SLACK.items()} for n in range(40)]
    first, last = soak.samples[len(soak.samples) // 4], soak.samples[-1]
    counts = {"jobs": soak.done, "troubles": soak.troubles.total(), "samples": len(soak.samples)}
    for what in SLACK:
        counts |= {f"{what} at a quarter": first[what], f"{what} at the end": last[what]}
    controls = {
        "a handler that is started twice": any(seen.startswith("O:") for seen in bad.seen),
        "an agent that grows": len(growth(leaking)) == len(SLACK),
    }
    return Report(counts, (*soak.seen, *growth(soak.samples)), controls)


async def _soaked(options: Options, name: str, jobs: int, handler: str = HANDLER, seed: int | None = None) -> Soak:
    directory = options.scratch / name
    directory.mkdir()
    async with running_simulator() as sim:
        every = TROUBLE_EVERY_FULL if options.is_full else TROUBLE_EVERY
        soak = Soak(sim, directory, options.seed if seed is None else seed, handler, every)
        await soak.run(jobs)
    return soak
