"""The files of one attempt, as the agent makes and reads them. `shim.files` says what is in them.

Nothing of it may raise for what it finds: a torn or forged file is no result. Everything here blocks, shortly.
"""

import contextlib
import errno
import fcntl
import json
import math
import os
import secrets
import stat
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from iot_jobs_agent.core.events import AttemptProgressed
from iot_jobs_agent.core.job import AttemptId, AttemptResult, Ending, StartReason, Step, StepKind
from iot_jobs_agent.shim import files

EVENTS_BYTES = 1 << 20
LONGEST_S = (604800.0, 600.0)  # that a manifest may say, of time and of grace
SMALL_BYTES = 1 << 20
TAIL_BYTES = 1 << 16
TRACEBACK_BYTES = 1 << 14
QUOTA_EVERY_S = 5.0
TRACEBACK = "traceback"  # the name is iot_jobs_agent.worker's


@dataclass(frozen=True, slots=True)
class Facts:
    """What a handler is told beside its step: `phase` and `reason` say why this start (docs/handlers.md)."""

    thing_name: str
    phase: Literal["run", "resume"] = "run"
    reason: StartReason = StartReason.FIRST


class Result(BaseModel):
    """`result.json`, checked: it crossed a process and a disk. Members of a later version are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    ending: Literal["exited", "signaled", "oom", "deadline", "stopped", "quota", "unstartable"]
    code: int | None = Field(default=None, ge=0, le=255)
    signal: int | None = Field(default=None, ge=1, le=64)
    duration_s: float = Field(default=0.0, ge=0)
    swept: int = Field(default=0, ge=0)
    unswept: int = Field(default=0, ge=0)
    stderr_lines: int = Field(default=0, ge=0)
    handler_result: str | None = None
    bad_result: str = ""
    reason: str = ""
    notes: tuple[str, ...] = ()


class Said(BaseModel):
    """A line of `events.jsonl`, checked likewise."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    progress: float | None = Field(default=None, ge=0, le=100)
    message: str | None = None
    details: dict[str, str] = Field(default_factory=dict)
    deadline: float | None = None

    def then(self, later: "Said") -> "Said":
        """Add what was said later."""
        news = {name: value for name, value in later if value is not None}
        return self.model_copy(update=news | {"details": self.details | later.details})


SCRIPTS = str(Path(sys.executable).parent)  # where jobctl lies, last in a handler's PATH: it shadows no program


@dataclass(frozen=True, slots=True)
class Position:
    """How far `events.jsonl` was read; another inode is another file."""

    inode: int = 0
    offset: int = 0


def fill(directory: Path, job_directory: Path, attempt: AttemptId, step: Step, facts: Facts) -> None:
    """Write what the shim and the handler read. Raises OSError.

    Not fsynced: after power loss an attempt is over, and that its directory exists, which is durable, is all that
    counts.
    """
    token = secrets.token_hex(16)
    is_handler = step.kind is StepKind.HANDLER
    result = job_directory / f".result.{attempt.step}.{attempt.number}"
    scratch = job_directory / ".tmp"  # not /tmp: the unit's private one is emptied under handlers that run on
    scratch.mkdir(mode=0o700, exist_ok=True)
    environment = {
        "PATH": os.pathsep.join([os.environ.get("PATH") or os.defpath, SCRIPTS]),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "HOME": str(job_directory),
        "TMPDIR": str(scratch),
        "JOB_PROTOCOL": "1",
        "JOB_ID": attempt.execution.job_id,
        "JOB_EXECUTION_NUMBER": str(attempt.execution.execution_number),
        "JOB_NAMESPACE": attempt.execution.namespace,
        "JOB_THING_NAME": facts.thing_name,
        "JOB_STEP": str(attempt.step),
        "JOB_ATTEMPT": str(attempt.number),
        "JOB_PHASE": facts.phase,
        "JOB_REASON": facts.reason,
        "JOB_DEADLINE_S": str(math.ceil(step.timeout_s)),
        "JOB_SETTINGS_FILE": str(directory / files.SETTINGS),
        "JOB_DIR": str(job_directory),
        "JOB_FILE": str(directory / files.JOB),
        "JOB_TOKEN": token,
    }
    if is_handler:
        environment |= {"JOB_CONTROL_FD": "3", "JOB_RESULT_FILE": str(result)}
    spec = {
        "argv": [*step.argv, facts.phase] if is_handler else list(step.argv),
        "env": environment,
        "cwd": str(job_directory),
        "stdin": str(directory / files.JOB),
        "timeout_s": step.timeout_s,
        "max_timeout_s": max(step.timeout_s, step.max_timeout_s),
        "grace_s": step.grace_s,
        "quota_mb": step.quota_mb,
        "quota_every_s": QUOTA_EVERY_S,
        "kind": step.kind.value,
        "handler_result": str(result) if is_handler else "",
        "checkpoint": str(job_directory / files.CHECKPOINT),
        "wake": str(directory.parent.parent / files.WAKE),
        "token": token,
    }
    write(directory / files.JOB, step.input, 0o400)
    write(directory / files.SETTINGS, step.settings, 0o400)
    write(directory / files.SPEC, json.dumps(spec), 0o600)
    os.mkfifo(directory / files.CONTROL, 0o600)


def forget_checkpoint(job_directory: Path) -> None:
    """Remove the checkpoint of the step before, so that it does not come back. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        (job_directory / files.CHECKPOINT).unlink()
        sync(job_directory)


def write(path: Path, text: str, mode: int) -> None:
    """Make a file that was not there. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(text)


def sync(directory: Path) -> None:
    """Make the names in a directory survive power loss. Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def discard(directory: Path) -> None:
    """Remove what may hold secrets and is of no use once the attempt is over; without it a late shim does nothing."""
    for name in (files.SPEC, files.JOB, files.SETTINGS, files.CONTROL):
        with contextlib.suppress(OSError):
            (directory / name).unlink(missing_ok=True)


def claim(directory: Path) -> int | None:
    """Take the attempt's lock: its descriptor, or None while a shim holds it. Who has it knows that no shim lives."""
    try:
        fd = os.open(directory / files.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:  # not even a lock can be made on this disk, or a handler has removed the directory
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def opened(path: Path) -> BinaryIO:
    """Open a regular file, and nothing else that a handler may have put in its place. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file")
    return os.fdopen(fd, "rb")


def read_start(path: Path) -> bytes:
    """Read a small file. Raises OSError."""
    with opened(path) as file:
        return file.read(SMALL_BYTES)


def read_shim_pid(directory: Path) -> int:
    """Read the pid that the shim left in its lock; 0 before it did."""
    try:
        return int(read_start(directory / files.LOCK).split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def read_age_s(directory: Path) -> float:
    """Read for how long the shim lived, as far as it said so (`keep_age` of its supervisor); at least 0."""
    try:
        age_s = float(read_start(directory / files.LOCK).split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return age_s if 0 <= age_s < math.inf else 0.0


def read_token(directory: Path) -> str:
    """Read the attempt's token; empty if that is impossible."""
    try:
        return str(json.loads(read_start(directory / files.SPEC))["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def read_limits(directory: Path) -> tuple[float, float]:
    """Read how long the handler may run at most, and the grace of its stop, in seconds.

    What cannot be read is taken for the longest that a manifest may say: nobody's attempt ends for an unreadable file.
    """
    try:
        spec = json.loads(read_start(directory / files.SPEC))
        said = float(spec["max_timeout_s"]), float(spec["grace_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return LONGEST_S
    return said if all(0 <= each <= most for each, most in zip(said, LONGEST_S, strict=True)) else LONGEST_S


def read_tail(path: Path) -> str:
    """Read what was kept of an output; what is no UTF-8 becomes U+FFFD."""
    try:
        with opened(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read(TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def take_traceback(job_directory: Path) -> str:
    """Read and remove what our worker left of an internal error, for the device's log and nothing else."""
    path = job_directory / TRACEBACK
    try:
        with opened(path) as file:
            text = file.read(TRACEBACK_BYTES).decode("utf-8", "replace")
        path.unlink()
    except OSError:
        return ""
    return text


def read_result(directory: Path) -> AttemptResult | None:
    """Read how the attempt ended; None if there is no result, or none that can be believed."""
    try:
        read = Result.model_validate_json(read_start(directory / files.RESULT))
    except (OSError, ValidationError):
        return None
    by_signal = read.ending in {"signaled", "oom"}
    if (read.ending == "exited") != (read.code is not None) or by_signal != (read.signal is not None):
        return None
    parsed, bad_result = parsed_result(read.handler_result)
    return AttemptResult(
        ending=Ending(read.ending),
        code=read.code,
        signal=read.signal,
        duration_s=read.duration_s,
        swept=read.swept,
        unswept=read.unswept,
        stderr_lines=read.stderr_lines,
        handler_result=parsed,
        bad_result=read.bad_result or bad_result,
        reason=read.reason,
        stdout=read_tail(directory / files.STDOUT),
        stderr=read_tail(directory / files.STDERR),
        notes=read.notes,
    )


def lost(directory: Path, reason: str, swept: int, unswept: int) -> AttemptResult:
    """Tell of an attempt without a result what can be told."""
    return AttemptResult(
        ending=Ending.LOST,
        duration_s=read_age_s(directory),
        swept=swept,
        unswept=unswept,
        reason=reason,
        stdout=read_tail(directory / files.STDOUT),
        stderr=read_tail(directory / files.STDERR),
    )


def parsed_result(text: str | None) -> tuple[Mapping[str, Any] | None, str]:
    """Parse the handler's own result, or say why that is impossible."""
    if text is None:
        return None, ""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None, "the result file is not JSON"
    return (parsed, "") if isinstance(parsed, dict) else (None, "the result file is not a JSON object")


def read_progress(directory: Path, attempt: AttemptId, position: Position) -> tuple[AttemptProgressed | None, Position]:
    """Read what the handler said since `position`, as one event (None if it said nothing), and the new position."""
    try:
        with opened(directory / files.EVENTS) as file:
            inode = os.fstat(file.fileno()).st_ino
            offset = position.offset if position.inode == inode else 0
            file.seek(offset)
            data = file.read(EVENTS_BYTES)
    except OSError:
        return None, position
    complete = data[: data.rfind(b"\n") + 1]
    position = Position(inode, offset + len(complete))
    heard = Said()
    for line in complete.splitlines():
        with contextlib.suppress(ValidationError):
            heard = heard.then(Said.model_validate_json(line))
    if heard == Said():
        return None, position
    left_s = max(0.0, heard.deadline - time.monotonic()) if heard.deadline is not None else None
    return AttemptProgressed(attempt, heard.progress, heard.message, heard.details, left_s), position
