"""What a message of MQTT 5 has besides topic and payload, from one client to another of either version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import wire
import wire5

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from iot_jobs_simulator.server import RunningSimulator

SAID = {
    "PayloadFormatIndicator": 1,
    "ContentType": "text/plain",
    "ResponseTopic": "answers/1",
    "CorrelationData": b"\x00\xff",
    "UserProperty": [("b", "1"), ("a", "2"), ("b", "3"), ("", "")],
}


@pytest.fixture
async def sender(sim: RunningSimulator) -> AsyncIterator[wire5.Five]:
    device, _ = await wire5.connected(sim, "sender")
    yield device
    device.close()


@pytest.fixture
async def receiver(sim: RunningSimulator) -> AsyncIterator[wire5.Five]:
    """A client of MQTT 5 that has subscribed to `t/#`."""
    device, _ = await wire5.connected(sim, "receiver", SessionExpiryInterval=3600)
    await device.ask(wire5.subscribe("t/#"))
    yield device
    device.close()


async def away(sim: RunningSimulator, receiver: wire5.Five) -> None:
    receiver.send(wire5.disconnect())
    assert await receiver.next() is None
    await sim.wait_until(lambda: not sim.has_subscription("t/#"))


@pytest.mark.parametrize("qos", [0, 1])
async def test_properties_are_passed_on_as_they_are(sender: wire5.Five, receiver: wire5.Five, qos: int) -> None:
    sender.send(wire5.publish("t/1", b"x", qos=qos, **SAID))
    heard = await receiver.next()
    assert (heard.topic, heard.payload, heard.flags, heard.said) == ("t/1", b"x", qos << 1, SAID)


async def test_properties_wait_with_the_message(
    sim: RunningSimulator, sender: wire5.Five, receiver: wire5.Five
) -> None:
    await away(sim, receiver)
    await sender.ask(wire5.publish("t/1", b"x", qos=1, **SAID))
    again, _ = await wire5.connected(sim, "receiver", is_clean=False)
    assert (await again.next()).said == SAID
    again.close()


async def test_an_alias_stands_for_the_topic_that_it_was_given_last(sender: wire5.Five, receiver: wire5.Five) -> None:
    for topic, alias in (("t/1", 1), ("", 1), ("t/2", 2), ("t/3", 1), ("", 1), ("", 2), ("t/4", None)):
        said = {} if alias is None else {"TopicAlias": alias}
        sender.send(wire5.publish(topic, b"x", **said))
    heard = [await receiver.next() for _ in range(7)]
    assert [each.topic for each in heard] == ["t/1", "t/1", "t/2", "t/3", "t/3", "t/2", "t/4"]
    assert all(each.said == {} for each in heard)


async def test_an_alias_ends_with_its_connection(sim: RunningSimulator, sender: wire5.Five) -> None:
    sender.send(wire5.publish("t/1", TopicAlias=1))
    again, _ = await wire5.connected(sim, "sender", is_clean=False)
    assert (await again.ask(wire5.publish("", TopicAlias=1))).codes == [0x82]
    again.close()


async def test_a_message_says_how_long_it_is_still_of_use(
    sim: RunningSimulator, sender: wire5.Five, receiver: wire5.Five
) -> None:
    sender.send(wire5.publish("t/1", MessageExpiryInterval=60, **SAID))
    assert (await receiver.next()).said == SAID | {"MessageExpiryInterval": 60}
    await away(sim, receiver)
    for interval_s in (100, 41, 39):
        await sender.ask(wire5.publish(f"t/{interval_s}", qos=1, MessageExpiryInterval=interval_s))
    await sim.advance_clock(40)
    again, _ = await wire5.connected(sim, "receiver", is_clean=False, SessionExpiryInterval=3600)
    heard = [await again.next() for _ in range(2)]
    assert [(each.topic, each.said) for each in heard] == [
        ("t/100", {"MessageExpiryInterval": 60}),
        ("t/41", {"MessageExpiryInterval": 1}),
    ]
    assert await again.is_served()
    again.close()


async def test_a_client_of_3_1_1_gets_topic_and_payload_alone(sim: RunningSimulator, sender: wire5.Five) -> None:
    three = await wire.connected(sim)
    three.send(wire.subscribe("t/#"))
    await three.heard()
    sender.send(wire5.publish("t/1", b"x", MessageExpiryInterval=60, TopicAlias=3, **SAID))
    assert await three.heard() == b"\x30\x06\x00\x03t/1x"
    three.close()


async def test_a_client_of_3_1_1_reaches_one_of_5(sim: RunningSimulator, receiver: wire5.Five) -> None:
    three = await wire.connected(sim)
    three.send(wire.publish("t/1", b"x", qos=1))
    assert await receiver.next() == wire5.Heard(wire5.PUBLISH, flags=2, packet_id=1, topic="t/1", payload=b"x")
    three.close()


async def test_a_message_is_delivered_at_the_lower_qos(sim: RunningSimulator, sender: wire5.Five) -> None:
    receiver, _ = await wire5.connected(sim, "receiver")
    await receiver.ask(wire5.subscribe("t/0", options=0))
    await receiver.ask(wire5.subscribe("t/2", options=2))
    for topic, qos in (("t/0", 1), ("t/2", 1), ("t/2", 0)):
        sender.send(wire5.publish(topic, qos=qos))
    heard = [await receiver.next() for _ in range(3)]
    assert [(each.topic, each.flags) for each in heard] == [("t/0", 0), ("t/2", 2), ("t/2", 0)]
    receiver.close()


async def test_a_client_may_not_want_its_own_messages(sim: RunningSimulator, receiver: wire5.Five) -> None:
    await receiver.ask(wire5.subscribe("u", options=1 | 4))
    receiver.send(wire5.publish("u", b"mine") + wire5.publish("t/1", b"mine"))
    assert (await receiver.next()).topic == "t/1"
    other, _ = await wire5.connected(sim, "other")
    other.send(wire5.publish("u", b"other's"))
    assert (await receiver.next()).payload == b"other's"
    other.close()


async def test_what_is_retained_waits_for_subscriptions_that_want_it(sim: RunningSimulator, sender: wire5.Five) -> None:
    await sender.ask(wire5.publish("t/1", b"x", qos=1, is_retained=True, MessageExpiryInterval=60, **SAID))
    receiver, _ = await wire5.connected(sim, "receiver")
    for options, is_sent in ((0x21, False), (0x11, False), (0x01, True), (0x01, True), (0x11, False)):
        assert (await receiver.ask(wire5.subscribe("t/#", options=options))).codes == [1]
        if is_sent:
            heard = await receiver.next()
            assert (heard.flags, heard.payload) == (3, b"x")
            assert heard.said == SAID | {"MessageExpiryInterval": 60}
            receiver.send(wire5.puback(heard.packet_id))
        assert await receiver.is_served()
    await receiver.ask(wire5.unsubscribe("t/#"))
    assert (await receiver.ask(wire5.subscribe("t/#", options=0x11))).codes == [1]
    assert (await receiver.next()).flags == 3
    await sim.advance_clock(61)
    late, _ = await wire5.connected(sim, "late")
    assert (await late.ask(wire5.subscribe("t/#"))).codes == [1]
    assert await late.is_served()
    for each in (receiver, late):
        each.close()


@pytest.mark.parametrize("is_five", [True, False])
async def test_an_empty_message_takes_back_what_is_retained(
    sim: RunningSimulator, sender: wire5.Five, is_five: bool
) -> None:
    await sender.ask(wire5.publish("t/1", b"x", qos=1, is_retained=True))
    if is_five:
        await sender.ask(wire5.publish("t/1", b"", qos=1, is_retained=True, UserProperty=("k", "v")))
    else:
        three = await wire.connected(sim)
        three.send(wire.publish("t/1", b"", is_retained=True))
        assert await three.is_open()
        three.close()
    receiver, _ = await wire5.connected(sim, "receiver")
    assert (await receiver.ask(wire5.subscribe("t/#"))).codes == [1]
    assert await receiver.is_served()
    receiver.close()


@pytest.mark.parametrize(("options", "flag"), [(0, 0), (8, 1)])
async def test_a_message_stays_marked_as_retained_for_those_who_want_that(
    sim: RunningSimulator, sender: wire5.Five, options: int, flag: int
) -> None:
    receiver, _ = await wire5.connected(sim, "receiver")
    await receiver.ask(wire5.subscribe("t/#", options=options))
    sender.send(wire5.publish("t/1", b"x", is_retained=True))
    assert (await receiver.next()).flags == flag
    receiver.close()
