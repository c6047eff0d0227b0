"""The HTTP proxy on the way to AWS IoT, if there is one: as options of the SDK, and as a tunnel to look for faults.

The tunnel is what CONNECT makes (RFC 9110 9.3.6). TLS is end to end between the device and AWS IoT, so that the proxy
sees only the endpoint's name.
"""

import asyncio
import base64
import contextlib
import errno
import os
import socket
import threading
from typing import Any

from awscrt import http

from iot_jobs_agent.config.values import Proxy
from iot_jobs_agent.errors import AgentError

_LARGEST_HEAD_BYTES = 16 * 1024
_RESOLVE_S = 4.0  # less than `check` gives a connection, so that it can say which of the two it was
_OK, _WANTS_PASSWORD = 200, 407  # RFC 9110; the module http.HTTPStatus would cost memory


class ProxyError(AgentError):
    """The proxy does not let a connection through. One sentence names aws.proxy and what to do."""


def sdk_options(proxy: Proxy) -> Any:
    """Return the SDK's options for the proxy."""
    basic = http.HttpProxyAuthenticationType.Basic if proxy.user else http.HttpProxyAuthenticationType.Nothing
    return http.HttpProxyOptions(
        proxy.host,
        proxy.port,
        auth_type=basic,
        auth_username=proxy.user or None,
        auth_password=proxy.password or None,
        connection_type=http.HttpProxyConnectionType.Tunneling,
    )


async def open_through(proxy: Proxy | None, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a TCP connection, through the proxy if there is one.

    Raises:
        ProxyError: the proxy is not there, or does not let the connection through.
        OSError: there is no proxy, and the host is not there.
    """
    if proxy is None:
        return await _connect(host, port)
    try:
        reader, writer = await _connect(proxy.host, proxy.port)
    except OSError as error:
        why = socket_fault(error)
        raise ProxyError(
            f"aws.proxy: {proxy} cannot be reached ({why}); check its name, port and the network"
        ) from None
    try:
        status = await _tunnel(reader, writer, proxy, f"{host}:{port}")
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
        status = 0
    if status == _OK:
        return reader, writer
    writer.close()
    raise ProxyError(_refusal(proxy, f"{host}:{port}", status))


def socket_fault(error: OSError) -> str:
    """Return why there is no connection, in the system's words: asyncio has its own, with addresses in them."""
    is_of_the_system = error.errno in errno.errorcode and not isinstance(error, socket.gaierror)
    return os.strerror(error.errno or 0) if is_of_the_system else error.strerror or str(error) or type(error).__name__


async def _connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Try the addresses of the host, one after the other; raise OSError for the last one."""
    failure = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for address in await _addresses(host, port):
        try:
            return await asyncio.open_connection(address, port)
        except OSError as error:
            failure = error
    raise failure


async def _addresses(host: str, port: int) -> list[str]:
    """Resolve the host. Raises OSError.

    asyncio would do that in a thread that the process waits for when it ends, and without an answer from any name
    server that takes half a minute.
    """
    loop = asyncio.get_running_loop()
    resolved: asyncio.Future[list[str]] = loop.create_future()

    def settle(addresses: list[str], error: OSError | None) -> None:
        if not resolved.done():
            resolved.set_exception(error) if error else resolved.set_result(addresses)

    def resolve() -> None:
        addresses: list[str] = []
        failure: OSError | None = None
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        except OSError as error:
            failure = error
        except UnicodeError:
            failure = OSError(errno.EINVAL, "not a host name")
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, addresses, failure)

    threading.Thread(target=resolve, name="resolver", daemon=True).start()
    try:
        return await asyncio.wait_for(resolved, _RESOLVE_S)
    except TimeoutError:
        raise socket.gaierror(socket.EAI_AGAIN, "no name server answers") from None


async def _tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proxy: Proxy, target: str) -> int:
    """Ask the proxy for a tunnel; return the status of its answer."""
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.user:
        token = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {token}")
    writer.write("\r\n".join([*lines, "", ""]).encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/") or len(head) > _LARGEST_HEAD_BYTES:
        return 0
    return int(head.split()[1])


def _refusal(proxy: Proxy, target: str, status: int) -> str:
    if status == _WANTS_PASSWORD:
        return f"aws.proxy: {proxy} wants another user or password; write it as http://USER:PASSWORD@HOST:PORT"
    if status:
        return f"aws.proxy: {proxy} does not connect to {target} (HTTP {status}); let it allow CONNECT to that"
    return f"aws.proxy: {proxy} does not answer like an HTTP proxy; check its name and port"
