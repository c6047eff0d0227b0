"""Rollouts, abort and schedules as unmodified boto3 sees them, in a simulator whose clock the test puts forward."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from tests.support.clients import boto3_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from iot_jobs_simulator.server import RunningSimulator


@pytest.fixture
async def iot(sim: RunningSimulator) -> AsyncIterator[Any]:
    """boto3's client; three things in the group all."""
    sim.operate("CreateThingGroup", thingGroupName="all")
    for name in ("a", "b", "c"):
        sim.operate("CreateThing", thingName=name)
        sim.operate("AddThingToThingGroup", thingName=name, thingGroupName="all")
    client = boto3_client("iot", sim.http_url)
    yield client
    client.close()


GROUP = "arn:aws:iot:us-east-1:123456789012:thinggroup/all"
RULE = {"failureType": "ALL", "action": "CANCEL", "thresholdPercentage": 50.0, "minNumberOfExecutedThings": 1}


async def described(iot: Any, job_id: str = "j") -> Any:
    return (await asyncio.to_thread(iot.describe_job, jobId=job_id))["job"]


async def create(iot: Any, **members: Any) -> None:
    await asyncio.to_thread(lambda: iot.create_job(jobId="j", targets=[GROUP], document="{}", **members))


async def test_a_rollout_and_its_rate(sim: RunningSimulator, iot: Any) -> None:
    rate = {
        "maximumPerMinute": 2,
        "exponentialRate": {
            "baseRatePerMinute": 1,
            "incrementFactor": 1.5,
            "rateIncreaseCriteria": {"numberOfSucceededThings": 1},
        },
    }
    await create(iot, jobExecutionsRolloutConfig=rate)
    job = await described(iot)
    assert (job["jobExecutionsRolloutConfig"], job["isConcurrent"]) == (rate, True)
    assert job["jobProcessDetails"]["numberOfQueuedThings"] == 1
    assert job["jobProcessDetails"]["processingTargets"] == [GROUP]
    await asyncio.to_thread(iot.update_job, jobId="j", jobExecutionsRolloutConfig={"maximumPerMinute": 2})
    await sim.advance_clock(60)
    job = await described(iot)
    assert (job["jobProcessDetails"]["numberOfQueuedThings"], job["isConcurrent"]) == (3, False)
    assert job["jobExecutionsRolloutConfig"] == {"maximumPerMinute": 2}


async def test_an_abort_and_its_reason(sim: RunningSimulator, iot: Any) -> None:
    await create(iot)
    await asyncio.to_thread(iot.update_job, jobId="j", abortConfig={"criteriaList": [RULE]})
    data = boto3_client("iot-jobs-data", sim.http_url)
    await asyncio.to_thread(data.update_job_execution, thingName="a", jobId="j", status="REJECTED")
    data.close()
    job = await described(iot)
    assert (job["status"], job["reasonCode"]) == ("CANCELED", "ABORT_CRITERIA_MET")
    assert job["abortConfig"] == {"criteriaList": [RULE]}
    counters = {name: count for name, count in job["jobProcessDetails"].items() if count}
    assert counters == {"numberOfRejectedThings": 1, "numberOfCanceledThings": 2}


async def test_a_schedule_and_its_windows(sim: RunningSimulator, iot: Any) -> None:
    start = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(hours=1)
    config = {
        "startTime": f"{start:%Y-%m-%dT%H:%M}",
        "maintenanceWindows": [
            {"startTime": f"cron({start.minute} {start.hour} * * ? *)", "durationInMinutes": 30},
        ],
    }
    await create(iot, targetSelection="CONTINUOUS", schedulingConfig=config)
    job = await described(iot)
    assert (job["status"], job["schedulingConfig"]) == ("SCHEDULED", config)
    days = [{"startTime": f"{start + timedelta(days=day):%Y-%m-%dT%H:%M}"} for day in range(7)]
    assert job["scheduledJobRollouts"] == days
    listed = await asyncio.to_thread(iot.list_jobs, status="SCHEDULED")
    assert [(each["jobId"], each["isConcurrent"]) for each in listed["jobs"]] == [("j", False)]
    await sim.advance_clock(3600)
    assert (await described(iot))["status"] == "IN_PROGRESS"
    assert sim.status("a", "j") == "QUEUED"
    await sim.advance_clock(1800)
    assert (await described(iot))["status"] == "SCHEDULED"


async def test_what_is_out_of_bounds_is_an_invalid_request(iot: Any) -> None:
    for members in (
        {"jobExecutionsRolloutConfig": {"maximumPerMinute": 1001}},
        {"abortConfig": {"criteriaList": [RULE | {"failureType": "NONE"}]}},
        {"schedulingConfig": {"startTime": "2030-01-01 00:00"}},
        {"schedulingConfig": {"endBehavior": "CANCEL"}},
    ):
        with pytest.raises(ClientError) as raised:
            await create(iot, **members)
        error = raised.value.response
        assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == ("InvalidRequestException", 400)


async def test_many_executions_are_canceled_while_others_are_served(sim: RunningSimulator, iot: Any) -> None:
    for number in range(900):
        sim.operate("CreateThing", thingName=f"t{number}")
        sim.operate("AddThingToThingGroup", thingName=f"t{number}", thingGroupName="all")
    await create(iot)
    await sim.wait_until(lambda: not sim.store.jobs["j"].is_concurrent)
    sim.operate("CancelJob", jobId="j")
    job = sim.operate("DescribeJob", jobId="j")["job"]
    assert (job["status"], job["isConcurrent"]) == ("CANCELED", True)
    assert sim.operate("DescribeJobExecution", thingName="t899", jobId="j")["execution"]["status"] == "CANCELED"
    await sim.wait_until(lambda: not sim.store.jobs["j"].is_concurrent)
    counters = sim.operate("DescribeJob", jobId="j")["job"]["jobProcessDetails"]
    assert (counters["numberOfCanceledThings"], counters["numberOfQueuedThings"]) == (903, 0)
