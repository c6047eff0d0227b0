"""Matrix of faults, network and TLS: real listeners that are not AWS IoT, each told apart by `check` and by `run`."""

import contextlib
import datetime as dt
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme
from agents import Device
from check_faults import LONGEST_S, Bench, Row, bench_of, rows, said_by_check, said_by_run
from tests.support.listeners import listening, say_nothing
from tests.support.proxies import running_proxy

from iot_jobs_agent.commands.check import NETWORK_S
from iot_jobs_simulator.server import RunningSimulator

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
DAY = dt.timedelta(days=1)
NO_TLS = "aws.port: localhost port {port} does not speak TLS; set aws.port to a port of AWS IoT, 8883 or 443"
NO_QUESTION = "aws.endpoint: localhost port {port} does not ask for the device's certificate; give the address of an"
REFUSED = "aws.certificate: localhost port {port} refuses {certificate} (unknown ca); register it with AWS IoT in this"
STRANGER = "aws.root_ca: {root_ca} is not the authority of localhost port {port} ("


@pytest.fixture
def bench(device: Device, sim: RunningSimulator, thing: str) -> Iterator[Bench]:
    with bench_of(device, sim) as made:
        yield made


def unknown_name(bench: Bench) -> None:
    bench.aws.update(endpoint="nowhere.invalid", https_endpoint="localhost")


def closed_port(bench: Bench) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as unused:
        bench.aws["port"] = bench.names["port"] = unused.getsockname()[1]


def greets(banner: bytes) -> Callable[[socket.socket], None]:
    """Speak first, as SSH does, and listen on."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(banner)
        say_nothing(connection)

    return talk


def answers(text: bytes) -> Callable[[socket.socket], None]:
    """Answer whatever comes, and hang up; nothing at all is an answer too."""

    def talk(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(text)

    return talk


def without_tls_1_2(bench: Bench) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    bench.authority.issue_cert("localhost").configure_cert(context)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    bench.listen(say_nothing, context)


def expired_server(bench: Bench) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    now = dt.datetime.now(dt.UTC)
    bench.authority.issue_cert("localhost", not_before=now - 9 * DAY, not_after=now - DAY).configure_cert(context)
    bench.listen(say_nothing, context)


def stranger(newest: ssl.TLSVersion) -> Callable[[Bench], object]:
    """The file of the root CA has another authority than the server's."""

    def make(bench: Bench) -> None:
        bench.serve_tls(newest=newest)
        trustme.CA().cert_pem.write_to_path(bench.file("root_ca"))

    return make


def other_port(name: str) -> Callable[[Bench], object]:
    """aws.port is a port of the service, but not the one for MQTT over TLS."""

    def make(bench: Bench) -> None:
        bench.aws["port"] = bench.names["port"] = getattr(bench.sim, name)

    return make


def behind(bench: Bench, port: int, user: str = "") -> None:
    bench.aws["proxy"] = f"http://{user}127.0.0.1:{port}"
    bench.names["proxy"] = f"127.0.0.1 port {port}"


def proxy_talks(talk: Callable[[socket.socket], None]) -> Callable[[Bench], object]:
    """The proxy is a listener that talks like this."""
    return lambda bench: behind(bench, bench.stack.enter_context(listening(talk)))


def proxy_with_another_password(bench: Bench) -> None:
    behind(bench, bench.stack.enter_context(running_proxy("device:pass:word")), "device:wrong-one@")


ROWS = [
    Row(
        "a name that does not resolve",
        unknown_name,
        "aws.endpoint: nowhere.invalid port {port} cannot be reached (AWS_IO_DNS_",
    ),
    Row(
        "a port on which nobody listens",
        closed_port,
        "aws.endpoint: localhost port {port} cannot be reached (AWS_IO_SOCKET_CONNECTION_REFUSED: ",
    ),
    Row("a port that never speaks", lambda bench: bench.listen(say_nothing), NO_TLS),
    Row("a port that speaks SSH", lambda bench: bench.listen(greets(b"SSH-2.0-OpenSSH_9.6\r\n")), NO_TLS),
    Row("a port that speaks HTTP", lambda bench: bench.listen(answers(b"HTTP/1.1 400 Bad Request\r\n\r\n")), NO_TLS),
    Row(
        "a port that hangs up",
        lambda bench: bench.listen(answers(b"")),
        "aws.port: localhost port {port} ends the connection during the TLS handshake, without a reason; check that",
    ),
    Row("no certificate wanted, TLS 1.2", lambda bench: bench.serve_tls(clients=None, newest=TLS_1_2), NO_QUESTION),
    Row("no certificate wanted, TLS 1.3", lambda bench: bench.serve_tls(clients=None, newest=TLS_1_3), NO_QUESTION),
    Row("ours is refused, TLS 1.2", lambda bench: bench.serve_tls(clients=trustme.CA(), newest=TLS_1_2), REFUSED),
    Row("ours is refused, TLS 1.3", lambda bench: bench.serve_tls(clients=trustme.CA(), newest=TLS_1_3), REFUSED),
    Row(
        "nothing newer than TLS 1.1",
        without_tls_1_2,
        "aws.endpoint: localhost port {port} has no TLS 1.2 or newer; give the address of an AWS IoT data endpoint",
    ),
    Row("another authority, TLS 1.2", stranger(TLS_1_2), STRANGER),
    Row("another authority, TLS 1.3", stranger(TLS_1_3), STRANGER),
    Row(
        "a server certificate for another name",
        lambda bench: bench.serve_tls(name="elsewhere.invalid"),
        "aws.endpoint: the certificate of localhost port {port} is for another name; correct aws.endpoint",
    ),
    Row(
        "a server certificate that has expired",
        expired_server,
        "the certificate of localhost port {port} is not valid at the time of this device's clock; let the clock sync",
    ),
    Row(
        "TLS, and then silence",
        lambda bench: bench.serve_tls(),
        "aws.port: localhost port {port} does not answer MQTT; set aws.port to a port of AWS IoT, 8883 or 443",
    ),
    Row(
        "the port for HTTPS",
        other_port("https_port"),
        "aws.port: localhost port {port} speaks HTTPS, not MQTT; set aws.port to 8883 or 443",
    ),
    Row(
        "the port for MQTT without TLS",
        other_port("mqtt_port"),
        "aws.port: localhost port {port} ",
    ),
    Row(
        "a proxy that is not there",
        lambda bench: behind(bench, 1),
        "aws.proxy: 127.0.0.1 port 1 cannot be reached (Connection refused); check its name, port and the network",
    ),
    Row(
        "a proxy that wants another password",
        proxy_with_another_password,
        "aws.proxy: {proxy} wants another user or password; write it as http://USER:PASSWORD@HOST:PORT",
    ),
    Row(
        "a proxy that allows other ports only",
        proxy_talks(answers(b"HTTP/1.1 403 Forbidden\r\n\r\n")),
        "aws.proxy: {proxy} does not connect to localhost:{port} (HTTP 403); let it allow CONNECT to that",
    ),
    Row(
        "a proxy that is none",
        proxy_talks(answers(b"220 mail.example ESMTP\r\n\r\n")),
        "aws.proxy: {proxy} does not answer like an HTTP proxy; check its name and port",
    ),
]


def test_the_matrix_has_the_faults_of_network_and_tls_that_were_promised() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) >= 10


@rows(ROWS)
async def test_field_f2c_field_f3_check_says_what_is_wrong_with_the_way_to_aws(bench: Bench, row: Row) -> None:
    assert "wrong-one" not in await said_by_check(bench, row)


@rows(ROWS, by_run=True)
async def test_field_f2c_field_f3_run_says_the_same_about_the_way_to_aws(
    bench: Bench, row: Row, start_agent: Any
) -> None:
    await said_by_run(bench, row, start_agent)


def test_field_f3_check_has_a_limit_that_leaves_time_for_its_own_start() -> None:
    assert NETWORK_S + 3 <= LONGEST_S


@pytest.mark.parametrize("talk", [say_nothing, greets(b"")])
async def test_field_f3_check_keeps_its_own_limit_whatever_the_configuration_allows(bench: Bench, talk: Any) -> None:
    bench.aws.update(connect_timeout_s=300, request_timeout_s=300)
    row = Row("", lambda bench: bench.listen(talk), NO_TLS)
    await said_by_check(bench, row, "--timeout", "8")
