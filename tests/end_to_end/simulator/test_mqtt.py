"""The MQTT listener, as a plain MQTT client sees it."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from simulators import Connect, RawDevice

    from iot_jobs_simulator.server import RunningSimulator


THING_ARN = "arn:aws:iot:us-east-1:123456789012:thing/lamp"
CONNECT = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x1e\x00\x03foo"  # a clean session of the client "foo"


def create_job(sim: RunningSimulator, job_id: str, **members: Any) -> Any:
    sim.operate("CreateJob", jobId=job_id, targets=[THING_ARN], document='{"op":"x"}', **members)


@pytest.fixture
async def lamp(sim: RunningSimulator, connect: Connect) -> Any:
    """A connected thing that subscribed to nothing yet."""
    sim.operate("CreateThing", thingName="lamp")
    return await connect(sim, "lamp")


@pytest.mark.parametrize("is_secure", [True, False], ids=["tls", "plain"])
async def test_a_thing_works_off_its_jobs(sim: RunningSimulator, connect: Connect, is_secure: bool) -> None:
    sim.operate("CreateThing", thingName="lamp")
    device = await connect(sim, "lamp", is_secure=is_secure)
    await device.subscribe("notify", "notify-next")
    create_job(sim, "J1")
    assert [(await device.heard())[0] for _ in range(2)] == ["notify", "notify-next"]
    create_job(sim, "J2")
    topic, listed = await device.heard()
    assert (topic, [entry["jobId"] for entry in listed["jobs"]["QUEUED"]]) == ("notify", ["J1", "J2"])
    started = await device.ask("start-next")
    assert (started["execution"]["jobId"], started["execution"]["jobDocument"]) == ("J1", {"op": "x"})
    await device.ask("J1/update", status="SUCCEEDED", expectedVersion=2)
    assert [(await device.heard())[0] for _ in range(2)] == ["notify", "notify-next"]
    await sim.wait_for_status("lamp", "J1", "SUCCEEDED")


async def test_a_reply_is_heard_once_whether_or_not_the_client_subscribed(lamp: RawDevice) -> None:
    await lamp.ask("get", clientToken="before")
    await lamp.subscribe("get/+", "get/accepted", "+/get/+", "#")
    assert (await lamp.ask("get", clientToken="after"))["clientToken"] == "after"
    assert (await lamp.ask("get", clientToken="last"))["clientToken"] == "last"


async def test_a_reply_goes_to_the_client_that_asked_and_to_no_other(
    sim: RunningSimulator, lamp: RawDevice, connect: Connect
) -> None:
    eavesdropper = await connect(sim, "lamp", client_id="eavesdropper")
    await eavesdropper.subscribe("#")
    await lamp.ask("get")
    sim.publish("$aws/things/lamp/jobs/notify", b'"first thing heard"')
    assert await eavesdropper.heard() == ("notify", "first thing heard")


async def test_refusals_arrive_on_the_rejected_topic(lamp: RawDevice) -> None:
    await lamp.send("get", b"[1]")
    topic, answer = await lamp.heard()
    assert (topic, answer["code"]) == ("get/rejected", "InvalidJson")
    await lamp.send("get/the/moon", b"{}")
    topic, answer = await lamp.heard()
    assert (topic, answer["code"]) == ("get/the/moon/rejected", "InvalidTopic")


async def test_wildcards_at_every_level_are_served(sim: RunningSimulator, lamp: RawDevice) -> None:
    await lamp.subscribe("+/+/get/+", "+/+/update/+", "+/get/+", "+/notify-namespace-team/", "notify-namespace-team")
    create_job(sim, "J1", namespaceId="team")
    assert [(await lamp.heard())[0] for _ in range(2)] == ["notify-namespace-team", "J1/notify-namespace-team/"]
    answer = await lamp.ask("$next/namespace-team/get")
    assert answer["execution"]["jobId"] == "J1"
    await lamp.ask("J1/namespace-team/update", status="IN_PROGRESS")


async def test_a_persistent_session_keeps_its_subscriptions_and_what_was_published_meanwhile(
    sim: RunningSimulator, connect: Connect
) -> None:
    sim.operate("CreateThing", thingName="lamp")
    device = await connect(sim, "lamp", is_clean=False)
    assert not device.session_was_present
    await device.subscribe("notify")
    await device.disconnect()
    await sim.wait_until(lambda: not sim.has_subscription("$aws/things/lamp/jobs/notify"))
    create_job(sim, "J1")
    create_job(sim, "J2")
    again = await connect(sim, "lamp", is_clean=False)
    assert again.session_was_present
    heard = [await again.heard() for _ in range(2)]
    assert [len(payload["jobs"]["QUEUED"]) for _, payload in heard] == [1, 2]
    create_job(sim, "J3")
    assert len((await again.heard())[1]["jobs"]["QUEUED"]) == 3


async def test_there_is_no_qos_2_and_the_last_subscription_to_a_filter_counts(sim: RunningSimulator) -> None:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.mqtt_port)
        writer.write(CONNECT + b"\x82\x06\x00\x01\x00\x01a\x02")
        assert await reader.readexactly(9) == b"\x20\x02\x00\x00" + b"\x90\x03\x00\x01\x01"
        writer.write(b"\x82\x06\x00\x02\x00\x01a\x00")
        assert await reader.readexactly(5) == b"\x90\x03\x00\x02\x00"
        sim.publish("a", b"x")
        assert await reader.readexactly(6) == b"\x30\x04\x00\x01ax"
        writer.close()


async def test_a_clean_session_leaves_nothing_behind(sim: RunningSimulator, connect: Connect) -> None:
    sim.operate("CreateThing", thingName="lamp")
    device = await connect(sim, "lamp", is_clean=True)
    await device.subscribe("notify")
    await device.disconnect()
    again = await connect(sim, "lamp", is_clean=False)
    assert not again.session_was_present
    create_job(sim, "J1")
    await again.ask("get")


@pytest.mark.parametrize("is_clean", [True, False], ids=["clean", "persistent"])
async def test_a_new_connection_of_the_same_client_id_drops_the_older_one(
    sim: RunningSimulator, connect: Connect, is_clean: bool
) -> None:
    sim.operate("CreateThing", thingName="lamp")
    async with asyncio.timeout(10):
        connect_packet = b"\x10\x10\x00\x04MQTT\x04" + bytes([2 if is_clean else 0]) + b"\x00\x1e\x00\x04lamp"
        older_reader, older_writer = await asyncio.open_connection("127.0.0.1", sim.mqtt_port)
        older_writer.write(connect_packet)
        assert await older_reader.readexactly(4) == b"\x20\x02\x00\x00"
        newer = await connect(sim, "lamp", is_clean=is_clean)
        assert newer.session_was_present is not is_clean
        assert await older_reader.read() == b""
        older_writer.close()
    await newer.subscribe("notify")
    create_job(sim, "J1")
    assert (await newer.heard())[0] == "notify"
    await newer.ask("get")


async def test_a_client_without_certificate_is_not_served(sim: RunningSimulator) -> None:
    context = ssl.create_default_context(cafile=sim.certificates / "ca.pem")
    received = b""
    with suppress(ssl.SSLError, ConnectionError):  # TLS 1.3 tells the client only when it reads, if at all
        reader, writer = await asyncio.open_connection("localhost", sim.mqtts_port, ssl=context)
        writer.write(CONNECT)
        received = await reader.read(1)
        writer.transport.abort()
    assert received == b""


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00" * 64,
        b"\xff" * 64,
        b"\x10\x10\x00\x04MQTT\x05\x02\x00\x1e\x00\x04lamp",
        b"\x10\x10\x00\x04MQTT\x04\x02\x00\x1e\x00\x04\xff\xff\xff\xff",
        b"\x10\xff\xff\xff\xff\x01",
        b"\x30\x03\x00\x01a",
    ],
)
async def test_garbage_before_the_connection_does_not_stop_the_broker(
    sim: RunningSimulator, lamp: RawDevice, garbage: bytes
) -> None:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.mqtt_port)
        writer.write(garbage)
        writer.write_eof()
        await reader.read()
        writer.close()
    await lamp.ask("get")


@pytest.mark.parametrize("garbage", [b"\xf0\x00", b"\x00\x00", b"\x30\x03\x00\x09a", b"\x82\x00", b"\x32\x01\x00"])
async def test_garbage_on_a_connection_does_not_stop_the_broker(
    sim: RunningSimulator, lamp: RawDevice, garbage: bytes
) -> None:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.mqtt_port)
        writer.write(CONNECT + garbage)
        writer.write_eof()
        await reader.read()
        writer.close()
    await lamp.ask("get")


async def test_the_broker_can_be_stopped_and_started_on_the_same_ports(sim: RunningSimulator, connect: Connect) -> None:
    sim.operate("CreateThing", thingName="lamp")
    ports = (sim.mqtt_port, sim.mqtts_port)
    reader, writer = await asyncio.open_connection("127.0.0.1", sim.mqtt_port)
    await sim.stop_broker()
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection("127.0.0.1", ports[0])
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()
    create_job(sim, "J1")
    await sim.start_broker()
    device = await connect(sim, "lamp")
    assert (await device.ask("start-next"))["execution"]["jobId"] == "J1"
    assert (sim.mqtt_port, sim.mqtts_port) == ports


async def test_answers_are_sent_at_once_also_after_a_restart(sim: RunningSimulator, connect: Connect) -> None:
    """With Nagle's algorithm each would wait 40 ms for a delayed acknowledgement."""
    sim.operate("CreateThing", thingName="lamp")
    for _ in range(2):
        await connect(sim, "lamp")
        [gate] = sim._mqtt._connections.values()
        accepted = gate._writer.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        await sim.restart_broker()


async def test_a_persistent_session_survives_a_broker_that_restarts(sim: RunningSimulator, connect: Connect) -> None:
    sim.operate("CreateThing", thingName="lamp")
    device = await connect(sim, "lamp", is_clean=False)
    await device.subscribe("notify")
    await sim.stop_broker()
    device.is_connected = False
    create_job(sim, "J1")
    await sim.wait_for_status("lamp", "J1", "QUEUED")
    await sim.start_broker()
    again = await connect(sim, "lamp", is_clean=False)
    assert again.session_was_present
    assert (await again.heard())[0] == "notify"


async def test_a_broker_that_restarts_can_lose_its_sessions(sim: RunningSimulator, connect: Connect) -> None:
    sim.operate("CreateThing", thingName="lamp")
    device = await connect(sim, "lamp", is_clean=False)
    await device.subscribe("notify")
    device.is_connected = False
    await sim.restart_broker(keep_sessions=False)
    again = await connect(sim, "lamp", is_clean=False)
    assert not again.session_was_present
    assert not sim.has_subscription("$aws/things/lamp/jobs/notify")


async def test_a_request_sent_right_before_the_disconnect_still_counts(sim: RunningSimulator) -> None:
    sim.operate("CreateThing", thingName="lamp")
    create_job(sim, "J1")
    await sim.wait_for_status("lamp", "J1", "QUEUED")

    def publish(topic: str, **members: str) -> bytes:
        body = len(topic).to_bytes(2, "big") + topic.encode() + json.dumps(members).encode()
        return bytes([0x30, len(body)]) + body

    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.mqtt_port)
        writer.write(CONNECT)
        await reader.readexactly(4)
        topic = "$aws/things/lamp/jobs/J1/update"
        writer.write(publish(topic, status="IN_PROGRESS") + publish(topic, status="SUCCEEDED") + b"\xe0\x00")
        await reader.read()
        writer.close()
    await sim.wait_for_status("lamp", "J1", "SUCCEEDED")


async def test_a_test_can_wait_for_subscriptions_and_requests(sim: RunningSimulator, connect: Connect) -> None:
    sim.operate("CreateThing", thingName="lamp")
    waiting = asyncio.gather(
        sim.wait_for_subscription("$aws/things/lamp/jobs/notify-next"), sim.wait_until(lambda: len(sim.received) > 0)
    )
    device = await connect(sim, "lamp")
    await device.subscribe("notify-next")
    await device.ask("get")
    await waiting
    assert list(sim.received) == [("$aws/things/lamp/jobs/get", b"{}")]
    await device.disconnect()
    await sim.wait_until(lambda: not sim.has_subscription("$aws/things/lamp/jobs/notify-next"))
    with pytest.raises(TimeoutError):
        await sim.wait_for_subscription("$aws/things/lamp/jobs/notify-next", within_s=0.01)


async def test_a_persistent_connection_after_a_clean_one_of_the_same_client_finds_no_session(
    sim: RunningSimulator, connect: Connect
) -> None:
    sim.operate("CreateThing", thingName="foo")
    reader, writer = await asyncio.open_connection("127.0.0.1", sim.mqtt_port)
    writer.write(CONNECT)
    await reader.readexactly(4)
    device = await connect(sim, "foo", is_clean=False)
    assert not device.session_was_present
    writer.close()
    await device.subscribe("notify")
    await device.disconnect()
    assert (await connect(sim, "foo", is_clean=False)).session_was_present


async def test_many_connections_of_one_client_id_end_all_but_the_last(sim: RunningSimulator) -> None:
    async with asyncio.timeout(10):
        connections = [await asyncio.open_connection("127.0.0.1", sim.mqtt_port) for _ in range(5)]
        for _, writer in connections:
            writer.write(CONNECT)
        answers = await asyncio.gather(*(reader.read(4) for reader, _ in connections))
        ended = await asyncio.gather(*(reader.read() for reader, _ in connections[:-1]))
    assert answers[-1] == b"\x20\x02\x00\x00"
    assert ended == [b""] * 4
    for _, writer in connections:
        writer.close()


async def test_waiting_for_a_status_in_vain_says_what_was_found(sim: RunningSimulator) -> None:
    with pytest.raises(TimeoutError, match="J1 on lamp is None, not QUEUED"):
        await sim.wait_for_status("lamp", "J1", "QUEUED", within_s=0.01)
