"""Measures how much disk a handler's directories take: on a thread, since it may be huge, or on a disk that hangs."""

from __future__ import annotations

import _thread
import errno
import os
import stat
import time

TYPE_CHECKING = False  # importing `typing` would take a quarter of the start-up time
if TYPE_CHECKING:
    from collections.abc import Sequence

SECTOR_BYTES = 512  # the unit of st_blocks, and the least that a name counts for: a million empty files take space too
REST_FACTOR = 4  # rest four times as long as measuring took, which is then at most a fifth of the time
CHANGED_MEANWHILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # removed, or replaced by a file or a link
FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Quota:
    """The limit of directories, measured every `every_s` seconds. After each time, a byte is written to `wake`."""

    def __init__(self, directories: Sequence[str], limit_mb: int, every_s: float, wake: int) -> None:
        self.directories = directories
        self.limit_mb = limit_mb
        self.every_s = every_s
        self.wake = wake
        self.due_at = time.monotonic() + every_s
        self.used_bytes = 0
        self.is_whole = True

    def look(self) -> None:
        """Begin to measure if it is time, and return at once. While one measurement hangs, no other begins."""
        if time.monotonic() < self.due_at:
            return
        self.due_at = float("inf")
        try:
            _thread.start_new_thread(self.measure, ())
        except RuntimeError:  # the handler has used up the threads, so try again next time
            self.due_at = time.monotonic() + self.every_s

    def measure(self) -> None:
        """Measure once, and set the time of the next measurement. Runs on the thread."""
        began = time.monotonic()
        found = [measure_bytes(directory, self.limit_mb << 20) for directory in self.directories]
        self.used_bytes = sum(used_bytes for used_bytes, _ in found)
        self.is_whole = all(is_whole for _, is_whole in found)
        now = time.monotonic()
        self.due_at = now + max(self.every_s, REST_FACTOR * (now - began))
        os.write(self.wake, b"\0")

    def problem(self) -> str:
        """Return how much there is and how much is allowed, or "" if that is within the limit."""
        return quota_problem("JOB_DIR", self.used_bytes, self.limit_mb)


def quota_problem(what: str, used_bytes: int, limit_mb: int) -> str:
    """Return how much there is and how much is allowed, or "" if that is within the limit."""
    if used_bytes <= limit_mb << 20:
        return ""
    return f"{what} took {used_bytes / (1 << 20):.1f} MiB or more, quota_mb is {limit_mb}"


def measure_bytes(directory: str, enough: int) -> tuple[int, bool]:
    """Return how many bytes of disk the tree takes, counted until they exceed `enough`, and whether all could be read.

    A file with several names counts once over all of them. Symbolic links are not followed; other file systems are
    left out.
    """
    total, is_whole = 0, True
    device = -1
    left = [("", directory)]  # pairs, so that all names of a directory share the string of its path
    while left and total <= enough:
        path = os.path.join(*left.pop())
        try:
            fd = os.open(path, FLAGS)
        except OSError as error:
            is_whole &= error.errno in (CHANGED_MEANWHILE if device >= 0 else (errno.ENOENT,))
            continue
        try:
            device = os.fstat(fd).st_dev if device < 0 else device
            with os.scandir(fd) as entries:
                for entry in entries:
                    try:
                        found = entry.stat(follow_symlinks=False)
                    except OSError as error:  # gone, or its directory was closed to look-ups only
                        is_whole &= error.errno in CHANGED_MEANWHILE
                        continue
                    if not stat.S_ISDIR(found.st_mode):
                        total += max(SECTOR_BYTES, found.st_blocks * SECTOR_BYTES // max(1, found.st_nlink))
                    elif found.st_dev == device:
                        total += max(SECTOR_BYTES, found.st_blocks * SECTOR_BYTES)
                        left.append((path, entry.name))
                    if total > enough:
                        break
        except OSError:
            is_whole = False
        finally:
            os.close(fd)
    return total, is_whole
