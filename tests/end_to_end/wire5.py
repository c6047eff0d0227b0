"""MQTT 5 as bytes, for what no decent client sends, and what comes back as paho reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import wire
from paho.mqtt.properties import Properties

if TYPE_CHECKING:
    import ssl

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = 1, 2, 3, 4, 8, 9, 10, 11
PING, PONG, DISCONNECT, WILL = 12, 13, 14, 99
PING_PACKET = b"\xc0\x00"


def properties(kind: int, **values: Any) -> bytes:
    """Written by paho, whatever the values."""
    made = Properties(kind)
    for name, value in values.items():
        setattr(made, name, value)
    return made.pack()


def connect(
    client_id: str = "five",
    *,
    is_clean: bool = True,
    keep_alive_s: int = 60,
    will: tuple[str, bytes] | None = None,
    will_properties: bytes = b"\0",
    raw_properties: bytes | None = None,
    **values: Any,
) -> bytes:
    flags = (2 if is_clean else 0) | (4 if will else 0)
    said = properties(CONNECT, **values) if raw_properties is None else raw_properties
    body = wire.text("MQTT") + bytes([5, flags]) + keep_alive_s.to_bytes(2, "big") + said + wire.text(client_id)
    if will:
        body += will_properties + wire.text(will[0]) + wire.text(will[1])
    return wire.packet(0x10, body)


def publish(
    topic: str,
    payload: bytes = b"{}",
    *,
    qos: int = 0,
    packet_id: int = 7,
    is_retained: bool = False,
    raw_properties: bytes | None = None,
    **values: Any,
) -> bytes:
    said = properties(PUBLISH, **values) if raw_properties is None else raw_properties
    identifier = packet_id.to_bytes(2, "big") if qos else b""
    return wire.packet(0x30 | qos << 1 | is_retained, wire.text(topic) + identifier + said + payload)


def subscribe(*filters: str, options: int = 1, raw_properties: bytes = b"\0") -> bytes:
    body = b"".join(wire.text(each) + bytes([options]) for each in filters)
    return wire.packet(0x82, b"\x00\x01" + raw_properties + body)


def unsubscribe(*filters: str) -> bytes:
    return wire.packet(0xA2, b"\x00\x02\x00" + b"".join(map(wire.text, filters)))


def puback(packet_id: int, rest: bytes = b"") -> bytes:
    return wire.packet(0x40, packet_id.to_bytes(2, "big") + rest)


def disconnect(reason: int = 0, **values: Any) -> bytes:
    return wire.packet(0xE0, bytes([reason]) + properties(DISCONNECT, **values))


@dataclass
class Heard:
    """A packet of the server. `codes` are its reason codes; a CONNACK's `flags` say whether there was a session."""

    kind: int
    flags: int = 0
    packet_id: int = 0
    codes: list[int] = field(default_factory=list)
    topic: str = ""
    payload: bytes = b""
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def words(self) -> str:
        return self.said.get("ReasonString", "")


class Five(wire.Wire):
    """A connection that reads what it hears."""

    async def next(self) -> Heard | None:
        """The next packet, None when the connection has ended."""
        try:
            first = (await self.reader.readexactly(1))[0]
            size, place = 0, 0
            while True:
                byte = (await self.reader.readexactly(1))[0]
                size |= (byte & 0x7F) << place
                place += 7
                if byte < 0x80:
                    return parsed(first, await self.reader.readexactly(size))
        except (EOFError, ConnectionError):
            return None

    async def ask(self, packet: bytes) -> Heard | None:
        self.send(packet)
        return await self.next()

    async def is_served(self) -> bool:
        """Whether a ping is answered, with nothing before it."""
        answer = await self.ask(PING_PACKET)
        return answer is not None and answer.kind == PONG


def parsed(first: int, body: bytes) -> Heard:
    heard = Heard(first >> 4, first & 0x0F)
    match heard.kind:
        case 2:
            heard.flags, heard.codes = body[0], [body[1]]
            heard.said, rest = _properties(heard.kind, body[2:])
            assert rest == b""
        case 3:
            size = int.from_bytes(body[:2], "big")
            heard.topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
            if heard.flags & 6:
                heard.packet_id, rest = int.from_bytes(rest[:2], "big"), rest[2:]
            heard.said, heard.payload = _properties(heard.kind, rest)
        case 4:
            heard.packet_id, heard.codes = int.from_bytes(body[:2], "big"), [body[2] if len(body) > 2 else 0]
            heard.said, _ = _properties(heard.kind, body[3:] or b"\0")
        case 9 | 11:
            heard.packet_id = int.from_bytes(body[:2], "big")
            heard.said, rest = _properties(heard.kind, body[2:])
            heard.codes = list(rest)
        case 14:
            heard.codes = [body[0]]
            heard.said, _ = _properties(heard.kind, body[1:] or b"\0")
    return heard


def _properties(kind: int, raw: bytes) -> tuple[dict[str, Any], bytes]:
    read, size = Properties(kind).unpack(raw)
    names = (name.replace(" ", "") for name in read.names)
    return {name: getattr(read, name) for name in names if hasattr(read, name)}, raw[size:]


async def opened(port: int, *, tls: ssl.SSLContext | None = None) -> Five:
    plain = await wire.opened(port, tls=tls)
    return Five(plain.reader, plain.writer)


async def connected(sim: Any, client_id: str = "five", **values: Any) -> tuple[Five, Heard]:
    """Connect on the plain port; the connection and its CONNACK."""
    device = await opened(sim.mqtt_port)
    answer = await device.ask(connect(client_id, **values))
    assert answer is not None
    assert (answer.kind, answer.codes) == (CONNACK, [0]), answer
    return device, answer
