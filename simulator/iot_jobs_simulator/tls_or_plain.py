"""One port with and without TLS: the first byte of a connection tells which.

A TLS record that opens a handshake begins with 0x16 (RFC 8446, 5.1), which no HTTP request does.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

_HANDSHAKE: Final = b"\x16"
_TLS_WITHIN_S: Final = 10
_PAUSE_S: Final = 1.0  # before the next try when there are no descriptors left
_log = logging.getLogger(__name__)


class TlsOrPlain:
    """Accepts connections on a bound socket, and lets `make_protocol` go on with each."""

    def __init__(
        self, bound: socket.socket, tls: ssl.SSLContext, make_protocol: Callable[[], asyncio.Protocol], silence_s: float
    ) -> None:
        self._bound = bound
        self._tls = tls
        self._make_protocol = make_protocol
        self._silence_s = silence_s
        self._accepting: asyncio.Task[None] | None = None
        self._beginning: set[asyncio.Task[Any]] = set()

    def start(self, backlog: int) -> None:
        """Listen."""
        self._bound.setblocking(False)  # noqa: FBT003 - the standard library's
        self._bound.listen(backlog)
        self._accepting = asyncio.ensure_future(self._accept())

    async def stop(self) -> None:
        """Listen no more, and close what has said nothing yet."""
        tasks = [task for task in (self._accepting, *self._beginning) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._bound.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._bound)
            except OSError as error:
                _log.warning("Cannot accept a connection: %s", error)
                await asyncio.sleep(_PAUSE_S)
                continue
            task = asyncio.ensure_future(self._begin(connection))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    async def _begin(self, connection: socket.socket) -> None:
        """Hand a connection over once it has said something or has ended; close it if it is silent for too long."""
        try:
            async with asyncio.timeout(self._silence_s):
                await _readable(connection)
            tls = self._tls if connection.recv(1, socket.MSG_PEEK) == _HANDSHAKE else None
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make_protocol, connection, ssl=tls, ssl_handshake_timeout=_TLS_WITHIN_S if tls else None
            )
        except (OSError, TimeoutError):
            connection.close()  # the client is gone, or its handshake failed
        except asyncio.CancelledError:
            connection.close()
            raise


async def _readable(connection: socket.socket) -> None:
    loop, is_readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connection, is_readable.set)
    try:
        await is_readable.wait()
    finally:
        with suppress(ValueError):
            loop.remove_reader(connection)
