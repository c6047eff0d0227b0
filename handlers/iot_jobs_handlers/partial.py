"""A partial file next to its target, and a note that says how much of it is durable.

Owns both files and makes them durable; knows nothing of networks. The note identifies the source without its query.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from iot_jobs_agent.handler import HandlerError
from iot_jobs_handlers.https import NotNow
from iot_jobs_handlers.roots import publish, replace

SYNC_BYTES = 16 * 1024 * 1024
LARGEST_NOTE_BYTES = 65536  # an ETag is the only part of it that may be long
NAME = re.compile(r"\..{1,40}\.[0-9a-f]{8}\.part", re.DOTALL)


class Partial:
    """The partial file for one target. It is locked while it is open; `size_bytes` is its size so far.

    `etag` and `total_bytes` (None: unknown) are those of the version that it is a part of.
    """

    def __init__(self, directory: int, target: str, source: str) -> None:
        """`source` identifies what is downloaded; a partial file of another source starts over.

        Raises:
            NotNow: another process is downloading the same file.
            HandlerError: something else is in its place.
            OSError: it cannot be opened.
        """
        digest = hashlib.sha256(target.encode(errors="surrogateescape")).hexdigest()
        self.name = f".{target[:40]}.{digest[:8]}.part"
        self._directory, self._target, self._source = directory, target, source
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(self.name, flags, 0o600, dir_fd=directory)
        try:
            self._take()
            note = self._read_note()
            self.etag = str(note.get("etag", ""))
            total = note.get("total_bytes")
            self.total_bytes = total if isinstance(total, int) else None
            self.size_bytes = self._synced_bytes = min(int(note.get("size_bytes", 0)), os.fstat(self._file).st_size)
            os.ftruncate(self._file, self.size_bytes)
            os.lseek(self._file, self.size_bytes, os.SEEK_SET)
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def fileno(self) -> int:
        """Return the descriptor of the file."""
        return self._file

    def _take(self) -> None:
        found = os.fstat(self._file)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise HandlerError(f"{self.name} in the file's directory is in the way; remove it")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there = os.stat(self.name, dir_fd=self._directory, follow_symlinks=False)
            is_current = os.path.samestat(found, there)
        except (BlockingIOError, FileNotFoundError):
            is_current = False
        if not is_current:
            raise NotNow("the same file is being downloaded by another job")

    def _read_note(self) -> dict[str, Any]:
        """Read the note; empty if it is about another source or cannot be read.

        The directory may be another user's, who can have put anything in its place: a FIFO, or a file without end.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = os.open(f"{self.name}.json", flags, dir_fd=self._directory)
            with os.fdopen(file, "rb") as stream:
                note = json.loads(stream.read(LARGEST_NOTE_BYTES))
            known = note["source"] == self._source and isinstance(note["etag"], str)
            return note if known and isinstance(note["size_bytes"], int) and note["size_bytes"] >= 0 else {}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return {}

    def restart(self, etag: str, total_bytes: int | None = None) -> None:
        """Start over, with another version of the source. Raises OSError."""
        self.etag, self.total_bytes, self.size_bytes, self._synced_bytes = etag, total_bytes, 0, 0
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self.keep()

    def write(self, data: bytes) -> None:
        """Append data, and make it durable every 16 MiB. Raises OSError."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        self.size_bytes += len(data)
        if self.size_bytes - self._synced_bytes >= SYNC_BYTES:
            self.keep()

    def keep(self) -> None:
        """Make the whole file durable. After a power cut, everything since the last call is fetched again. OSError."""
        os.fsync(self._file)
        note = {"source": self._source, "etag": self.etag, "size_bytes": self.size_bytes}
        note |= {"total_bytes": self.total_bytes}
        replace(self._directory, f"{self.name}.json", json.dumps(note).encode(), 0o600)
        self._synced_bytes = self.size_bytes

    def sha256(self) -> str:
        """Read the whole file and return its digest, in hexadecimal. Raises OSError."""
        with os.fdopen(os.dup(self._file), "rb") as stream:
            stream.seek(0)
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def publish(self, mode: int | None) -> None:
        """Move the file to its target, durably, and remove the note. Raises OSError."""
        publish(self._directory, self.name, self._file, self._target, mode)
        self._unlink(f"{self.name}.json")

    def discard(self) -> None:
        """Remove the file and the note."""
        self._unlink(f"{self.name}.json")
        self._unlink(self.name)

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._directory)


def drop_old(directory: int, current: str, limit_bytes: int, elsewhere: Iterable[Path] = ()) -> None:
    """Remove the oldest partial files of other targets until the rest has at most `limit_bytes`.

    They are those in the same directory, and those `elsewhere`. One that is in use stays, and so does a file without
    our note beside it, because it only looks like one of ours.
    """
    with contextlib.ExitStack() as stack:
        found = _partial_files(directory, os.listdir(directory))
        for path in elsewhere:
            with contextlib.suppress(OSError, ValueError):  # of a path that a note names, which may be any text
                opened = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, opened)
                if not os.path.sameopenfile(opened, directory):
                    found += _partial_files(opened, [path.name])
        kept_bytes = 0
        for _, name, where, size_bytes in sorted(found, reverse=True):
            if where == directory and name == current:
                continue
            kept_bytes += size_bytes
            if kept_bytes > limit_bytes:
                _drop(where, name)


def _partial_files(directory: int, names: list[str]) -> list[tuple[float, str, int, int]]:
    """Return time, name, directory and size of those that are ours."""
    found = []
    for name in names:
        if NAME.fullmatch(name):
            with contextlib.suppress(OSError):
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                note = os.stat(f"{name}.json", dir_fd=directory, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and stat.S_ISREG(note.st_mode):
                    found.append((status.st_mtime, name, directory, status.st_size))
    return found


def _drop(directory: int, name: str) -> None:
    with contextlib.suppress(OSError):
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for each in (f"{name}.json", name):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(each, dir_fd=directory)
        finally:
            os.close(file)
