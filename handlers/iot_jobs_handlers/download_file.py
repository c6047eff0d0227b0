"""Download one file over HTTPS below a directory that the device's owner allows: all of it is there, or nothing."""

import hashlib
import os
import re
import ssl
import stat
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from iot_jobs_agent.handler import Handler, HandlerError, Job, Outcome
from iot_jobs_handlers import https
from iot_jobs_handlers.partial import Partial, drop_old
from iot_jobs_handlers.roots import Outside, entry

NAME = "download-file"
MIB = 1024 * 1024
CHUNK_BYTES = 256 * 1024
CONNECTIONS = 5
MAX_MB = 1024


class Params(BaseModel, frozen=True, extra="forbid"):
    """What to fetch, and where to put it."""

    url: Annotated[str, AfterValidator(https.valid_url)] = Field(description="https:// only; may be a presigned URL")
    path: str = Field(
        min_length=2, max_length=4096, pattern=r"^/[^\x00]*$", description="absolute path of the file, below a root"
    )
    sha256: str | None = Field(
        default=None, pattern=r"^[0-9a-fA-F]{64}$", description="what the file must have, in hexadecimal"
    )
    max_mb: int | None = Field(default=None, gt=0, description="largest size in MiB; never above that of the settings")
    mode: str | None = Field(
        default=None, pattern=r"^0?[0-7]{3}$", description='octal, as in "0640"; else that of the old file, or 0644'
    )


@dataclass(frozen=True, slots=True)
class Order:
    """The validated request: the params, the authorities to trust, the size limit, and the proxy."""

    params: Params
    context: ssl.SSLContext
    limit_mb: int
    proxy: str = ""

    @property
    def source(self) -> str:
        """The identity of the source: a digest of the URL without its query, which changes with each signature."""
        return hashlib.sha256(self.params.url.partition("?")[0].encode()).hexdigest()

    @property
    def mode(self) -> int | None:
        """The permissions that the document asks for, or None."""
        return int(self.params.mode, 8) if self.params.mode else None

    def matches(self, digest: str) -> bool:
        """Return whether the document asks for a file with this digest, or for any file."""
        return self.params.sha256 is None or self.params.sha256.lower() == digest


def download_file(params: Params, job: Job) -> Outcome:
    """Download the file, continuing where an earlier attempt was cut off.

    Settings: `roots`, `max_mb`, `ca_file`, `proxy`.
    """
    limit = job.settings.get("max_mb", MAX_MB)
    if not isinstance(limit, int) or limit <= 0:
        raise HandlerError(f"`max_mb` of [handler.{NAME}] must be a whole number of MiB")
    order = Order(
        params, https.trust(job.settings, NAME), min(limit, params.max_mb or limit), https.proxy_of(job.settings, NAME)
    )
    try:
        with entry(params.path, job.settings, NAME) as (directory, name):
            return provide(order, directory, name, job)
    except Outside as error:
        return Outcome.rejected(str(error))
    except https.NotNow as error:
        return Outcome.retry(str(error))
    except OSError as error:
        raise HandlerError(f"the file cannot be written: {error.strerror}") from None


def provide(order: Order, directory: int, name: str, job: Job) -> Outcome:
    """Make sure that the file is in its place, and download it if need be. Raises NotNow, HandlerError, OSError."""
    present = size_if_present(order, directory, name)
    if present is not None:
        return Outcome.succeeded(size_bytes=present, fetched_bytes=0)
    with Partial(directory, name, order.source) as partial:
        job.remove_with_execution(Path(order.params.path).parent / partial.name, partial.fileno())
        drop_old(directory, partial.name, order.limit_mb * MIB, job.unfinished_files())
        resumed_bytes = partial.size_bytes
        try:
            fetched = fetch(order, partial, job)
            digest = confirm_digest(order, partial)
            partial.publish(order.mode)
        except (HandlerError, OSError, https.NotNow) as error:
            if not partial.size_bytes or not (job.cancelled or isinstance(error, https.NotNow)):
                partial.discard()
            raise
        size_bytes = partial.size_bytes
    return Outcome.succeeded(size_bytes=size_bytes, fetched_bytes=fetched, resumed_bytes=resumed_bytes, sha256=digest)


def confirm_digest(order: Order, partial: Partial) -> str:
    """Return the digest of the downloaded file. HandlerError if it is not the one that was asked for."""
    digest = partial.sha256()
    if not order.matches(digest):
        raise HandlerError("the SHA-256 of what came is not the one that was asked for")
    return digest


def size_if_present(order: Order, directory: int, name: str) -> int | None:
    """Return the size of the target if it already has the digest: an attempt may have been cut off after its work."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise HandlerError("the file cannot be written: a directory has its name")
    if order.params.sha256 is None or not stat.S_ISREG(found.st_mode):
        return None
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except PermissionError:
        return None
    with os.fdopen(file, "rb") as stream:
        return found.st_size if order.matches(hashlib.file_digest(stream, "sha256").hexdigest()) else None


def fetch(order: Order, partial: Partial, job: Job) -> int:
    """Fetch the missing part over up to CONNECTIONS connections, as long as each adds something; return the bytes."""
    fetched = 0
    for connection in range(CONNECTIONS):
        before = partial.size_bytes
        try:
            return fetched + receive(order, partial, job)
        except https.NotNow:
            partial.keep()
            if job.cancelled or partial.size_bytes == before or connection == CONNECTIONS - 1:
                raise
            fetched += max(0, partial.size_bytes - before)
            job.progress(0, "the connection broke off; going on")
    raise AssertionError  # the last connection returns or raises


def receive(order: Order, partial: Partial, job: Job) -> int:
    """Receive over one connection; return how many bytes it brought. Raises NotNow if the connection breaks off."""
    headers = {"Accept-Encoding": "identity"}
    if not partial.etag:
        partial.restart("")
    if partial.size_bytes:
        headers |= {"Range": f"bytes={partial.size_bytes}-", "If-Range": partial.etag}
    with https.request(order.params.url, order.context, headers=headers, proxy=order.proxy) as answer:
        total = accept_response_head(order, partial, answer)
        first = partial.size_bytes
        percent = -1.0
        while chunk := https.read(answer, CHUNK_BYTES):
            if job.cancelled:
                partial.keep()
                raise HandlerError("cancelled")
            check_size(partial.size_bytes + len(chunk), order.limit_mb)
            partial.write(chunk)
            percent = report_progress(partial.size_bytes, total, percent, job)
        if total is not None and partial.size_bytes != total:
            raise https.NotNow(f"the connection broke off after {partial.size_bytes} of {total} bytes")
        return partial.size_bytes - first


def accept_response_head(order: Order, partial: Partial, answer: HTTPResponse) -> int | None:
    """Check the response head and adapt the partial file to it. Return the total size, None if the server omits it."""
    encoding = answer.getheader("Content-Encoding", "identity")
    if encoding.lower() not in {"", "identity"}:
        raise HandlerError("the server sent the file in a Content-Encoding that it was not asked for")
    said = answer.getheader("Content-Length", "")
    length = int(said) if re.fullmatch(r"[0-9]{1,18}", said) else None
    match answer.status:
        case 200:
            etag = answer.getheader("ETag", "")
            strong = etag if re.fullmatch(r'"[!#-~]*"', etag) else ""  # If-Range does not take a weak one
            partial.restart(strong, length)
            total = length
        case 206 if partial.size_bytes:
            total = end_of_range(partial, answer.getheader("Content-Range", ""))
            if answer.getheader("ETag", "") != partial.etag or total != partial.total_bytes:
                raise another_version(partial)
        case 416 if partial.size_bytes:
            raise another_version(partial)
        case _:
            raise https.refusal(answer)
    if total is None and not answer.chunked and order.params.sha256 is None:
        raise HandlerError("the server does not say how long the file is, so its end cannot be told; give sha256")
    check_size(total or 0, order.limit_mb)
    return total


def another_version(partial: Partial) -> https.NotNow:
    """Forget what is there, and return the exception. Parts may only be combined if validator and total are the same.

    Source: RFC 9110, 15.3.7.3.
    """
    partial.restart("")
    return https.NotNow("the server has another version of the file by now")


def end_of_range(partial: Partial, said: str) -> int:
    """Return the total size from a Content-Range (RFC 9110, 14.4). HandlerError unless it continues where we are."""
    found = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", said)
    if not found or int(found[1]) != partial.size_bytes or int(found[2]) != int(found[3]) - 1:
        raise HandlerError("the server sent another part of the file than it was asked for")
    return int(found[3])


def check_size(size_bytes: int, limit_mb: int) -> None:
    """Raise HandlerError if the size is above the limit."""
    if size_bytes > limit_mb * MIB:
        raise HandlerError(f"the file is larger than {limit_mb} MiB, the most that is allowed")


def report_progress(size_bytes: int, total: int | None, percent: float, job: Job) -> float:
    """Report the progress whenever it gained a percent (or 16 MiB without a total). Return what was last reported."""
    now = float(size_bytes * 100 // total) if total else size_bytes // (16 * MIB) / 1e6
    if now > percent:
        job.progress(now if total else 0, f"{size_bytes} of {total or 'unknown'} bytes")
        return now
    return percent


HANDLER = Handler(name=NAME, params=Params, run=download_file, summary=__doc__.splitlines()[0], on_interrupt="rerun")
