"""Directories on their way out: they vanish at once, and their space comes back later. Everything blocks."""

import contextlib
import os
import secrets
import shutil
from pathlib import Path


def throw_away(path: Path, trash: Path) -> None:
    """Make a tree vanish at once by moving it to the trash; nothing happens if it is not there. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        try:
            path.rename(trash / secrets.token_hex(8))
        except PermissionError:  # a directory can only be moved to another one if its owner may write to it
            _open_up(path)
            path.rename(trash / secrets.token_hex(8))


def empty(trash: Path) -> None:
    """Remove what was thrown away, also what a handler made unreadable. What stays is tried again next time."""
    for path in trash.iterdir():
        _open_up(path)
        for directory, below, _ in os.walk(path):
            for name in below:  # before they are looked into
                _open_up(Path(directory, name))
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):  # it was not a directory
            path.unlink(missing_ok=True)


def _open_up(directory: Path) -> None:
    """Let its owner read and change a directory; follow no link that a handler put in its place."""
    with contextlib.suppress(OSError):
        if not directory.is_symlink():
            directory.chmod(0o700)
