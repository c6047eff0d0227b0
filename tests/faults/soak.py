"""Soak: thousands of jobs through one agent, with trouble all the while. Nothing lost, nothing twice, nothing grows.

A kind of job in eleven ways: what its handler does is in its id, and so is what must become of it. Operators cancel,
shims are killed, messages are lost, doubled, late and refused, the broker goes and comes. About some executions the
service refuses request after request, with codes in any order; the last of them have the agent for themselves.
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
from typing import TYPE_CHECKING, Any

from tests.faults.budget import CODES, TERMINAL, Requests, Written
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
REFUSED_EVERY, REFUSED_EVERY_FULL, REFUSED_LAST = 40, 500, 6  # jobs
REFUSED_S, REFUSED_FULL_S = 12.0, 75.0  # until an operator ends an execution about which requests are refused
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
    "refused": "CANCELED SUCCEEDED",  # what passes may be enough
}
WEIGHTS = {"ok": 10, "lost": 1, "daemon": 1, "long": 1, "refused": 0}  # the others 2


@dataclass
class Soak:
    """One agent, one simulator, and what was seen of them."""

    sim: RunningSimulator
    directory: Path
    seed: int
    handler: str = HANDLER
    is_full: bool = False
    codes: tuple[str, ...] = CODES
    refused_last: int = REFUSED_LAST
    program: tuple[str, ...] = ("-m", "iot_jobs_agent")
    samples: list[dict[str, int]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    told: dict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    troubles: Counter[str] = field(default_factory=Counter)
    done: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.ledger = self.directory / "ledger"
        self.state = self.directory / "state"
        self.requests = Requests(self.ledger, self.seen)
        self.written = Written(self.seen)
        self.trouble_every = TROUBLE_EVERY_FULL if self.is_full else TROUBLE_EVERY
        self._trouble_number = 0
        self._refusals: dict[str, tuple[float, list[int]]] = {}

    async def run(self, jobs: int) -> None:
        """Give the agent `jobs` jobs, a few at a time, and look at each that ends."""
        self._write_device()
        arn = self.sim.operate("CreateThing", thingName=THING)["thingArn"]
        with (self.directory / "log").open("wb") as log:
            agent = await asyncio.create_subprocess_exec(
                *(sys.executable, *self.program, "run", "--config", str(self.directory / "config.toml")),
                stderr=log,
            )
        try:
            async with asyncio.timeout(None) as stall:
                self._stall = stall
                await self._all(self._names(jobs), arn, agent.pid)
                self._calm(agent.pid)
                await self._all([f"refused-last-{n}" for n in range(self.refused_last)], arn, agent.pid)
                self.written.note("refused", agent.pid, self.done)
        except TimeoutError:
            pending = [j for j in self.sim.store.jobs if not self._is_over(j)]
            self.seen.append(f"L: nothing ended for {STALL_S:g} s; pending: {' '.join(pending[:5])}")
        if agent.returncode is not None:
            self.seen.append(f"R: the agent ended with {agent.returncode}")
        else:
            agent.send_signal(signal.SIGTERM)
        await agent.wait()
        self._check_ledger()

    async def _all(self, names: list[str], arn: str, pid: int) -> None:
        sample_every = max(1, len(names) // 40)
        pending: dict[str, str] = {}
        while names or pending:
            while names and len(pending.keys() - self._refusals) < OUTSTANDING:
                name = names.pop()
                self._create(name, arn)
                pending[name] = BECOMES[name.partition("-")[0]]
            self._stall.reschedule(self._now() + STALL_S)
            await self._moved(pending)
            for name in [each for each in pending if self._is_over(each)]:
                self._check(name, pending.pop(name))
                self.done += 1
                if self.done % self.trouble_every == 0 and not self.requests.is_quiet:
                    await self._trouble()
                if self.done % sample_every == 0 and not self.requests.is_quiet:
                    self.samples.append(self._sample(pid))

    def _create(self, name: str, arn: str) -> None:
        document = json.dumps({"operation": "nowhere" if name.startswith("unknown") else "soak"})
        if name.startswith("refused"):
            numbers = [self.sim.faults.add(fault) for fault in self._refusals_of(name)]
            self._refusals[name] = (self._now() + (REFUSED_FULL_S if self.is_full else REFUSED_S), numbers)
        self.sim.operate("CreateJob", jobId=name, targets=[arn], document=document)

    def _refusals_of(self, name: str) -> list[Reject]:
        """Refuse all that is asked about the job, or each update, with codes in any order; a few requests pass."""
        operation = self.random.choice([None, "UpdateJobExecution", "UpdateJobExecution"])
        times = [{"times": 1, "skip": self.random.randrange(2)} for _ in range(9)] + [
            {"skip": self.random.randrange(4)}
        ]
        return [Reject(job=name, operation=operation, code=self.random.choice(self.codes), **each) for each in times]

    def _calm(self, pid: int) -> None:
        """From now on nothing goes wrong but refusals."""
        self.sim.faults.clear(self._trouble_number)
        self.requests.quiet_since = self._now()
        self.written.note("in trouble", pid, self.done)

    async def _moved(self, pending: dict[str, str]) -> None:
        """Wait until a job ended; cancel those that never would, once they run or have been refused for long."""

        def never_ends(job: str) -> bool:
            if job in self._refusals:
                return self._now() >= self._refusals[job][0]
            return job.startswith("long") and self._status(job) == "IN_PROGRESS"

        def has_moved() -> bool:
            self._listen()
            return any(self._is_over(job) or never_ends(job) for job in pending)

        await self.sim.wait_until(has_moved, within_s=STALL_S)
        for name in filter(never_ends, pending):
            self.sim.operate("CancelJob", jobId=name, force=True)
            for number in self._refusals.pop(name, (0.0, []))[1]:
                self.sim.faults.clear(number)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _names(self, jobs: int) -> list[str]:
        kinds = [kind for kind in BECOMES for _ in range(WEIGHTS.get(kind, 2))]
        every = REFUSED_EVERY_FULL if self.is_full else REFUSED_EVERY
        chosen = [self.random.choice(kinds) for _ in range(jobs)]
        return [f"{'refused' if n % every == every - 1 else kind}-{n}" for n, kind in enumerate(chosen)][::-1]

    def _status(self, job: str) -> str:
        status = self.sim.status(THING, job)
        return status.value if status else ""

    def _is_over(self, job: str) -> bool:
        return self._status(job) not in {"", "QUEUED", "IN_PROGRESS"}

    def _check(self, job: str, wanted: str) -> None:
        """T and S: the status that its handler has earned, whatever was lost on the way."""
        if (found := self._status(job)) not in wanted.split():
            self.seen.append(f"S T: {job} became {found}, not {wanted}")

    def _listen(self) -> None:
        """T: of each execution one terminal status is told, however often. B: what is asked about it is counted."""
        self.requests.note_starts()
        if not self.sim.has_subscription(f"$aws/things/{THING}/jobs/notify"):
            self.requests.note_disconnect()
        while self.sim.received:
            topic, payload = self.sim.received.popleft()
            job = topic.split("/")[4]
            update = json.loads(payload) if topic.endswith("/update") else None
            if job in self.sim.store.jobs:
                version = self.sim.store.find_execution(THING, job).version
                self.requests.note(job, update, version, self._now())
            if update and update["status"] in TERMINAL:
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
            self.sim.faults.clear(self._trouble_number)
            self._trouble_number = self.sim.faults.add(troubles[name]())

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
            "agent": {"state_directory": str(self.state), "max_concurrent": 5, "poll_interval_s": 5},
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
    bad = await _soaked(options, "bad", 12, refused_last=0, handler=HANDLER.replace("sync LEDGER\n", TWICE), seed=3)
    hasty = await _soaked(options, "hasty", 0, seed=3, codes=("InternalError",), program=("-m", "tests.faults.hasty"))
    leaking = [{what: n * slack for what, slack in SLACK.items()} for n in range(40)]
    first, last = soak.samples[len(soak.samples) // 4], soak.samples[-1]
    counts = {
        "jobs": soak.done,
        "troubles": soak.troubles.total(),
        "samples": len(soak.samples),
        "requests about executions": soak.requests.total,
        "at most about one": soak.requests.most,
        "at most about one within 10 s without progress": soak.requests.most_in_10_s,
    }
    counts |= {f"KiB written for each execution {when}": kb for when, kb in soak.written.each_kb.items()}
    for what in SLACK:
        counts |= {f"{what} at a quarter": first[what], f"{what} at the end": last[what]}
    controls = {
        "a handler that is started twice": any(seen.startswith("O:") for seen in bad.seen),
        "an agent that grows": len(growth(leaking)) == len(SLACK),
        "requests of a core that sends everything again at once": any("within 10 s" in seen for seen in hasty.seen),
        "all that such a core asks": any("beyond two a minute" in seen for seen in hasty.seen),
        "what such a core writes": any("KiB were" in seen for seen in hasty.seen),
    }
    return Report(counts, (*soak.seen, *growth(soak.samples)), controls)


async def _soaked(options: Options, name: str, jobs: int, *, seed: int | None = None, **also: Any) -> Soak:
    directory = options.scratch / name
    directory.mkdir()
    is_full = options.is_full and name == "good"
    async with running_simulator() as sim:
        soak = Soak(sim, directory, options.seed if seed is None else seed, is_full=is_full, **also)
        await soak.run(jobs)
    return soak
