"""MQTT 5 as a client of bytes sees it: what is agreed at the CONNECT, and what is refused in words."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import wire
import wire5

from iot_jobs_simulator.faults.faults import CloseOnConnect, RefuseSubscription
from iot_jobs_simulator.mqtt.limits import Limits
from iot_jobs_simulator.mqtt.reasons import Reason
from iot_jobs_simulator.policy import PolicyName
from iot_jobs_simulator.server import running_simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from iot_jobs_simulator.server import RunningSimulator

AGREED = {
    "ReceiveMaximum": 100,
    "MaximumQoS": 1,
    "MaximumPacketSize": 149_504,
    "TopicAliasMaximum": 8,
    "SubscriptionIdentifierAvailable": 0,
    "SharedSubscriptionAvailable": 0,
}
JOBS = "$aws/things/lamp/jobs/"


@pytest.fixture
async def five(sim: RunningSimulator) -> AsyncIterator[wire5.Five]:
    """A connected client that subscribed to nothing yet."""
    device, _ = await wire5.connected(sim)
    yield device
    device.close()


@pytest.fixture
async def opened(sim: RunningSimulator) -> AsyncIterator[wire5.Five]:
    """A connection that did not say CONNECT yet."""
    device = await wire5.opened(sim.mqtt_port)
    yield device
    device.close()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the simulator's own log says; amqtt has one of its own, which the command does not show."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("iot_jobs_simulator")]


async def test_the_connack_says_what_aws_says(opened: wire5.Five) -> None:
    answer = await opened.ask(wire5.connect(keep_alive_s=60))
    assert answer == wire5.Heard(wire5.CONNACK, codes=[0], said=AGREED)


@pytest.mark.parametrize(("asked_s", "told_s"), [(0, 1200), (5, 30), (30, None), (1200, None), (2000, 1200)])
async def test_the_server_says_which_keep_alive_counts(opened: wire5.Five, asked_s: int, told_s: int | None) -> None:
    answer = await opened.ask(wire5.connect(keep_alive_s=asked_s))
    assert answer.said.get("ServerKeepAlive") == told_s


async def test_a_client_without_a_name_is_told_the_one_that_it_gets(sim: RunningSimulator, opened: wire5.Five) -> None:
    answer = await opened.ask(wire5.connect("", SessionExpiryInterval=60))
    name = answer.said["AssignedClientIdentifier"]
    await opened.ask(wire5.subscribe("a"))
    opened.send(wire5.disconnect())
    assert await opened.next() is None
    again, answer = await wire5.connected(sim, name, is_clean=False)
    assert (answer.flags, answer.said) == (1, AGREED)
    again.close()


async def test_jobs_are_served_to_mqtt_5(sim: RunningSimulator, five: wire5.Five) -> None:
    sim.operate("CreateThing", thingName="lamp")
    await five.ask(wire5.subscribe(JOBS + "#"))
    answer = await five.ask(wire5.publish(JOBS + "get", b'{"clientToken":"t"}'))
    assert (answer.kind, answer.topic, answer.said) == (wire5.PUBLISH, JOBS + "get/accepted", {})
    assert b'"clientToken":"t"' in answer.payload


BAD_UTF_8 = b"\x05\x26\x00\x01\xff\x00\x00"
ENDINGS = [
    pytest.param(wire.packet(0xF0, b"\x18\x00"), 0x82, "AUTH", id="AUTH"),
    pytest.param(wire.packet(0x00, b""), 0x81, "reserved", id="a reserved packet"),
    pytest.param(wire5.connect(), 0x82, "CONNECT out of turn", id="a second CONNECT"),
    pytest.param(wire.packet(0x20, b"\x00\x00\x00"), 0x82, "CONNACK is not for clients", id="a CONNACK"),
    pytest.param(wire.packet(0xC1, b""), 0x81, "flags", id="a PINGREQ with flags"),
    pytest.param(wire.packet(0xC0, b"x"), 0x81, "too long", id="a PINGREQ with a body"),
    pytest.param(wire5.publish("a", qos=2), 0x9B, "QoS 2", id="QoS 2"),
    pytest.param(wire.packet(0x36, wire.text("a") + b"\x00\x01\x00"), 0x81, "QoS", id="QoS 3"),
    pytest.param(wire5.publish("a/+"), 0x81, "topic", id="a topic with a wildcard"),
    pytest.param(wire5.publish(""), 0x82, "neither a topic nor an alias", id="no topic"),
    pytest.param(wire5.publish("a", TopicAlias=9), 0x94, "at most 8", id="the ninth alias"),
    pytest.param(wire5.publish("", TopicAlias=8), 0x82, "no topic yet", id="an alias of nothing"),
    pytest.param(wire5.publish("a", raw_properties=b"\x03\x23\x00\x00"), 0x81, "TopicAlias", id="the alias 0"),
    pytest.param(wire5.publish("a", raw_properties=b"\x02\x0b\x01"), 0x82, "subscription id", id="an id of servers"),
    pytest.param(wire5.publish("a", ResponseTopic="b/#"), 0x82, "response topic", id="a response to many topics"),
    pytest.param(wire5.publish("a" * 257), 0x90, "257 bytes", id="a topic that is too long, at QoS 0"),
    pytest.param(wire5.publish("$aws/x", is_retained=True), 0x9A, "retained", id="retained on a reserved topic"),
    pytest.param(wire5.publish("$aws/x"), 0x87, "reserved topic", id="a reserved topic that is not served"),
    pytest.param(wire5.publish("a", b"x" * 131_073), 0x95, "131073", id="a payload of more than 128 KiB"),
    pytest.param(b"\x30\xff\xff\x7f", 0x95, "2097151 bytes", id="a packet of more than 146 KiB"),
    pytest.param(wire5.subscribe("a", raw_properties=b"\x02\x0b\x01"), 0xA1, "identifier", id="a subscription's id"),
    pytest.param(wire5.subscribe("a", options=0x03), 0x81, "options", id="a subscription of QoS 3"),
    pytest.param(wire5.subscribe("a", options=0x31), 0x81, "options", id="retain handling 3"),
    pytest.param(wire5.subscribe("a", options=0x41), 0x81, "options", id="reserved options"),
    pytest.param(wire5.subscribe(), 0x82, "no filter", id="no filter"),
    pytest.param(wire.packet(0x82, b"\x00\x00\x00" + wire.text("a") + b"\x01"), 0x81, "identifier 0", id="id 0"),
    pytest.param(wire5.puback(1, b"\x82\x00"), 0x82, "reason code 130", id="a reason that no PUBACK has"),
    pytest.param(wire5.puback(1, b"\x00\x00x"), 0x81, "too late", id="a PUBACK that ends too late"),
    pytest.param(wire5.disconnect(SessionExpiryInterval=9), 0x82, "session", id="a session that was to end"),
    pytest.param(wire5.publish("a", raw_properties=BAD_UTF_8), 0x81, "properties", id="a property not in UTF-8"),
    pytest.param(wire5.publish("a", raw_properties=b"\x02\x7e\x00"), 0x81, "properties", id="an unknown property"),
    pytest.param(wire5.publish("a", raw_properties=b"\x03\x02\x00\x00"), 0x81, "properties", id="too short a number"),
    pytest.param(wire5.publish("a", raw_properties=b"\x04\x01\x00\x01\x00"), 0x81, "properties", id="one twice"),
    pytest.param(wire5.publish("a", raw_properties=b"\x03\x21\x00\x05"), 0x81, "properties", id="one of a CONNECT"),
    pytest.param(wire5.publish("a", raw_properties=b"\xff\xff\xff\xff\x01"), 0x81, "length", id="an endless length"),
    pytest.param(wire5.publish("a", raw_properties=b"\x7f"), 0x81, "early", id="properties that end too early"),
]


@pytest.mark.parametrize(("packet", "reason", "words"), ENDINGS)
async def test_a_violation_ends_the_connection_and_both_ends_say_why(
    five: wire5.Five, caplog: pytest.LogCaptureFixture, packet: bytes, reason: int, words: str
) -> None:
    with caplog.at_level(logging.INFO, logger="iot_jobs_simulator"):
        answer = await five.ask(packet)
        assert (answer.kind, answer.codes) == (wire5.DISCONNECT, [reason])
        assert answer.words.startswith("MQTT 5: ")
        assert words in answer.words
        assert await five.next() is None
    [line] = lines(caplog)
    assert line == f"mqtt  connection of 'five' ends: {answer.words}"


REFUSED = [
    pytest.param(wire5.publish("a" * 257, qos=1), 0x90, "257 bytes", id="a topic that is too long"),
    pytest.param(wire5.publish("a", b"\xff", qos=1, PayloadFormatIndicator=1), 0x99, "UTF-8", id="text that is none"),
    pytest.param(wire5.publish("a", qos=1, UserProperty=("k", "v" * 8192)), 0x97, "8193", id="large user properties"),
    pytest.param(wire5.publish("a", qos=1, CorrelationData=b"x" * 8193), 0x97, "8193", id="large correlation data"),
]


@pytest.mark.parametrize(("packet", "reason", "words"), REFUSED)
async def test_a_message_at_qos_1_is_refused_and_the_connection_goes_on(
    five: wire5.Five, caplog: pytest.LogCaptureFixture, packet: bytes, reason: int, words: str
) -> None:
    with caplog.at_level(logging.INFO, logger="iot_jobs_simulator"):
        answer = await five.ask(packet)
    assert (answer.kind, answer.packet_id, answer.codes) == (wire5.PUBACK, 7, [reason])
    assert words in answer.words
    assert lines(caplog) == [f"mqtt  five is refused: {answer.words}"]
    assert await five.is_served()


ALLOWED = [
    wire5.publish("a", qos=1, UserProperty=("k", "v" * 8191)),
    wire5.publish("a", qos=1, CorrelationData=b"x" * 8192),
    wire5.publish("a", "ä".encode(), qos=1, PayloadFormatIndicator=1),
    wire5.publish("a", b"x" * 131_072, qos=1),
    wire5.publish("a" * 256, qos=1, TopicAlias=8),
]


@pytest.mark.parametrize("packet", ALLOWED)
async def test_what_is_just_allowed_is_taken(five: wire5.Five, packet: bytes) -> None:
    assert await five.ask(packet) == wire5.Heard(wire5.PUBACK, packet_id=7, codes=[0])


CONNECT_REFUSALS = [
    pytest.param(wire5.connect("x" * 129), 0x85, "129|128 bytes", id="a long client id"),
    pytest.param(wire5.connect(AuthenticationMethod="SCRAM"), 0x8C, "AUTH", id="authentication by messages"),
    pytest.param(wire5.connect(raw_properties=b"\x03\x21\x00\x00"), 0x81, "properties", id="a receive maximum of 0"),
    pytest.param(wire5.connect(raw_properties=b"\x02\x17\x02"), 0x81, "properties", id="a byte that is no boolean"),
    pytest.param(wire.packet(0x10, wire.text("MQTT") + b"\x05\x03\x00\x3c\x00\x00\x00"), 0x81, "flags", id="flag 0"),
    pytest.param(wire.packet(0x10, wire.text("MQTT") + b"\x05\x0a\x00\x3c\x00\x00\x00"), 0x81, "flags", id="no will"),
    pytest.param(wire.packet(0x10, wire.text("MQTT") + b"\x05"), 0x81, "early", id="one that ends too early"),
    pytest.param(wire5.connect() + b"", 0x00, "", id="one that is fine"),
    pytest.param(wire5.connect(will=("$aws/x", b"")), 0x00, "", id="a will that is fine"),
    pytest.param(wire5.connect(will=("a" * 257, b"")), 0x90, "257", id="a will with a long topic"),
]


@pytest.mark.parametrize(("packet", "reason", "words"), CONNECT_REFUSALS)
async def test_a_connect_is_refused_with_its_reason(
    opened: wire5.Five, caplog: pytest.LogCaptureFixture, packet: bytes, reason: int, words: str
) -> None:
    with caplog.at_level(logging.INFO, logger="iot_jobs_simulator"):
        answer = await opened.ask(packet)
        assert (answer.kind, answer.codes) == (wire5.CONNACK, [reason])
        if not reason:
            return
        assert any(word in answer.words for word in words.split("|"))
        assert await opened.next() is None
    assert [answer.words in line for line in lines(caplog)] == [True]


@pytest.mark.parametrize(("return_code", "reason"), [(1, 0x84), (2, 0x85), (3, 0x88), (4, 0x86), (5, 0x87)])
async def test_a_refusal_on_demand_is_translated(
    sim: RunningSimulator, opened: wire5.Five, return_code: int, reason: int
) -> None:
    sim.faults.add(CloseOnConnect(return_code=return_code))
    answer = await opened.ask(wire5.connect())
    assert (answer.kind, answer.codes) == (wire5.CONNACK, [reason])
    assert await opened.next() is None


@pytest.mark.parametrize(
    ("topic_filter", "reason"),
    [("a/b#", 0x8F), ("a+", 0x8F), ("a" * 257, 0x8F), ("$share/group/a", 0x9E), ("refused", 0x80), ("a/#", 1)],
)
async def test_a_subscription_is_answered_with_its_reason(
    sim: RunningSimulator, five: wire5.Five, topic_filter: str, reason: int
) -> None:
    sim.faults.add(RefuseSubscription(topic="refused"))
    answer = await five.ask(wire5.subscribe(topic_filter, "fine"))
    assert (answer.kind, answer.packet_id, answer.codes) == (wire5.SUBACK, 1, [reason, 1])
    assert answer.words.startswith("MQTT 5: ") is (reason > 1)


async def test_the_51st_subscription_exceeds_the_quota_and_so_do_nine_at_once(five: wire5.Five) -> None:
    for number in range(50):
        assert (await five.ask(wire5.subscribe(f"f{number}"))).codes == [1]
    assert (await five.ask(wire5.subscribe("f50"))).codes == [0x97]
    assert (await five.ask(wire5.subscribe(*"abcdefghi"))).codes == [0x97] * 9
    assert await five.is_served()


async def test_an_unsubscription_says_what_was_subscribed_to(five: wire5.Five) -> None:
    await five.ask(wire5.subscribe("a"))
    answer = await five.ask(wire5.unsubscribe("a", "b"))
    assert answer == wire5.Heard(wire5.UNSUBACK, packet_id=2, codes=[0, 0x11])


async def test_a_client_that_wants_no_words_gets_codes_alone_but_for_the_last(sim: RunningSimulator) -> None:
    five, _ = await wire5.connected(sim, RequestProblemInformation=0)
    assert await five.ask(wire5.subscribe("a+")) == wire5.Heard(wire5.SUBACK, packet_id=1, codes=[0x8F])
    assert (await five.ask(wire5.publish("a" * 257, qos=1))).words == ""
    assert (await five.ask(wire5.publish("a" * 257))).words != ""
    five.close()


async def test_a_client_that_is_silent_for_too_long_is_told_so(certificates_of_run: Path) -> None:
    async with running_simulator(certificates=certificates_of_run, limits=Limits(min_keep_alive_s=0.1)) as sim:
        silent, _ = await wire5.connected(sim, keep_alive_s=1)
        answer = await silent.next()
        assert (answer.kind, answer.codes) == (wire5.DISCONNECT, [0x8D])
        assert await silent.next() is None
        silent.close()


async def test_more_messages_at_once_than_were_agreed_end_the_connection(sim: RunningSimulator) -> None:
    five, _ = await wire5.connected(sim)
    five.send(b"".join(wire5.publish("a", qos=1, packet_id=number) for number in range(1, 102)))
    heard = []
    while (answer := await five.next()) is not None:
        heard.append(answer)
    assert (heard[-1].kind, heard[-1].codes) == (wire5.DISCONNECT, [0x93])
    five.close()


async def test_messages_that_were_acknowledged_do_not_count(sim: RunningSimulator, five: wire5.Five) -> None:
    for number in range(1, 151):
        answer = await five.ask(wire5.publish("a", qos=1, packet_id=number))
        assert (answer.kind, answer.codes) == (wire5.PUBACK, [0])


async def test_only_the_first_reason_for_an_end_is_told(
    sim: RunningSimulator, five: wire5.Five, caplog: pytest.LogCaptureFixture
) -> None:
    [gate] = sim._mqtt._connections.values()
    with caplog.at_level(logging.INFO, logger="iot_jobs_simulator"):
        gate.dismiss("first", Reason.QUOTA_EXCEEDED)
        gate.dismiss("second", Reason.NOT_AUTHORIZED)
    assert (await five.next()).words == "MQTT 5: first"
    assert await five.next() is None
    assert lines(caplog) == ["mqtt  connection of 'five' ends: MQTT 5: first"]


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Opens connections with a thing's own certificate."""
    async with running_simulator(certificates=tmp_path, policy=PolicyName.STRICT) as sim:
        sim.operate("CreateThing", thingName="lamp")
        made = []

        async def connected(client_id: str, certificate: str = "lamp", **values: Any) -> tuple[wire5.Five, wire5.Heard]:
            made.append(await wire5.opened(sim.mqtts_port, tls=wire.client_tls(tmp_path, certificate)))
            return made[-1], await made[-1].ask(wire5.connect(client_id, **values))

        yield connected
        for each in made:
            each.close()


async def test_a_will_and_a_certificate_that_names_no_thing_are_not_authorized(strict: Callable[..., Any]) -> None:
    _, answer = await strict("lamp", will=("other", b""))
    assert (answer.kind, answer.codes, "its will" in answer.words) == (wire5.CONNACK, [0x87], True)
    _, answer = await strict("any thing", "client")
    assert (answer.kind, answer.codes, "not a thing" in answer.words) == (wire5.CONNACK, [0x87], True)
    _, answer = await strict("lamp", will=("$aws/things/lamp/w", b""))
    assert answer.codes == [0]


async def test_what_a_certificate_does_not_allow_is_not_authorized(strict: Callable[..., Any]) -> None:
    other, answer = await strict("door")
    assert (answer.kind, answer.codes) == (wire5.CONNACK, [0x87])
    assert "client id lamp only" in answer.words
    assert await other.next() is None
    lamp, _ = await strict("lamp")
    assert (await lamp.ask(wire5.subscribe("other", JOBS + "#"))).codes == [0x87, 1]
    refused = await lamp.ask(wire5.publish("other", qos=1))
    assert (refused.kind, refused.codes) == (wire5.PUBACK, [0x87])
    assert "no publishing to other" in refused.words
    assert (await lamp.ask(wire5.publish("other"))).codes == [0x87]
    assert await lamp.next() is None
