"""MQTT 3.1.1 packets as far as limits, policies and faults must understand them. Pure; tells malformed ones apart.

Stricter than amqtt, which takes a packet that ends too early or too late for the beginning of the next one.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

_LENGTH_BYTES: Final = 4  # of a remaining length, at most (MQTT 3.1.1, 2.2.3)
_RESERVED_FLAGS: Final = 2  # what the lower half of a SUBSCRIBE's and an UNSUBSCRIBE's first byte holds
_MAX_QOS: Final = 2
_LOW_BITS: Final = 0x7F
_USER_NAME, _PASSWORD = 0x80, 0x40  # flags of a CONNECT
MQTT_3_1_1: Final = 4


class Malformed(Exception):  # noqa: N818 - it says what the packet is
    """Bytes that are not an MQTT packet; the connection has to be closed (MQTT 3.1.1, 4.8)."""


class Kind(IntEnum):
    """The control packets, by the upper half of their first byte."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet. `topics` are a PUBLISH's topic, or the filters of a SUBSCRIBE or UNSUBSCRIBE."""

    kind: Kind
    flags: int
    body: bytes
    topics: tuple[str, ...] = ()

    @property
    def qos(self) -> int:
        """Of a PUBLISH."""
        return (self.flags >> 1) & 3

    @property
    def is_retained(self) -> bool:
        """Whether a PUBLISH asks to be retained."""
        return bool(self.flags & 1)

    @property
    def payload_bytes(self) -> int:
        """Size of a PUBLISH's payload."""
        return len(self.body) - 2 - len(self.topics[0].encode()) - (2 if self.qos else 0)


@dataclass(frozen=True, slots=True)
class Connect:
    """What a CONNECT says that concerns limits. Of another version than 3.1.1 nothing but the version is known."""

    version: int
    client_id: str = ""
    keep_alive_s: int = 0
    will_topic: str | None = None
    will_qos: int = 0
    is_will_retained: bool = False


_BODY_BYTES: Final = {
    Kind.PUBACK: 2,
    Kind.PUBREC: 2,
    Kind.PUBREL: 2,
    Kind.PUBCOMP: 2,
    Kind.PINGREQ: 0,
    Kind.PINGRESP: 0,
    Kind.DISCONNECT: 0,
}


class _Fields:
    """Reads the fields of a packet's body one by one."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._body)

    def bytes(self, size: int) -> bytes:
        if self._at + size > len(self._body):
            raise Malformed("ends too early")
        self._at += size
        return self._body[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.bytes(size), "big")

    def text(self) -> str:
        try:
            text = self.bytes(self.number(2)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Malformed(f"holds a string that is not UTF-8: {error}") from None
        if "\0" in text:
            raise Malformed("holds a string with NUL")
        return text


def remaining_length(encoded: bytes) -> int | None:
    """The number behind the first byte of a packet, None while it is incomplete."""
    if encoded and not encoded[-1] & 0x80:
        return sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(encoded))
    if len(encoded) >= _LENGTH_BYTES:
        raise Malformed("has a length of more than four bytes")
    return None


def encoded(packet: Packet) -> bytes:
    """The packet's bytes."""
    length, size = bytearray(), len(packet.body)
    while size > _LOW_BITS:
        length.append(size & _LOW_BITS | 0x80)
        size >>= 7
    length.append(size)
    return bytes([packet.kind << 4 | packet.flags]) + bytes(length) + packet.body


def split(raw: bytes) -> Packet:
    """The packet that these bytes are, known to be a whole one: what amqtt wants to send."""
    body_at = next(at for at in range(2, 6) if not raw[at - 1] & 0x80)
    return decoded(raw[0], raw[body_at:])


def decoded(first: int, body: bytes) -> Packet:
    """The packet with that first byte and that body, or Malformed."""
    try:
        kind = Kind(first >> 4)
    except ValueError:
        raise Malformed("is of a reserved kind") from None
    flags, fields = first & 0x0F, _Fields(body)
    match kind:
        case Kind.PUBLISH:
            return Packet(kind, flags, body, (_published_topic(flags, fields),))
        case Kind.SUBSCRIBE | Kind.UNSUBSCRIBE:
            if flags != _RESERVED_FLAGS:
                raise Malformed("has wrong flags")
            return Packet(kind, flags, body, tuple(_filters(kind, fields)))
        case _:
            if len(body) != _BODY_BYTES.get(kind, len(body)):
                raise Malformed("is too short or too long")
            return Packet(kind, flags, body)


def _published_topic(flags: int, fields: _Fields) -> str:
    topic, qos = fields.text(), (flags >> 1) & 3
    if not topic or "+" in topic or "#" in topic or qos > _MAX_QOS:
        raise Malformed("has no valid topic or QoS")
    if qos and not fields.number(2):
        raise Malformed("has the packet identifier 0")
    return topic


def _filters(kind: Kind, fields: _Fields) -> list[str]:
    if not fields.number(2):
        raise Malformed("has the packet identifier 0")
    filters = []
    while not fields.is_at_end:
        filters.append(fields.text())
        if kind is Kind.SUBSCRIBE and fields.number(1) > _MAX_QOS:
            raise Malformed("has no valid QoS")
    if not filters or "" in filters:
        raise Malformed("has no filter, or an empty one")
    return filters


def connect(packet: Packet) -> Connect:
    """Read a CONNECT, or Malformed."""
    fields = _Fields(packet.body)
    if fields.text() not in {"MQTT", "MQIsdp"}:
        raise Malformed("speaks another protocol")
    version = fields.number(1)
    if version != MQTT_3_1_1:
        return Connect(version)
    flags, keep_alive_s = fields.number(1), fields.number(2)
    if flags & 1 or (flags & _PASSWORD and not flags & _USER_NAME):
        raise Malformed("has wrong flags")
    client_id = fields.text()
    will_topic = None
    if flags & 0x04:
        will_topic = fields.text()
        fields.bytes(fields.number(2))
    for flag in (_USER_NAME, _PASSWORD):
        if flags & flag:
            fields.bytes(fields.number(2))
    if not fields.is_at_end:
        raise Malformed("ends too late")
    return Connect(version, client_id, keep_alive_s, will_topic, (flags >> 3) & 3, bool(flags & 0x20))
