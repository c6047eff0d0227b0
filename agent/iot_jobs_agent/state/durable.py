"""Writes files durably. The shim has its own copy of this (`shim.files`), because it may not import this package."""

import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Make the file names in a directory survive a power cut. Blocks. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_durably(path: Path, data: bytes) -> None:
    """Replace a file so that a power cut at any instant leaves the old one or the new one. Blocks. Raises OSError."""
    scratch = _write_beside(path, data, is_durable=True)
    scratch.replace(path)
    sync_directory(path.parent)


def replace_at_once(path: Path, data: bytes) -> None:
    """Replace a file for all who look, though not for a power cut. Blocks. Raises OSError."""
    _write_beside(path, data, is_durable=False).replace(path)


def _write_beside(path: Path, data: bytes, *, is_durable: bool) -> Path:
    """Write a file that was not there before, since whoever may write here could have put a link in its place."""
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(scratch, flags, 0o600), "wb") as file:
        file.write(data)
        if is_durable:
            file.flush()
            os.fsync(file.fileno())
    return scratch
