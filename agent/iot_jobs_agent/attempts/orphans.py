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

from iot_jobs_agent.shim.processes import Process, descendants, freeze, processes, send

SWEEP_S = 10.0
PAUSE_S = 0.01


def sweep(token: str, is_shim: Callable[[int], bool]) -> tuple[int, int]:
    """Kill what is left of an attempt that nobody supervises; return how many were killed, and how many are alive.

    Blocks for up to about SWEEP_S seconds, so never call it on the loop's thread. A child of ours counts as an orphan
    if it is in another session and is not a shim, so the agent must start its other children in its own session.
    """
    until = time.monotonic() + SWEEP_S
    killed: set[int] = set()
    is_clean_before = False
    while True:
        left = freeze(lambda: remains(token, is_shim), until)
        reap(killed, is_shim)
        if not left and is_clean_before:  # twice in a row, because one look at /proc is not a consistent snapshot
            return len(killed), 0
        if time.monotonic() > until:
            return len(killed), len(left)
        is_clean_before = not left
        killed.update(each.pid for each in left if send(each, signal.SIGKILL))
        select.select([], [], [], PAUSE_S)


def remains(token: str, is_shim: Callable[[int], bool]) -> list[Process]:
    """List the processes of the attempt, and the orphans, that are still alive."""
    found = [each for each in processes() if is_live(each) and (is_orphan(each, is_shim) or has_token(each.pid, token))]
    below = descendants(*(each.pid for each in found)) if found else []
    return list({each.pid: each for each in (*found, *below)}.values())


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
