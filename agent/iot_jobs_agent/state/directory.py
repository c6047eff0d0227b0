"""The agent's files beside its journal: the lock that admits one agent, the ids, the status file, the pause."""

import contextlib
import fcntl
import json
import os
import re
import select
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iot_jobs_agent.chance import random_hex
from iot_jobs_agent.errors import StateDirectoryError
from iot_jobs_agent.shim.files import WAKE
from iot_jobs_agent.state.durable import open_regular, replace_at_once, replace_durably, sync_directory
from iot_jobs_agent.state.owner import refuse_of_others

LOCK = "agent.lock"
LOCK_TRIES, LOCK_PAUSE_S = 10, 0.05
AGENT_ID = "agent-id"
AGENT_ID_FORM = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # anything else is a damaged file
JOURNAL_IDS = "journal-ids"
THING_NAME = "thing-name"
THING_NAME_FORM = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
JOURNAL_ID_FORM = re.compile(r"[0-9a-f]{8}")
JOURNAL_IDS_KEPT = 64
LARGEST_BYTES = 1024  # of a file of ids
STATUS = "status.json"
LARGEST_STATUS_BYTES = 16 << 20  # what is larger is not what we wrote
PAUSED = "paused"


def prepare(directory: Path) -> None:
    """Create the directory if it is missing, durably and for the agent's user alone.

    Raises:
        StateDirectoryError: the directory cannot be created, is another user's, or others may write to it.
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in missing:  # otherwise a power cut could lose the path to everything that is durable inside
            sync_directory(path.parent)
        refuse_of_others(directory)
    except OSError as error:
        raise StateDirectoryError(
            f"agent.state_directory {directory} cannot be made ({error.strerror}): make it, owned by the agent's user"
        ) from None


def lock(directory: Path) -> int:
    """Lock the directory for this process until it ends, and return the descriptor that holds the lock.

    Blocks for up to LOCK_TRIES * LOCK_PAUSE_S seconds.

    Raises:
        StateDirectoryError: another agent holds the lock, or it cannot be opened.
    """
    descriptor = _open_lock(directory)
    for _ in range(LOCK_TRIES):  # a command that checks whether an agent runs holds it for an instant
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        select.select([], [], [], LOCK_PAUSE_S)
    os.close(descriptor)
    raise StateDirectoryError(
        f"another agent runs on {directory}: stop it, or give this one an agent.state_directory of its own"
    )


def unlock(descriptor: int) -> None:
    """Release the lock of the directory."""
    os.close(descriptor)


def is_locked(directory: Path) -> bool:
    """Return whether an agent runs on the directory.

    Raises:
        StateDirectoryError: this user may not open the lock.
    """
    path = directory / LOCK
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StateDirectoryError(_not_for_this_user(path, error)) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def agent_id(directory: Path) -> str:
    """Return this installation's id, which marks what we claim as ours. A new one is durable before its first use.

    It is stored outside the journal, so that a lost journal does not make our own executions look like another agent's.

    Raises:
        StateDirectoryError: the id cannot be read or written.
    """
    path = directory / AGENT_ID
    known = "\n".join(_read_line_by_line(path)).strip()
    if AGENT_ID_FORM.fullmatch(known):
        return known
    made = random_hex(8)
    _write_durably(path, [made])
    return made


def refuse_another_thing(directory: Path, thing_name: str) -> None:
    """Remember whose executions the directory knows, and refuse it for another thing.

    Executions of two things may have the same id and number, so this one's would be told the outcomes of the other's.

    Raises:
        StateDirectoryError: it is of another thing, or its name cannot be read or written.
    """
    path = directory / THING_NAME
    known = "\n".join(_read_line_by_line(path)).strip()
    if known == thing_name:
        return
    if THING_NAME_FORM.fullmatch(known):  # anything else is a damaged file
        raise StateDirectoryError(
            f"{directory} knows the jobs of the thing {known}: correct aws.thing_name, or give {thing_name} an "
            f"agent.state_directory that starts empty, or remove {path.name} there if {known} is this thing's old name"
        )
    _write_durably(path, [thing_name])


def lost_journals(directory: Path, journal_id: str) -> frozenset[str]:
    """Return the ids of the journals that were here before this one, whose id is durable when this returns.

    They are stored outside the journals, like the agent's id, and apart from it: who copies that one only, for another
    agent, gives away no claim.

    Raises:
        StateDirectoryError: the ids cannot be read or written.
    """
    path = directory / JOURNAL_IDS
    lines = _read_line_by_line(path)
    known = [line for line in lines if JOURNAL_ID_FORM.fullmatch(line)]
    if journal_id not in known:
        known = [*known, journal_id][-JOURNAL_IDS_KEPT:]
        _write_durably(path, known)
    return frozenset(known) - {journal_id}


def _read_line_by_line(path: Path) -> list[str]:
    """Return the file's lines, none if it is not there. Raises StateDirectoryError."""
    try:
        with open_regular(path) as file:
            return file.read(LARGEST_BYTES).decode("ascii", "replace").split("\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StateDirectoryError(
            f"{path} cannot be read ({error.strerror}): let the agent's user read it, or move it away"
        ) from None


def _write_durably(path: Path, lines: Sequence[str]) -> None:
    try:
        replace_durably(path, "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise StateDirectoryError(f"{path} cannot be written ({error.strerror}): free or repair the disk") from None


def is_paused(directory: Path) -> bool:
    """Return whether somebody has asked the agent to take on no new executions."""
    return os.path.lexists(directory / PAUSED)


def set_paused(directory: Path, *, is_paused: bool) -> None:
    """Set or lift the pause, durably, and wake the agent if it runs.

    Root often calls this in a directory that belongs to the agent's user, so it follows no link there and writes to no
    existing file but the FIFO.

    Raises:
        StateDirectoryError: the directory does not exist or cannot be written.
    """
    path = directory / PAUSED
    try:
        if is_paused:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        else:
            path.unlink(missing_ok=True)
        sync_directory(directory)
    except FileNotFoundError:
        raise StateDirectoryError(
            f"{directory} does not exist: has the agent run here, and with this config?"
        ) from None
    except OSError as error:
        raise StateDirectoryError(
            f"{path} cannot be changed ({error.strerror}): run the command with sudo, or as the agent's user"
        ) from None
    with contextlib.suppress(OSError):  # no agent is running; it checks the pause when it starts
        wake = os.open(directory / WAKE, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if stat.S_ISFIFO(os.fstat(wake).st_mode):
                os.write(wake, b"p")
        finally:
            os.close(wake)


def write_status(directory: Path, status: Mapping[str, Any]) -> None:
    """Replace the status file. Not durable, since after a power cut none of it is true anyway. Raises OSError."""
    replace_at_once(directory / STATUS, json.dumps(status, indent=2).encode())


def read_status(directory: Path) -> dict[str, Any]:
    """Return the status that the agent last wrote.

    Raises:
        StateDirectoryError: the agent never ran here, or the file is damaged or cannot be read.
    """
    path = directory / STATUS
    try:
        with open_regular(path) as file:
            status: dict[str, Any] = json.loads(file.read(LARGEST_STATUS_BYTES))
    except FileNotFoundError:
        raise StateDirectoryError(f"{path} does not exist: has the agent run here, and with this config?") from None
    except PermissionError as error:
        raise StateDirectoryError(_not_for_this_user(path, error)) from None
    except (OSError, ValueError, RecursionError):
        raise StateDirectoryError(f"{path} is damaged: restart the agent, which writes it again") from None
    return status


def _not_for_this_user(path: Path, error: OSError) -> str:
    return f"{path} cannot be read ({error.strerror}): run the command with sudo, or as the agent's user"


def _open_lock(directory: Path) -> int:
    """Open the lock file. What stands in its place but can be no agent's lock is moved aside.

    An agent opens its own lock for reading and writing, as the owner of the directory (`owner.refuse_of_others`).
    """
    path = directory / LOCK
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        return os.open(path, flags, 0o600)
    try:
        with _held(directory):  # or two agents that start at once could each move the other's good lock aside
            return _open_repaired(path, flags)
    except OSError as error:
        with contextlib.suppress(OSError):  # a read-only disk; read access is enough for a lock
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        raise StateDirectoryError(
            f"{path} cannot be opened ({error.strerror}): let the agent's user own {directory}"
        ) from None


def _open_repaired(path: Path, flags: int) -> int:
    with contextlib.suppress(OSError):  # somebody has repaired it meanwhile
        return os.open(path, flags, 0o600)
    found = path.lstat()
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
        path.chmod(0o600)
    else:
        path.rename(path.with_name(f"{LOCK}.damaged-{random_hex(4)}"))
    return os.open(path, flags, 0o600)


@contextlib.contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Hold a lock on the directory itself, which nobody can replace. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
