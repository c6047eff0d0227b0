"""Writes and reads the files of one attempt, on the agent's side. `shim.files` describes their contents.

Reading never raises because of what a file contains: a torn or forged file is not a result. Everything blocks briefly.
"""

import contextlib
import fcntl
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from iot_jobs_agent.attempts.reading import SaidLine, parse_json_object, parse_result, parse_said_line
from iot_jobs_agent.attempts.units import UNIT
from iot_jobs_agent.chance import random_hex
from iot_jobs_agent.core.events import AttemptProgressed
from iot_jobs_agent.core.job import AttemptId, AttemptResult, Ending, StartReason, Step, StepKind
from iot_jobs_agent.shim import files, protocol
from iot_jobs_agent.shim.early import name_of
from iot_jobs_agent.state.durable import open_regular, sync_directory

EVENTS_BYTES = 1 << 20
LONGEST_S = (604800.0, 600.0)  # the longest time-out and grace that a manifest may declare
SMALL_BYTES = 1 << 20
TAIL_BYTES = 1 << 16
TRACEBACK_BYTES = 1 << 14
QUOTA_EVERY_S = 5.0
SCRIPTS = str(Path(sys.executable).parent)  # contains jobctl; last in a handler's PATH, so that it shadows no program


class Facts(NamedTuple):
    """What a handler is told besides its step: `phase` and `reason` say why it is started (docs/handlers.md)."""

    thing_name: str
    phase: Literal["run", "resume"] = "run"
    reason: StartReason = StartReason.FIRST


class Position(NamedTuple):
    """How far we have read `events.jsonl`. A different inode means that the shim has replaced the file."""

    inode: int = 0
    offset: int = 0


def fill(directory: Path, job_directory: Path, attempt: AttemptId, step: Step, facts: Facts, *, unit: str = "") -> None:
    """Write the files that the shim and the handler read. `unit` is the handler's own, if it has one. Raises OSError.

    Nothing is fsynced: a power cut ends the attempt anyway, and after it all that counts is that its directory exists,
    which the caller makes durable.
    """
    token = random_hex(16)
    result = job_directory / f".result.{attempt.step}.{attempt.number}"
    scratch = job_directory / ".tmp"  # not /tmp: systemd empties the unit's private one while handlers still run
    scratch.mkdir(mode=0o700, exist_ok=True)
    is_handler = step.kind is StepKind.HANDLER
    environment = _environment(directory, job_directory, attempt, step, facts) | {"JOB_TOKEN": token}
    if is_handler:
        environment |= {"JOB_CONTROL_FD": str(protocol.CONTROL_FD), "JOB_RESULT_FILE": str(result)}
    spec = {
        "argv": [*step.argv, facts.phase] if is_handler else list(step.argv),
        "env": environment | {"TMPDIR": str(scratch)},
        "cwd": str(job_directory),
        "stdin": str(directory / files.JOB),
        "timeout_s": step.timeout_s,
        "max_timeout_s": max(step.timeout_s, step.max_timeout_s),
        "grace_s": step.grace_s,
        "quota_mb": step.quota_mb,
        "quota_every_s": QUOTA_EVERY_S,
        "kind": step.kind.value,
        "handler_result": str(result) if is_handler else "",
        "checkpoint": str(job_directory / protocol.CHECKPOINT),
        "wake": str(directory.parent.parent / files.WAKE),
        "token": token,
        "unit": unit,
        "handler": step.handler,
        "is_fresh": is_fresh(attempt, facts),
    }
    create_file(directory / files.JOB, step.input, 0o400)
    create_file(directory / files.SETTINGS, step.settings, 0o400)
    create_file(directory / files.SPEC, json.dumps(spec), 0o600)
    os.mkfifo(directory / files.CONTROL, 0o600)


def is_fresh(attempt: AttemptId, facts: Facts) -> bool:
    """Return whether JOB_DIR has to be empty: a rerun must not find files of the attempt that was interrupted."""
    if facts.reason == StartReason.FIRST:
        return (attempt.step, attempt.number) == (0, 1)
    return facts.phase == "run" and facts.reason != StartReason.RETRY


def _environment(directory: Path, job_directory: Path, attempt: AttemptId, step: Step, facts: Facts) -> dict[str, str]:
    """Return the environment variables that every kind of step gets (docs/handlers.md)."""
    return {
        "PATH": os.pathsep.join([os.environ.get("PATH") or os.defpath, SCRIPTS]),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "HOME": str(job_directory),
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
    }


def forget_checkpoint(job_directory: Path) -> None:
    """Remove the checkpoint of the previous step, durably, so that it cannot come back. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        (job_directory / protocol.CHECKPOINT).unlink()
        sync_directory(job_directory)


def create_file(path: Path, text: str, mode: int) -> None:
    """Create a file that must not exist yet. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(text)


def discard(directory: Path) -> None:
    """Remove the files that may contain secrets once the attempt is over. A late shim does nothing without them."""
    for name in (files.SPEC, files.JOB, files.SETTINGS, files.CONTROL):
        with contextlib.suppress(OSError):
            (directory / name).unlink(missing_ok=True)


def lock(directory: Path) -> int | None:
    """Take the attempt's lock and return its descriptor, or None while a shim holds it. While we do, no shim starts it.

    If the lock cannot even be created, the descriptor is a stand-in.
    """
    try:
        fd = os.open(directory / files.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:  # the disk cannot take even a lock file, or a handler has removed the directory
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def read_start(path: Path) -> bytes:
    """Read the first SMALL_BYTES of a file, which is all of a proper one. Raises OSError."""
    with open_regular(path) as file:
        return file.read(SMALL_BYTES)


def read_shim_pid(directory: Path) -> int:
    """Read the pid that the shim wrote into its lock; 0 if it has not done so yet."""
    try:
        return int(read_start(directory / files.LOCK).split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def open_shim(directory: Path, pid: int) -> int | None:
    """Open a pidfd of the attempt's shim; None if the process `pid` is gone, or is not the shim of this directory.

    A shim has its directory on its command line, or in its name if it was started early.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except (OSError, ValueError, OverflowError):
        return None
    with contextlib.suppress(OSError):
        process = Path(f"/proc/{pid}")
        if os.fsencode(directory) in (process / "cmdline").read_bytes().split(b"\0"):
            return pidfd
        if (process / "comm").read_text().rstrip("\n") == name_of(str(directory)):
            return pidfd
    os.close(pidfd)
    return None


def read_age_s(directory: Path) -> float:
    """Read how many seconds the shim had lived when it last wrote that into its lock; 0 if it never did."""
    try:
        age_s = float(read_start(directory / files.LOCK).split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return age_s if 0 <= age_s < math.inf else 0.0


def read_token(directory: Path) -> str:
    """Read the attempt's token; "" if it cannot be read."""
    try:
        token = str(_read_spec(directory)["token"])
        return token if token.encode() else ""  # an unpaired surrogate (ValueError) cannot be in any environment
    except (OSError, ValueError, KeyError):
        return ""


def read_unit(directory: Path) -> str:
    """Read the name of the handler's own unit; "" if it has none, or none that could be one.

    A refusal to start it names it too, because a power cut may take the settings.
    """
    for name in (files.SPEC, files.RESULT):
        with contextlib.suppress(OSError, ValueError, KeyError):
            unit = str(parse_json_object(read_start(directory / name))["unit"])
            if UNIT.fullmatch(unit):
                return unit
    return ""


def read_refusal(directory: Path) -> str:
    """Read why systemd refused to start the handler's unit, so that the attempt never started; "" if it did."""
    try:
        result = parse_json_object(read_start(directory / files.RESULT))
    except (OSError, ValueError):
        return ""
    return str(result.get("reason") or "refused") if result.get("ending") == files.NEVER_STARTED else ""


def _read_spec(directory: Path) -> Mapping[str, Any]:
    return parse_json_object(read_start(directory / files.SPEC))


def read_limits(directory: Path) -> tuple[float, float]:
    """Read how long the handler may run at most, and its grace when it is stopped, in seconds.

    If they cannot be read, return the longest that a manifest may declare, so that no attempt is killed for that.
    """
    try:
        spec = _read_spec(directory)
        found = float(spec["max_timeout_s"]), float(spec["grace_s"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return LONGEST_S
    return found if all(0 <= each <= most for each, most in zip(found, LONGEST_S, strict=True)) else LONGEST_S


def read_tail(path: Path) -> str:
    """Read the saved end of an output; bytes that are not UTF-8 become U+FFFD."""
    try:
        with open_regular(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read(TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def take_traceback(job_directory: Path) -> str:
    """Read and remove the traceback of an internal error, which the worker leaves there for the device's log only."""
    path = job_directory / protocol.TRACEBACK
    try:
        with open_regular(path) as file:
            text = file.read(TRACEBACK_BYTES).decode("utf-8", "replace")
        path.unlink()
    except OSError:
        return ""
    return text


def read_result(directory: Path) -> AttemptResult | None:
    """Read how the attempt ended; None if there is no result, or none that we can believe."""
    try:
        result = parse_result(read_start(directory / files.RESULT))
    except (OSError, ValueError):
        return None
    return replace(result, stdout=read_tail(directory / files.STDOUT), stderr=read_tail(directory / files.STDERR))


def lost_result(directory: Path, reason: str, leftovers_killed: int, leftovers_alive: int) -> AttemptResult:
    """Return a result for an attempt that has none of its own, with whatever else is known."""
    return AttemptResult(
        ending=Ending.LOST,
        duration_s=read_age_s(directory),
        leftovers_killed=leftovers_killed,
        leftovers_alive=leftovers_alive,
        reason=reason,
        stdout=read_tail(directory / files.STDOUT),
        stderr=read_tail(directory / files.STDERR),
    )


def read_progress(directory: Path, attempt: AttemptId, position: Position) -> tuple[AttemptProgressed | None, Position]:
    """Read what the handler has said since `position`: one event (None if nothing), and the new position."""
    try:
        with open_regular(directory / files.EVENTS) as file:
            inode = os.fstat(file.fileno()).st_ino
            offset = position.offset if position.inode == inode else 0
            file.seek(offset)
            data = file.read(EVENTS_BYTES)
    except OSError:
        return None, position
    complete = data[: data.rfind(b"\n") + 1]
    position = Position(inode, offset + len(complete))
    heard = SaidLine()
    for line in complete.splitlines():
        with contextlib.suppress(ValueError):
            heard = heard.then(parse_said_line(line))
    if heard == SaidLine():
        return None, position
    left_s = max(0.0, heard.deadline - time.monotonic()) if heard.deadline is not None else None
    return AttemptProgressed(attempt, heard.progress, heard.message, heard.details, left_s), position
