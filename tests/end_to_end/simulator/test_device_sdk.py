"""AWS's own device SDK as a device, over both versions of MQTT: an independent opinion on topics and payloads."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import awsiot
import pytest
from awscrt import mqtt_request_response
from awsiot import iotjobs, mqtt5_client_builder

from iot_jobs_simulator.faults.faults import Reject

if TYPE_CHECKING:
    from collections.abc import Callable

    from awscrt import mqtt, mqtt5

    from iot_jobs_simulator.server import RunningSimulator


WAIT_S = 10
THING = "lamp"
THING_ARN = "arn:aws:iot:us-east-1:123456789012:thing/lamp"


class SdkDevice:
    """IotJobsClientV2 with its futures awaited and its streams as queues."""

    def __init__(self, connection: mqtt.Connection | mqtt5.Client) -> None:
        options = mqtt_request_response.ClientOptions(
            max_request_response_subscriptions=2, max_streaming_subscriptions=2, operation_timeout_in_seconds=WAIT_S
        )
        self.client = iotjobs.IotJobsClientV2(connection, options)
        self.loop = asyncio.get_running_loop()
        self.streams = []

    async def get_pending(self) -> Any:
        request = iotjobs.GetPendingJobExecutionsRequest(thing_name=THING)
        return await asyncio.wrap_future(self.client.get_pending_job_executions(request))

    async def start_next(self, **members: Any) -> Any:
        request = iotjobs.StartNextPendingJobExecutionRequest(thing_name=THING, **members)
        return (await asyncio.wrap_future(self.client.start_next_pending_job_execution(request))).execution

    async def describe(self, job_id: str, **members: Any) -> Any:
        request = iotjobs.DescribeJobExecutionRequest(thing_name=THING, job_id=job_id, **members)
        return (await asyncio.wrap_future(self.client.describe_job_execution(request))).execution

    async def update(self, job_id: str, status: str, **members: Any) -> Any:
        request = iotjobs.UpdateJobExecutionRequest(thing_name=THING, job_id=job_id, status=status, **members)
        return await asyncio.wrap_future(self.client.update_job_execution(request))

    async def listen(self, create_stream: Callable[..., Any], request: Any) -> Any:
        """A queue of the stream's events, once the subscription stands."""
        events, established = asyncio.Queue(), asyncio.Event()
        options = awsiot.ServiceStreamOptions(
            incoming_event_listener=lambda event: self.loop.call_soon_threadsafe(events.put_nowait, event),
            subscription_status_listener=lambda _event: self.loop.call_soon_threadsafe(established.set),
        )
        stream = create_stream(request, options)
        stream.open()
        self.streams.append(stream)
        await asyncio.wait_for(established.wait(), WAIT_S)
        return events


class FiveClient:
    """The SDK's client of MQTT 5: it starts and stops, and says how that went by callbacks."""

    def __init__(self, sim: RunningSimulator) -> None:
        self.connected, self.stopped = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        self.client = mqtt5_client_builder.mtls_from_path(
            endpoint="localhost",
            port=sim.mqtts_port,
            ca_filepath=str(sim.certificates / "ca.pem"),
            cert_filepath=str(sim.certificates / "client.pem"),
            pri_key_filepath=str(sim.certificates / "client.key"),
            client_id=THING,
            on_lifecycle_connection_success=lambda _: loop.call_soon_threadsafe(self.connected.set),
            on_lifecycle_stopped=lambda _: loop.call_soon_threadsafe(self.stopped.set),
        )

    async def start(self) -> None:
        self.client.start()
        await asyncio.wait_for(self.connected.wait(), WAIT_S)

    async def stop(self) -> None:
        self.client.stop()
        await asyncio.wait_for(self.stopped.wait(), WAIT_S)


@pytest.fixture(params=["MQTT 3.1.1", "MQTT 5"])
async def device(
    sim: RunningSimulator, device_connection: Callable[..., mqtt.Connection], request: pytest.FixtureRequest
) -> Any:
    sim.operate("CreateThing", thingName=THING)
    if request.param == "MQTT 5":
        five = FiveClient(sim)
        await five.start()
        device, end = SdkDevice(five.client), five.stop
    else:
        connection = device_connection(sim, THING)
        await asyncio.wrap_future(connection.connect())
        device, end = SdkDevice(connection), lambda: asyncio.wrap_future(connection.disconnect())
    yield device
    device.streams.clear()
    del device.client
    with suppress(Exception):
        await end()


@pytest.fixture
async def changes(device: SdkDevice) -> Any:
    request = iotjobs.JobExecutionsChangedSubscriptionRequest(thing_name=THING)
    return await device.listen(device.client.create_job_executions_changed_stream, request)


@pytest.fixture
async def nexts(device: SdkDevice) -> Any:
    request = iotjobs.NextJobExecutionChangedSubscriptionRequest(thing_name=THING)
    return await device.listen(device.client.create_next_job_execution_changed_stream, request)


async def heard(events: asyncio.Queue[Any]) -> Any:
    return await asyncio.wait_for(events.get(), WAIT_S)


async def test_the_sdk_works_off_a_job_from_notification_to_end(
    sim: RunningSimulator, device: SdkDevice, changes: asyncio.Queue[Any], nexts: asyncio.Queue[Any]
) -> None:
    pending = await device.get_pending()
    assert (len(pending.queued_jobs), len(pending.in_progress_jobs)) == (0, 0)
    assert await device.start_next() is None

    sim.operate("CreateJob", jobId="J1", targets=[THING_ARN], document='{"op":"x"}')
    listed = await heard(changes)
    assert [summary.job_id for summary in listed.jobs["QUEUED"]] == ["J1"]
    following = await heard(nexts)
    assert (following.execution.job_id, following.execution.status) == ("J1", "QUEUED")
    assert following.execution.job_document == {"op": "x"}

    started = await device.start_next(status_details={"at": "start"}, step_timeout_in_minutes=5)
    assert (started.job_id, started.status, started.version_number) == ("J1", "IN_PROGRESS", 2)
    assert started.started_at is not None
    described = await device.describe("J1", include_job_document=False)
    assert (described.status_details, described.job_document) == ({"at": "start"}, None)
    assert (await device.describe("$next")).job_id == "J1"

    updated = await device.update(
        "J1", "IN_PROGRESS", expected_version=2, include_job_execution_state=True, include_job_document=True
    )
    assert (updated.execution_state.version_number, updated.job_document) == (3, {"op": "x"})
    await device.update("J1", "SUCCEEDED", status_details={"at": "end"})
    # After start-next the second event must already be the empty one: starting and progress are not announced.
    assert (await heard(changes)).jobs == {}
    assert (await heard(nexts)).execution is None
    await sim.wait_for_status(THING, "J1", "SUCCEEDED")


async def test_the_sdk_reads_a_refusal_with_the_state_it_carries(sim: RunningSimulator, device: SdkDevice) -> None:
    sim.operate("CreateJob", jobId="J1", targets=[THING_ARN], document="{}")
    await sim.wait_for_status(THING, "J1", "QUEUED")
    with pytest.raises(awsiot.V2ServiceException) as raised:
        await device.update("J1", "IN_PROGRESS", expected_version=9)
    error = raised.value.modeled_error
    assert (error.code, error.message) == ("VersionMismatch", "Expected version 9 but found version 1")
    assert (error.execution_state.status, error.execution_state.version_number) == ("QUEUED", 1)
    with pytest.raises(awsiot.V2ServiceException) as raised:
        await device.describe("unknown")
    assert raised.value.modeled_error.code == "ResourceNotFound"


async def test_the_sdk_learns_of_a_cancellation_by_its_disappearance(
    sim: RunningSimulator, device: SdkDevice, changes: asyncio.Queue[Any], nexts: asyncio.Queue[Any]
) -> None:
    sim.operate("CreateJob", jobId="J1", targets=[THING_ARN], document="{}")
    await heard(changes)
    await heard(nexts)
    await device.start_next()
    sim.operate("CancelJob", jobId="J1", force=True)
    assert (await heard(changes)).jobs == {}
    assert (await heard(nexts)).execution is None
    with pytest.raises(awsiot.V2ServiceException) as raised:
        await device.update("J1", "SUCCEEDED")
    assert raised.value.modeled_error.code == "InvalidStateTransition"
    assert raised.value.modeled_error.execution_state.status == "CANCELED"


async def test_a_forged_notification_reaches_the_sdk_as_it_is(
    sim: RunningSimulator, device: SdkDevice, nexts: asyncio.Queue[Any]
) -> None:
    sim.publish(f"$aws/things/{THING}/jobs/notify-next", b'{"timestamp":1,"execution":{"jobId":"forged"}}')
    assert (await heard(nexts)).execution.job_id == "forged"
    assert await device.start_next() is None


async def test_the_sdk_reads_a_rejection_on_demand(sim: RunningSimulator, device: SdkDevice) -> None:
    sim.faults.add(Reject(operation="StartNextPendingJobExecution", code="RequestThrottled", message="slow", times=1))
    with pytest.raises(awsiot.V2ServiceException) as raised:
        await device.start_next()
    assert (raised.value.modeled_error.code, raised.value.modeled_error.message) == ("RequestThrottled", "slow")
    assert await device.start_next() is None
