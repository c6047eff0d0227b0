"""Lets what is sent to the service leave at once, although the SDK has no option for it.

Nagle's algorithm (RFC 896) holds a small packet back while an earlier one is unacknowledged. After a notification that
earlier one is our PUBACK, which nobody answers, so the first request would wait for the peer's delayed ACK: 40 ms.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path

_OPEN = Path("/proc/self/fd")


def send_at_once(port: int) -> int:
    """Set TCP_NODELAY on every connection of this process to `port`, any host; how many there are. Never raises.

    Costs a few system calls a descriptor. The SDK keeps its socket to itself, hence the search; each is looked at
    through a duplicate of our own, so that one which is closed meanwhile is nobody else's.
    """
    found = 0
    with suppress(OSError):  # without /proc it is only slower
        for entry in tuple(_OPEN.iterdir()):
            with suppress(OSError):  # no socket, not connected, or closed by now
                found += _sends_at_once(os.dup(int(entry.name)), port)
    return found


def _sends_at_once(descriptor: int, port: int) -> bool:
    """Set it on this one, if it is such a connection; the descriptor is closed."""
    try:
        connection = socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        raise
    with connection:
        is_ours = connection.type == socket.SOCK_STREAM and connection.getpeername()[1:2] == (port,)
        if is_ours:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return is_ours
