"""Finds out why TLS with a server fails, with Python's `ssl`, which says more than the SDK does, and sooner.

It opens connections of its own and sends no MQTT on them, so it disturbs nobody who is connected.
"""

import asyncio
import ssl
from typing import NamedTuple

from iot_jobs_agent.aws.proxy import open_through, socket_fault
from iot_jobs_agent.aws.sdk import SdkError
from iot_jobs_agent.aws.tls import (
    ALPN_HTTP,
    ALPN_MQTT,
    ALPN_PORT,
    certificate_problem,
    credentials_problem,
    python_context,
    read_credentials,
)
from iot_jobs_agent.config.values import Aws
from iot_jobs_agent.errors import AgentError
from iot_jobs_agent.light import give_ssl_to_asyncio

HANDSHAKE_S = 5.0
ALERT_S = (
    1.0  # with TLS 1.3, a server refuses a certificate only after the client's handshake is over (RFC 8446 4.4.2.4)
)
_NAME_MISMATCH = {62, 64}  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_NOT_THE_TIME = {9, 10}  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_SECOND_HANDSHAKE_SAYS_MORE = "AWS_IO_TLS_ERROR_NEGOTIATION_FAILURE"


class Server(NamedTuple):
    """A listener of the service, and what the configuration calls it."""

    host: str
    port: int
    alpn: str
    host_key: str
    port_key: str
    usual_ports: str

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"


def mqtt_server(aws: Aws) -> Server:
    """Return where the agent speaks MQTT."""
    return Server(aws.endpoint, aws.port, ALPN_MQTT, "aws.endpoint", "aws.port", "8883 or 443")


def https_server(aws: Aws) -> Server:
    """Return where the agent speaks HTTPS."""
    return Server(aws.https_endpoint, aws.https_port, ALPN_HTTP, "aws.https_endpoint", "aws.https_port", "8443 or 443")


async def handshake_problem(aws: Aws, server: Server, failed_with: SdkError | None = None) -> str:
    """Return why a TLS connection to `server` fails; "" if it does not. Takes up to connect_timeout_s twice.

    The answer is one sentence without its full stop. `failed_with` is how the SDK's own connection failed, if it did.
    """
    give_ssl_to_asyncio()
    if problem := credentials_problem(aws) or certificate_problem(aws):
        return problem
    if problem := await _problem(aws, server, with_certificate=True):
        return problem
    may_not_ask = failed_with is not None and failed_with.name == _SECOND_HANDSHAKE_SAYS_MORE
    if may_not_ask and not await _problem(aws, server, with_certificate=False):
        return (
            f"{server.host_key}: {server} does not ask for the device's certificate; "
            "give the address of an AWS IoT data endpoint, with nothing in between that breaks TLS open"
        )
    return ""


async def speaks_http(aws: Aws, server: Server) -> bool:
    """Return whether the server answers an HTTP request over TLS, as it would on a port that is for HTTPS."""
    try:
        async with asyncio.timeout(min(HANDSHAKE_S, aws.connect_timeout_s)):
            reader, writer = await _open(aws, server, with_certificate=True)
            try:
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                return (await reader.read(5)).startswith(b"HTTP/")
            finally:
                writer.transport.abort()  # as below
    except (OSError, TimeoutError, AgentError):
        return False


async def _problem(aws: Aws, server: Server, *, with_certificate: bool) -> str:
    try:
        async with asyncio.timeout(aws.connect_timeout_s):
            reader, writer = await _open(aws, server, with_certificate=with_certificate)
    except TimeoutError:
        return (
            f"{server.host_key}: {server} does not answer; "
            f"check the network, a firewall on the way, and {server.port_key}"
        )
    except (OSError, AgentError) as error:
        return _sentence(aws, server, error)
    try:
        async with asyncio.timeout(ALERT_S):
            if not await reader.read(1):
                return _hung_up(server, "right after the TLS handshake")
    except TimeoutError:
        pass  # the server waits for us to begin, as it should
    except OSError as error:
        return _sentence(aws, server, error)
    finally:
        writer.transport.abort()  # to close in order takes the peer's answer, for which a stop does not wait
    return ""


async def _open(
    aws: Aws, server: Server, *, with_certificate: bool
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = python_context(read_credentials(aws), with_certificate=with_certificate)
    if server.port == ALPN_PORT:
        context.set_alpn_protocols([server.alpn])
    limit_s = min(HANDSHAKE_S, aws.connect_timeout_s / 2)
    reader, writer = await open_through(aws.proxy, server.host, server.port)
    try:
        await writer.start_tls(context, server_hostname=server.host, ssl_handshake_timeout=limit_s)
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer


def _sentence(aws: Aws, server: Server, error: Exception) -> str:
    match error:
        case AgentError():
            return str(error)
        case ssl.SSLCertVerificationError():
            return _distrust(aws, server, error)
        case ssl.SSLError() if "ALERT" in (error.reason or ""):
            return _alert(aws, server, str(error.reason))
        case ssl.SSLEOFError() | ConnectionResetError() | BrokenPipeError():
            return _hung_up(server, "during the TLS handshake")
        case ssl.SSLError() | ConnectionAbortedError():  # what came was not TLS, or nothing came in time
            return (
                f"{server.port_key}: {server} does not speak TLS; "
                f"set {server.port_key} to a port of AWS IoT, {server.usual_ports}"
            )
        case _:
            why = socket_fault(error) if isinstance(error, OSError) else str(error) or type(error).__name__
            return f"{server.host_key}: {server} cannot be reached ({why}); check the name, the port and the network"


def _distrust(aws: Aws, server: Server, error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _NAME_MISMATCH:
        return f"{server.host_key}: the certificate of {server} is for another name; correct {server.host_key}"
    if error.verify_code in _NOT_THE_TIME:
        return f"the certificate of {server} is not valid at the time of this device's clock; let the clock synchronise"
    return (
        f"aws.root_ca: {aws.root_ca} is not the authority of {server} ({error.verify_message}); "
        "put the root CA of this endpoint there (docs/install.md says where it is)"
    )


def _alert(aws: Aws, server: Server, reason: str) -> str:
    said = reason.partition("ALERT_")[2].lower().replace("_", " ")
    if said == "protocol version":
        return f"{server.host_key}: {server} has no TLS 1.2 or newer; give the address of an AWS IoT data endpoint"
    if said == "no application protocol":
        return f"{server.port_key}: {server} does not know {server.alpn}; set {server.port_key} to {server.usual_ports}"
    return (
        f"aws.certificate: {server} refuses {aws.certificate} ({said}); "
        "register it with AWS IoT in this account and region, and activate it"
    )


def _hung_up(server: Server, when: str) -> str:
    return (
        f"{server.port_key}: {server} ends the connection {when}, without a reason; "
        f"check that the port is one of AWS IoT, {server.usual_ports}, and that the certificate is active there"
    )
