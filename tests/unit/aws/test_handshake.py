"""A server whose TLS works with ours. Those with which it does not are in the matrix of faults of `check`."""

import asyncio
import socket
import ssl
from pathlib import Path

import trustme
from tests.support.credentials import new_pair, write_credentials
from tests.support.listeners import listening, say_nothing, server_context

from iot_jobs_agent.aws.handshake import handshake_problem, https_server, mqtt_server, speaks_http
from iot_jobs_agent.config.values import Aws

AUTHORITY = trustme.CA()
PAIR = new_pair(AUTHORITY)
TLS_1_3 = ssl.TLSVersion.TLSv1_3


def device(directory: Path, port: int) -> Aws:
    keys = {"port": port, "https_port": port, "connect_timeout_s": 4.0}
    return write_credentials(directory, PAIR, AUTHORITY.cert_pem.bytes(), **keys)


def answer_in_plain_text(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def test_a_server_that_works_has_no_problem(tmp_path: Path) -> None:
    with listening(say_nothing, server_context(AUTHORITY, clients=AUTHORITY, newest=TLS_1_3)) as port:
        aws = device(tmp_path, port)
        assert await handshake_problem(aws, mqtt_server(aws)) == ""
        assert await handshake_problem(aws, https_server(aws)) == ""
        assert not await asyncio.wait_for(speaks_http(aws, mqtt_server(aws)), 10)
    with listening(answer_in_plain_text, server_context(AUTHORITY, clients=AUTHORITY, newest=TLS_1_3)) as port:
        aws = device(tmp_path, port)
        assert await speaks_http(aws, mqtt_server(aws))
