"""Packets of both versions with a few bytes changed: each time one connection ends, at most, and one line says why.

A sample here; `uv run pytest tests/end_to_end/simulator/test_mutated_packets.py --packets 200000` tries that many.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from typing import TYPE_CHECKING

import pytest
import wire
import wire5

from iot_jobs_simulator.__main__ import is_ours
from iot_jobs_simulator.server import running_simulator

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

    from iot_jobs_simulator.server import RunningSimulator

SEED = 20_190_307
WAIT_S = 30
LOOKS = 500  # after so many, those that look on must still be served
JOBS = "$aws/things/lamp/jobs/"
SAID = {
    "PayloadFormatIndicator": 1,
    "MessageExpiryInterval": 60,
    "ContentType": "text/plain",
    "ResponseTopic": "answers",
    "CorrelationData": b"12",
    "TopicAlias": 3,
    "UserProperty": [("key", "value"), ("key", "other")],
}
ASKED = {
    "SessionExpiryInterval": 60,
    "ReceiveMaximum": 20,
    "MaximumPacketSize": 5000,
    "TopicAliasMaximum": 5,
    "RequestResponseInformation": 1,
    "RequestProblemInformation": 1,
    "UserProperty": ("key", "value"),
}
WILL = {"WillDelayInterval": 1, "ContentType": "text/plain", "UserProperty": ("key", "value")}
THREE = [
    wire.connect("mutant"),
    wire.subscribe(JOBS + "#", "a/+"),
    wire.publish(JOBS + "get", b'{"clientToken":"t"}', qos=1),
    wire.publish("a/b", b"x", is_retained=True),
    wire.packet(0xA2, b"\x00\x02" + wire.text("a/+")),
    b"\x40\x02\x00\x01",
    b"\xc0\x00",
    b"\xe0\x00",
]
FIVE = [
    wire5.connect("mutant", will=("a/w", b"w"), will_properties=wire5.properties(wire5.WILL, **WILL), **ASKED),
    wire5.subscribe(JOBS + "#", "a/+", raw_properties=wire5.properties(wire5.SUBSCRIBE, UserProperty=("key", "value"))),
    wire5.publish(JOBS + "get", b'{"clientToken":"t"}', qos=1, **SAID),
    wire5.publish("a/b", b"x", is_retained=True, **SAID),
    wire5.publish("", b"x", qos=1, TopicAlias=3),
    wire5.unsubscribe("a/+", "b"),
    wire5.puback(1, b"\x10\x00"),
    b"\xc0\x00",
    wire5.disconnect(4, SessionExpiryInterval=5, ReasonString="bye", UserProperty=("key", "value")),
]


def mutants(dice: random.Random, count: int) -> Iterator[bytes]:
    """Sessions in which one packet has changed bytes, bytes too many or bytes too few."""
    for _ in range(count):
        session = list(dice.choice((THREE, FIVE)))
        at = dice.randrange(len(session))
        changed = bytearray(session[at])
        for _ in range(dice.randrange(1, 4)):
            place = dice.randrange(len(changed) + 1)
            match dice.randrange(6):
                case 0:
                    changed[place:place] = dice.randbytes(dice.randrange(1, 4))
                case 1:
                    del changed[place : place + dice.randrange(1, 4)]
                case 2:
                    changed[place : place + 1] = bytes([dice.choice((0, 1, 0x7F, 0x80, 0xFF))])
                case _:
                    changed[place : place + 1] = dice.randbytes(1)
        session[at] = bytes(changed)
        if at and dice.random() < 0.5:  # the changed packet right after the CONNECT, too
            session = [session[0], *session[at:]]
        yield b"".join(session)


class Lines(logging.Handler):
    """What is logged while one connection is served, and whatever else goes wrong meanwhile."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.ends: list[str] = []
        self.wrong: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if record.name.startswith("iot_jobs_simulator") and " ends: " in line:
            self.ends.append(line)
        elif record.levelno >= logging.WARNING and record.name.startswith(("iot_jobs_simulator", "asyncio")):
            self.wrong += [line] if is_ours(record) else []


async def answers_to(port: int, tls: ssl.SSLContext | None, sent: bytes) -> bytes:
    """Send it all and nothing more; what came back until the end."""
    host = "localhost" if tls else "127.0.0.1"
    reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    try:
        writer.write(sent)
        writer.get_extra_info("socket").shutdown(socket.SHUT_WR)  # below TLS, which has no half of an end
        return await reader.read()
    except OSError:
        return b""
    finally:
        writer.transport.abort()


def last_words(heard: bytes) -> str:
    """Of a client of MQTT 5 that is told why its connection ends."""
    said = ""
    while heard:
        size_at = next((at for at in range(1, min(5, len(heard))) if not heard[at] & 0x80), 0)
        size = sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(heard[1 : size_at + 1]))
        body, first = heard[size_at + 1 : size_at + 1 + size], heard[0]
        heard = heard[size_at + 1 + size :]
        if first == 0xE0 or (first == 0x20 and size > 2 and body[1] >= 0x80):
            said = wire5.parsed(first, body).words
    return said


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, root, own = Lines(), logging.getLogger(), logging.getLogger("iot_jobs_simulator")
    before = own.level
    root.addHandler(handler)
    own.setLevel(logging.INFO)
    yield handler
    root.removeHandler(handler)
    own.setLevel(before)


async def onlookers(sim: RunningSimulator) -> tuple[wire.Wire, wire5.Five]:
    tls = wire.client_tls(sim.certificates, "client")
    three = await wire.opened(sim.mqtts_port, tls=tls)
    three.send(wire.connect("onlooker-3"))
    assert await three.heard() == b"\x20\x02\x00\x00"
    five = await wire5.opened(sim.mqtts_port, tls=tls)
    assert (await five.ask(wire5.connect("onlooker-5"))).codes == [0]
    return three, five


@pytest.mark.timeout(0)
async def test_a_mutated_packet_ends_one_connection_and_one_line_says_why(
    certificates_of_run: Path, lines: Lines, request: pytest.FixtureRequest
) -> None:
    count, dice, told = request.config.getoption("--packets"), random.Random(SEED), 0  # noqa: S311 - it is to repeat
    async with running_simulator(certificates=certificates_of_run) as sim:
        sim.operate("CreateThing", thingName="lamp")
        tls = wire.client_tls(sim.certificates, "client")
        three, five = await onlookers(sim)
        looking_on = set(sim._mqtt._connections)
        for number, sent in enumerate(mutants(dice, count)):
            lines.ends.clear()
            is_secure = number % 100 == 99
            port = sim.mqtts_port if is_secure else sim.mqtt_port
            async with asyncio.timeout(WAIT_S):
                heard = await answers_to(port, tls if is_secure else None, sent)
                served = [task for task in sim._mqtt._connections if task not in looking_on]
                if served:
                    await asyncio.wait(served)
            words = last_words(heard)
            assert len(lines.ends) <= 1, (number, sent, lines.ends)
            assert not words or words in lines.ends[0], (number, sent, words, lines.ends)
            assert lines.wrong == [], (number, sent)
            told += bool(words)
            if number % LOOKS == LOOKS - 1 or number == count - 1:
                assert await three.is_open()
                assert await five.is_served()
        assert told > count // 20
        for each in (three, five):
            each.close()
