"""Listening sockets, whose connections send at once."""

import socket


def listen(address: tuple[str, int]) -> socket.socket:
    """Bind and listen; port 0 is any free one. Raises OSError.

    The protocol is named because asyncio sets TCP_NODELAY only on connections of a socket that names it, which those of
    `socket.create_server` do not: small answers would wait 40 ms for the client's delayed acknowledgement.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen()
    except OSError as error:
        bound.close()
        raise OSError(error.errno, f"{error.strerror} ({address[0]}, port {address[1]})") from None
    return bound
