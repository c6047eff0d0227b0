"""Sets TCP_NODELAY on the connection to the service, because the SDK has no option for it.

Nagle's algorithm (RFC 896) holds back a small packet while an earlier one is unacknowledged. After a notification that
earlier packet is our PUBACK, which gets no reply, so the first request would wait for the peer's delayed ACK: 40 ms.
Before that, CONNECT would wait in the same way for the end of the TLS handshake.
"""

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

_OPEN = Path("/proc/self/fd")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.001, 0.032  # a handshake over a network takes two round trips, and so longer


def set_tcp_nodelay(port: int) -> int:
    """Set TCP_NODELAY on every connection of this process to `port` of any host; return their number. Never raises.

    The SDK does not expose its socket, so we search for it, with a few system calls per descriptor. We close nothing,
    not even a duplicate: closing any descriptor of a file drops every lock that the process has on that file (fcntl(2),
    F_SETLK), including those of the journal, and a reader of the journal would then take it for abandoned.
    """
    found = 0
    with suppress(OSError):  # without /proc, requests are only slower
        for entry in tuple(_OPEN.iterdir()):
            with suppress(OSError):  # not a socket, not connected, or closed by now
                found += _set_if_ours(int(entry.name), port)
    return found


async def keep_tcp_nodelay(port: int) -> None:
    """Set TCP_NODELAY on whatever this process connects to `port`, until cancelled.

    Nobody tells us when the SDK's socket is connected, and that the handshake is over comes too late: so we look, and
    more and more seldom.
    """
    pause_s = _FIRST_PAUSE_S
    while True:
        await asyncio.sleep(pause_s)
        set_tcp_nodelay(port)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _set_if_ours(descriptor: int, port: int) -> bool:
    """Set TCP_NODELAY on `descriptor` if it is a TCP connection to `port`; return whether it is."""
    connection = socket.socket(fileno=descriptor)
    try:
        is_ours = connection.type == socket.SOCK_STREAM and connection.getpeername()[1:2] == (port,)
        if is_ours:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return is_ours
    finally:
        connection.detach()
