"""Where a process of ours can be hit: the system calls of one untouched run, each with the strace options that hit it.

strace counts an injection's `when=N` for each system call and each thread alone. So the N-th call of a kind hits the
thread that gets there first, and a call of another thread is reached with the path it is about: `-P` counts only the
calls that name the path. What has neither address of its own is counted as out of reach.
"""

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

STRACE = shutil.which("strace") or "strace"
MARK = "@"  # in a point's path, for the world's own name, as `.a-@.1.0.1`
HERE = "./"  # before a path that the call itself gives without a directory

WRITES = ("write", "pwrite64", "ftruncate", "fsync", "fdatasync")
NAMES = ("openat", "mkdir", "mknodat", "rename", "unlink", "unlinkat", "rmdir", "chmod")
TALK = ("socket", "connect", "sendto", "sendmsg", "bind", "listen", "accept4")
PROCESSES = ("clone", "clone3", "vfork", "execve", "wait4", "flock", "pidfd_open", "setsid", "prctl")
KILLS = (*WRITES, *NAMES, *TALK, *PROCESSES)
READS = ("read", "pread64")  # only of the world's own files, and only for EIO
FULL_DISK = ("write", "pwrite64", "ftruncate", "fsync", "fdatasync", "openat", "mkdir", "mknodat", "rename")
BAD_DISK = (*FULL_DISK, *READS)
SYNCS = ("fsync", "fdatasync")
ONLY_BY_PATH = ("openat", "chmod", "prctl", *READS)  # the others of these belong to Python's own start


class Point(NamedTuple):
    """The `number`-th call of this kind (about `path`, if there is one) in the agent or in a shim."""

    role: str
    kind: str
    path: str
    number: int

    def __str__(self) -> str:
        return f"{self.role}:{self.kind}{':' + self.path if self.path else ''}:{self.number}"


def point_of(text: str) -> Point:
    """Read what a point's str() is."""
    role, kind, *path, number = text.split(":")
    return Point(role, kind, "".join(path), int(number))


@dataclass(frozen=True)
class Hit:
    """What is done at a point: `how` is strace's word for it, `signal=KILL`, `error=EIO`, `delay_enter=3000000`."""

    point: Point
    how: str = "signal=KILL"
    is_for_good: bool = False

    def options(self, directory: Path, name: str) -> list[str]:
        """Return strace's options in the world of that directory and name."""
        when = f"{self.point.number}{'+' if self.is_for_good else ''}"
        kind = self.point.kind
        options = ["-e", f"trace={kind}", "-e", f"inject={kind}:{self.how}:when={when}"]
        if path := self.point.path.replace(MARK, name):
            options += ["-P", path.removeprefix(HERE) if path.startswith(HERE) else str(directory / path)]
        return options


class Call(NamedTuple):
    """One line of strace's log; `path` is empty unless it is the same in every world."""

    thread: str
    kind: str
    path: str


_LINE = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)\((.*)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_DESCRIPTOR = re.compile(r"\d+<([^>]*)>")


def listing() -> list[str]:
    """Return strace's options for the untouched run whose log `calls` reads."""
    return ["-y", "-e", f"trace={','.join((*KILLS, *READS))}", "-e", "signal=none"]


def points(role: str, calls: Iterable[Call], *, is_by_path: bool = False) -> tuple[list[Point], int]:
    """Return the points of a run, in their order, and how many of its calls are out of reach.

    With `is_by_path` those are only the calls about the world's own files, which is what a bad disk makes fail.
    """
    found: list[Point] = []
    out_of_reach = 0
    counts: Counter[tuple[str, str, str]] = Counter()
    highest: Counter[tuple[str, str]] = Counter()
    for call in calls:
        addresses = [(call.kind, call.path)] if call.path else []
        if not is_by_path and call.kind not in ONLY_BY_PATH:
            addresses.insert(0, (call.kind, ""))
        counts.update((call.thread, *each) for each in addresses)
        fresh = [each for each in addresses if counts[call.thread, *each] > highest[each]]
        highest.update(fresh)
        if fresh:
            found.append(Point(role, *fresh[0], highest[fresh[0]]))
        elif addresses:
            out_of_reach += 1
    return found, out_of_reach


def calls(log: Path, directory: Path, name: str) -> Iterator[Call]:
    """Read the log of an untouched run in the world of that directory and name."""
    for line in log.read_text(errors="replace").splitlines():
        match = _LINE.fullmatch(line)
        if match is None or "resumed>" in line:
            continue
        thread, kind, rest = match.groups()
        yield Call(thread, kind, _path(kind, rest, directory, name))


def _path(kind: str, rest: str, directory: Path, name: str) -> str:
    """Return the path that a call is about, below the world's directory, if it is the same in every world."""
    arguments = rest.partition(", ")[2] if kind in {"openat", "mknodat"} else rest
    found = (_QUOTED if kind in NAMES else _DESCRIPTOR).match(arguments)
    if found is None or "/trash/" in found[1]:  # names in there are random
        return ""
    path = found[1].replace(name, MARK)
    home = f"{str(directory).replace(name, MARK)}/"
    if path.startswith(home):
        return path.removeprefix(home)
    return HERE + path if kind in NAMES and "/" not in path and path.strip(".") else ""
