"""How fast the simulator is with 10,000 jobs: `uv run benchmarks/simulator.py`. Prints medians; never a test.

Measured through real clients in one process: boto3 over HTTP in a thread, a device over MQTT with TLS.

`--slopes` prints what things cost beside a job of 1,000, 10,000 and 100,000 executions, and the bytes of an execution.
That is CPU time without clients, to compare on a busy machine: the least of three processes for each size, and in each
the least of ten tenths of the calls. Of rollouts, each size does as many, so that none is small enough to be lucky.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from awscrt import mqtt
from awsiot import mqtt_connection_builder

sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]  # or we import ourselves
from iot_jobs_simulator.__main__ import collect_seldom  # noqa: E402 - the path comes first
from iot_jobs_simulator.device_plane import DevicePlane  # noqa: E402
from iot_jobs_simulator.model import ServiceApi  # noqa: E402
from iot_jobs_simulator.server import RunningSimulator, running_simulator  # noqa: E402 - the path comes first

THINGS = 100
REPEATS = 100
SIZES = (1_000, 10_000, 100_000)
ROUNDS = 3
ROLLED_OUT = 50_000  # executions at least, in as many jobs as that takes, one after the other
SESSION: dict[str, Any] = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}


def median_ms(durations_s: list[float]) -> str:
    """Median and slowest of some durations."""
    return f"{1000 * statistics.median(durations_s):7.2f} ms   slowest {1000 * max(durations_s):7.2f} ms"


def time_calls(call: Callable[[], Any], repeats: int) -> list[float]:
    """How long each call takes."""
    durations_s = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        durations_s.append(time.perf_counter() - started)
    return durations_s


async def fill(simulator: RunningSimulator, jobs: int) -> None:
    """Jobs for things in turn, one of a hundred for all of them, and one thing, `busy`, that has a job from each."""
    arns = [simulator.operate("CreateThing", thingName=f"thing-{number}")["thingArn"] for number in range(THINGS)]
    busy = simulator.operate("CreateThing", thingName="busy")["thingArn"]
    simulator.operate("CreateThing", thingName="idle")
    started = time.perf_counter()
    for number in range(jobs):
        targets = [busy, *arns[:99]] if number % 100 == 0 else [busy, arns[number % THINGS]]
        simulator.operate("CreateJob", jobId=f"job-{number:06}", targets=targets, document='{"operation":"x"}')
        await asyncio.sleep(0)
    print(f"{jobs} jobs created in {time.perf_counter() - started:.1f} s")


async def measure_notifications(simulator: RunningSimulator, iot: Any, thing_name: str) -> list[float]:
    """From the call of CreateJob until the device has its notification."""
    arn = simulator.operate("DescribeThing", thingName=thing_name)["thingArn"]
    heard: asyncio.Queue[float] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    connection = mqtt_connection_builder.mtls_from_path(
        endpoint="localhost",
        port=simulator.mqtts_port,
        ca_filepath=str(simulator.certificates / "ca.pem"),
        cert_filepath=str(simulator.certificates / "client.pem"),
        pri_key_filepath=str(simulator.certificates / "client.key"),
        client_id=thing_name,
    )
    await asyncio.wrap_future(connection.connect())

    def hear(**_message: Any) -> None:
        loop.call_soon_threadsafe(heard.put_nowait, time.perf_counter())

    topic = f"$aws/things/{thing_name}/jobs/notify"
    await asyncio.wrap_future(connection.subscribe(topic, mqtt.QoS.AT_LEAST_ONCE, hear)[0])
    durations_s = []
    for number in range(REPEATS):
        started = time.perf_counter()
        job = {"jobId": f"{thing_name}-{number}", "targets": [arn], "document": "{}"}
        await asyncio.to_thread(iot.create_job, **job)
        durations_s.append(await heard.get() - started)
    await asyncio.wrap_future(connection.disconnect())
    return durations_s


async def measure(jobs: int) -> None:
    """Print every figure."""
    async with running_simulator() as simulator:
        iot, data = (
            boto3.client(name, endpoint_url=simulator.http_url, **SESSION) for name in ("iot", "iot-jobs-data")
        )
        await fill(simulator, jobs)
        deep = (await asyncio.to_thread(iot.list_jobs, maxResults=1))["nextToken"]
        for what, call in (
            ("DescribeJob", lambda: iot.describe_job(jobId="job-000001")),
            ("ListJobs, a page of 1", lambda: iot.list_jobs(maxResults=1, nextToken=deep)),
            ("ListJobs, a page of 250", lambda: iot.list_jobs(maxResults=250)),
            ("ListJobs, 250 that there are none of", lambda: iot.list_jobs(status="CANCELED")),
            ("ListJobExecutionsForThing, 250", lambda: iot.list_job_executions_for_thing(thingName="busy")),
            ("GetPendingJobExecutions, all pending", lambda: data.get_pending_job_executions(thingName="busy")),
        ):
            print(f"{what:40}{median_ms(await asyncio.to_thread(time_calls, call, REPEATS))}")
        pages = iot.get_paginator("list_jobs").paginate
        everything = await asyncio.to_thread(time_calls, lambda: sum(len(page["jobs"]) for page in pages()), 3)
        print(f"{'ListJobs, every page':40}{median_ms(everything)}")
        for thing_name, what in (("idle", "a thing with no other job"), ("busy", f"a thing with {jobs} pending")):
            durations_s = await measure_notifications(simulator, iot, thing_name)
            print(f"{f'CreateJob to notify, {what}':40}  {median_ms(durations_s)}")
        iot.close()
        data.close()


def resident_bytes() -> int:
    """What this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_us(call: Callable[[int], Any], repeats: int = 200) -> float:
    """Microseconds of CPU of a call, on average in the best tenth of them; it is told how many came before."""
    tenth = repeats // 10
    sums_s = []
    for first in range(0, repeats, tenth):
        started = time.process_time()
        for number in range(first, first + tenth):
            call(number)
        sums_s.append(time.process_time() - started)
    return 1e6 * min(sums_s) / tenth


async def roll_out(simulator: RunningSimulator, target: str, executions: int) -> float:
    """Create the job `great` and wait for all its executions; seconds of CPU."""
    started = time.process_time()
    simulator.operate("CreateJob", jobId="great", targets=[target], document="{}")
    found = simulator.store.jobs["great"]
    await simulator.wait_until(lambda: found.executions.total() == executions, within_s=600)
    return time.process_time() - started


async def measure_rollouts(simulator: RunningSimulator, target: str, executions: int) -> dict[str, float]:
    """The job `great` again and again; the last one stays. The bytes are those of the first."""
    before = resident_bytes()
    spent_s = [await roll_out(simulator, target, executions)]
    size_bytes = resident_bytes() - before
    for _ in range(ROLLED_OUT // executions - 1):
        simulator.operate("DeleteJob", jobId="great", force=True)
        await simulator.wait_until(lambda: "great" not in simulator.store.jobs, within_s=600)
        spent_s.append(await roll_out(simulator, target, executions))
    return {
        "rollout of one execution, µs": 1e6 * statistics.mean(spent_s) / executions,
        "bytes of an execution": size_bytes / executions,
    }


async def measure_slope(executions: int) -> dict[str, float]:
    """Costs in microseconds beside one job that has so many executions, and its own for each execution."""
    async with running_simulator(rollout_per_minute=1_000_000, deletion_delay_s=0.0) as simulator:
        group = simulator.operate("CreateThingGroup", thingGroupName="all")["thingGroupArn"]
        arns = [simulator.operate("CreateThing", thingName=f"t{n:06}")["thingArn"] for n in range(executions)]
        for number in range(executions):
            simulator.operate("AddThingToThingGroup", thingName=f"t{number:06}", thingGroupName="all")
        collect_seldom()
        figures = await measure_rollouts(simulator, group, executions)
        found = simulator.store.jobs["great"]
        step = executions // 200
        plane = DevicePlane(simulator.store, ServiceApi("iot-jobs-data"), ServiceApi("iot"))

        def ask(number: int, operation: str, **members: Any) -> None:
            members["thingName"] = f"t{number * step:06}"
            plane.answer_http(operation, members, {}, found.created_at)

        figures["start-next, µs"] = cpu_us(lambda n: ask(n, "StartNextPendingJobExecution"))
        update = {"jobId": "great", "status": "FAILED"}
        figures["update, µs"] = cpu_us(lambda n: ask(n, "UpdateJobExecution", **update))

        def create(number: int) -> None:
            simulator.operate("CreateJob", jobId=f"job-{number}", targets=[arns[number * step]], document="{}")

        figures["CreateJob for one thing, µs"] = cpu_us(create)
        figures["a ListJobs page of 200, µs"] = cpu_us(lambda _: simulator.operate("ListJobs"))
        figures["CancelJob of one execution, µs"] = cpu_us(lambda n: simulator.operate("CancelJob", jobId=f"job-{n}"))
        started = time.process_time()
        simulator.operate("CancelJob", jobId="great")
        figures["longest without serving others, ms"] = 1e3 * await longest_turn(lambda: found.is_concurrent)
        figures["CancelJob of all, an execution, µs"] = 1e6 * (time.process_time() - started) / (executions - 200)
        return figures


async def longest_turn(is_going_on: Callable[[], bool]) -> float:
    """For how long the event loop does not come round while something goes on, in seconds of CPU."""
    longest = 0.0
    while is_going_on():
        started = time.process_time()
        await asyncio.sleep(0)
        longest = max(longest, time.process_time() - started)
    return longest


def print_slopes() -> None:
    """A process for each size and round; the least of each figure, and the largest size beside the smallest."""
    rounds: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
    for _ in range(ROUNDS):
        for size, found in rounds.items():
            command = [sys.executable, __file__, "--slope", str(size)]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    print(f"{'':40}" + "".join(f"{size:>10,}" for size in SIZES) + "     ratio")
    for what in rounds[SIZES[0]][0]:
        least = [min(figures[what] for figures in rounds[size]) for size in SIZES]
        print(f"{what:40}" + "".join(f"{figure:10.1f}" for figure in least) + f"{least[-1] / least[0]:10.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000, metavar="N")
    parser.add_argument("--slopes", action="store_true", help="costs and bytes beside 1,000 to 100,000 executions")
    parser.add_argument("--slope", type=int, metavar="N", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.slope:
        print(json.dumps(asyncio.run(measure_slope(chosen.slope))))
    elif chosen.slopes:
        print_slopes()
    else:
        asyncio.run(measure(chosen.jobs))
