"""The one place for TLS: what the SDK gets for MQTT and HTTPS, and what Python's `ssl` gets to look for faults.

Owns the device's certificate, its private key and the root CA while the agent runs. They are read again for each
connection. If what is there cannot be used, because somebody is replacing the files, what could be used last is used
again. Nothing here shows their contents. TLS 1.2 is the least, as AWS IoT's own default policy has it.
"""

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from awscrt import io

from iot_jobs_agent.aws.sdk import SdkError, sdk_errors
from iot_jobs_agent.certificate import validity_problem
from iot_jobs_agent.config.values import Aws
from iot_jobs_agent.errors import AgentError

if TYPE_CHECKING:
    import ssl

ALPN_PORT = 443  # serves several protocols, which ALPN tells apart (AWS IoT developer guide, page protocols)
ALPN_MQTT = "x-amzn-mqtt-ca"
ALPN_HTTP = "x-amzn-http-ca"
_LARGEST_BYTES = 1024 * 1024
_OF_ANOTHER = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}  # OpenSSL's reasons


class CredentialsError(AgentError):
    """The certificate's files cannot be used. One sentence names the file, what is wrong with it, and what to do."""


class Credentials(NamedTuple):
    """The contents of the three PEM files."""

    certificate: bytes
    private_key: bytes
    root_ca: bytes


class TlsContexts:
    """Makes the SDK's TLS contexts for one device. `warn` takes a message and keyword facts.

    It warns once about files that cannot be used while older contents can, and again only if the fault changes.
    """

    def __init__(self, aws: Aws, warn: Callable[..., Any] | None = None) -> None:
        self._aws = aws
        self._warn = warn
        self._usable: Credentials | None = None
        self._problem = ""

    def make(self, port: int, alpn: str) -> Any:
        """Return a new context with the device's certificate; `alpn` is used on port 443 only. Blocks: reads the files.

        Raises:
            SdkError: the files cannot be used, and never could; `name` is then CredentialsError.
        """
        found = None
        with sdk_errors():
            try:
                found = read_credentials(self._aws)
                context = _sdk_context(found, port, alpn)
            except (CredentialsError, SdkError) as error:
                problem = _sentence(self._aws, found) if found and isinstance(error, SdkError) else str(error)
                if self._usable is None:
                    raise CredentialsError(problem) from None
                self._note(problem)
                return _sdk_context(self._usable, port, alpn)
        self._usable, self._problem = found, ""
        return context

    def _note(self, problem: str) -> None:
        if problem != self._problem and self._warn is not None:
            hint = "the agent goes on with the files as they were, and looks again for each connection"
            self._warn("the credentials on disk cannot be used", why=problem, hint=hint)
        self._problem = problem


def read_credentials(aws: Aws) -> Credentials:
    """Read the three files. Blocks.

    Raises:
        CredentialsError: one of them cannot be read.
    """
    return Credentials(*(_read(key, getattr(aws, key)) for key in Credentials._fields))


def credentials_problem(aws: Aws) -> str:
    """Return what is wrong with the three files, a sentence without its full stop; "" if the SDK takes them. Blocks."""
    try:
        found = read_credentials(aws)
        _sdk_context(found, 0, "")
    except CredentialsError as error:
        return str(error)
    except SdkError:
        return _sentence(aws, found)
    return ""


def certificate_problem(aws: Aws) -> str:
    """Return why the certificate is not valid now, a sentence without its full stop; "" if it is. Blocks.

    Only the service's clock decides that, so it explains a failure, and is no reason not to try.
    """
    problem = validity_problem(aws.certificate, time.time())
    return f"aws.certificate: {aws.certificate} {problem}" if problem else ""


def python_context(credentials: Credentials, *, with_certificate: bool = True) -> "ssl.SSLContext":
    """Return the context of Python's `ssl` that does what the SDK's does. No disk is touched.

    Raises:
        ssl.SSLError: OpenSSL does not take the files; `reason` is its own word for why.
        OSError: the kernel gives no memory for them.
    """
    import ssl  # noqa: PLC0415 - as in _sentence

    from iot_jobs_agent.aws.pem import rewrapped  # noqa: PLC0415 - as in _sentence

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=rewrapped(credentials.root_ca).decode("ascii"))
    if with_certificate:
        _load_pair(context, credentials)
    return context


def _sdk_context(credentials: Credentials, port: int, alpn: str) -> Any:
    with sdk_errors():
        options = io.TlsContextOptions.create_client_with_mtls(credentials.certificate, credentials.private_key)
        options.override_default_trust_store(credentials.root_ca)
        options.min_tls_ver = io.TlsVersion.TLSv1_2
        if port == ALPN_PORT:
            options.alpn_list = [alpn]
        return io.ClientTlsContext(options)


def _read(key: str, path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # at once, even if it is a FIFO
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CredentialsError(f"aws.{key}: {path} is not a regular file; name the PEM file itself")
            # a buffer of the largest size would stay in our memory
            return file.read(min(status.st_size, _LARGEST_BYTES)) or b""
    except FileNotFoundError:
        raise CredentialsError(f"aws.{key}: {path} does not exist; put the PEM file there") from None
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise CredentialsError(f"aws.{key}: {path} cannot be read ({reason}); let the agent's user read it") from None


def _sentence(aws: Aws, found: Credentials) -> str:
    """Return why the SDK does not take the files: first each file by itself, then key and certificate together."""
    import ssl  # noqa: PLC0415 - takes memory, and only a fault needs it

    from iot_jobs_agent.aws.pem import (  # noqa: PLC0415 - the same
        AS_ISSUED,
        TAKEN,
        certificates_in,
        pem_problem,
    )

    for key, content in found._asdict().items():
        if problem := pem_problem(content, private=key == "private_key"):
            return f"aws.{key}: {getattr(aws, key)} {problem}"
    try:
        _load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), found)
    except ssl.SSLError as error:
        if error.reason in _OF_ANOTHER:
            if any(_is_pair(found._replace(certificate=each)) for each in certificates_in(found.certificate)[1:]):
                return (
                    f"aws.certificate: {aws.certificate} begins with another certificate than that of the key "
                    f"{aws.private_key}; put the device's own first, and those of its authorities after it"
                )
            return (
                f"aws.private_key: {aws.private_key} is not the key of the certificate {aws.certificate}; "
                "put the key and the certificate there that were issued together"
            )
        return f"aws.certificate: {aws.certificate} and {aws.private_key} cannot be used ({error.reason}); {TAKEN}"
    except OSError:
        pass  # no memory for them; the sentence below is still true
    return f"aws.root_ca: {aws.root_ca} or {aws.certificate} cannot be used; put both there {AS_ISSUED}"


def _is_pair(credentials: Credentials) -> bool:
    import ssl  # noqa: PLC0415 - as in _sentence

    try:
        _load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), credentials)
    except OSError:
        return False
    return True


def _load_pair(context: "ssl.SSLContext", credentials: Credentials) -> None:
    """Load certificate and key, which `ssl` takes from files only, so they are files in memory (memfd_create(2))."""
    with _memory_file(credentials.certificate) as certificate, _memory_file(credentials.private_key) as key:
        context.load_cert_chain(certificate, key, password="")  # or OpenSSL would ask on the terminal


@contextlib.contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    from iot_jobs_agent.aws.pem import rewrapped  # noqa: PLC0415 - as in _sentence

    descriptor = os.memfd_create("pem")
    try:
        os.write(descriptor, rewrapped(content))
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
