"""MQTT packets as far as limits, policies and faults must understand them, whichever version a client speaks. Pure.

`three` and `five` read and write the bytes of their version. The broker gets 3.1.1, with one thing added: what stands
before each payload (`sealed`) carries what a message of MQTT 5 has besides.
"""

import math
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from iot_jobs_simulator.mqtt.reasons import Problem, Reason

_LENGTH_BYTES: Final = 4  # of a remaining length, at most (MQTT 3.1.1, 2.2.3)
_LOW_BITS: Final = 0x7F
_SEAL: Final = struct.Struct(">dI")
MAX_QOS: Final = 2
NO_PROPERTIES: Final = b"\0"


class Malformed(Exception):  # noqa: N818 - it says what the packet is
    """Bytes that are not an MQTT packet; the connection has to be closed (MQTT 3.1.1, 4.8; MQTT 5, 4.13)."""

    def __init__(self, words: str, reason: Reason = Reason.MALFORMED_PACKET) -> None:
        super().__init__(words)
        self.problem = Problem(words, reason)


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
class Extras:
    """What a message of MQTT 5 has besides topic and payload. `properties` are as in a PUBLISH, with their length.

    `ends_at` is when nobody is sent it any more, in seconds since the epoch; the properties do not have it.
    """

    properties: bytes = NO_PROPERTIES
    ends_at: float = math.inf


PLAIN: Final = Extras()


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet as of 3.1.1. `topics` are a PUBLISH's topic, or the filters of a SUBSCRIBE or UNSUBSCRIBE.

    A SUBSCRIBE has the options of MQTT 5 where 3.1.1 has a QoS, SUBACK and UNSUBACK have reason codes of MQTT 5.
    `problem` is why it cannot be let in, if only its dialect can see that.
    """

    kind: Kind
    flags: int
    body: bytes
    topics: tuple[str, ...] = ()
    extras: Extras = PLAIN
    problem: Problem | None = None

    @property
    def qos(self) -> int:
        """Of a PUBLISH."""
        return (self.flags >> 1) & 3

    @property
    def is_retained(self) -> bool:
        """Whether a PUBLISH asks to be retained."""
        return bool(self.flags & 1)

    @property
    def packet_id(self) -> int:
        """Of a packet that has one, which a PUBLISH of QoS 0 has not."""
        at = self.payload_at - 2 if self.kind is Kind.PUBLISH else 0
        return int.from_bytes(self.body[at : at + 2], "big")

    @property
    def payload_at(self) -> int:
        """Where a PUBLISH's payload begins in its body."""
        return 2 + len(self.topics[0].encode()) + (2 if self.qos else 0)

    @property
    def payload_bytes(self) -> int:
        """Size of a PUBLISH's payload."""
        return len(self.body) - self.payload_at


@dataclass(frozen=True, slots=True)
class Will:
    """What is published if a client goes without a DISCONNECT."""

    topic: str
    payload: bytes
    qos: int
    is_retained: bool
    extras: Extras = PLAIN


@dataclass(frozen=True, slots=True)
class Connect:
    """What a CONNECT asks for. Of a version that is neither 3.1.1 nor 5 nothing but the version is known.

    `session_expiry_s` is None if the session has no end (3.1.1), and 0 if it ends with the connection.
    """

    version: int
    client_id: str = ""
    keep_alive_s: int = 0
    is_clean: bool = True
    session_expiry_s: int | None = 0
    receive_maximum: int = 65535
    will: Will | None = None


class Fields:
    """Reads the fields of a packet's body one by one."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        """Whether nothing is left."""
        return self._at == len(self._body)

    def take(self, size: int) -> bytes:
        """The next bytes, exactly so many."""
        if self._at + size > len(self._body):
            raise Malformed("ends too early")
        self._at += size
        return self._body[self._at - size : self._at]

    def number(self, size: int) -> int:
        """An integer of so many bytes."""
        return int.from_bytes(self.take(size), "big")

    def length(self) -> int:
        """An integer of variable size (MQTT 5, 1.5.5)."""
        encoded = self.take(1)
        while (size := remaining_length(encoded)) is None:
            encoded += self.take(1)
        return size

    def packet_id(self) -> int:
        """A packet's identifier, which is never 0."""
        if found := self.number(2):
            return found
        raise Malformed("has the packet identifier 0")

    def text(self) -> str:
        """A string."""
        try:
            text = self.take(self.number(2)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Malformed(f"holds a string that is not UTF-8: {error}") from None
        if "\0" in text:
            raise Malformed("holds a string with NUL")
        return text

    def binary(self) -> bytes:
        """Bytes with their length before them."""
        return self.take(self.number(2))

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(len(self._body) - self._at)


def kind_of(first: int) -> Kind:
    """The kind of a packet with that first byte, or Malformed."""
    try:
        return Kind(first >> 4)
    except ValueError:
        raise Malformed("is of a reserved kind") from None


def remaining_length(encoded: bytes) -> int | None:
    """The number behind the first byte of a packet, None while it is incomplete."""
    if encoded and not encoded[-1] & 0x80:
        return sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(encoded))
    if len(encoded) >= _LENGTH_BYTES:
        raise Malformed("has a length of more than four bytes")
    return None


def written_text(text: str) -> bytes:
    """A string as a field."""
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def with_length(body: bytes) -> bytes:
    """Bytes with their number before them, in a form that `remaining_length` reads."""
    length, size = bytearray(), len(body)
    while size > _LOW_BITS:
        length.append(size & _LOW_BITS | 0x80)
        size >>= 7
    length.append(size)
    return bytes(length) + body


def written(kind: Kind, flags: int, body: bytes) -> bytes:
    """A packet's bytes."""
    return bytes([kind << 4 | flags]) + with_length(body)


def sealed(payload: bytes, extras: Extras = PLAIN) -> bytes:
    """A payload as the broker has it."""
    return _SEAL.pack(extras.ends_at, len(extras.properties)) + extras.properties + payload


def opened(data: bytes) -> tuple[bytes, Extras]:
    """A payload that the broker had, and what came with it."""
    ends_at, size = _SEAL.unpack_from(data)
    at = _SEAL.size + size
    return data[at:], Extras(data[_SEAL.size : at], ends_at)


def for_broker(packet: Packet) -> bytes:
    """The bytes of a client's packet as the broker gets it."""
    body = packet.body
    if packet.kind is Kind.PUBLISH:
        body = body[: packet.payload_at] + sealed(body[packet.payload_at :], packet.extras)
    return written(packet.kind, packet.flags, body)


def connect_for_broker(connect: Connect) -> bytes:
    """A CONNECT as the broker gets it: without what it need not know, such as a password and the will's payload."""
    flags, will = 0x02 if connect.is_clean else 0, b""
    if connect.will is not None:
        flags |= 0x04 | connect.will.qos << 3 | connect.will.is_retained << 5
        will = written_text(connect.will.topic) + b"\0\0"
    header = written_text("MQTT") + bytes([4, flags]) + connect.keep_alive_s.to_bytes(2, "big")
    return written(Kind.CONNECT, 0, header + written_text(connect.client_id) + will)


def from_broker(raw: bytes) -> Packet:
    """The packet that the broker wants to send, known to be a whole one."""
    body_at = next(at for at in range(2, 6) if not raw[at - 1] & 0x80)
    kind, flags, body = Kind(raw[0] >> 4), raw[0] & 0x0F, raw[body_at:]
    if kind is not Kind.PUBLISH:
        return Packet(kind, flags, body)
    size = int.from_bytes(body[:2], "big")
    packet = Packet(kind, flags, body, (body[2 : 2 + size].decode(),))
    payload, extras = opened(body[packet.payload_at :])
    return Packet(kind, flags, body[: packet.payload_at] + payload, packet.topics, extras)
