"""Kills what an attempt leaves alive when its shim is killed: processes with its token, and those the agent adopted.

A process that cleared its environment and was adopted by somebody else is not found; only a cgroup could hold it.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path

from iot_jobs_agent.shim.processes import Process, descendants, freeze, is_ours_to_end, processes, send

SWEEP_S = 10.0
MOST = 512  # TasksMax= of the unit: a look that finds more has found something else
PAUSE_S = 0.01


def sweep(token: str, is_shim: Callable[[int], bool], since: int = 0) -> tuple[int, int]:
    """Kill what is left of attempts that nobody supervises; return how many were killed, and how many are still alive.

    `since` is when the attempt was launched (`shim.processes.ticks_now`): what is older is none of its processes.

    Blocks for at most SWEEP_S seconds: never on the loop's thread. Orphans are those of our children that are in
    another session and are not shims; so the agent starts its other children in its own session.
    """
    until = time.monotonic() + SWEEP_S
    killed: set[int] = set()
    is_clean_before = False
    while True:
        left = freeze(lambda: remains(token, is_shim, since), until)
        reap(killed, is_shim)
        if not left and is_clean_before:  # twice in a row, because one look at /proc is not a consistent snapshot
            return len(killed), 0
        if time.monotonic() > until:
            return len(killed), len(left)
        is_clean_before = not left
        killed.update(each.pid for each in left if send(each, signal.SIGKILL))
        select.select([], [], [], PAUSE_S)


def remains(token: str, is_shim: Callable[[int], bool], since: int = 0) -> list[Process]:
    """List what is still alive of the attempt, at most MOST processes of it at a time."""
    found = [each for each in processes() if is_live(each) and (is_orphan(each, is_shim) or has_token(each.pid, token))]
    below = descendants(*(each.pid for each in found)) if found else []
    named = {each.pid: each for each in (*found, *below)}.values()
    return [each for each in named if can_be_of_an_attempt(each, token, since)][:MOST]


def can_be_of_an_attempt(each: Process, token: str, since: int) -> bool:
    """Tell whether the process may belong to an attempt at all, however it was found.

    A belt beside the braces: it is younger than the attempt, none of ours, and of this user unless it has the token.
    """
    if each.started < since or not is_ours_to_end(each.pid):
        return False
    try:
        is_of_this_user = Path(f"/proc/{each.pid}").stat().st_uid == os.geteuid()
    except OSError:
        return False
    return is_of_this_user or has_token(each.pid, token)


def is_live(each: Process) -> bool:
    """Return whether the process can still do something, unlike a zombie, and is not this one."""
    return each.is_live and each.pid != os.getpid()


def is_orphan(each: Process, is_shim: Callable[[int], bool]) -> bool:
    """Return whether we adopted the process."""
    return each.parent == os.getpid() and each.session != os.getsid(0) and not is_shim(each.pid)


def has_token(pid: int, token: str) -> bool:
    """Return whether the process was started with the attempt's token in its environment."""
    if not token:
        return False
    with contextlib.suppress(OSError):
        return f"JOB_TOKEN={token}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


def reap(killed: Collection[int], is_shim: Callable[[int], bool]) -> None:
    """Reap the dead among the processes that we adopted or killed, and no other child of this process."""
    for each in processes():
        if each.state == "Z" and (is_orphan(each, is_shim) or (each.pid in killed and each.parent == os.getpid())):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(each.pid, os.WNOHANG)
