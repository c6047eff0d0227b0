"""Compares this checkout with an older commit: `uv run python -m benchmarks --against REVISION`.

Both are built as wheels and installed with compiled byte code, with the same versions of everything else. They run
against the same simulator, and take turns: each pair of figures comes from moments that follow each other, so a machine
that gets busy meanwhile changes both. Nothing here depends on the names of the older build's modules; its command line
and its configuration's keys are those of today.
"""

import asyncio
import json
import os
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.device import TRUE_HANDLER, Environment, configure, export, install, running_agent
from benchmarks.idle import SETTLE_S, has_fetched, memory_mb
from benchmarks.latency import WARM_UPS, turnaround, written_bytes_of
from benchmarks.ratios import Ratios
from iot_jobs_simulator.server import RunningSimulator, running_simulator

IDLES = 5
STARTS = 12
COMMANDS = 12
ROUNDS = 2  # of each queue
QUEUE = 200
WITHIN_S = 120.0
NAMESPACE = "team-a"
TRUE_DOCUMENT = json.dumps({"operation": TRUE_HANDLER, "params": {}})


class Builds(NamedTuple):
    """The two that are compared, each in an environment of its own."""

    then: Environment
    now: Environment

    def in_turn(self, number: int) -> "tuple[tuple[str, Environment], ...]":
        """Return both with their names; who is first alternates from round to round."""
        both = (("then", self.then), ("now", self.now))
        return both if number % 2 == 0 else both[::-1]


async def compare(revision: str, scratch: Path, *, jobs: int) -> Ratios:
    """Measure everything, with `jobs` jobs of each kind for the turnaround."""
    older = await asyncio.to_thread(export, revision, scratch / "source")
    builds = Builds(
        await asyncio.to_thread(install, scratch, older, "then"), await asyncio.to_thread(install, scratch, name="now")
    )
    ratios = Ratios()
    async with running_simulator() as simulator:
        await _idle(builds, simulator, scratch, ratios)
        await _starts(builds, simulator, scratch, ratios)
        await _turnarounds(builds, simulator, scratch, ratios, jobs)
    await _queues(builds, scratch, ratios)
    return ratios


async def _idle(builds: Builds, simulator: RunningSimulator, scratch: Path, ratios: Ratios) -> None:
    """The agent alone, twice: the first start may have more to do, and what counts is how it is for months."""
    for number in range(IDLES):
        for name, build in builds.in_turn(number):
            thing = f"idle-{name}-{number}"
            simulator.operate("CreateThing", thingName=thing)
            config = configure(scratch, simulator, thing, namespaces=[NAMESPACE])
            for start in ("first start", "later starts"):
                simulator.received.clear()
                async with running_agent(build, config) as process:
                    await simulator.wait_until(partial(has_fetched, simulator, thing), within_s=30)
                    await asyncio.sleep(SETTLE_S)
                    rss_mb, pss_mb = memory_mb(process.pid)
                ratios.add(f"idle RSS, {start}, MB", name, rss_mb)
                ratios.add(f"idle PSS, {start}, MB", name, pss_mb)


async def _starts(builds: Builds, simulator: RunningSimulator, scratch: Path, ratios: Ratios) -> None:
    """From exec to the first fetch, on a device that is new, and on one that has run with this configuration before."""
    for number in range(STARTS):
        for name, build in builds.in_turn(number):
            thing = f"start-{name}-{number}"
            simulator.operate("CreateThing", thingName=thing)
            config = configure(scratch, simulator, thing)
            for start in ("first start", "later starts"):
                simulator.received.clear()
                started = time.perf_counter()
                async with running_agent(build, config):
                    await simulator.wait_until(partial(has_fetched, simulator, thing), within_s=30)
                    ratios.add(f"start to first fetch, {start}, ms", name, 1e3 * (time.perf_counter() - started))


async def _turnarounds(builds: Builds, simulator: RunningSimulator, scratch: Path, ratios: Ratios, jobs: int) -> None:
    """Both agents are connected, and jobs go to one after the other; then the commands that read what is left."""
    async with AsyncExitStack() as stack:
        configs, arns = {}, {}
        for name, build in builds.in_turn(0):
            thing = f"turnaround-{name}"
            arns[name] = simulator.operate("CreateThing", thingName=thing)["thingArn"]
            configs[name] = configure(scratch, simulator, thing)
            await stack.enter_async_context(running_agent(build, configs[name]))
            await simulator.wait_until(partial(has_fetched, simulator, thing), within_s=30)
        for number in range(-WARM_UPS, jobs):
            for name, _ in builds.in_turn(number):
                written = {"path": str(configs[name].with_name("files") / "note"), "content": "hello\n"}
                documents = {
                    "executable": TRUE_DOCUMENT,
                    "Python handler": json.dumps({"operation": "write-file", "params": written}),
                }
                for kind, document in documents.items():
                    job_id = f"{kind.partition(' ')[0]}-{name}-{number}"
                    took_s, _ = await turnaround(simulator, f"turnaround-{name}", arns[name], job_id, document)
                    if number >= 0:
                        ratios.add(f"turnaround, {kind}, ms", name, 1e3 * took_s)
        for number in range(COMMANDS):
            for name, build in builds.in_turn(number):
                for command in ("status", "jobs"):
                    words = [build.agent, command, "--config", str(configs[name])]
                    ratios.add(f"`{command}`, ms", name, await _command_ms(words))
                ratios.add("`jobctl`, ms", name, await _command_ms([build.jobctl, "progress", "50", "half"]))


async def _command_ms(words: list[str]) -> float:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        started = time.perf_counter()
        environment = {**os.environ, "JOB_CONTROL_FD": str(nowhere)}
        process = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.DEVNULL, pass_fds=[nowhere], env=environment
        )
        assert await process.wait() == 0, words
        return 1e3 * (time.perf_counter() - started)
    finally:
        os.close(nowhere)


async def _queues(builds: Builds, scratch: Path, ratios: Ratios) -> None:
    for number in range(ROUNDS):
        for max_concurrent in (1, 4):
            for name, build in builds.in_turn(number):
                where = scratch / f"queue-{number}-{max_concurrent}-{name}"
                where.mkdir()
                for figure, value in (await _queue(build, where, max_concurrent)).items():
                    ratios.add(f"{figure}, {QUEUE} jobs, max_concurrent {max_concurrent}", name, value)


async def _queue(build: Environment, scratch: Path, max_concurrent: int) -> dict[str, float]:
    """Measure a queue that is there before the agent, from its first fetch until all jobs have succeeded."""
    jobs = [f"job-{number}" for number in range(QUEUE)]
    async with running_simulator() as simulator:
        arn = simulator.operate("CreateThing", thingName="busy")["thingArn"]
        config = configure(scratch, simulator, "busy", max_concurrent=max_concurrent)
        for job_id in jobs:
            simulator.operate("CreateJob", jobId=job_id, targets=[arn], document=TRUE_DOCUMENT)

        def are_done() -> bool:
            while jobs and str(simulator.status("busy", jobs[0])) == "SUCCEEDED":
                jobs.pop(0)
            return not jobs

        async with running_agent(build, config) as process:
            await simulator.wait_until(partial(has_fetched, simulator, "busy"), within_s=30)
            started, before = time.perf_counter(), _used(process.pid)
            await simulator.wait_until(are_done, within_s=WITHIN_S)
            took_s = time.perf_counter() - started
            await asyncio.sleep(1)  # the last report is answered and settled
            cpu_s, written_bytes, rss_mb = (new - old for new, old in zip(_used(process.pid), before, strict=True))
    return {
        "jobs/s": QUEUE / took_s,
        "CPU of the agent a job, ms": 1e3 * cpu_s / QUEUE,
        "bytes written a job": written_bytes / QUEUE,
        "RSS added, MB": rss_mb,
    }


def _used(pid: int) -> tuple[float, float, float]:
    """Return the seconds of CPU of a process itself, bytes written by it and those it has waited for, and RSS in MB."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return cpu_s, written_bytes_of(pid), memory_mb(pid)[0]
