"""Events of jobs and executions as clients hear them over MQTT, switched on with unmodified boto3."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from awscrt import mqtt
from tests.support.clients import boto3_client

if TYPE_CHECKING:
    from simulators import Connect

    from iot_jobs_simulator.server import RunningSimulator

ON = {"JOB": {"Enabled": True}, "JOB_EXECUTION": {"Enabled": True}}


async def test_events_are_heard_in_order_after_the_reply_and_the_notifications(
    sim: RunningSimulator, connect: Connect
) -> None:
    arn = sim.operate("CreateThing", thingName="lamp")["thingArn"]
    iot = boto3_client("iot", sim.http_url)
    await asyncio.to_thread(iot.update_event_configurations, eventConfigurations=ON)
    answer: Any = await asyncio.to_thread(iot.describe_event_configurations)
    assert {kind for kind, each in answer["eventConfigurations"].items() if each["Enabled"]} == set(ON)
    assert answer["creationDate"] == answer["lastModifiedDate"]
    iot.close()
    lamp = await connect(sim, "lamp")
    await lamp.subscribe("notify", "notify-next")
    await asyncio.wrap_future(lamp.connection.subscribe("$aws/events/#", mqtt.QoS.AT_LEAST_ONCE)[0])
    for job_id in ("J1", "J2"):
        sim.operate("CreateJob", jobId=job_id, targets=[arn], document="{}")
        await lamp.heard()
    await lamp.heard()  # the third: J1's notify and notify-next, J2's notify
    await lamp.ask("J1/update", status="SUCCEEDED")
    sim.operate("CancelJob", jobId="J2")
    assert [(await lamp.heard())[0] for _ in range(9)] == [
        "notify",
        "notify-next",
        "$aws/events/jobExecution/J1/succeeded",
        "$aws/events/job/J1/completed",
        "$aws/events/job/J2/cancellation_in_progress",
        "notify",
        "notify-next",
        "$aws/events/jobExecution/J2/canceled",
        "$aws/events/job/J2/canceled",
    ]
