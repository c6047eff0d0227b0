"""What the agent keeps in mind about an attempt that has not ended."""

import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from iot_jobs_agent.attempts.directory import Position
from iot_jobs_agent.core.job import AttemptId, ExecutionId

if TYPE_CHECKING:
    import asyncio

NUMBERS = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")


# What the device lacks, for any attempt.
LACKS = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EIO, errno.EROFS)
)


class DeviceFaultError(Exception):
    """The device cannot start attempts now; the message says what it lacks."""


class Watch:
    """An attempt that has not ended, as far as we know. `longest_s` is how long its handler may run."""

    __slots__ = (
        "attempt",
        "control",
        "directory",
        "grace_s",
        "limit",
        "longest_s",
        "looks",
        "pid",
        "pidfd",
        "position",
        "since",
        "status",
        "stops",
    )

    def __init__(self, attempt: AttemptId, directory: Path, limits_s: tuple[float, float]) -> None:
        self.attempt = attempt
        self.directory = directory
        self.longest_s, self.grace_s = limits_s
        self.position = Position()
        self.since = 0  # when it was launched, if by this agent: not from a file, which its handler could change
        self.pid = 0
        self.looks = 0  # in vain, for its shim
        self.status: int | None = None  # the shim's exit status, if it was this agent's child
        self.pidfd: int | None = None
        self.control: int | None = None
        self.stops = False  # whether a stop was asked for
        self.limit: asyncio.TimerHandle | None = None  # fires when we must assume that the shim has hung


def what_failed(error: OSError) -> str:
    """Return what went wrong and where, as people read it."""
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{where}"


def attempt_named(name: str) -> AttemptId | None:
    """Return the attempt whose `directory_name` this is, or None."""
    match name.split("."):
        case [namespace, job_id, execution_number, step, number] if NUMBERS.fullmatch(
            f"{execution_number}.{step}.{number}"
        ):
            return AttemptId(ExecutionId(namespace, job_id, int(execution_number)), int(step), int(number))
        case _:
            return None


def is_its_own(error: OSError, directory: Path, job_directory: Path) -> bool:
    """Return whether it is the attempt's fault that it cannot be made: its own handlers can have changed the file."""
    if error.errno == errno.ENAMETOOLONG:
        return True
    if not isinstance(error.filename, str | Path):
        return False
    path = Path(error.filename)
    if path.is_relative_to(job_directory) and is_usable(job_directory.parent):
        return error.errno not in LACKS or _is_elsewhere(job_directory)
    return error.errno == errno.EEXIST and path.is_relative_to(directory)


def is_usable(directory: Path) -> bool:
    """Return whether this process may list the directory and change what is in it."""
    return os.access(directory, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)


def _is_elsewhere(directory: Path) -> bool:
    """Return whether a handler has put a link, or something of another file system, in the place of its directory."""
    try:
        return directory.is_symlink() or directory.stat().st_dev != directory.parent.stat().st_dev
    except OSError:
        return False
