"""Bytes that are nothing, on every port: the same simulator serves on, in bounded memory. Seeded: it repeats."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import wire
import wire5

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from simulators import SimulatorProcess

SEED = 20_170_929
SAMPLES = 60
JOBS = "$aws/things/lamp/jobs/"
SESSION = [
    wire.connect("garbage"),
    wire.subscribe(JOBS + "#"),
    wire.publish(JOBS + "get", b'{"clientToken":"t"}', qos=1),
    wire.publish(JOBS + "J1/update", b'{"status":"FAILED"}'),
    b"\xc0\x00",
]
FIVE = [
    wire5.connect("garbage", SessionExpiryInterval=60, UserProperty=("key", "value")),
    wire5.subscribe(JOBS + "#"),
    wire5.publish(JOBS + "get", b'{"clientToken":"t"}', qos=1, TopicAlias=1, UserProperty=("key", "value")),
    wire5.publish("", b'{"clientToken":"u"}', TopicAlias=1),
    wire5.disconnect(4),
]
REQUEST = b"POST /things/lamp/jobs/J1?x=%41 HTTP/1.1\r\nHost: data.jobs.iot.x\r\nContent-Length: 20\r\n\r\n" + b"{" * 20
HELLO = bytes.fromhex("16030100c5010000c103030000") + bytes(180)


def random_bytes(random: random.Random) -> bytes:
    return random.randbytes(random.randrange(1, 2000))


def half_a_session(random: random.Random) -> bytes:
    whole = b"".join(SESSION)
    return whole[: random.randrange(len(whole))]


def a_session_with_flipped_bytes(random: random.Random) -> bytes:
    changed = bytearray(b"".join(SESSION))
    for _ in range(random.randrange(1, 8)):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


def a_session_of_mqtt_5_with_flipped_bytes(random: random.Random) -> bytes:
    changed = bytearray(b"".join(FIVE))
    for _ in range(random.randrange(1, 8)):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


def a_huge_length(random: random.Random) -> bytes:
    first = bytes([random.randrange(16) << 4 | random.randrange(16)])
    return SESSION[0] + first + b"\xff\xff\xff\x7f" + random.randbytes(100)


def a_broken_request(random: random.Random) -> bytes:
    changed = bytearray(REQUEST)
    for _ in range(random.randrange(1, 10)):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed) if random.random() < 0.7 else REQUEST[: random.randrange(len(REQUEST))]


def endless_headers(random: random.Random) -> bytes:
    return b"GET /jobs HTTP/1.1\r\n" + b"X-%d: %s\r\n" % (random.randrange(9), b"x" * 100) * random.randrange(1, 900)


def a_broken_handshake(random: random.Random) -> bytes:
    changed = bytearray(HELLO)
    for _ in range(random.randrange(0, 20)):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


GENERATORS = [
    random_bytes,
    half_a_session,
    a_session_with_flipped_bytes,
    a_session_of_mqtt_5_with_flipped_bytes,
    a_huge_length,
    a_broken_request,
    endless_headers,
    a_broken_handshake,
]


@pytest.fixture(scope="module")
def victim(start_module_simulator: Callable[[], SimulatorProcess]) -> Any:
    running = start_module_simulator()
    running.create_thing("lamp")
    return running


@pytest.fixture(scope="module")
def start_module_simulator(simulator_starter: Callable[..., Any]) -> Iterator[Callable[[], SimulatorProcess]]:
    started = []

    def start() -> SimulatorProcess:
        started.append(simulator_starter())
        return started[-1]

    yield start
    assert [running.stop() for running in started] == [0] * len(started)


def rss_mib(running: SimulatorProcess) -> int:
    status = Path(f"/proc/{running.process.pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) // 1024


def descriptors(running: SimulatorProcess) -> int:
    return len(list(Path(f"/proc/{running.process.pid}/fd").iterdir()))


def assert_it_serves(running: SimulatorProcess) -> None:
    """Every port, for one request."""
    assert running.iot.describe_thing(thingName="lamp")["thingName"] == "lamp"
    tls = wire.client_tls(running.certificates, "client")
    for port, context in ((running.mqtt_port, None), (running.mqtts_port, tls)):
        with opened(port, context) as connection:
            connection.sendall(wire.connect("sane") + wire.publish(JOBS + "get"))
            assert connection.recv(4) == b"\x20\x02\x00\x00"
            assert b"get/accepted" in connection.recv(1000)
    with opened(running.https_port, tls) as connection:
        connection.sendall(b"GET /things/lamp/jobs HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def opened(port: int, tls: ssl.SSLContext | None) -> socket.socket:
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    return tls.wrap_socket(plain, server_hostname="localhost") if tls else plain


def ports(running: SimulatorProcess) -> list[tuple[int, ssl.SSLContext | None]]:
    """The plain ports, the TLS ports below TLS, and the TLS ports above it."""
    tls = wire.client_tls(running.certificates, "client")
    http_port = int(running.http_url.rsplit(":", 1)[1])
    below = [(port, None) for port in (running.mqtt_port, http_port, running.mqtts_port, running.https_port)]
    return [*below, (running.mqtts_port, tls), (running.https_port, tls)]


@pytest.mark.parametrize("generator", GENERATORS, ids=lambda generator: generator.__name__)
def test_garbage_on_any_port_never_stops_it(victim: SimulatorProcess, generator: Callable[..., bytes]) -> None:
    dice = random.Random(SEED)  # noqa: S311 - it is to repeat
    before = rss_mib(victim)
    for _ in range(SAMPLES // len(GENERATORS) + 1):
        garbage = generator(dice)
        for port, tls in ports(victim):
            with suppress(OSError), opened(port, tls) as connection:
                connection.sendall(garbage)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(0.05)
                connection.recv(1000)
    assert_it_serves(victim)
    assert rss_mib(victim) < before + 50


def test_clients_that_dribble_hold_little_memory_each(victim: SimulatorProcess) -> None:
    before = rss_mib(victim)
    with ExitStack() as stack:
        for _ in range(100):
            for port, start in (
                (victim.mqtt_port, SESSION[0] + b"\x30\x80\x80\x08" + wire.text("a")),  # 128 KiB to come
                (int(victim.http_url.rsplit(":", 1)[1]), b"PUT /jobs/x HTTP/1.1\r\nContent-Length: 1000000\r\nX: "),
            ):
                connection = stack.enter_context(opened(port, None))
                connection.sendall(start)
                for _ in range(3):
                    connection.sendall(b"x")
        assert_it_serves(victim)
        assert rss_mib(victim) < before + 50


@pytest.mark.timeout(90)
def test_ten_thousand_connections_that_come_and_go_leave_nothing_behind(victim: SimulatorProcess) -> None:
    http_port = int(victim.http_url.rsplit(":", 1)[1])
    open_before, before = descriptors(victim), rss_mib(victim)
    for batch in range(100):
        port = (victim.mqtt_port, http_port, victim.mqtts_port, victim.https_port)[batch % 4]
        connections = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(100)]
        for number, connection in enumerate(connections):
            if number % 2:
                connection.sendall(SESSION[0])
            connection.close()
        if batch % 10 == 9:
            assert_it_serves(victim)
    for _ in range(1000):
        assert_it_serves(victim)
        if descriptors(victim) <= open_before + 10:
            break
    assert descriptors(victim) <= open_before + 10
    assert rss_mib(victim) < before + 300  # a leak of 30 KiB each would be more


def test_deep_json_and_large_bodies_are_refused(victim: SimulatorProcess) -> None:
    with opened(victim.mqtt_port, None) as connection:
        connection.sendall(wire.connect("deep") + wire.publish(JOBS + "get", b"[" * 100_000))
        assert connection.recv(4) == b"\x20\x02\x00\x00"
        assert b"InvalidJson" in connection.recv(1000)
    tls = wire.client_tls(victim.certificates, "client")
    with opened(victim.https_port, tls) as connection:
        connection.sendall(b"POST /things/lamp/jobs/J1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n")
        with suppress(OSError):
            connection.sendall(b"x" * 3_000_000)
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")
    assert_it_serves(victim)
