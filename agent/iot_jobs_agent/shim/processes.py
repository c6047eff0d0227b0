"""The processes of this machine, read from /proc: their family tree, and signals that cannot hit the wrong process.

The agent uses this module too, to find the processes that a lost shim left behind.
"""

from __future__ import annotations

import os
import time

from iot_jobs_agent.shim.lean import signal

TYPE_CHECKING = False  # importing `typing` would take a quarter of the start-up time
if TYPE_CHECKING:
    from collections.abc import Callable


class Process:
    """One process as /proc shows it. `started` (clock ticks after boot) tells apart processes that share a pid."""

    __slots__ = ("is_live", "parent", "pid", "session", "started", "state")

    def __init__(self, pid: int, stat_line: bytes) -> None:
        fields = stat_line[stat_line.rindex(b")") + 2 :].split()
        self.pid = pid
        self.state = fields[0].decode()
        self.parent = int(fields[1])
        self.session = int(fields[3])
        self.started = int(fields[19])
        self.is_live = self.state not in "ZX" or int(fields[17]) > 1  # the main thread may end before the others


def process(pid: int) -> Process | None:
    """Return one process, or None if it is gone."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return Process(pid, os.read(fd, 1024))
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)


def processes() -> list[Process]:
    """List every process. This is not a consistent snapshot: a caller that needs certainty must look again."""
    return [found for name in os.listdir("/proc") if name.isdigit() and (found := process(int(name)))]


def descendants(*of: int) -> list[Process]:
    """List every live descendant of the pids `of`, without those processes themselves."""
    children: dict[int, list[Process]] = {}
    for each in processes():
        children.setdefault(each.parent, []).append(each)
    found: list[Process] = []
    parents = list(of)
    while parents:
        below = children.pop(parents.pop(), [])
        found += below
        parents += [each.pid for each in below]
    return [each for each in found if each.is_live]


def freeze(find: Callable[[], list[Process]], until: float) -> list[Process]:
    """SIGSTOP every process that `find` returns, until it finds no new one or `until` passes; return all of them.

    `until` is in monotonic seconds. Freezing comes before killing because processes that fork in a loop multiply as
    fast as they are killed.
    """
    found: dict[int, Process] = {}
    while True:
        fresh = [each for each in find() if each.pid not in found]
        for each in fresh:
            found[each.pid] = each
            send(each, signal.SIGSTOP)
        if not fresh or time.monotonic() > until:
            return list(found.values())


def reap_children() -> tuple[dict[int, int], bool]:
    """Reap every dead child, our own or adopted; return their statuses, and whether it is certain that none is left."""
    statuses: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return statuses, True
        if pid == 0:
            return statuses, False
        statuses[pid] = status


def ticks_now() -> int:
    """Return now as `Process.started` counts it."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def is_ours_to_end(pid: int) -> bool:
    """Tell whether a process may ever be ended by us: never init, this process, or one that it descends from.

    A belt beside the braces: whoever looks for what an attempt left behind must not find the machine, even if wrong.
    """
    spared = os.getpid()
    while spared > 1:
        if pid == spared:
            return False
        above = process(spared)
        spared = above.parent if above is not None else 0
    return pid > 1


def send(target: Process, number: int) -> bool:
    """Signal exactly this process, never another one that reuses its pid. False if it is gone or not ours to signal."""
    if not is_ours_to_end(target.pid):
        return False
    try:
        fd = os.pidfd_open(target.pid)
    except OSError:
        return False
    try:
        same = process(target.pid)
        if same is None or same.started != target.started:
            return False
        signal.pidfd_send_signal(fd, number)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
