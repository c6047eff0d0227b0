"""Servers whose TLS does not work with ours, each told apart from the others. All of them are real listeners."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from tests.support.credentials import new_pair, write_credentials
from tests.support.listeners import listening, say_nothing, server_context

from iot_jobs_agent.aws.handshake import handshake_problem, https_server, mqtt_server, speaks_http
from iot_jobs_agent.aws.mqtt import MqttConnection
from iot_jobs_agent.aws.sdk import SdkError, new_bootstrap
from iot_jobs_agent.aws.tls import TlsContexts
from iot_jobs_agent.config.values import Aws

AUTHORITY = trustme.CA()
STRANGER = trustme.CA()
PAIR = new_pair(AUTHORITY)
TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
BOTH = pytest.mark.parametrize("newest", [TLS_1_2, TLS_1_3])


def device(directory: Path, port: int, *, root_ca: trustme.CA = AUTHORITY) -> Aws:
    keys = {"port": port, "https_port": port, "connect_timeout_s": 4.0}
    return write_credentials(directory, PAIR, root_ca.cert_pem.bytes(), **keys)


async def why(aws: Aws) -> str:
    """Connect as the agent does, and then ask why it failed."""
    try:
        await MqttConnection(aws, new_bootstrap(), TlsContexts(aws), lambda *_: None).open(1.0)
    except SdkError as error:
        return await handshake_problem(aws, mqtt_server(aws), error)
    pytest.fail("the SDK connected")


@BOTH
async def test_field_f2c_a_server_that_asks_for_no_certificate(tmp_path: Path, newest: ssl.TLSVersion) -> None:
    with listening(say_nothing, server_context(AUTHORITY, clients=None, newest=newest)) as port:
        assert "does not ask for the device's certificate" in await why(device(tmp_path, port))


@BOTH
async def test_field_f2c_a_server_that_refuses_our_certificate(tmp_path: Path, newest: ssl.TLSVersion) -> None:
    with listening(say_nothing, server_context(AUTHORITY, clients=STRANGER, newest=newest)) as port:
        aws = device(tmp_path, port)
        problem = await why(aws)
    assert problem.startswith(f"aws.certificate: localhost port {port} refuses {aws.certificate} (unknown ca)")


async def test_field_f2c_a_server_without_tls_1_2(tmp_path: Path) -> None:
    context = server_context(AUTHORITY, clients=AUTHORITY, newest=TLS_1_2)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with listening(say_nothing, context) as port:
        assert "has no TLS 1.2 or newer" in await why(device(tmp_path, port))


@BOTH
async def test_field_f3_a_root_ca_that_is_not_the_servers(tmp_path: Path, newest: ssl.TLSVersion) -> None:
    with listening(say_nothing, server_context(AUTHORITY, clients=AUTHORITY, newest=newest)) as port:
        aws = device(tmp_path, port, root_ca=STRANGER)
        assert (await why(aws)).startswith(f"aws.root_ca: {aws.root_ca} is not the authority of localhost port {port}")


async def test_field_f3_a_server_certificate_for_another_name(tmp_path: Path) -> None:
    context = server_context(AUTHORITY, clients=AUTHORITY, newest=TLS_1_3, name="elsewhere.invalid")
    with listening(say_nothing, context) as port:
        assert "is for another name" in await why(device(tmp_path, port))


def answer_in_plain_text(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def hang_up(connection: socket.socket) -> None:
    connection.recv(4096)


@pytest.mark.parametrize(
    ("talk", "said"),
    [
        (say_nothing, "does not speak TLS"),
        (answer_in_plain_text, "does not speak TLS"),
        (hang_up, "ends the connection during the TLS handshake"),
    ],
)
async def test_field_f3_a_port_that_speaks_no_tls(
    tmp_path: Path, talk: Callable[[socket.socket], None], said: str
) -> None:
    with listening(talk) as port:
        problem = await why(device(tmp_path, port))
    assert problem.startswith(f"aws.port: localhost port {port} {said}")
    assert "8883 or 443" in problem


async def test_field_f3_a_port_on_which_nobody_listens(tmp_path: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as unused:
        port = unused.getsockname()[1]
    assert "cannot be reached" in await why(device(tmp_path, port))


async def test_field_f3_a_name_that_does_not_exist(tmp_path: Path) -> None:
    aws = device(tmp_path, 8883)._replace(endpoint="nowhere.invalid")
    assert (await handshake_problem(aws, mqtt_server(aws))).startswith("aws.endpoint: nowhere.invalid port 8883")


async def test_a_server_that_works_has_no_problem(tmp_path: Path) -> None:
    with listening(say_nothing, server_context(AUTHORITY, clients=AUTHORITY, newest=TLS_1_3)) as port:
        aws = device(tmp_path, port)
        assert await handshake_problem(aws, mqtt_server(aws)) == ""
        assert await handshake_problem(aws, https_server(aws)) == ""
        assert not await asyncio.wait_for(speaks_http(aws, mqtt_server(aws)), 10)
    with listening(answer_in_plain_text, server_context(AUTHORITY, clients=AUTHORITY, newest=TLS_1_3)) as port:
        aws = device(tmp_path, port)
        assert await speaks_http(aws, mqtt_server(aws))
