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
    scratch = path.with_name(f".{path.name}.new")
    with scratch.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    sync_directory(path.parent)
