"""For how long the simulator serves nobody while it does something to many things: `uv run benchmarks/holds.py`.

One job for a group of 50,000 things, and for each deed the longest time between two turns of the event loop, the
request included. That is CPU time, the least of three processes, because the machine may do something else as well.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]  # or we import ourselves
from iot_jobs_simulator.__main__ import collect_seldom  # noqa: E402 - the path comes first
from iot_jobs_simulator.server import RunningSimulator, running_simulator  # noqa: E402 - the path comes first

THINGS = 50_000
ROUNDS = 3
HOUR_S = 3600
GROUP = "arn:aws:iot:us-east-1:123456789012:thinggroup/all"


async def longest_hold_ms(
    simulator: RunningSimulator, deed: Callable[[], Any], is_over: Callable[[], bool] = lambda: True
) -> float:
    """Do something; the longest the event loop took to come round, until all that follows from it is done."""
    started = time.process_time()
    answer = deed()
    leap = asyncio.ensure_future(answer) if isinstance(answer, Awaitable) else None
    longest_s = time.process_time() - started
    while simulator.store.batches or not is_over() or (leap is not None and not leap.done()):
        started = time.process_time()
        await asyncio.sleep(0)
        longest_s = max(longest_s, time.process_time() - started)
    return 1000 * longest_s


def create(simulator: RunningSimulator, job_id: str, **more: Any) -> None:
    """A continuous job for the group."""
    members = {"targets": [GROUP], "document": "{}", "targetSelection": "CONTINUOUS"}
    simulator.operate("CreateJob", jobId=job_id, **members, **more)


def scheduled(simulator: RunningSimulator) -> dict[str, Any]:
    """A schedule that starts within the hour after next, with half an hour of window in every hour."""
    start = datetime.fromtimestamp(simulator.store.jobs["great"].created_at + 2 * HOUR_S, UTC)
    windows = [{"startTime": "cron(0 * * * ? *)", "durationInMinutes": 30}]
    return {"schedulingConfig": {"startTime": f"{start:%Y-%m-%dT%H:00}", "maintenanceWindows": windows}}


async def measure(things: int) -> dict[str, float]:
    """The longest hold of each deed, in milliseconds."""
    async with running_simulator(rollout_per_minute=10 * things, deletion_delay_s=0.0) as simulator:
        operate = simulator.operate
        operate("CreateThingGroup", thingGroupName="all")
        for number in range(things):
            operate("CreateThing", thingName=f"t{number:06}")
            operate("AddThingToThingGroup", thingName=f"t{number:06}", thingGroupName="all")
        collect_seldom()
        jobs = simulator.store.jobs
        found = {
            "CreateJob and its rollout": await longest_hold_ms(
                simulator, lambda: create(simulator, "great"), lambda: jobs["great"].executions.total() == things
            )
        }
        create(simulator, "windowed", **scheduled(simulator))
        opening = HOUR_S - jobs["windowed"].created_at % HOUR_S + HOUR_S
        for what, seconds in (
            ("a window that opens for the first time", opening),
            ("a window that closes", HOUR_S / 2),
            ("a window that opens again", HOUR_S / 2),
        ):
            found[what] = await longest_hold_ms(simulator, lambda seconds=seconds: simulator.advance_clock(seconds))
        for what, deed in (
            ("CancelJob", lambda: operate("CancelJob", jobId="great")),
            ("DeleteJob", lambda: operate("DeleteJob", jobId="great")),
            ("DeleteThingGroup", lambda: operate("DeleteThingGroup", thingGroupName="all")),
        ):
            found[what] = await longest_hold_ms(simulator, deed)
        counted = {str(status): count for status, count in jobs["windowed"].executions.items() if count}
        assert counted == {"REMOVED": things}, counted
        return found


def print_holds() -> None:
    """The least of some processes."""
    command = [sys.executable, __file__, "--once"]
    rounds = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(ROUNDS)]
    print(f"{f'{THINGS:,} things':40}  longest hold, ms")
    for what in rounds[0]:
        print(f"{what:40}{min(found[what] for found in rounds):10.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="in this process, and as JSON")
    parser.add_argument("--things", type=int, default=THINGS, metavar="N")
    chosen = parser.parse_args()
    if chosen.once:
        print(json.dumps(asyncio.run(measure(chosen.things))))
    else:
        print_holds()
