"""How fast the simulator is with 10,000 jobs: `uv run benchmarks/simulator.py`. Prints medians; never a test.

Measured through real clients in one process: boto3 over HTTP in a thread, a device over MQTT with TLS.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from awscrt import mqtt
from awsiot import mqtt_connection_builder

sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]  # or we import ourselves
from iot_jobs_simulator.server import RunningSimulator, running_simulator  # noqa: E402 - the path comes first

THINGS = 100
REPEATS = 100


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
        session = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
        iot, data = (
            boto3.client(name, endpoint_url=simulator.http_url, **session) for name in ("iot", "iot-jobs-data")
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000, metavar="N")
    asyncio.run(measure(parser.parse_args().jobs))
