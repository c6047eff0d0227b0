"""Trouble on demand, as an agent meets it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
import wire

from iot_jobs_simulator.faults.faults import (
    Alter,
    CloseOnConnect,
    Crash,
    Delay,
    DelayRollout,
    Disconnect,
    DropPacket,
    Duplicate,
    EmptyNext,
    Lose,
    Rate,
    RefuseSubscription,
    Reject,
    Reorder,
    SessionPresent,
    Silence,
    Throttle,
)
from iot_jobs_simulator.refusals import Refused

if TYPE_CHECKING:
    from simulators import Connect, RawDevice

    from iot_jobs_simulator.server import RunningSimulator

THING_ARN = "arn:aws:iot:us-east-1:123456789012:thing/lamp"
JOBS = "$aws/things/lamp/jobs/"


def create_job(sim: RunningSimulator, job_id: str) -> None:
    sim.operate("CreateJob", jobId=job_id, targets=[THING_ARN], document='{"op":"x"}')


@pytest.fixture
async def lamp(sim: RunningSimulator, connect: Connect) -> RawDevice:
    """A connected thing with one queued job, J1, which subscribed to nothing."""
    sim.operate("CreateThing", thingName="lamp")
    create_job(sim, "J1")
    await sim.wait_for_status("lamp", "J1", "QUEUED")
    return await connect(sim, "lamp")


async def ask(device: RawDevice, request: str, **members: Any) -> tuple[str, Any]:
    """Send a request; the next message that is heard."""
    await device.send(request, json.dumps(members).encode())
    return await device.heard()


async def test_a_lost_reply_is_lost_but_the_request_counts(sim: RunningSimulator, lamp: RawDevice) -> None:
    sim.faults.add(Lose(what="reply", operation="UpdateJobExecution", times=1))
    await lamp.send("J1/update", b'{"status":"IN_PROGRESS"}')
    answer = await lamp.ask("J1/update", status="IN_PROGRESS", includeJobExecutionState=True)
    assert answer["executionState"]["versionNumber"] == 3


async def test_silence_neither_does_nor_answers(sim: RunningSimulator, lamp: RawDevice) -> None:
    sim.faults.add(Silence(operation="UpdateJobExecution", times=1))
    await lamp.send("J1/update", b'{"status":"IN_PROGRESS"}')
    answer = await lamp.ask("J1/update", status="IN_PROGRESS", includeJobExecutionState=True)
    assert answer["executionState"]["versionNumber"] == 2


async def test_a_delayed_reply_is_overtaken(sim: RunningSimulator, lamp: RawDevice) -> None:
    sim.faults.add(Delay(what="reply", delay_ms=50, times=1))
    await lamp.send("get", b'{"clientToken":"late"}')
    await lamp.send("get", b'{"clientToken":"early"}')
    assert [(await lamp.heard())[1]["clientToken"] for _ in range(2)] == ["early", "late"]


async def test_a_message_comes_as_often_as_a_fault_says(sim: RunningSimulator, lamp: RawDevice) -> None:
    await lamp.subscribe("notify")
    sim.faults.add(Duplicate(what="notification", operation="notify", copies=3, gap_ms=1, times=1))
    create_job(sim, "J2")
    create_job(sim, "J3")
    lengths = sorted([len((await lamp.heard())[1]["jobs"]["QUEUED"]) for _ in range(4)])
    assert lengths == [2, 2, 2, 3]


async def test_notify_can_come_after_notify_next(sim: RunningSimulator, lamp: RawDevice) -> None:
    await lamp.subscribe("notify", "notify-next")
    sim.faults.add(Reorder(what="notification", operation="notify"))
    sim.operate("CancelJob", jobId="J1")
    assert [(await lamp.heard())[0] for _ in range(2)] == ["notify-next", "notify"]


async def test_what_is_held_back_is_sent_when_faults_are_cleared(sim: RunningSimulator, lamp: RawDevice) -> None:
    sim.faults.add(Reorder(what="reply", behind=9))
    await lamp.send("get", b'{"clientToken":"held"}')
    await sim.wait_until(lambda: sim.faults.listed()[0]["done"] == 1)
    sim.faults.clear()
    assert (await lamp.heard())[1]["clientToken"] == "held"
    assert sim.faults.listed() == []


async def test_replies_can_be_forged(sim: RunningSimulator, lamp: RawDevice) -> None:
    sim.faults.add(Alter(what="reply", members={"clientToken": "stale", "queuedJobs": None}, times=1))
    sim.faults.add(Alter(what="reply", payload="[1", send_to="$aws/things/door/jobs/get/accepted", times=1))
    _, answer = await ask(lamp, "get", clientToken="mine")
    assert (answer["clientToken"], "queuedJobs" in answer) == ("stale", False)
    device = await wire.connected(sim)
    device.send(wire.publish(JOBS + "get"))
    assert (await device.heard()).endswith(b"$aws/things/door/jobs/get/accepted[1")
    device.close()


async def test_rejections_are_chosen_and_change_nothing(sim: RunningSimulator, lamp: RawDevice) -> None:
    sim.faults.add(
        Reject(operation="UpdateJobExecution", code="VersionMismatch", message="no", members={"extra": 1}, times=2)
    )
    for _ in range(2):
        topic, answer = await ask(lamp, "J1/update", status="IN_PROGRESS", clientToken="t")
        assert topic == "J1/update/rejected"
        assert answer.pop("timestamp") > 0
        assert answer == {"code": "VersionMismatch", "message": "no", "clientToken": "t", "extra": 1}
    answer = await lamp.ask("J1/update", status="IN_PROGRESS", includeJobExecutionState=True)
    assert answer["executionState"]["versionNumber"] == 2


async def test_throttling_refuses_what_is_too_much_for_a_second(sim: RunningSimulator, lamp: RawDevice) -> None:
    sim.faults.add(Throttle(operation="GetPendingJobExecutions", per_second=2))
    answers = [await ask(lamp, "get") for _ in range(3)]
    assert [topic for topic, _ in answers] == ["get/accepted", "get/accepted", "get/rejected"]
    assert answers[-1][1]["code"] == "RequestThrottled"
    assert (await ask(lamp, "J1/get"))[0] == "J1/get/accepted"


async def test_a_fault_inside_is_an_internal_error(sim: RunningSimulator, lamp: RawDevice) -> None:
    sim.faults.add(Crash(times=1))
    topic, answer = await ask(lamp, "get")
    assert (topic, answer["code"]) == ("get/rejected", "InternalError")
    await lamp.ask("get")


async def test_next_is_empty_for_a_while_after_a_notify(sim: RunningSimulator, lamp: RawDevice) -> None:
    sim.faults.add(EmptyNext(times=2))
    assert "execution" not in await lamp.ask("$next/get")
    assert (await lamp.ask("J1/get"))["execution"]["jobId"] == "J1"
    assert "execution" not in await lamp.ask("$next/get", clientToken="t")
    assert (await lamp.ask("$next/get"))["execution"]["jobId"] == "J1"
    sim.faults.add(EmptyNext(for_ms=60_000))
    create_job(sim, "J2")
    await sim.wait_for_status("lamp", "J2", "QUEUED")
    assert "execution" not in await lamp.ask("$next/get")
    sim.faults.clear()
    sim.faults.add(EmptyNext(for_ms=0))
    assert (await lamp.ask("$next/get"))["execution"]["jobId"] == "J1"


async def test_a_rollout_can_come_later(sim: RunningSimulator, lamp: RawDevice) -> None:
    await lamp.subscribe("notify")
    sim.faults.add(DelayRollout(delay_ms=30, times=1))
    create_job(sim, "late")
    create_job(sim, "early")
    heard = [(await lamp.heard())[1]["jobs"]["QUEUED"] for _ in range(2)]
    assert [[entry["jobId"] for entry in entries] for entries in heard] == [["J1", "early"], ["J1", "early", "late"]]


@pytest.mark.parametrize("return_code", [None, 3, 5])
async def test_connections_are_closed_at_once(sim: RunningSimulator, return_code: int | None) -> None:
    sim.faults.add(CloseOnConnect(client_id="raw", return_code=return_code, times=1))
    device = await wire.opened(sim.mqtt_port)
    device.send(wire.connect("raw"))
    assert await device.heard() == (b"" if return_code is None else bytes([0x20, 2, 0, return_code]))
    assert await device.heard() == b""
    device.close()
    again = await wire.connected(sim, client_id="raw")
    assert await again.is_open()
    again.close()


@pytest.mark.parametrize(
    ("fault", "status", "heard"),
    [
        (Disconnect(packet="PUBLISH", direction="in", skip=1), "QUEUED", 0),
        (Disconnect(packet="PUBLISH", direction="in", when="after", skip=1), "IN_PROGRESS", 0),
        (Disconnect(packet="PUBLISH", direction="out", topic=JOBS + "+/update/accepted"), "IN_PROGRESS", 0),
        (Disconnect(packet="PUBLISH", direction="out", skip=1, after_bytes=5), "IN_PROGRESS", 5),
        (Disconnect(packet="PUBLISH", direction="out", skip=1, when="after"), "IN_PROGRESS", 1000),
    ],
)
async def test_a_connection_ends_at_a_chosen_packet(
    sim: RunningSimulator, lamp: RawDevice, fault: Disconnect, status: str, heard: int
) -> None:
    await lamp.disconnect()
    sim.faults.add(fault)
    device = await wire.connected(sim, client_id="x")
    device.send(wire.publish(JOBS + "get"))
    assert b"queuedJobs" in await device.heard()
    device.send(wire.publish(JOBS + "J1/update", b'{"status":"IN_PROGRESS"}'))
    async with asyncio.timeout(wire.WAIT_S):
        assert len((await device.reader.read())[:heard]) in {heard, 69}
    assert sim.status("lamp", "J1") == status
    device.close()


async def test_a_half_open_connection_swallows_everything(sim: RunningSimulator) -> None:
    sim.operate("CreateThing", thingName="lamp")
    sim.faults.add(DropPacket(client_id="half", packet="PINGREQ", times=1))
    device = await wire.connected(sim, client_id="half")
    device.send(b"\xc0\x00", wire.publish(JOBS + "get"))
    assert b"queuedJobs" in await device.heard()
    assert await device.is_open()
    device.close()


async def test_a_chosen_filter_is_refused(sim: RunningSimulator) -> None:
    sim.faults.add(RefuseSubscription(topic=JOBS + "notify", times=1))
    device = await wire.connected(sim)
    device.send(wire.subscribe(JOBS + "notify", JOBS + "+"))
    assert (await device.heard())[-2:] == b"\x80\x01"
    device.send(wire.subscribe(JOBS + "notify"))
    assert (await device.heard())[-1] == 1
    device.close()


@pytest.mark.parametrize("says", [True, False])
async def test_the_broker_can_lie_about_the_session(sim: RunningSimulator, connect: Connect, says: bool) -> None:
    sim.operate("CreateThing", thingName="lamp")
    device = await connect(sim, "lamp", is_clean=False)
    await device.subscribe("notify")
    await device.disconnect()
    sim.faults.add(SessionPresent(says=says, times=1))
    again = await connect(sim, "lamp" if not says else "nobody", is_clean=False)
    assert again.session_was_present is says
    assert sim.has_subscription(JOBS + "notify") is not says


async def test_publishes_beyond_the_rate_are_discarded_without_a_word(sim: RunningSimulator) -> None:
    sim.operate("CreateThing", thingName="lamp")
    sim.faults.add(Rate(of="publishes", per_second=3))
    device = await wire.connected(sim)
    device.send(wire.publish(JOBS + "get"))
    assert b"queuedJobs" in await device.heard()
    device.send(wire.publish(JOBS + "get"), wire.publish(JOBS + "get"))
    await sim.wait_until(lambda: sim.faults.listed()[0]["done"] == 2)
    device.send(b"\xc0\x00")
    assert await device.heard() == b"\xd0\x00"
    assert len(sim.received) == 2
    device.close()


async def test_connections_beyond_the_rate_are_closed(sim: RunningSimulator) -> None:
    sim.faults.add({"kind": "rate", "of": "connects"})
    first = await wire.connected(sim)
    second = await wire.opened(sim.mqtt_port)
    second.send(wire.connect())
    assert await second.heard() == b""
    other = await wire.connected(sim, client_id="other")
    assert await other.is_open()
    for each in (first, second, other):
        each.close()


def test_a_fault_that_is_none_is_refused_in_a_sentence(sim: RunningSimulator) -> None:
    for wrong, said in [
        ({"kind": "gremlin"}, "Input tag 'gremlin'"),
        ({"kind": "delay"}, "delay.delay_ms: Field required"),
        ({"kind": "lose", "tiems": 1}, "lose.tiems: Extra inputs are not permitted"),
        ({"kind": "lose", "times": 0}, "lose.times: Input should be greater than or equal to 1"),
    ]:
        with pytest.raises(Refused, match=said):
            sim.faults.add(wrong)
