"""MQTT 3.1.1 as bytes, for what no decent client sends."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

WAIT_S = 10


def packet(first: int, body: bytes) -> bytes:
    length, size = bytearray(), len(body)
    while True:
        size, low = size >> 7, size & 0x7F
        length.append(low | (0x80 if size else 0))
        if not size:
            return bytes([first]) + bytes(length) + body


def text(value: str | bytes) -> bytes:
    encoded = value if isinstance(value, bytes) else value.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def connect(client_id: str = "raw", *, is_clean: bool = True, keep_alive_s: int = 60) -> bytes:
    flags = bytes([2 if is_clean else 0])
    return packet(0x10, text("MQTT") + b"\x04" + flags + keep_alive_s.to_bytes(2, "big") + text(client_id))


def publish(topic: str | bytes, payload: bytes = b"{}", *, qos: int = 0, is_retained: bool = False) -> bytes:
    return packet(0x30 | qos << 1 | is_retained, text(topic) + (b"\x00\x07" if qos else b"") + payload)


def subscribe(*filters: str) -> bytes:
    return packet(0x82, b"\x00\x01" + b"".join(text(name) + b"\x01" for name in filters))


class Wire:
    """A connection of bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *packets: bytes) -> None:
        self.writer.write(b"".join(packets))

    async def heard(self) -> bytes:
        """The next packet, its length in one byte; empty when the connection has ended."""
        async with asyncio.timeout(WAIT_S):
            try:
                start = await self.reader.readexactly(2)
                return start + await self.reader.readexactly(start[1])
            except (asyncio.IncompleteReadError, ConnectionError):
                return b""

    async def is_open(self) -> bool:
        """Whether a ping is answered; what comes before the answer is dropped."""
        self.send(b"\xc0\x00")
        while answer := await self.heard():
            if answer == b"\xd0\x00":
                return True
        return False

    def close(self) -> None:
        self.writer.transport.abort()


async def opened(port: int, *, tls: ssl.SSLContext | None = None) -> Wire:
    return Wire(*await asyncio.open_connection("localhost" if tls else "127.0.0.1", port, ssl=tls))


async def connected(sim: Any, **members: Any) -> Wire:
    wire = await opened(sim.mqtt_port)
    wire.send(connect(**members))
    assert (await wire.heard())[:2] == b"\x20\x02"
    return wire


def client_tls(directory: Path, name: str) -> ssl.SSLContext:
    """A client that shows the certificate NAME.pem."""
    context = ssl.create_default_context(cafile=directory / "ca.pem")
    context.load_cert_chain(directory / f"{name}.pem", directory / f"{name}.key")
    return context
