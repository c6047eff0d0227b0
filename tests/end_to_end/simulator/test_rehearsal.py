"""What is rehearsed is what happens: the same fleet lives the same fates at the running simulator, over MQTT.

The simulator's clock stands still and is put forward to whatever comes next. One connection speaks for all devices, and
after each step it sends itself a message, behind which nothing is under way any more.
"""

from __future__ import annotations

import asyncio
import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from awscrt import mqtt

from iot_jobs_simulator.jobs import rollout
from iot_jobs_simulator.jobs.execution import ExecutionStatus
from iot_jobs_simulator.model import ServiceApi
from iot_jobs_simulator.rehearsal import core
from iot_jobs_simulator.rehearsal.devices import Act, Devices
from iot_jobs_simulator.rehearsal.fates import draw
from iot_jobs_simulator.rehearsal.fleet import fleet_of
from iot_jobs_simulator.rehearsal.plan import Plan, plan_of

if TYPE_CHECKING:
    from simulators import Connect, RawDevice

    from iot_jobs_simulator.server import RunningSimulator

FENCE = "fence"
QOS = mqtt.QoS.AT_MOST_ONCE  # no acknowledgements, which Nagle's algorithm would have wait for each other
SEED = 20261201
FLEET: dict[str, Any] = {
    "groups": {
        "pumps": {
            "size": 350,
            "duration_min": {"p0": 1, "p50": 4, "p100": 30},
            "offline": {"share": 0.3, "back_after_h": {"p0": 0.1, "p100": 6}},
            "never_online_share": 0.02,
            "failures": [
                {"cause": "disk full", "share": 0.1},
                {"cause": "stuck", "share": 0.05, "status": "SILENT"},
                {"cause": "too old", "share": 0.03, "status": "REJECTED", "persists": True},
            ],
        },
        "lamps": {
            "size": 150,
            "duration_min": 3,
            "sites": {"size": 10, "offline_share": 0.3, "back_after_h": {"p0": 0.5, "p100": 3}},
        },
    },
    "bad_build": {"share": 0.6, "probability": 1},
}
TARGETS = [f"arn:aws:iot:us-east-1:123456789012:thinggroup/{name}" for name in FLEET["groups"]]
EXPONENTIAL = {
    "exponentialRate": {
        "baseRatePerMinute": 5,
        "incrementFactor": 2.0,
        "rateIncreaseCriteria": {"numberOfSucceededThings": 10},
    },
    "maximumPerMinute": 50,
}
RETRY = {"criteriaList": [{"failureType": "ALL", "numberOfRetries": 2}]}
ABORT = {
    "criteriaList": [
        {"failureType": "FAILED", "action": "CANCEL", "thresholdPercentage": 30, "minNumberOfExecutedThings": 20}
    ]
}


def in_windows(created_at: float) -> dict[str, Any]:
    """Half an hour of each hour, after the earliest start that AWS allows."""
    start = datetime.fromtimestamp(created_at + 1800, UTC)
    windows = [{"startTime": "cron(15 * * * ? *)", "durationInMinutes": 30}]
    return {
        "targetSelection": "CONTINUOUS",
        "schedulingConfig": {"startTime": f"{start:%Y-%m-%dT%H:%M}", "maintenanceWindows": windows},
    }


@pytest.mark.timeout(180)
@pytest.mark.parametrize("story", ["a bad build is aborted", "a good build in windows, with retries"])
async def test_a_fleet_lives_at_the_simulator_what_was_rehearsed(
    sim: RunningSimulator, connect: Connect, story: str
) -> None:
    is_good = story.startswith("a good build")
    fleet = fleet_of(FLEET | {"bad_build": None} if is_good else FLEET)
    created_at = await at_a_whole_minute(sim)
    job = {"jobId": "J1", "targets": TARGETS, "document": "{}", "timeoutConfig": {"inProgressTimeoutInMinutes": 20}}
    job["jobExecutionsRolloutConfig"] = EXPONENTIAL
    job |= {"jobExecutionsRetryConfig": RETRY} | in_windows(created_at) if is_good else {"abortConfig": ABORT}
    api = ServiceApi("iot")
    plan = plan_of(job, fleet, created_at, 8 * 3600, api)
    fates = draw(fleet, SEED, plan.attempts)
    rehearsed = core.rehearse(plan, fates, api)
    numbers = core.numbers_by_name(plan)
    await live(sim, await connect(sim, "gateway"), plan, Devices(fates, numbers, created_at))
    lived = core.recorded(sim.store, plan, numbers)
    assert [row[:3] for row in lived.rows] == [row[:3] for row in rehearsed.rows]
    for there, here in zip(lived.rows, rehearsed.rows, strict=True):
        assert [at or 0 for at in there[3:]] == pytest.approx([at or 0 for at in here[3:]], rel=0, abs=0.001)
    assert (lived.aborted_at is None) == (rehearsed.aborted_at is None) == is_good
    assert len({row.status for row in lived.rows}) >= 5


async def at_a_whole_minute(sim: RunningSimulator) -> float:
    """Have the clock stand still at the next one."""
    sim.freeze_clock()
    now = await sim.advance_clock(0)
    return await sim.advance_clock(60 - now % 60)


async def live(sim: RunningSimulator, gateway: RawDevice, plan: Plan, devices: Devices) -> None:
    """Do what `core.rehearse` does, but at the simulator."""
    gateway.prefix = "$aws/things/"
    await gateway.subscribe("+/jobs/notify-next", "+/jobs/start-next/accepted", "+/jobs/+/update/accepted", qos=QOS)
    await asyncio.wrap_future(gateway.connection.subscribe(FENCE, QOS)[0])
    for group in plan.fleet.groups:
        sim.operate("CreateThingGroup", thingGroupName=group)
        for name in plan.fleet.thing_names(group):
            sim.operate("CreateThing", thingName=name)
            sim.operate("AddThingToThingGroup", thingGroupName=group, thingName=name)
    sim.operate("CreateJob", **plan.members)
    now = plan.created_at
    while True:
        service_at, device_at = rollout.next_due(sim.store), devices.next_at
        at = min(device_at, math.inf if service_at is None else service_at)
        if at > plan.ends_at:
            return
        now = await sim.advance_clock(max(0.0, at - now))
        if at != service_at:
            await perform(gateway, plan.request.job_id, devices.take()[1])
        for thing_name, number in await told(gateway):
            devices.hear(thing_name, number, at)


async def perform(gateway: RawDevice, job_id: str, act: Act) -> None:
    """Send a device's request, and hear that it is accepted, before anything else that it leads to."""
    is_start = act.status is ExecutionStatus.IN_PROGRESS
    topic = f"{act.thing_name}/jobs/" + ("start-next" if is_start else f"{job_id}/update")
    await publish(gateway, gateway.prefix + topic, {} if is_start else {"status": act.status})
    assert (await gateway.heard())[0] == f"{topic}/accepted"


async def publish(gateway: RawDevice, topic: str, payload: Any) -> None:
    await asyncio.wrap_future(gateway.connection.publish(topic, json.dumps(payload).encode(), QOS)[0])


async def told(gateway: RawDevice) -> list[tuple[str, int | None]]:
    """The notifications up to now: for each thing, which execution is next."""
    await publish(gateway, FENCE, {})
    notifications: list[tuple[str, int | None]] = []
    while (message := await gateway.heard())[0] != FENCE:
        following = message[1].get("execution")
        notifications.append((message[0].split("/")[0], following["executionNumber"] if following else None))
    return notifications
