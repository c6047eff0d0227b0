"""Collect a slice of the journal, compressed, and upload it to a presigned URL."""

import gzip
import re
import subprocess
import sys
import tempfile
from typing import IO, Annotated

from pydantic import AfterValidator, BaseModel, Field

from iot_jobs_agent.handler import Handler, HandlerError, Job, Outcome
from iot_jobs_handlers import https
from iot_jobs_handlers.services import full

NAME = "collect-logs"
MIB = 1024 * 1024
CHUNK_BYTES = 64 * 1024
_WHEN = (  # the part of systemd.time(7) that people use
    r"^(now|today|yesterday|-[0-9]{1,9} ?(s|m|min|h|d|w)|[0-9]{1,9} (second|minute|hour|day|week)s? ago"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}( [0-9]{2}:[0-9]{2}(:[0-9]{2})?)?( UTC)?)$"
)
_HIDDEN = "You are currently not seeing messages from other users"


class Params(BaseModel, frozen=True, extra="forbid"):
    """Which slice, and where to."""

    url: Annotated[str, AfterValidator(https.valid_url)] = Field(
        description="presigned URL for PUT, https:// only; gets text, compressed with gzip"
    )
    units: tuple[Annotated[str, Field(max_length=255, pattern=r"^[A-Za-z0-9_][A-Za-z0-9:_.@\\-]*$")], ...] = Field(
        default=(), max_length=50, description="of these units only; else of all that `units` of the settings allows"
    )
    since: str = Field(
        default="-1h", pattern=_WHEN, description="`-2h`, `2 days ago`, `yesterday`, `2026-01-31 08:00:00`"
    )
    until: str = Field(default="now", pattern=_WHEN, description="the same; a time of day is the device's own, or UTC")
    priority: str = Field(
        default="debug",
        pattern=r"^(emerg|alert|crit|err|warning|notice|info|debug)$",
        description="of this importance or a higher one",
    )
    max_mb: int = Field(
        default=16,
        gt=0,
        le=1024,
        description="largest upload in MiB, compressed; if it is not enough, newest first and the oldest left out",
    )


def collect_logs(params: Params, job: Job) -> Outcome:
    """Collect the logs and upload them. Settings: `units`, `ca_file`, `journal_directory`."""
    command = journalctl(params, job)
    if isinstance(command, Outcome):
        return command
    context, proxy = https.trust(job.settings, NAME), https.proxy_of(job.settings, NAME)
    with tempfile.TemporaryFile(dir=job.dir) as file:
        job.progress(5, "collecting")
        is_whole = collect(command, file, params.max_mb * MIB, job)
        if not is_whole:  # start over from the end, because the newest entries matter most
            file.seek(0)
            file.truncate()
            collect([*command, "--reverse"], file, params.max_mb * MIB, job)
        size_bytes = file.tell()
        file.seek(0)
        job.progress(50, f"uploading {size_bytes} bytes")
        try:
            headers = {"Content-Length": str(size_bytes)}
            with https.request(params.url, context, method="PUT", body=file, headers=headers, proxy=proxy) as answer:
                https.check_stored(answer)
        except https.NotNow as error:
            return Outcome.retry(str(error))
    return Outcome.succeeded(size_bytes=size_bytes, is_whole=is_whole)


def journalctl(params: Params, job: Job) -> list[str] | Outcome:
    """Return the command line, or a rejection if a unit is not allowed. HandlerError if the settings are wrong."""
    allowed, directory = job.settings.get("units"), job.settings.get("journal_directory", "")
    if allowed is not None and not (isinstance(allowed, list) and all(isinstance(each, str) for each in allowed)):
        raise HandlerError(f"`units` of [handler.{NAME}] must be a list of unit names")
    if not isinstance(directory, str):
        raise HandlerError(f"`journal_directory` of [handler.{NAME}] must be a path")
    units = [full(each) for each in params.units or tuple(allowed or ())]
    if allowed == []:
        return Outcome.rejected(
            f"`units` in [handler.{NAME}] is empty, so that no unit's log may be read; add some there"
        )
    for unit in units:
        if allowed is not None and unit not in map(full, allowed):
            return Outcome.rejected(f"{unit} is not one of `units` in [handler.{NAME}]; add it there, or leave it out")
    return [
        "journalctl",
        "--no-pager",
        "--output=short-iso-precise",
        *([f"--directory={directory}"] if directory else []),
        f"--since={params.since}",
        f"--until={params.until}",
        f"--priority={params.priority}",
        *(f"--unit={unit}" for unit in units),
    ]


def collect(command: list[str], file: IO[bytes], limit_bytes: int, job: Job) -> bool:
    """Write the output of the command to the file, compressed. Return False if not all of it fitted.

    Raises:
        HandlerError: the command failed, we may not read the journal, or the job was cancelled.
    """
    is_whole = True
    with tempfile.TemporaryFile(dir=job.dir) as err:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err)
        except OSError as error:
            raise HandlerError(f"journalctl could not be started: {error.strerror}") from None
        with process, gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:
            while chunk := process.stdout.read(CHUNK_BYTES) if process.stdout else b"":
                if job.cancelled or file.tell() + len(chunk) + 1024 > limit_bytes:
                    is_whole = False
                    process.terminate()
                    break
                packed.write(chunk)
                packed.flush()  # otherwise the size would leave out what is still in the compressor
        err.seek(0)
        said = err.read(CHUNK_BYTES).decode(errors="replace")
    judge(process.returncode, said, is_whole=is_whole)
    if job.cancelled:
        raise HandlerError("cancelled")
    return is_whole


def judge(code: int, said: str, *, is_whole: bool) -> None:
    """Raise HandlerError if we could not read the journal, or only part of it."""
    sys.stderr.write(said)
    if _HIDDEN in said or "insufficient permissions" in said:
        raise HandlerError("the journal cannot be read; add the group systemd-journal, see docs/install.md")
    if code and is_whole:
        line = re.sub(r"\s+", " ", said.strip().partition("\n")[0])
        raise HandlerError(": ".join(filter(None, [f"journalctl exited with code {code}", line])))


HANDLER = Handler(name=NAME, params=Params, run=collect_logs, summary=__doc__.splitlines()[0], on_interrupt="rerun")
