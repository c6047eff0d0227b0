"""Faults do to clients of MQTT 5 what they do to those of 3.1.1: they end connections without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import wire5

from iot_jobs_simulator.faults.faults import CloseOnConnect, Disconnect, DropPacket, Lose, Rate, SessionPresent

if TYPE_CHECKING:
    from iot_jobs_simulator.server import RunningSimulator

JOBS = "$aws/things/lamp/jobs/"


@pytest.fixture
async def five(sim: RunningSimulator) -> Any:
    sim.operate("CreateThing", thingName="lamp")
    device, _ = await wire5.connected(sim)
    yield device
    device.close()


async def test_a_packet_is_lost_by_its_name_and_topic(sim: RunningSimulator, five: wire5.Five) -> None:
    sim.faults.add(DropPacket(packet="SUBSCRIBE", direction="in", topic="a", times=1))
    sim.faults.add(DropPacket(packet="SUBACK", direction="out", times=1))
    five.send(wire5.subscribe("a"))
    assert await five.is_served()
    five.send(wire5.subscribe("b"))
    assert await five.is_served()
    assert (await five.ask(wire5.subscribe("c"))).kind == wire5.SUBACK


async def test_a_message_that_names_its_topic_by_an_alias_is_found_by_its_topic(
    sim: RunningSimulator, five: wire5.Five
) -> None:
    await five.ask(wire5.publish(JOBS + "get", TopicAlias=1))
    sim.faults.add(DropPacket(packet="PUBLISH", direction="in", topic=JOBS + "get", times=1))
    five.send(wire5.publish("", TopicAlias=1))
    assert await five.is_served()
    assert len(sim.received) == 1


async def test_a_connection_is_cut_within_a_packet_and_without_a_word(sim: RunningSimulator, five: wire5.Five) -> None:
    sim.faults.add(Disconnect(packet="PUBLISH", direction="out", after_bytes=7, times=1))
    five.send(wire5.publish(JOBS + "get"))
    heard = await five.reader.read()
    assert (heard[0], len(heard)) == (0x30, 7)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_connection_is_cut_around_a_packet(sim: RunningSimulator, five: wire5.Five, when: Any) -> None:
    sim.faults.add(Disconnect(packet="PUBLISH", direction="in", when=when, times=1))
    five.send(wire5.publish(JOBS + "get"))
    assert await five.next() is None
    assert len(sim.received) == (when == "after")


async def test_a_reply_is_lost(sim: RunningSimulator, five: wire5.Five) -> None:
    sim.faults.add(Lose(what="reply", operation="GetPendingJobExecutions", times=1))
    five.send(wire5.publish(JOBS + "get"))
    assert await five.is_served()
    assert (await five.ask(wire5.publish(JOBS + "get"))).topic == JOBS + "get/accepted"


async def test_a_connection_is_closed_at_its_connect(sim: RunningSimulator) -> None:
    sim.faults.add(CloseOnConnect(times=1))
    device = await wire5.opened(sim.mqtt_port)
    assert await device.ask(wire5.connect()) is None
    device.close()


async def test_too_many_connects_a_second_are_refused_with_their_reason(sim: RunningSimulator) -> None:
    sim.faults.add(Rate(of="connects"))
    first, _ = await wire5.connected(sim)
    second = await wire5.opened(sim.mqtt_port)
    answer = await second.ask(wire5.connect())
    assert (answer.kind, answer.codes) == (wire5.CONNACK, [0x9F])
    for each in (first, second):
        each.close()


async def test_the_connack_may_lie_about_the_session(sim: RunningSimulator) -> None:
    sim.faults.add(SessionPresent(says=True, times=1))
    device, answer = await wire5.connected(sim)
    assert answer.flags == 1
    device.close()
