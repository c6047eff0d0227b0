"""Opens regular files only, and writes files durably.

The shim has its own copy of the latter (`shim.files`), because it may not import this package.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file, but nothing that was put in its place: a FIFO would block. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file")
    return os.fdopen(fd, "rb")


def sync_directory(directory: Path) -> None:
    """Make the file names in a directory survive a power cut. Blocks. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_durably(path: Path, data: bytes, *, readable_by: int | None = None) -> None:
    """Replace a file so that a power cut at any instant leaves the old one or the new one. Blocks. Raises OSError.

    Only its owner can read it, and the group `readable_by` if one is given.
    """
    scratch = _write_beside(path, data, is_durable=True, readable_by=readable_by)
    scratch.replace(path)
    sync_directory(path.parent)


def replace_at_once(path: Path, data: bytes) -> None:
    """Replace a file for all who look, though not for a power cut. Blocks. Raises OSError."""
    _write_beside(path, data, is_durable=False).replace(path)


def _write_beside(path: Path, data: bytes, *, is_durable: bool, readable_by: int | None = None) -> Path:
    """Write a file that was not there before, since whoever may write here could have put a link in its place."""
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(scratch, flags, 0o600), "wb") as file:
        if readable_by is not None:
            os.fchown(file.fileno(), -1, readable_by)
            os.fchmod(file.fileno(), 0o640)
        file.write(data)
        if is_durable:
            file.flush()
            os.fsync(file.fileno())
    return scratch
