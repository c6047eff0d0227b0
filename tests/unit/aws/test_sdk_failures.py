"""What the SDK finds at once, it raises bare and at once: every failure of it is one of ours."""

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.support.credentials import new_pair, write_credentials
from tests.support.listeners import listening, server_context

from iot_jobs_agent.aws.https import list_over_https
from iot_jobs_agent.aws.mqtt import MqttConnection
from iot_jobs_agent.aws.sdk import SdkError, new_bootstrap
from iot_jobs_agent.aws.tls import TlsContexts
from iot_jobs_agent.errors import RequestUnanswered

AUTHORITY = trustme.CA()
TIMES = 20


@pytest.fixture
def closing_port() -> Iterator[int]:
    """A TLS server that ends each connection right after the handshake."""
    context = server_context(AUTHORITY, clients=AUTHORITY, newest=ssl.TLSVersion.TLSv1_2)

    def talk(connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_RDWR)

    with listening(talk, context) as port:
        yield port


class BusyLoop:
    """Holds the running loop for 20 ms, again and again, until it is stopped."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.call_soon(self._hold)

    def _hold(self) -> None:
        until = time.monotonic() + 0.02
        while time.monotonic() < until:
            pass
        self._next = self._loop.call_soon(self._hold)

    def stop(self) -> None:
        self._next.cancel()


async def test_field_f2b_a_server_that_hangs_up_before_the_request_is_an_unanswered_request(
    tmp_path: Path, closing_port: int
) -> None:
    surprises: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: surprises.append(context))
    aws = write_credentials(tmp_path, new_pair(AUTHORITY), AUTHORITY.cert_pem.bytes(), https_port=closing_port)
    bootstrap, contexts = new_bootstrap(), TlsContexts(aws)
    busy = BusyLoop()
    for _ in range(TIMES):
        with pytest.raises(RequestUnanswered):
            await list_over_https(aws, "", bootstrap, contexts)
    busy.stop()
    assert surprises == []


async def test_field_f2b_a_connection_that_was_never_opened_fails_as_ours(tmp_path: Path) -> None:
    aws = write_credentials(tmp_path, new_pair(AUTHORITY), AUTHORITY.cert_pem.bytes(), request_timeout_s=0.1)
    connection = MqttConnection(aws, new_bootstrap(), TlsContexts(aws), lambda *_: None)
    with pytest.raises(SdkError):
        connection.publish("not/a/#/topic", "{}")
    with pytest.raises(SdkError):
        await connection.subscribe("not/a/#/filter")
    await connection.close()
    connection.abandon()
