"""One client's connection: whole, well-formed packets within AWS's limits reach the broker, or the connection ends.

Stands between the socket and amqtt, and looks to amqtt like its own reader and writer. Owns everything that may happen
to a connection: limits, policy, keep-alive, and the faults that are about packets. Its dialect reads and writes the
bytes of the client's version of MQTT. Memory is bounded by one packet.
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
from iot_jobs_simulator.mqtt.dialect import Dialect, dialect_of
from iot_jobs_simulator.mqtt.five import ClientGone, MqttFive
from iot_jobs_simulator.mqtt.limits import Limits
from iot_jobs_simulator.mqtt.packets import Connect, Kind, Malformed, Packet
from iot_jobs_simulator.mqtt.reasons import OF_RETURN_CODES, Problem, Reason
from iot_jobs_simulator.mqtt.three import MqttThree
from iot_jobs_simulator.policy import Policy

# Called with client id, topic, payload and what sends to the client that asked; False if the topic is none of Jobs.
OnRequest: TypeAlias = Callable[[str, str, bytes, Send], bool]

_log = logging.getLogger(__name__)
_HEADER_BYTES: Final = 16  # a PUBLISH has no more than that besides its topic, properties and payload
_LAST_WORDS_S: Final = 1.0  # for what is still to be sent when a connection ends, and for what an answer takes


@dataclass(frozen=True, slots=True)
class ConnectionRules:
    """What all connections of a broker are held to. `now` is the service's time, in seconds since the epoch."""

    limits: Limits
    policy: Policy
    faults: Faults
    now: Callable[[], float]


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
        self.connect = Connect(version=0)
        self.unsent_bytes = 0  # of replies that wait for their turn to be written
        self.common_name = certificates.common_name(writer.get_extra_info("ssl_object"))
        self._reader = reader
        self._writer = writer
        self._packet = b""
        self._dialect: Dialect = MqttThree()
        self._silence_s = rules.limits.connect_within_s
        self._is_connected = False
        self._has_ended = False
        self._answered: asyncio.Event | None = None  # set: nothing is written any more, and then it ends

    @property
    def client_id(self) -> str:
        """The client's own, or the one that it was given; empty before its CONNECT."""
        return self.connect.client_id

    @property
    def session_expiry_s(self) -> int | None:
        """How long the session is kept once the connection has ended; None: for good."""
        return self._dialect.session_expiry_s if isinstance(self._dialect, MqttFive) else self.connect.session_expiry_s

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
        packet = packets.from_broker(bytes(data))
        if self._has_ended or self._is_discarded(packet):
            return
        data = self._dialect.write(packet)
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

    def can_send(self, topic: str, data: bytes) -> bool:
        """Whether the client takes a message of that size, with its properties."""
        return self._dialect.can_send(len(topic.encode()) + len(data) + _HEADER_BYTES)

    async def drain(self) -> None:
        """Wait until the client has taken enough."""
        await self._writer.drain()

    def get_peer_info(self) -> tuple[str, int]:
        """Address and port of the client, which one that has gone or that comes by a WebSocket does not have."""
        info = self._writer.get_extra_info("peername")
        return (info[0], info[1]) if info else ("", 0)

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

    def dismiss(self, words: str, reason: Reason) -> None:
        """End the connection, and say why to a client that can be told."""
        if self._has_ended:
            return
        self._has_ended = True
        prefix = "" if isinstance(self._dialect, MqttThree) else f"{self._dialect.name}: "
        _log.info("mqtt  connection of %r ends: %s%s", self.client_id, prefix, words)
        if farewell := self._dialect.farewell(Problem(words, reason)):
            self._writer.write(farewell)
        if farewell and self._writer.transport.get_write_buffer_size():
            self._writer.close()
            asyncio.get_running_loop().call_later(_LAST_WORDS_S, self.abort)  # the client may not read
        else:
            self.abort()

    async def _next_packet(self) -> bytes:
        if self._answered is not None:
            await self._end_answered(self._answered)
        while True:
            try:
                async with asyncio.timeout(self._silence_s):
                    packet = await self._receive()
                    is_let_in = self._lets_in(packet)
            except asyncio.IncompleteReadError:
                raise
            except ClientGone:
                self._cut("the client leaves without taking its will back")
            except Malformed as error:
                self._end(f"a packet {error}", error.problem.reason)
            except TimeoutError:
                self._end(f"the client was silent for {self._silence_s:g} s", Reason.KEEP_ALIVE_TIMEOUT)
            except OSError as error:
                self._end(f"{type(error).__name__}: {error}")
            if is_let_in:
                return self._for_broker(packet)

    def _for_broker(self, packet: Packet) -> bytes:
        if packet.kind is Kind.CONNECT:
            return packets.connect_for_broker(self.connect)
        return packets.for_broker(packet)

    async def _receive(self) -> Packet:
        first = (await self._reader.readexactly(1))[0]
        length_bytes = await self._reader.readexactly(1)
        while (size := packets.remaining_length(length_bytes)) is None:
            length_bytes += await self._reader.readexactly(1)
        if 1 + len(length_bytes) + size > self.rules.limits.max_packet_bytes:
            raise Malformed(f"has {size} bytes", Reason.PACKET_TOO_LARGE)
        body = await self._reader.readexactly(size)
        if not self._is_connected:
            self._dialect = dialect_of(first, body, self.rules.limits, self.rules.now)
        return self._dialect.read(first, body)

    def _lets_in(self, packet: Packet) -> bool:
        """Whether the broker gets the packet; the connection may end instead."""
        if self._is_connected == (packet.kind is Kind.CONNECT):
            self._end(f"{packet.kind.name} out of turn", Reason.PROTOCOL_ERROR)
        if packet.kind is Kind.CONNECT:
            self._admit(self._dialect.connect(packet.body))
        elif problem := self.rules.limits.packet_problem(packet):
            return self._reject(packet, problem)
        elif packet.kind is Kind.PUBLISH and not self.rules.policy.permits(self.common_name, packet.topics[0]):
            words = f"its certificate allows no publishing to {packet.topics[0]}"
            return self._reject(packet, Problem(words, Reason.NOT_AUTHORIZED))
        return self._is_spared(packet)

    def _reject(self, packet: Packet, problem: Problem) -> Literal[False]:
        """Answer a packet that is not let in; where no answer can say so, the connection ends."""
        if answer := self._dialect.refusal(packet, problem):
            _log.info("mqtt  %s is refused: %s: %s", self.client_id, self._dialect.name, problem.words)
            self._writer.write(answer)
            return False
        return self._end(*problem)

    def _admit(self, connect: Connect) -> None:
        self.connect = connect
        limits, faults, policy = self.rules.limits, self.rules.faults, self.rules.policy
        if problem := limits.connect_problem(connect):
            self._end(*problem)
        if connect.will is not None and not policy.permits(self.common_name, connect.will.topic):
            self._end("its certificate does not allow its will", Reason.NOT_AUTHORIZED)
        if not policy.permits_client_id(self.common_name, connect.client_id):
            self._end(f"its certificate allows the client id {self.common_name} only", Reason.NOT_AUTHORIZED)
        if not policy.admits(self.common_name):
            self._end(f"{self.common_name} is not a thing", Reason.NOT_AUTHORIZED)
        fault = faults.take(TrafficEvent(client_id=self.client_id), CloseOnConnect)
        if fault is not None:
            self._refuse(fault.return_code, "closed on demand")
        if refusal := limits.connect_refusal(connect):
            self._refuse(*refusal)
        if faults.take(TrafficEvent(client_id=self.client_id, of="connects"), Rate):
            self._end("too many connections a second", Reason.CONNECTION_RATE_EXCEEDED)
        _log.info("mqtt  %s connects with %s", self.client_id, self._dialect.name)
        self._is_connected = True
        self._silence_s = limits.silence_s(connect.keep_alive_s)

    def _refuse(self, return_code: int | None, words: str) -> NoReturn:
        """End a connection at its CONNECT with a return code of 3.1.1; None: without a word."""
        if return_code is None:
            self._cut(words)
        if isinstance(self._dialect, MqttThree):
            self._writer.write(self._dialect.write(Packet(Kind.CONNACK, 0, bytes([0, return_code]))))
        self._end(words, OF_RETURN_CODES.get(return_code, Reason.UNSPECIFIED_ERROR))

    def _is_spared(self, packet: Packet) -> bool:
        """Whether no fault takes the packet away."""
        if self._is_discarded(packet):
            return False
        match self._fault(packet, "in"):
            case Disconnect(when="before"):
                self._cut("disconnected on demand")
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
        self._cut("disconnected on demand")

    def _end(self, words: str, reason: Reason = Reason.UNSPECIFIED_ERROR) -> NoReturn:
        self.dismiss(words, reason)
        raise asyncio.IncompleteReadError(b"", None)

    def _cut(self, words: str) -> NoReturn:
        """End the connection without a word to the client, whatever it speaks."""
        self._has_ended = True
        _log.info("mqtt  connection of %r ends: %s", self.client_id, words)
        self.abort()
        raise asyncio.IncompleteReadError(b"", None)
