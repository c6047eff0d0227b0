"""What an idle process costs: memory and wake-ups, the agent's beside the floor's.

RSS and PSS are the kernel's own sums in /proc/PID/smaps_rollup. A wake-up is a context switch, voluntary or not, of any
of the process's threads (/proc/PID/task/*/status), counted over a window of idleness. The two run one after the other:
pages that both map would halve each other's PSS.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.device import Environment, configure, running_agent, running_floor
from iot_jobs_simulator.server import RunningSimulator

SETTLE_S = 3.0  # after the connection: first fetch, status file, the SDK's own housekeeping


@dataclass(frozen=True)
class Idle:
    """One idle process. Memory in MB (10^6 bytes), as people compare it."""

    rss_mb: float
    pss_mb: float
    wakeups_per_s: float
    threads: int


async def measure(
    device: Environment, simulator: RunningSimulator, directory: Path, *, window_s: float, times: int
) -> tuple[Idle, Idle]:
    """The connected, idle agent and the floor, each observed for `window_s`, `times` times: those of the median RSS."""
    agents, floors = [], []
    for number in range(times):
        thing = f"idle-agent-{number}"
        config = configure(directory, simulator, thing)
        simulator.operate("CreateThing", thingName=thing)
        async with running_agent(device, config) as process:
            await simulator.wait_until(partial(has_fetched, simulator, thing), within_s=30)
            agents.append(await _observe(process.pid, window_s))
        simulator.operate("CreateThing", thingName=f"idle-floor-{number}")
        async with running_floor(device, simulator, f"idle-floor-{number}") as process:
            floors.append(await _observe(process.pid, window_s))
    return _of_median_rss(agents), _of_median_rss(floors)


def _of_median_rss(found: list[Idle]) -> Idle:
    return sorted(found, key=lambda each: each.rss_mb)[len(found) // 2]


def has_fetched(simulator: RunningSimulator, thing: str) -> bool:
    """Whether the thing has asked for its pending executions."""
    return any(topic == f"$aws/things/{thing}/jobs/get" for topic, _ in simulator.received)


async def _observe(pid: int, window_s: float) -> Idle:
    await asyncio.sleep(SETTLE_S)
    before = _switches(pid)
    await asyncio.sleep(window_s)
    after = _switches(pid)
    new = sum(count - before.get(thread, 0) for thread, count in after.items())
    rss_mb, pss_mb = memory_mb(pid)
    return Idle(round(rss_mb, 2), round(pss_mb, 2), round(new / window_s, 2), len(after))


def memory_mb(pid: int) -> tuple[float, float]:
    """RSS and PSS of a process, in MB."""
    memory = dict(_fields(Path(f"/proc/{pid}/smaps_rollup")))
    return memory["Rss"] * 1024 / 1e6, memory["Pss"] * 1024 / 1e6


def _switches(pid: int) -> dict[str, int]:
    """Context switches so far, of each thread."""
    counts = {}
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        fields = dict(_fields(status))
        counts[status.parent.name] = fields["voluntary_ctxt_switches"] + fields["nonvoluntary_ctxt_switches"]
    return counts


def _fields(file: Path) -> Iterator[tuple[str, int]]:
    """The numbers of a /proc file with lines like `Rss:  37500 kB`."""
    for line in file.read_text().splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdigit():
            yield name, int(words[0])
