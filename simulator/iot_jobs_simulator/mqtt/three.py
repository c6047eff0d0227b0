"""MQTT 3.1.1 on the wire. Pure.

Stricter than amqtt, which takes a packet that ends too early or too late for the beginning of the next one.
"""

from typing import Final

from iot_jobs_simulator.mqtt.packets import (
    MAX_QOS,
    Connect,
    Fields,
    Kind,
    Malformed,
    Packet,
    Will,
    kind_of,
    written,
)
from iot_jobs_simulator.mqtt.reasons import Problem, Reason

VERSION: Final = 4
_OLDEST: Final = ("MQIsdp", 3)
_RESERVED_FLAGS: Final = 2  # what the lower half of a SUBSCRIBE's and an UNSUBSCRIBE's first byte holds
_USER_NAME, _PASSWORD = 0x80, 0x40  # flags of a CONNECT
_BODY_BYTES: Final = {
    Kind.PUBACK: 2,
    Kind.PUBREC: 2,
    Kind.PUBREL: 2,
    Kind.PUBCOMP: 2,
    Kind.PINGREQ: 0,
    Kind.PINGRESP: 0,
    Kind.DISCONNECT: 0,
}


class MqttThree:
    """The dialect that needs no translation, and has no words for a refusal: the connection just ends."""

    name = "MQTT 3.1.1"

    def read(self, first: int, body: bytes) -> Packet:
        """Read a packet, or Malformed."""
        kind, flags, fields = kind_of(first), first & 0x0F, Fields(body)
        match kind:
            case Kind.PUBLISH:
                topic, _ = published_topic(flags, fields)
                if not topic:
                    raise Malformed("has no valid topic or QoS")
                return Packet(kind, flags, body, (topic,))
            case Kind.SUBSCRIBE | Kind.UNSUBSCRIBE:
                check_flags(flags)
                return Packet(kind, flags, body, tuple(_filters(kind, fields)))
            case _:
                if len(body) != _BODY_BYTES.get(kind, len(body)):
                    raise Malformed("is too short or too long")
                return Packet(kind, flags, body)

    def connect(self, body: bytes) -> Connect:
        """Read a CONNECT, or Malformed."""
        fields = Fields(body)
        protocol, version = fields.text(), fields.number(1)
        if protocol != "MQTT" and (protocol, version) != _OLDEST:
            raise Malformed("speaks another protocol")
        if version != VERSION:
            return Connect(version)
        flags, keep_alive_s = fields.number(1), fields.number(2)
        if flags & 1 or (flags & _PASSWORD and not flags & _USER_NAME):
            raise Malformed("has wrong flags")
        client_id, will = fields.text(), None
        if flags & 0x04:
            will = Will(fields.text(), fields.binary(), (flags >> 3) & 3, bool(flags & 0x20))
        skip_credentials(flags, fields)
        is_clean = bool(flags & 0x02)
        return Connect(version, client_id, keep_alive_s, is_clean, session_expiry_s=0 if is_clean else None, will=will)

    def write(self, packet: Packet) -> bytes:
        """The bytes of what is sent to the client."""
        body = packet.body
        match packet.kind:
            case Kind.SUBACK:
                body = body[:2] + bytes(min(code, Reason.UNSPECIFIED_ERROR) for code in body[2:])
            case Kind.UNSUBACK:
                body = body[:2]
            case _:
                pass
        return written(packet.kind, packet.flags, body)

    def refusal(self, packet: Packet, problem: Problem) -> bytes | None:  # noqa: ARG002 - as of any dialect
        """There is none: the connection ends."""
        return None

    def farewell(self, problem: Problem) -> bytes:  # noqa: ARG002 - as of any dialect
        """Nothing is said at the end."""
        return b""

    def can_send(self, size: int) -> bool:  # noqa: ARG002 - as of any dialect
        """Whether the client takes a message of that size."""
        return True


def check_flags(flags: int) -> None:
    """Malformed unless they are those of a SUBSCRIBE or UNSUBSCRIBE."""
    if flags != _RESERVED_FLAGS:
        raise Malformed("has wrong flags")


def published_topic(flags: int, fields: Fields) -> tuple[str, bytes]:
    """Read a topic, which may be empty, and the identifier behind it, which is missing with QoS 0."""
    topic, qos = fields.text(), (flags >> 1) & 3
    if "+" in topic or "#" in topic or qos > MAX_QOS:
        raise Malformed("has no valid topic or QoS")
    return topic, fields.packet_id().to_bytes(2, "big") if qos else b""


def skip_credentials(flags: int, fields: Fields) -> None:
    """Read over user name and password, with which a CONNECT ends."""
    for flag in (_USER_NAME, _PASSWORD):
        if flags & flag:
            fields.binary()
    if not fields.is_at_end:
        raise Malformed("ends too late")


def _filters(kind: Kind, fields: Fields) -> list[str]:
    fields.packet_id()
    filters = []
    while not fields.is_at_end:
        filters.append(fields.text())
        if kind is Kind.SUBSCRIBE and fields.number(1) > MAX_QOS:
            raise Malformed("has no valid QoS")
    if not filters or "" in filters:
        raise Malformed("has no filter, or an empty one")
    return filters
