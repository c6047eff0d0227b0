"""Sessions of MQTT 5: when they begin, how long they are kept, and what is sent to them at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import wire
import wire5

from iot_jobs_simulator.mqtt.limits import Limits
from iot_jobs_simulator.server import running_simulator

if TYPE_CHECKING:
    from pathlib import Path

    from iot_jobs_simulator.server import RunningSimulator

WAIT_S = 10
HOUR_S = 3600


async def leave(sim: RunningSimulator, device: wire5.Five, topic_filter: str, packet: bytes = b"\xe0\x00") -> None:
    """Disconnect, and wait until the simulator has seen it."""
    device.send(packet)
    assert await device.next() is None
    device.close()
    await sim.wait_until(lambda: not sim.has_subscription(topic_filter))


async def subscribed(sim: RunningSimulator, **values: Any) -> tuple[wire5.Five, wire5.Heard]:
    device, answer = await wire5.connected(sim, **values)
    await device.ask(wire5.subscribe("a"))
    return device, answer


@pytest.mark.parametrize(
    ("expiry_s", "granted_s", "away_s", "is_present"),
    [
        (60, None, 59, True),
        (60, None, 61, False),
        (0, None, 0, False),
        (HOUR_S, None, HOUR_S - 1, True),
        (7200, HOUR_S, HOUR_S - 1, True),
        (7200, HOUR_S, HOUR_S + 1, False),
        (2**32 - 1, HOUR_S, HOUR_S - 1, True),
    ],
)
async def test_a_session_is_kept_as_long_as_was_agreed(
    sim: RunningSimulator, expiry_s: int, granted_s: int | None, away_s: int, is_present: bool
) -> None:
    device, answer = await subscribed(sim, SessionExpiryInterval=expiry_s)
    assert answer.said.get("SessionExpiryInterval") == granted_s
    await leave(sim, device, "a")
    await sim.advance_clock(away_s)
    sim.publish("a", b"meanwhile")
    again, answer = await wire5.connected(sim, is_clean=False)
    assert answer.flags == is_present
    if is_present:
        assert (await again.next()).payload == b"meanwhile"
    else:
        sim.publish("a", b"nobody subscribed")
        assert await again.is_served()
    again.close()


async def test_a_clean_start_deletes_the_old_session_and_keeps_the_new_one(sim: RunningSimulator) -> None:
    device, _ = await subscribed(sim, SessionExpiryInterval=60)
    await leave(sim, device, "a")
    sim.publish("a", b"for the old session")
    device, answer = await wire5.connected(sim, is_clean=True, SessionExpiryInterval=60)
    assert answer.flags == 0
    assert await device.is_served()
    await device.ask(wire5.subscribe("b"))
    await leave(sim, device, "b")
    sim.publish("a", b"nobody subscribed")
    sim.publish("b", b"for the new session")
    device, answer = await wire5.connected(sim, is_clean=False)
    assert (answer.flags, (await device.next()).payload) == (1, b"for the new session")
    device.close()


async def test_a_session_that_is_found_again_ends_with_a_connection_that_asks_for_no_expiry(
    sim: RunningSimulator,
) -> None:
    device, _ = await subscribed(sim, SessionExpiryInterval=60)
    await leave(sim, device, "a")
    device, answer = await wire5.connected(sim, is_clean=False)
    assert answer.flags == 1
    await leave(sim, device, "a")
    device, answer = await wire5.connected(sim, is_clean=False, SessionExpiryInterval=60)
    assert answer.flags == 0
    device.close()


async def test_the_disconnect_may_change_how_long_a_session_is_kept(sim: RunningSimulator) -> None:
    for first_s, last_s, is_present in ((60, 0, False), (60, 600, True)):
        device, _ = await subscribed(sim, SessionExpiryInterval=first_s)
        await leave(sim, device, "a", wire5.disconnect(SessionExpiryInterval=last_s))
        await sim.advance_clock(61)
        device, answer = await wire5.connected(sim, is_clean=False)
        assert answer.flags == is_present
        device.close()


async def test_a_session_goes_on_in_the_other_version(sim: RunningSimulator) -> None:
    device, _ = await subscribed(sim, SessionExpiryInterval=60)
    await leave(sim, device, "a")
    three = await wire.opened(sim.mqtt_port)
    three.send(wire.connect("five", is_clean=False))
    assert await three.heard() == b"\x20\x02\x01\x00"
    sim.publish("a", b"x")
    heard = await three.heard()
    assert (heard[:5], heard[-1:]) == (b"\x32\x06\x00\x01a", b"x")
    three.send(b"\xe0\x00")
    assert await three.heard() == b""
    three.close()
    await sim.advance_clock(2 * HOUR_S)
    device, answer = await wire5.connected(sim, is_clean=False)
    assert answer.flags == 1  # a session of 3.1.1 has no end here
    device.close()


@pytest.mark.parametrize("expiry_s", [0, 60])
async def test_a_connection_that_is_taken_over_is_told_so(sim: RunningSimulator, expiry_s: int) -> None:
    older, _ = await subscribed(sim, SessionExpiryInterval=expiry_s)
    newer, answer = await wire5.connected(sim, is_clean=False, SessionExpiryInterval=expiry_s)
    assert answer.flags == (expiry_s > 0)
    heard = await older.next()
    assert (heard.kind, heard.codes) == (wire5.DISCONNECT, [0x8E])
    assert "another connection" in heard.words
    assert await older.next() is None
    sim.publish("a", b"x")
    if expiry_s:
        assert (await newer.next()).payload == b"x"
    assert await newer.is_served()
    for each in (older, newer):
        each.close()


async def test_no_more_is_sent_at_once_than_the_client_takes(sim: RunningSimulator) -> None:
    device, _ = await subscribed(sim, ReceiveMaximum=2)
    for number in range(5):
        sim.publish("a", str(number).encode())
    first, second = await device.next(), await device.next()
    assert (first.payload, second.payload) == (b"0", b"1")
    assert await device.is_served()
    third = await device.ask(wire5.puback(second.packet_id))
    assert third.payload == b"2"
    assert await device.is_served()
    device.send(wire5.puback(first.packet_id, b"\x00") + wire5.puback(third.packet_id, b"\x80\x00"))
    assert [(await device.next()).payload for _ in range(2)] == [b"3", b"4"]
    device.close()


async def test_what_waits_for_its_turn_is_kept_with_the_session(sim: RunningSimulator) -> None:
    device, _ = await subscribed(sim, ReceiveMaximum=1, SessionExpiryInterval=60)
    for number in range(4):
        sim.publish("a", str(number).encode())
    await device.next()
    await leave(sim, device, "a")
    device, _ = await wire5.connected(sim, is_clean=False)
    assert [(await device.next()).payload for _ in range(4)] == [b"0", b"1", b"2", b"3"]
    device.close()


async def test_at_most_100_messages_wait_for_a_client_of_3_1_1(certificates_of_run: Path) -> None:
    limits = Limits(max_unacknowledged=3)
    async with running_simulator(certificates=certificates_of_run, limits=limits) as sim:
        device = await wire.connected(sim)
        device.send(wire.subscribe("a"))
        await device.heard()
        for _ in range(4):
            sim.publish("a", b"x")
        heard = [await device.heard() for _ in range(3)]
        assert await device.is_open()
        device.send(b"\x40\x02" + heard[0][5:7])
        assert (await device.heard())[:1] == b"\x32"
        device.close()


async def test_what_is_too_large_for_the_client_is_not_sent(sim: RunningSimulator) -> None:
    device, _ = await subscribed(sim, MaximumPacketSize=200)
    sim.publish("a", b"x" * 200)
    device.send(wire5.publish("$aws/things/lamp/jobs/get", b'{"clientToken":"%s"}' % (b"x" * 100)))
    await sim.wait_until(lambda: len(sim.received) == 1)
    sim.publish("a", b"small")
    assert (await device.next()).payload == b"small"
    device.close()


@pytest.mark.parametrize(
    ("goodbye", "is_published"),
    [(b"\xe0\x00", False), (b"\xe0\x01\x00", False), (b"\xe0\x01\x04", True), (b"\xe0\x01\x80", True), (b"", True)],
)
async def test_a_will_is_published_unless_the_client_says_goodbye(
    sim: RunningSimulator, goodbye: bytes, is_published: bool
) -> None:
    listener, _ = await wire5.connected(sim, "listener")
    await listener.ask(wire5.subscribe("w"))
    device, _ = await wire5.connected(
        sim,
        will=("w", b"gone"),
        will_properties=wire5.properties(wire5.WILL, ContentType="text/plain", UserProperty=("k", "v")),
    )
    device.send(goodbye)
    if goodbye:
        async with asyncio.timeout(WAIT_S):
            assert await device.next() is None
    device.close()
    if is_published:
        heard = await listener.next()
        assert (heard.topic, heard.payload) == ("w", b"gone")
        assert heard.said == {"ContentType": "text/plain", "UserProperty": [("k", "v")]}
    else:
        assert await listener.is_served()
    listener.close()


async def test_a_will_at_its_largest_arrives_whole(sim: RunningSimulator) -> None:
    listener, _ = await wire5.connected(sim, "listener")
    await listener.ask(wire5.subscribe("w"))
    device, _ = await wire5.connected(sim, will=("w", b"x" * 65_535))
    device.close()
    assert (await listener.next()).payload == b"x" * 65_535
    listener.close()


async def test_a_client_that_does_not_read_is_taken_over_all_the_same(sim: RunningSimulator) -> None:
    deaf, _ = await subscribed(sim, SessionExpiryInterval=60)
    [gate] = sim._mqtt._connections.values()
    other, _ = await wire5.connected(sim, "other")
    async with asyncio.timeout(WAIT_S):
        while not gate._writer.transport.get_write_buffer_size():
            sim.publish("a", b"x" * 100_000)
            assert await other.is_served()
        newer, answer = await wire5.connected(sim, is_clean=False)
    assert answer.flags == 1
    for each in (deaf, newer, other):
        each.close()
