"""How long the agent takes: from its exec to its first fetch, and from a notification to a terminal status.

Everything is observed from the service's side, on one clock: the simulator runs in this process's event loop, so the
moment of CreateJob (which notifies at once), of the first `jobs/get` and of each status are its own. Jobs run one
after the other, on a device that is idle in between. Medians: the machine is shared.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.device import FLOOR, TRUE_HANDLER, Environment, configure, running_agent
from benchmarks.idle import has_fetched
from iot_jobs_simulator.server import RunningSimulator

PAUSE_S = 0.3  # between two jobs: the report is answered, the next fetch done, the status file soon written
WARM_UPS = 2  # the first job of each kind asks the handler to describe itself
# The processes that a job of the kind cannot do without, with the imports that they cannot do without: a shim,
# and for a Python handler also a Python with one pydantic model.
_SHIM = ("-I", "-S", "-c", "import ctypes, fcntl, json, select, signal")
_HANDLER = ("-I", "-c", "from pydantic import create_model; create_model('Params', x=int)")
FLOORS = {"executable": (_SHIM,), "python": (_SHIM, _HANDLER)}


@dataclass(frozen=True)
class Start:
    """Milliseconds, medians. `imports` is a process that only makes the floor's imports."""

    first_fetch_ms: float
    imports_ms: float


@dataclass(frozen=True)
class Turnaround:
    """Milliseconds from CreateJob to SUCCEEDED in the service's record, and bytes written for a job.

    `floor_ms` is the median of the bare processes that such a job needs (FLOORS), started one after the other in the
    pauses between the jobs, so that both meet the same load. The bytes are what the kernel took for the disk from the
    agent and all its descendants (/proc/PID/io, write_bytes).
    """

    median_ms: float
    floor_ms: float
    best_ms: float
    worst_ms: float
    claim_ms: float
    written_bytes: int


async def measure_start(device: Environment, simulator: RunningSimulator, directory: Path, *, times: int) -> Start:
    """Start the agent `times` times, and as often a process that only imports."""
    fetches, imports = [], []
    for number in range(times):
        thing = f"start-{number}"
        simulator.operate("CreateThing", thingName=thing)
        config = configure(directory, simulator, thing)
        started = time.perf_counter()
        async with running_agent(device, config):
            await simulator.wait_until(partial(has_fetched, simulator, thing), within_s=30)
            fetches.append(time.perf_counter() - started)
        started = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            device.python, str(FLOOR), "--imports", stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"imported\n"
        imports.append(time.perf_counter() - started)
        await process.wait()
    return Start(_median_ms(fetches), _median_ms(imports))


async def measure_turnaround(
    device: Environment, simulator: RunningSimulator, directory: Path, *, times: int
) -> dict[str, Turnaround]:
    """Run `times` jobs of each kind, one after the other: an executable that is `true`, and the built-in write-file."""
    thing = "turnaround"
    arn = simulator.operate("CreateThing", thingName=thing)["thingArn"]
    config = configure(directory, simulator, thing)
    written = str(config.with_name("files") / "note")
    documents: dict[str, dict[str, Any]] = {
        "executable": {"operation": TRUE_HANDLER, "params": {}},
        "python": {"operation": "write-file", "params": {"path": written, "content": "hello\n"}},
    }
    measured = {}
    async with running_agent(device, config) as agent:
        await simulator.wait_until(partial(has_fetched, simulator, thing), within_s=30)
        for kind, document in documents.items():
            text = json.dumps(document)

            async def job(number: int, kind: str = kind, text: str = text) -> tuple[float, float]:
                return await turnaround(simulator, thing, arn, f"{kind}-{number}", text)

            for number in range(WARM_UPS):
                await job(-1 - number)
            bytes_before = written_bytes_of(agent.pid)
            totals, claims, floors = [], [], []
            for number in range(times):
                total, claim = await job(number)
                totals.append(total)
                claims.append(claim)
                floors.append(await _floor(device, kind))
            measured[kind] = Turnaround(
                median_ms=_median_ms(totals),
                floor_ms=_median_ms(floors),
                best_ms=_ms(min(totals)),
                worst_ms=_ms(max(totals)),
                claim_ms=_median_ms(claims),
                written_bytes=(written_bytes_of(agent.pid) - bytes_before) // times,
            )
    return measured


async def turnaround(
    simulator: RunningSimulator, thing: str, arn: str, job_id: str, document: str
) -> tuple[float, float]:
    """Run one job after a pause; seconds until SUCCEEDED, and until IN_PROGRESS."""
    await asyncio.sleep(PAUSE_S)

    def has(*statuses: str) -> Callable[[], bool]:
        return lambda: str(simulator.status(thing, job_id)) in statuses

    started = time.perf_counter()
    simulator.operate("CreateJob", jobId=job_id, targets=[arn], document=document)
    await simulator.wait_until(has("IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED"), within_s=30)
    claimed = time.perf_counter() - started
    await simulator.wait_until(has("SUCCEEDED", "FAILED", "REJECTED"), within_s=30)
    took = time.perf_counter() - started
    record = simulator.operate("DescribeJobExecution", jobId=job_id, thingName=thing)["execution"]
    assert record["status"] == "SUCCEEDED", record
    return took, claimed


async def _floor(device: Environment, kind: str) -> float:
    """Seconds that the bare processes of a job take."""
    await asyncio.sleep(PAUSE_S)
    started = time.perf_counter()
    for arguments in FLOORS[kind]:
        process = await asyncio.create_subprocess_exec(device.python, *arguments)
        assert await process.wait() == 0
    return time.perf_counter() - started


def written_bytes_of(pid: int) -> int:
    """Return what the kernel took for the disk from a process and those that it has waited for."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


def _median_ms(seconds: list[float]) -> float:
    return _ms(statistics.median(seconds))


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
