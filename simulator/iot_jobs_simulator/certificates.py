"""Throwaway certificates: an authority, a server for localhost, a client that may be any thing, and one for a thing."""

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import trustme

SERVER_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_FILES: Final = ("ca.pem", "ca.key", "server.pem", "server.key", "client.pem", "client.key")
_MAX_COMMON_NAME: Final = 64


def provide(directory: Path, host: str = "localhost") -> None:
    """Write the files that are missing; a complete set is kept, so that devices survive a restart of the simulator.

    The server's certificate names `host` besides SERVER_NAMES. For another host than those, it is written each time.
    """
    if all((directory / name).exists() for name in _FILES):
        if host not in SERVER_NAMES:
            _write_server(directory, _authority(directory), [*SERVER_NAMES, host])
        return
    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    client = authority.issue_cert("any-thing.invalid", common_name="any thing")
    _write(directory / "ca.pem", [authority.cert_pem], 0o644)
    _write(directory / "ca.key", [authority.private_key_pem], 0o600)
    _write_server(directory, authority, [*SERVER_NAMES, *([host] if host not in SERVER_NAMES else [])])
    _write(directory / "client.pem", client.cert_chain_pems, 0o644)
    _write(directory / "client.key", [client.private_key_pem], 0o600)


def provide_for_thing(directory: Path, thing_name: str) -> None:
    """Write THING.pem and THING.key, the thing's name as common name. Files that exist are kept.

    A thing whose name is one of ours (`ca`, `server`, `client`) gets THING.thing.pem and THING.thing.key: no name of a
    thing has a dot. A name of more than 64 characters gets none: X.509 has no longer common names (RFC 5280,
    ub-common-name).
    """
    stem = f"{thing_name}.thing" if f"{thing_name}.pem" in _FILES else thing_name
    certificate, key = directory / f"{stem}.pem", directory / f"{stem}.key"
    if len(thing_name) > _MAX_COMMON_NAME or certificate.exists() or key.exists():
        return
    issued = _authority(directory).issue_cert("thing.invalid", common_name=thing_name)
    _write(key, [issued.private_key_pem], 0o600)
    _write(certificate, issued.cert_chain_pems, 0o644)


def common_name(tls: ssl.SSLObject | None) -> str | None:
    """Of the client's certificate; None without TLS."""
    certificate: Any = tls.getpeercert() if tls is not None else None
    if not certificate:
        return None
    subject = {name: value for entry in certificate["subject"] for name, value in entry}
    return str(subject.get("commonName", ""))


def server_context(
    directory: Path, protocols: Sequence[str] = (), *, asks_for_certificate: bool = True
) -> ssl.SSLContext:
    """TLS for a device port: a client must show a certificate of our authority, as AWS IoT Core demands.

    Unless clients sign what they send: then they are not asked for one. `protocols` may be chosen by ALPN.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem", directory / "server.key")
    context.load_verify_locations(directory / "ca.pem")
    if asks_for_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def _authority(directory: Path) -> trustme.CA:
    return trustme.CA.from_pem((directory / "ca.pem").read_bytes(), (directory / "ca.key").read_bytes())


def _write_server(directory: Path, authority: trustme.CA, names: Sequence[str]) -> None:
    server = authority.issue_cert(*names)
    _write(directory / "server.pem", server.cert_chain_pems, 0o644)
    _write(directory / "server.key", [server.private_key_pem], 0o600)


def _write(path: Path, blobs: list[trustme.Blob], mode: int) -> None:
    """Create the file with its mode at once: a private key is never readable by others, not even for a moment."""
    path.unlink(missing_ok=True)
    path.touch(mode=mode, exist_ok=False)
    path.write_bytes(b"".join(blob.bytes() for blob in blobs))
