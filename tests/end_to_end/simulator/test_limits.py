"""What AWS IoT Core does not take from a client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import wire

from iot_jobs_simulator.mqtt.limits import Limits
from iot_jobs_simulator.server import running_simulator

if TYPE_CHECKING:
    from pathlib import Path

    from iot_jobs_simulator.server import RunningSimulator


@pytest.mark.parametrize(
    "violation",
    [
        pytest.param(wire.publish("a", b"x" * (128 * 1024 + 1)), id="a payload of more than 128 KiB"),
        pytest.param(wire.publish("a" * 257), id="a topic of more than 256 bytes"),
        pytest.param(wire.publish("/" * 8), id="more than 7 slashes"),
        pytest.param(wire.publish("a", qos=2), id="QoS 2"),
        pytest.param(wire.publish("$aws/things/lamp/jobs/get", is_retained=True), id="retained on a reserved topic"),
        pytest.param(wire.subscribe(*"abcdefghi"), id="nine filters in a packet"),
        pytest.param(wire.publish("$aws/things/lamp/shadow/get"), id="a reserved topic that is not served"),
        pytest.param(wire.connect(), id="a second CONNECT"),
        pytest.param(wire.packet(0x30, wire.text(b"\xff")), id="a topic that is not UTF-8"),
        pytest.param(wire.packet(0x82, b"\x00\x01"), id="no filter"),
        pytest.param(wire.packet(0x82, b"\x00\x00" + wire.text("a") + b"\x00"), id="packet identifier 0"),
        pytest.param(wire.packet(0x40, b"\x00"), id="a PUBACK that ends too early"),
        pytest.param(wire.packet(0x90, b"\x00\x01\x00"), id="a packet that only servers send"),
        pytest.param(b"\x30\xff\xff\xff\xff\x01", id="a length of five bytes"),
        pytest.param(b"\x30\xff\xff\xff\x7f", id="a length of 256 MiB"),
    ],
)
async def test_a_violation_ends_the_connection(sim: RunningSimulator, violation: bytes) -> None:
    device = await wire.connected(sim)
    device.send(violation)
    assert await device.heard() == b""
    device.close()


@pytest.mark.parametrize(
    "allowed",
    [
        wire.publish("a", b"x" * (128 * 1024)),
        wire.publish("a" * 256),
        wire.publish("/" * 7),
        wire.publish("a", qos=1),
        wire.publish("a", is_retained=True),
        wire.subscribe(*"abcdefgh"),
    ],
)
async def test_what_is_just_allowed_is_taken(sim: RunningSimulator, allowed: bytes) -> None:
    device = await wire.connected(sim)
    device.send(allowed)
    assert await device.is_open()
    device.close()


async def test_the_51st_subscription_of_a_connection_is_refused_until_one_is_given_up(sim: RunningSimulator) -> None:
    device = await wire.connected(sim)
    for number in range(50):
        device.send(wire.subscribe(f"f{number}"))
        assert (await device.heard())[-1] == 1
    device.send(wire.subscribe("f0", "f50"))
    assert (await device.heard())[-2:] == b"\x01\x80"
    device.send(wire.packet(0xA2, b"\x00\x02" + wire.text("f0")))
    assert await device.heard() == b"\xb0\x02\x00\x02"
    device.send(wire.subscribe("f50"))
    assert (await device.heard())[-1] == 1
    device.close()


@pytest.mark.parametrize("topic_filter", ["a" * 257, "/" * 8])
async def test_a_filter_that_is_too_long_or_too_deep_is_refused(sim: RunningSimulator, topic_filter: str) -> None:
    device = await wire.connected(sim)
    device.send(wire.subscribe(topic_filter))
    assert (await device.heard())[-1] == 0x80
    device.close()


@pytest.mark.parametrize(
    ("packet", "return_code"),
    [
        (wire.connect("x" * 129), 2),
        (wire.packet(0x10, wire.text("MQTT") + b"\x06\x02\x00\x3c\x00" + wire.text("six")), 1),
    ],
)
async def test_a_connect_is_refused_with_its_reason(sim: RunningSimulator, packet: bytes, return_code: int) -> None:
    device = await wire.opened(sim.mqtt_port)
    device.send(packet)
    assert await device.heard() == bytes([0x20, 2, 0, return_code])
    assert await device.heard() == b""
    device.close()


@pytest.mark.parametrize("will", [(b"\x16", "a"), (b"\x26", "$aws/x"), (b"\x06", "a" * 257)])
async def test_a_will_is_held_to_the_limits_of_any_message(sim: RunningSimulator, will: tuple[bytes, str]) -> None:
    flags, topic = will
    device = await wire.opened(sim.mqtt_port)
    device.send(
        wire.packet(
            0x10, wire.text("MQTT") + b"\x04" + flags + b"\x00\x3c" + wire.text("w") + wire.text(topic) + wire.text("x")
        )
    )
    assert await device.heard() == b""
    device.close()


async def test_a_client_that_is_silent_for_one_and_a_half_keep_alives_is_dropped(certificates_of_run: Path) -> None:
    limits = Limits(min_keep_alive_s=0.1)
    async with running_simulator(certificates=certificates_of_run, limits=limits) as sim:
        talkative = await wire.connected(sim, client_id="talkative", keep_alive_s=60)
        silent = await wire.connected(sim, client_id="silent", keep_alive_s=1)
        assert await silent.heard() == b""
        assert await talkative.is_open()
        for each in (silent, talkative):
            each.close()


@pytest.mark.parametrize(("keep_alive_s", "silence_s"), [(0, 1800), (1, 45), (30, 45), (100, 150), (5000, 1800)])
def test_the_keep_alive_is_what_aws_makes_of_it(keep_alive_s: int, silence_s: float) -> None:
    assert Limits().silence_s(keep_alive_s) == silence_s


async def test_a_connection_that_never_says_connect_is_dropped(certificates_of_run: Path) -> None:
    async with running_simulator(certificates=certificates_of_run, limits=Limits(connect_within_s=0.2)) as sim:
        nobody = await wire.opened(sim.mqtt_port)
        nobody.send(b"\x10\x20\x00")
        assert await nobody.heard() == b""
        nobody.close()


async def test_a_client_that_asks_but_never_reads_is_cut_off(sim: RunningSimulator) -> None:
    sim.operate("CreateThing", thingName="lamp")
    device = await wire.connected(sim)
    token = b'{"clientToken":"' + b"x" * 120_000 + b'"}'
    with pytest.raises(ConnectionError):  # noqa: PT012 - one of them is the first
        for _ in range(5000):
            device.send(wire.publish("$aws/things/lamp/jobs/get", token))
            await device.writer.drain()
    device.close()
