"""Brokers that refuse, keep silent or hang up: the agent says which subscription it was, and makes the best of it."""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

JOBS = "$aws/things/pi-kitchen-1/jobs"
CONNECT, CONNACK, PUBLISH, SUBSCRIBE, SUBACK = 0x10, 0x20, 0x30, 0x80, 0x90


@dataclass
class RudeBroker:
    """The little of MQTT 3.1.1 that is needed to be rude. `closes_on`, `refuses`, `ignores` are topic filters."""

    closes_on: str = ""
    refuses: str = ""
    ignores: str = ""
    closes_on_publish: str = ""
    closes_on_connect: bool = False
    closes_after_connack: bool = False
    port: int = 0
    connects: int = 0
    asked: list[tuple[float, str]] = field(default_factory=list)
    is_asked_again: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            while await self._answer(*await self._packet(reader), writer):
                await writer.drain()

    async def _packet(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        kind, size, shift = (await reader.readexactly(1))[0], 0, 0
        while True:
            [byte] = await reader.readexactly(1)
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return kind & 0xF0, await reader.readexactly(size)

    async def _answer(self, kind: int, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer one packet; False hangs up."""
        if kind == CONNECT:
            self.connects += 1
            if self.closes_on_connect:
                return False
            writer.write(bytes([CONNACK, 2, 0, 0]))
            return not self.closes_after_connack
        if kind == SUBSCRIBE:
            return self._on_subscribe(body, writer)
        if kind == PUBLISH:
            return self._on_request(body, writer)
        return True

    def _on_subscribe(self, body: bytes, writer: asyncio.StreamWriter) -> bool:
        topic_filter = body[4:-1].decode()
        self.asked.append((asyncio.get_running_loop().time(), topic_filter))
        if len([f for _, f in self.asked if f == self.refuses]) > 1:
            self.is_asked_again.set()
        if topic_filter not in {self.ignores, self.closes_on}:
            writer.write(bytes([SUBACK, 3, *body[:2], 0x80 if topic_filter == self.refuses else 1]))
        return topic_filter != self.closes_on

    def _on_request(self, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Nothing is pending here."""
        size = struct.unpack(">H", body[:2])[0]
        topic, payload = body[2 : 2 + size], body[4 + size :]
        if topic.decode() == self.closes_on_publish:
            return False
        writer.write(bytes([0x40, 2, *body[2 + size : 4 + size]]))
        answer = json.dumps({"clientToken": json.loads(payload)["clientToken"]}).encode()
        said = struct.pack(">H", size + len("/accepted")) + topic + b"/accepted" + answer
        length = bytes([len(said)]) if len(said) < 0x80 else bytes([len(said) & 0x7F | 0x80, len(said) >> 7])
        writer.write(bytes([PUBLISH]) + length + said)
        return True


@pytest.fixture
async def rude(device: Any) -> AsyncIterator[Callable[..., Any]]:
    """Starts a rude broker that the device connects to."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**manners: Any) -> RudeBroker:
            broker = RudeBroker(**manners)
            server = await stack.enter_async_context(await asyncio.start_server(broker.serve, "127.0.0.1", 0))
            broker.port = server.sockets[0].getsockname()[1]
            device.sections["aws"] |= {"tls": False, "endpoint": "127.0.0.1", "https_endpoint": "localhost"}
            device.sections["aws"] |= {"port": broker.port}
            return broker

        yield start


async def test_a_filter_that_gets_the_connection_closed_twice_is_suspended_and_named(
    rude: Any, start_agent: Any
) -> None:
    broker = await rude(closes_on=f"{JOBS}/notify-next")
    agent = await start_agent()
    await agent.says("subscription suspended", topic=f"{JOBS}/notify-next")
    assert broker.connects == 3
    assert await agent.stop() == 0


async def test_a_request_that_gets_the_connection_closed_twice_is_named_with_what_to_allow(
    rude: Any, start_agent: Any
) -> None:
    await rude(closes_on_publish=f"{JOBS}/get")
    agent = await start_agent()
    first = await agent.says("connection lost", unanswered=f"{JOBS}/get")
    second = await agent.says("connection lost", unanswered=f"{JOBS}/get", times=2)
    assert "hint" not in first
    assert "iot:Publish" in second["hint"]


async def test_a_refused_subscription_is_named_and_asked_for_again_after_a_while(rude: Any, start_agent: Any) -> None:
    broker = await rude(refuses=f"{JOBS}/notify-next")
    agent = await start_agent()
    await agent.says("subscription refused", topic=f"{JOBS}/notify-next", why="the broker refused it")
    await broker.is_asked_again.wait()
    first, second = (at for at, topic_filter in broker.asked if topic_filter == f"{JOBS}/notify-next")
    assert second - first > 0.4


async def test_a_subscription_that_is_never_answered_does_not_keep_the_agent_from_work(
    rude: Any, start_agent: Any
) -> None:
    await rude(ignores=f"{JOBS}/notify-next")
    agent = await start_agent()
    await agent.says("subscription refused", topic=f"{JOBS}/notify-next", why="no answer in time")


async def test_field_b3_a_broker_that_hangs_up_right_after_its_welcome_is_told_once_for_all_filters(
    rude: Any, start_agent: Any
) -> None:
    broker = await rude(closes_after_connack=True)
    agent = await start_agent(is_connected=False)
    await agent.says("connection lost", times=3)
    assert broker.connects == 3
    assert not [line for line in agent.log if line["event"] == "subscription refused"]
    assert await agent.stop() == 0
    assert all(line["level"] != "none" for line in agent.log[:-1] if "level" in line)


async def test_a_port_that_never_speaks_tls_is_given_up_after_connect_timeout_s(device: Any, start_agent: Any) -> None:
    held: list[asyncio.StreamWriter] = []
    async with await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0) as silent:
        device.sections["aws"] |= {"port": silent.sockets[0].getsockname()[1], "connect_timeout_s": 0.5}
        agent = await start_agent(is_connected=False)
        said = await agent.says("cannot connect, trying again", within_s=8)  # the SDK alone would take 10 s
        assert "in time" in said["why"]
        assert await agent.stop() == 0
        for writer in held:
            writer.transport.abort()
