"""The older client of AWS's device SDK, `IotJobsClient`: it subscribes and publishes, and matches no answers itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from awscrt import mqtt
from awsiot import iotjobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from iot_jobs_simulator.server import RunningSimulator

WAIT_S = 10
THING = "lamp"
THING_ARN = "arn:aws:iot:us-east-1:123456789012:thing/lamp"
QOS = mqtt.QoS.AT_LEAST_ONCE


class OlderDevice:
    """The client, with what it hears in one queue: the name of the subscription, and the event as the SDK reads it."""

    def __init__(self, connection: mqtt.Connection) -> None:
        self.client = iotjobs.IotJobsClient(connection)
        self.loop = asyncio.get_running_loop()
        self.events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    async def subscribe(self, name: str, request: Any) -> None:
        def hear(event: Any) -> None:
            self.loop.call_soon_threadsafe(self.events.put_nowait, (name, event))

        granted, _topic = getattr(self.client, f"subscribe_to_{name}")(request, QOS, hear)
        await asyncio.wrap_future(granted)

    async def publish(self, name: str, request: Any) -> None:
        await asyncio.wrap_future(getattr(self.client, f"publish_{name}")(request, QOS))

    async def heard(self) -> tuple[str, Any]:
        return await asyncio.wait_for(self.events.get(), WAIT_S)


@pytest.fixture
async def device(sim: RunningSimulator, device_connection: Callable[..., mqtt.Connection]) -> Any:
    """A device with all subscriptions that its requests and notifications need, in one connection."""
    sim.operate("CreateThing", thingName=THING)
    connection = device_connection(sim, THING)
    await asyncio.wrap_future(connection.connect())
    device = OlderDevice(connection)
    job = {"thing_name": THING, "job_id": "J1"}
    for name, request in (
        ("get_pending_job_executions", iotjobs.GetPendingJobExecutionsSubscriptionRequest(thing_name=THING)),
        ("start_next_pending_job_execution", iotjobs.StartNextPendingJobExecutionSubscriptionRequest(thing_name=THING)),
        ("describe_job_execution", iotjobs.DescribeJobExecutionSubscriptionRequest(**job)),
        ("update_job_execution", iotjobs.UpdateJobExecutionSubscriptionRequest(**job)),
    ):
        await device.subscribe(f"{name}_accepted", request)
        await device.subscribe(f"{name}_rejected", request)
    changed = iotjobs.JobExecutionsChangedSubscriptionRequest(thing_name=THING)
    await device.subscribe("job_executions_changed_events", changed)
    following = iotjobs.NextJobExecutionChangedSubscriptionRequest(thing_name=THING)
    await device.subscribe("next_job_execution_changed_events", following)
    yield device
    with suppress(Exception):
        await asyncio.wrap_future(connection.disconnect())


async def test_the_older_client_works_off_a_job_too(sim: RunningSimulator, device: OlderDevice) -> None:
    pending = iotjobs.GetPendingJobExecutionsRequest(thing_name=THING, client_token="a")
    await device.publish("get_pending_job_executions", pending)
    name, answer = await device.heard()
    assert (name, answer.client_token) == ("get_pending_job_executions_accepted", "a")
    assert (answer.queued_jobs, answer.in_progress_jobs) == ([], [])

    sim.operate("CreateJob", jobId="J1", targets=[THING_ARN], document='{"op":"x"}')
    name, listed = await device.heard()
    assert (name, listed.jobs["QUEUED"][0].job_id) == ("job_executions_changed_events", "J1")
    name, following = await device.heard()
    assert (name, following.execution.job_document) == ("next_job_execution_changed_events", {"op": "x"})

    start = iotjobs.StartNextPendingJobExecutionRequest(thing_name=THING, status_details={"at": "start"})
    await device.publish("start_next_pending_job_execution", start)
    name, answer = await device.heard()
    assert (name, answer.execution.version_number) == ("start_next_pending_job_execution_accepted", 2)

    describe = iotjobs.DescribeJobExecutionRequest(thing_name=THING, job_id="J1", include_job_document=False)
    await device.publish("describe_job_execution", describe)
    name, answer = await device.heard()
    assert (name, answer.execution.status_details) == ("describe_job_execution_accepted", {"at": "start"})

    update = iotjobs.UpdateJobExecutionRequest(thing_name=THING, job_id="J1", status="SUCCEEDED", expected_version=2)
    await device.publish("update_job_execution", update)
    heard = [await device.heard() for _ in range(3)]
    assert [name for name, _ in heard] == [
        "update_job_execution_accepted",
        "job_executions_changed_events",
        "next_job_execution_changed_events",
    ]
    assert (heard[1][1].jobs, heard[2][1].execution) == ({}, None)
    assert sim.status(THING, "J1") == "SUCCEEDED"


async def test_it_reads_a_refusal_with_the_state_it_carries(sim: RunningSimulator, device: OlderDevice) -> None:
    sim.operate("CreateJob", jobId="J1", targets=[THING_ARN], document="{}")
    assert {(await device.heard())[0] for _ in range(2)} == {
        "job_executions_changed_events",
        "next_job_execution_changed_events",
    }
    update = iotjobs.UpdateJobExecutionRequest(
        thing_name=THING, job_id="J1", status="IN_PROGRESS", expected_version=9, client_token="b"
    )
    await device.publish("update_job_execution", update)
    name, refusal = await device.heard()
    assert (name, refusal.code, refusal.client_token) == ("update_job_execution_rejected", "VersionMismatch", "b")
    assert (refusal.execution_state.status, refusal.execution_state.version_number) == ("QUEUED", 1)
