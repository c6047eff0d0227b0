"""Listening sockets, whose connections send at once, and the addresses under which clients reach them."""

import errno
import ipaddress
import socket

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def listen(address: tuple[str, int]) -> socket.socket:
    """Bind and listen on a host and a port; port 0 is any free one, and a host may be an address of either family.

    The protocol is named because asyncio sets TCP_NODELAY only on connections of a socket that names it, which those of
    `socket.create_server` do not: small answers would wait 40 ms for the client's delayed acknowledgement.

    Raises:
        OSError: with a sentence as `strerror` that says which address, why, and what to do.
    """
    host, port = address
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError):
        raise OSError(errno.EADDRNOTAVAIL, f"{host} is neither an address nor a name of this machine") from None
    family, _, _, _, where = found[0]
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # `::` is for IPv4 too
        bound.bind(where)
        bound.listen()
    except OSError as error:
        bound.close()
        raise OSError(error.errno, _words(error, host, port)) from None
    return bound


def reachable_host(host: str) -> str:
    """Return the host under which this machine reaches what listens on `host`, as a URL spells it."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1"
    return f"[{host}]" if address.version == 6 else host  # noqa: PLR2004 - IPv6


def endpoint_host(host: str) -> str:
    """Return the host that devices are told, which the server's certificate names: localhost, if that is enough."""
    reachable = reachable_host(host).strip("[]")
    return "localhost" if reachable in LOOPBACK else reachable


def _words(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} of {host} is in use; end the program that uses it, or choose another port (0: any)"
        case errno.EACCES:
            return f"port {port} of {host} is for root only; choose one from 1024 on, or 0 for any"
        case errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine"
        case _:
            return f"cannot listen on port {port} of {host}: {error.strerror}"
