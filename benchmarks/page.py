"""What the simulator's page costs: `uv run benchmarks/page.py`. Prints figures; never a test. Needs Debian's chromium.

A job of 100,000 executions is scrolled through in a real Chromium while the simulator goes on changing. Then without a
browser: how long its history takes, what the log of messages costs a request, and how much it keeps when it is full.
"""

import asyncio
import itertools
import json
import statistics
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any, Final

sys.path[:] = [
    str(Path(__file__).parents[1]),
    *(each for each in sys.path if Path(each).resolve() != Path(__file__).parent),
]

from tests.support.chromium import SimulatorBeside, chromium, show_as  # noqa: E402

from iot_jobs_simulator.message_log import MAX_EXECUTIONS, MAX_MESSAGES, MessageLog  # noqa: E402 - the path comes first
from iot_jobs_simulator.page.history import history_of  # noqa: E402

SIZE: Final = 100_000
FRAMES: Final = 600
REQUESTS: Final = 200_000
UPDATE: Final = json.dumps(
    {"status": "IN_PROGRESS", "statusDetails": {"step": "1", "progress": "17"}, "expectedVersion": 2}
)
SCROLL: Final = """
    const [frames, done] = arguments;
    const scroll = document.querySelector("#detail .scroll");
    const times = [];
    let down = 1;
    function step(now) {
      times.push(now);
      if (times.length > frames) return done(times);
      if (scroll.scrollTop + scroll.clientHeight >= scroll.scrollHeight) down = -1;
      scroll.scrollTop += down * (times.length % 3 ? 700 : 70000);
      requestAnimationFrame(step);
    }
    requestAnimationFrame(step);
"""


def spread(values: list[float], unit: str = "ms") -> str:
    """Return the median, the 95th percentile and the most of some figures."""
    cuts = statistics.quantiles(values, n=100)
    return f"median {cuts[49]:6.2f} {unit}   p95 {cuts[94]:6.2f} {unit}   most {max(values):6.2f} {unit}"


def fill(beside: SimulatorBeside) -> None:
    """Make a job with all of its executions."""

    async def create() -> None:
        beside.sim.operate("CreateThingGroup", thingGroupName="all")
        for number in range(SIZE):
            beside.sim.operate("CreateThing", thingName=f"thing-{number:06}")
            beside.sim.operate("AddThingToThingGroup", thingGroupName="all", thingName=f"thing-{number:06}")
        target = "arn:aws:iot:us-east-1:123456789012:thinggroup/all"
        beside.sim.operate("CreateJob", jobId="large", targets=[target], document="{}")

    beside.run(create())
    beside.pass_time(60 * SIZE / 1000)


async def change(beside: SimulatorBeside) -> None:
    """Change an execution every few milliseconds, so that each of the page's events tells of something."""
    for number in range(SIZE):
        beside.sim._service.answer_device("StartNextPendingJobExecution", {"thingName": f"thing-{number:06}"}, {})  # noqa: SLF001 - without a client
        await asyncio.sleep(0.005)


def measure_frames(beside: SimulatorBeside) -> None:
    """Scroll, 700 and 70,000 pixels a frame, and print how far apart the frames were."""
    with chromium() as driver:
        driver.set_script_timeout(120)
        show_as(driver)
        driver.get(f"{beside.url}/#/jobs/large")
        find = "return document.querySelectorAll('#detail .space [role=row]').length"
        while not driver.execute_script(find):
            pass
        for is_changing in (False, True):
            changing = asyncio.run_coroutine_threadsafe(change(beside), beside._loop) if is_changing else None  # noqa: SLF001
            times: list[float] = driver.execute_async_script(SCROLL, FRAMES)
            if changing is not None:
                changing.cancel()
            apart = [later - earlier for earlier, later in itertools.pairwise(times)]
            what = "while executions change" if is_changing else "while nothing changes"
            print(f"frames, {SIZE:,} executions, {what}: {spread(apart)}; rows drawn {driver.execute_script(find)}")


def measure_history(beside: SimulatorBeside) -> None:
    """Print how long a history takes in all, and its slices."""

    async def work() -> list[float]:
        store, slices = beside.sim.store, []
        steps = history_of(store, store.find_job("large"), beside.sim._service.now())  # noqa: SLF001
        while True:
            started = time.perf_counter()
            found = next(steps)
            slices.append(1000 * (time.perf_counter() - started))
            if found is not None:
                return slices

    slices = beside.run(work())
    print(f"history of {SIZE:,} executions: {sum(slices):.0f} ms in {len(slices)} slices: {spread(slices)}")


def measure_log() -> None:
    """Print what a request with its answer costs, and what a full log keeps."""
    log = MessageLog(time.time, lambda _thing, _job: True)
    payload, answer = UPDATE.encode(), b'{"timestamp":1796097103,"clientToken":"0123456789"}'
    things = [f"thing-{number:05}" for number in range(2 * MAX_EXECUTIONS)]
    started = time.perf_counter()
    for number in range(REQUESTS):
        topic = "$aws/things/lamp/jobs/J1/update"
        log.add_request("lamp", topic, payload, things[number % len(things)], "J1")(topic + "/accepted", answer)
    print(f"log of messages: {1e6 * (time.perf_counter() - started) / REQUESTS:.2f} us for a request and its answer")
    tracemalloc.start()
    log = MessageLog(time.time, lambda _thing, _job: True)
    for thing in things:
        for number in range(MAX_MESSAGES):
            topic = f"$aws/things/{thing}/jobs/J1/update"
            own: Any = bytes(bytearray(payload)), bytes(bytearray(answer))
            log.add_request(thing, topic + "", own[0], thing, f"J{number // MAX_MESSAGES}")(topic + "/accepted", own[1])
    kept_mb = tracemalloc.get_traced_memory()[0] / 1e6
    print(f"log of messages, full of updates ({MAX_EXECUTIONS:,} executions, {MAX_MESSAGES} each): {kept_mb:.0f} MB")


def main() -> None:
    """Print all of it."""
    measure_log()
    with SimulatorBeside() as beside:
        fill(beside)
        measure_history(beside)
        measure_frames(beside)


if __name__ == "__main__":
    main()
