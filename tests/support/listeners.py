"""TLS listeners of Python's `ssl`, each on a thread of its own, for what AWS IoT Core would never do."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import TypeAlias

import trustme

WAIT_S = 10

Talk: TypeAlias = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(talk: Talk, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Accept connections, one thread each, and `talk` on them after the TLS handshake, if there is one; the port.

    A connection whose handshake fails is closed. All of them are closed at the end.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        connection.settimeout(WAIT_S)
        with contextlib.suppress(OSError), connection:
            if context is None:
                talk(connection)
            else:
                with context.wrap_socket(connection, server_side=True) as secure:
                    talk(secure)

    def accept() -> None:
        with contextlib.suppress(OSError):  # the listener was shut down
            while True:
                accepted.append(listener.accept()[0])
                threading.Thread(target=serve, args=(accepted[-1],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(WAIT_S)
        for connection in accepted:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def server_context(
    authority: trustme.CA, *, clients: trustme.CA | None, newest: ssl.TLSVersion, name: str = "localhost"
) -> ssl.SSLContext:
    """A server's context; it asks for a certificate of `clients`, or for none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    context.maximum_version = newest
    if clients is not None:
        clients.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def say_nothing(connection: socket.socket) -> None:
    """Read until the peer goes away."""
    while connection.recv(4096):
        pass
