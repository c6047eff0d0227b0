"""One client's connection: whole, well-formed packets within AWS's limits reach the broker, or the connection ends.

Stands between the socket and amqtt, and looks to amqtt like its own reader and writer. Owns everything that may happen
to a connection: limits, policy, keep-alive, and the faults that are about packets. Memory is bounded by one packet.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, NoReturn, TypeAlias

from iot_jobs_simulator import certificates
from iot_jobs_simulator.faults.faults import CloseOnConnect, Disconnect, DropPacket, Faults, Rate, TrafficEvent
from iot_jobs_simulator.faults.injection import Send
from iot_jobs_simulator.mqtt import packets
from iot_jobs_simulator.mqtt.limits import Limits
from iot_jobs_simulator.mqtt.packets import Connect, Kind, Malformed, Packet
from iot_jobs_simulator.policy import Policy

# Called with client id, topic, payload and what sends to the client that asked; False if the topic is none of Jobs.
OnRequest: TypeAlias = Callable[[str, str, bytes, Send], bool]

_log = logging.getLogger(__name__)
_LAST_WORDS_S: Final = 1.0  # for what is still to be sent when a connection ends, and for what an answer takes


@dataclass(frozen=True, slots=True)
class ConnectionRules:
    """What all connections of a broker are held to."""

    limits: Limits
    policy: Policy
    faults: Faults


class Gate:
    """Reader and writer of one connection, as amqtt expects them (its `adapters`), which raise when it has ended."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        rules: ConnectionRules,
        on_request: OnRequest,
    ) -> None:
        self.rules = rules
        self.on_request = on_request
        self.client_id = ""
        self.unsent_bytes = 0  # of replies that wait for their turn to be written
        self.common_name = certificates.common_name(writer.get_extra_info("ssl_object"))
        self._reader = reader
        self._writer = writer
        self._packet = b""
        self._silence_s = rules.limits.connect_within_s
        self._is_connected = False
        self._answered: asyncio.Event | None = None  # set: nothing is written any more, and then it ends

    async def read(self, size: int = -1) -> bytes:
        """Part of a packet that was let in; asyncio.IncompleteReadError when there will be none."""
        if size and not self._packet:
            try:
                self._packet = await self._next_packet()
            except asyncio.IncompleteReadError:
                for _ in range(2):  # amqtt begins to wait for the end of a connection only after it began to read
                    await asyncio.sleep(0)
                raise
        if size > len(self._packet):
            self._end("amqtt reads a packet differently")
        taken, self._packet = self._packet[:size], self._packet[size:]
        return taken

    def feed_eof(self) -> None:
        """Of amqtt's interface; the socket knows its end."""

    def write(self, data: bytes) -> None:
        """Send one packet, unless a fault is about it."""
        if self._answered is not None:
            if data[0] >> 4 != Kind.PUBACK:
                self._answered.set()
            return
        packet = packets.split(bytes(data))
        if self._is_discarded(packet):
            return
        match fault := self._fault(packet, "out"):
            case None:
                self._writer.write(data)
            case Disconnect(when="before", after_bytes=None):
                self.abort()
            case Disconnect():
                self._writer.write(data[: fault.after_bytes])
                self._writer.close()
            case DropPacket():
                pass

    async def drain(self) -> None:
        """Wait until the client has taken enough."""
        await self._writer.drain()

    def get_peer_info(self) -> tuple[str, int] | None:
        """Address and port of the client, None if it has gone."""
        info = self._writer.get_extra_info("peername")
        return (info[0], info[1]) if info else None

    def get_ssl_info(self) -> ssl.SSLObject | None:
        """Of amqtt's interface."""
        return None

    async def close(self) -> None:
        """End the connection once everything is sent; not for long, since the client may not read."""
        if not self._writer.is_closing():
            self._writer.close()
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._writer.wait_closed()

    def abort(self) -> None:
        """Cut the connection."""
        self._writer.transport.abort()

    async def _next_packet(self) -> bytes:
        if self._answered is not None:
            await self._end_answered(self._answered)
        while True:
            try:
                async with asyncio.timeout(self._silence_s):
                    packet = await self._receive()
            except asyncio.IncompleteReadError:
                raise
            except (TimeoutError, Malformed, OSError) as error:
                self._end(f"{type(error).__name__}: {error}")
            if self._lets_in(packet):
                return packets.encoded(packet)

    async def _receive(self) -> Packet:
        first = (await self._reader.readexactly(1))[0]
        length_bytes = await self._reader.readexactly(1)
        while (size := packets.remaining_length(length_bytes)) is None:
            length_bytes += await self._reader.readexactly(1)
        if size > self.rules.limits.max_body_bytes:
            raise Malformed(f"has {size} bytes")
        return packets.decoded(first, await self._reader.readexactly(size))

    def _lets_in(self, packet: Packet) -> bool:
        """Whether the broker gets the packet; the connection may end instead."""
        if self._is_connected == (packet.kind is Kind.CONNECT):
            self._end(f"{packet.kind.name} out of turn")
        if packet.kind is Kind.CONNECT:
            self._admit(packets.connect(packet))
        elif problem := self.rules.limits.packet_problem(packet):
            self._end(problem)
        elif packet.kind is Kind.PUBLISH and not self.rules.policy.permits(self.common_name, packet.topics[0]):
            self._end(f"its certificate allows no publishing to {packet.topics[0]}")
        return self._is_spared(packet)

    def _admit(self, connect: Connect) -> None:
        limits, faults = self.rules.limits, self.rules.faults
        self.client_id = connect.client_id
        problem = limits.connect_problem(connect)
        if connect.will_topic is not None and not self.rules.policy.permits(self.common_name, connect.will_topic):
            problem = "its certificate does not allow its will"
        if not self.rules.policy.permits_client_id(self.common_name, connect.client_id):
            problem = f"its certificate allows the client id {self.common_name} only"
        if problem is not None or not self.rules.policy.admits(self.common_name):
            self._end(problem or f"{self.common_name} is not a thing")
        refusal = limits.connect_refusal(connect)
        fault = faults.take(TrafficEvent(client_id=self.client_id), CloseOnConnect)
        if fault is not None or refusal is not None:
            self._refuse(fault.return_code if fault is not None else refusal)
        if faults.take(TrafficEvent(client_id=self.client_id, of="connects"), Rate):
            self._end("too many connections a second")
        _log.info("mqtt  %s connects", self.client_id)
        self._is_connected = True
        self._silence_s = limits.silence_s(connect.keep_alive_s)

    def _refuse(self, return_code: int | None) -> NoReturn:
        if return_code is not None:
            self._writer.write(bytes([Kind.CONNACK << 4, 2, 0, return_code]))
            self._writer.close()
            raise asyncio.IncompleteReadError(b"", None)
        self._end("closed on demand")

    def _is_spared(self, packet: Packet) -> bool:
        """Whether no fault takes the packet away."""
        if self._is_discarded(packet):
            return False
        match self._fault(packet, "in"):
            case Disconnect(when="before"):
                self._end("disconnected on demand")
            case Disconnect():
                self._answered = asyncio.Event()
            case DropPacket():
                return False
            case None:
                pass
        return True

    def _is_discarded(self, packet: Packet) -> bool:
        """Whether a rate is switched on that this publish exceeds; AWS discards it without a word."""
        event = TrafficEvent(client_id=self.client_id, of="publishes")
        return packet.kind is Kind.PUBLISH and self.rules.faults.take(event, Rate) is not None

    def _fault(self, packet: Packet, direction: Literal["in", "out"]) -> Disconnect | DropPacket | None:
        for topic in packet.topics or (None,):
            event = TrafficEvent(client_id=self.client_id, packet=packet.kind.name, direction=direction, topic=topic)
            fault: Disconnect | DropPacket | None = self.rules.faults.take(event, Disconnect, DropPacket)
            if fault is not None:
                return fault
        return None

    async def _end_answered(self, answered: asyncio.Event) -> NoReturn:
        """Let the last packet have its effect, which nobody will be told of."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await answered.wait()
        self._end("disconnected on demand")

    def _end(self, reason: str) -> NoReturn:
        _log.info("mqtt  connection of %r ends: %s", self.client_id, reason)
        self.abort()
        raise asyncio.IncompleteReadError(b"", None)
