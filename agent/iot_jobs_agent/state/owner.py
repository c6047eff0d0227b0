"""Whose the state directory is: a command that root runs on another user's becomes that user first.

What lies in it can be made by a handler, so root follows no link in it, writes nothing and starts nothing there.
"""

import contextlib
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from iot_jobs_agent.errors import StateDirectoryError
from iot_jobs_agent.trust import owner_of, trust_problem

_ROOT = 0


def become_owner(directory: Path) -> None:
    """Become the directory's owner, for good, if this is root and it belongs to somebody else. Blocking.

    Raises:
        StateDirectoryError: root may not become that user here.
    """
    owner = owner_of(directory)
    if os.geteuid() != _ROOT or owner in {None, _ROOT}:
        return
    group = directory.stat().st_gid
    try:
        name = pwd.getpwuid(owner)
    except KeyError:
        groups, group_id = [group], group
    else:
        groups, group_id = os.getgrouplist(name.pw_name, name.pw_gid), name.pw_gid
    try:
        os.setgroups(groups)
        os.setresgid(group_id, group_id, group_id)
        os.setresuid(owner, owner, owner)
    except OSError as error:
        raise StateDirectoryError(
            f"{directory} belongs to user id {owner}, whom root cannot become here ({error.strerror}): "
            "run this as that user"
        ) from None


@contextlib.contextmanager
def acting_as_owner(directory: Path) -> Iterator[None]:
    """Be the directory's owner for a while, if this is root and it belongs to somebody else. Only in a single thread.

    Raises:
        StateDirectoryError: root may not become that user here.
    """
    owner = owner_of(directory)
    if os.geteuid() != _ROOT or owner in {None, _ROOT}:
        yield
        return
    group = os.getegid()
    try:
        os.setegid(directory.stat().st_gid)
        os.seteuid(owner)
    except OSError as error:
        raise StateDirectoryError(
            f"{directory} belongs to user id {owner}, whom root cannot become here ({error.strerror}): "
            "run this as that user"
        ) from None
    try:
        yield
    finally:
        os.seteuid(_ROOT)
        os.setegid(group)


def is_owner(directory: Path) -> bool:
    """Tell whether the directory is there and belongs to this process's user. Blocking."""
    return owner_of(directory) == os.geteuid()


def refuse_of_others(directory: Path) -> None:
    """See that an agent may work here: the directory is its user's, and nobody else can write to it. Blocking.

    Raises:
        StateDirectoryError: with what is wrong, and the fix.
    """
    status = directory.stat()
    if status.st_uid != os.geteuid():
        raise StateDirectoryError(
            f"agent.state_directory {directory} belongs to user id {status.st_uid}: start the agent as that user"
            " (`systemctl start iot-jobs-agent`), or give this one a directory of its own"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StateDirectoryError(
            f"agent.state_directory {directory} is writable by others (mode {stat.S_IMODE(status.st_mode):04o});"
            f" run `chmod 700 {directory}`"
        )
    if problem := trust_problem(directory.parent):
        raise StateDirectoryError(f"agent.state_directory {directory}: {problem}")
