"""HTTPS for built-ins: one request, its answer, and what the answer means. Plain HTTP is for loopback only.

No message ever contains a URL, because the query of a presigned URL is a password. We use the standard library rather
than `curl`, because a minimal Debian has no `curl`, and it shows URLs in the process list and does not know If-Range.
"""

import base64
import contextlib
import ipaddress
import re
import ssl
import urllib.parse
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import IO, Any

from iot_jobs_agent.handler import HandlerError

SILENCE_S = 20.0  # how long a server may send nothing
REDIRECTS = 5
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_HEAD_BYTES = 2048
_REFUSED_BY_PROXY = re.compile(r"Tunnel connection failed: (\d+)")  # http.client's words


class NotNow(Exception):  # noqa: N818 - it says what is the case
    """The network or the server cannot do it right now, or the URL has expired. The message is for people."""


def valid_url(url: str) -> str:
    """Return the URL if it may be used. Otherwise raise ValueError, whose message contains no part of the URL."""
    if not re.fullmatch(r"[!-~]{1,8192}", url):
        raise ValueError("must be at most 8192 visible ASCII characters; percent-encode all others")
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a URL that can be read") from None
    if parts.scheme not in {"https", "http"} or not host or parts.username is not None:
        raise ValueError("must be https://HOST/PATH, without a user name")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("must begin with https:// (http:// is for loopback only)")
    return url


def is_loopback(host: str) -> bool:
    """Return whether traffic to the host never leaves this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def trust(settings: Mapping[str, Any], handler: str) -> ssl.SSLContext:
    """Return a context that trusts the system's authorities, or instead those in the PEM file `ca_file`.

    HandlerError if the file cannot be used.
    """
    file = settings.get("ca_file")
    if file is not None and not isinstance(file, str):
        raise HandlerError(f"`ca_file` of [handler.{handler}] must be the path of a PEM file")
    try:
        return ssl.create_default_context(cafile=file)
    except (OSError, ValueError):
        raise HandlerError(f"`ca_file` of [handler.{handler}] cannot be read as PEM certificates") from None


def proxy_of(settings: Mapping[str, Any], handler: str) -> str:
    """Return the setting `proxy`, which the agent copies from aws.proxy; "" without one. HandlerError if it is none."""
    proxy = settings.get("proxy", "")
    if not isinstance(proxy, str):
        raise HandlerError(f"`proxy` of [handler.{handler}] must be like http://proxy.example:3128")
    return proxy


@contextlib.contextmanager
def request(
    url: str,
    context: ssl.SSLContext,
    *,
    headers: Mapping[str, str],
    method: str = "GET",
    body: IO[bytes] | None = None,
    proxy: str = "",
) -> Iterator[HTTPResponse]:
    """Send one request and yield the answer, whatever its status. A GET follows redirects, to https only. Blocks.

    Raises:
        NotNow: there is no answer, the connection breaks, or the certificate is not trusted.
        HandlerError: the server redirects too often, or to something other than https.
    """
    for _ in range(REDIRECTS + 1):
        with contextlib.closing(connection(url, context, proxy)) as line:
            with translated_errors():
                line.request(method, target(url), body=body, headers={"User-Agent": "iot-jobs-agent", **headers})
                answer = line.getresponse()
            if method != "GET" or answer.status not in _REDIRECT_STATUSES:
                yield answer
                return
            url = follow_redirect(url, answer.getheader("Location", ""))
    raise HandlerError(f"the server redirects more than {REDIRECTS} times")


def connection(url: str, context: ssl.SSLContext, proxy: str = "") -> HTTPConnection:
    """Return a connection for the URL, not opened yet. `proxy` is the URL of a proxy, which plain HTTP does not use."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "http":
        return HTTPConnection(host, parts.port, timeout=SILENCE_S)
    if not proxy:
        return HTTPSConnection(host, parts.port, timeout=SILENCE_S, context=context)
    through = urllib.parse.urlsplit(proxy)
    line = HTTPSConnection(through.hostname or "", through.port, timeout=SILENCE_S, context=context)
    line.set_tunnel(host, parts.port or 443, _proxy_authorization(through))
    return line


def _proxy_authorization(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    user, password = urllib.parse.unquote(proxy.username), urllib.parse.unquote(proxy.password or "")
    return {"Proxy-Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def target(url: str) -> str:
    """Return the request target: the path and the query of the URL."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))


def follow_redirect(url: str, location: str) -> str:
    """Return the URL that a redirect leads to. HandlerError if it is not an https URL."""
    try:
        there = valid_url(urllib.parse.urljoin(url, location))
    except ValueError:
        there = ""
    if not there.startswith("https:"):
        raise HandlerError("the server redirects to something other than an https URL")
    return there


def read(answer: HTTPResponse, size_bytes: int) -> bytes:
    """Read some of the body; empty at its end, or if the connection was closed. Raises NotNow."""
    with translated_errors():
        return answer.read(size_bytes)


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Turn network errors into NotNow, in our own words, because the original message may contain the URL."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise NotNow(f"the server's certificate is not trusted: {error.verify_message}") from None
    except TimeoutError:
        raise NotNow(f"the server said nothing for {SILENCE_S:g} s") from None
    except OSError as error:
        if refused := _REFUSED_BY_PROXY.match(str(error)):
            raise NotNow(f"the proxy does not let the connection through (it answered {refused[1]})") from None
        raise NotNow(f"the connection failed: {error.strerror or type(error).__name__}") from None
    except (HTTPException, UnicodeError) as error:
        raise NotNow(f"the connection failed: {type(error).__name__}") from None


def check_stored(answer: HTTPResponse) -> None:
    """Raise NotNow or HandlerError unless the server accepted the upload."""
    if answer.status not in {200, 201, 204}:
        raise refusal(answer)


def refusal(answer: HTTPResponse) -> Exception:
    """Return the exception for an unwanted answer: NotNow if trying later or with a fresh URL may help.

    S3 answers 403 to an expired presigned URL, and 400 ExpiredToken if the credentials that signed it expired first.
    Source: Amazon S3 API reference, "Error responses".
    """
    status = answer.status
    head = b""
    with contextlib.suppress(NotNow):
        head = read(answer, _HEAD_BYTES)
    if status in {403, 410} or (status == 400 and b"<Code>ExpiredToken</Code>" in head):  # noqa: PLR2004 - HTTP's names
        return NotNow(f"the URL has expired, or does not allow this (the server answered {status})")
    if status in {408, 425, 429} or status >= 500:  # noqa: PLR2004 - HTTP's names
        return NotNow(f"the server answered {status}")
    return HandlerError(f"the server answered {status}")
