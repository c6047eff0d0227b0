"""What is pure about MQTT: reason codes as paho has them, and payloads that carry what MQTT 5 has besides."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from iot_jobs_simulator.mqtt import packets
from iot_jobs_simulator.mqtt.five import MqttFive
from iot_jobs_simulator.mqtt.limits import Limits
from iot_jobs_simulator.mqtt.packets import Extras, Fields, Kind, Malformed, Packet
from iot_jobs_simulator.mqtt.properties import read_properties, written_properties
from iot_jobs_simulator.mqtt.reasons import OF_RETURN_CODES, Problem, Reason

# paho and the standard spell these in their own ways.
SPELLED_OTHERWISE = {
    "no subscription existed": "no subscription found",
    "shared subscriptions not supported": "shared subscription not supported",
}


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_the_name_that_paho_gives_its_number(reason: Reason) -> None:
    words = reason.name.replace("_", " ").lower()
    names = {name.lower() for name in ReasonCode(PacketTypes.CONNACK).names[reason]}
    assert SPELLED_OTHERWISE.get(words, words) in names


def test_each_return_code_of_3_1_1_is_a_reason_that_a_connack_can_have() -> None:
    assert sorted(OF_RETURN_CODES) == [1, 2, 3, 4, 5]
    for reason in OF_RETURN_CODES.values():
        ReasonCode(PacketTypes.CONNACK, identifier=reason)


def test_a_reason_that_a_connack_cannot_have_is_unspecified_there() -> None:
    five = MqttFive(Limits(), now=lambda: 0.0)
    five.connect(b"\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01a")
    told = five.farewell(Problem("taken over", Reason.SESSION_TAKEN_OVER))
    assert told[:4] == b"\x20\x18\x00\x80"
    assert told.endswith(b"MQTT 5: taken over")


@given(st.binary(), st.binary(min_size=1), st.one_of(st.just(math.inf), st.floats(0, 1e12)))
def test_what_is_sealed_is_opened_again(payload: bytes, properties: bytes, ends_at: float) -> None:
    extras = Extras(properties, ends_at)
    assert packets.opened(packets.sealed(payload, extras)) == (payload, extras)


@given(st.text(min_size=1, max_size=300), st.binary(max_size=300), st.sampled_from([0, 1]))
def test_a_message_comes_back_from_the_broker_as_it_went_there(topic: str, payload: bytes, qos: int) -> None:
    body = packets.written_text(topic) + b"\x00\x07" * qos + payload
    packet = Packet(Kind.PUBLISH, qos << 1, body, (topic,), Extras(b"\x02\x01\x01", 5.0))
    assert packets.from_broker(packets.for_broker(packet)) == packet
    assert (packet.payload_bytes, packet.packet_id) == (len(payload), 7 if qos else packet.packet_id)


@given(st.integers(0, 268_435_455))
def test_a_length_is_read_as_it_is_written(size: int) -> None:
    body = bytes(min(size, 20_000))
    assert packets.remaining_length(packets.with_length(body)[: -len(body) or None]) == len(body)


@given(st.binary(max_size=60), st.sampled_from([Kind.CONNECT, Kind.PUBLISH, Kind.PUBACK, Kind.SUBSCRIBE]))
def test_properties_are_read_or_malformed_whatever_the_bytes(raw: bytes, kind: Kind) -> None:
    try:
        said = read_properties(kind, Fields(packets.with_length(raw)))
    except Malformed:
        return
    again = read_properties(kind, Fields(written_properties(kind, said)))
    assert again == said


def test_a_property_does_not_reach_beyond_the_properties() -> None:
    fields = Fields(b"\x02\x02\x00\x00\x00\x3c")  # two bytes, of which a number of four bytes is to be read
    with pytest.raises(Malformed, match="properties that cannot be read"):
        read_properties(Kind.PUBLISH, fields)
