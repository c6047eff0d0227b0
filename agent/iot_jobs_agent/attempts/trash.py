"""Removes directories in two steps: they vanish at once, and their disk space is freed later. Everything blocks."""

import contextlib
import os
import shutil
from pathlib import Path

from iot_jobs_agent.attempts import unfinished
from iot_jobs_agent.chance import random_hex


def throw_away(path: Path, trash: Path) -> None:
    """Make a tree vanish at once by moving it to the trash; do nothing if it does not exist. Raises OSError."""
    if os.path.lexists(path) and not trash.is_dir():
        trash.mkdir(mode=0o700)  # somebody may have removed it
    with contextlib.suppress(FileNotFoundError):
        try:
            path.rename(trash / random_hex(8))
        except PermissionError:  # moving a directory to another parent needs write permission on it
            _open_up(path)
            path.rename(trash / random_hex(8))


def empty(trash: Path) -> None:
    """Delete the trash, including what a handler made unreadable. What cannot be deleted is tried again next time."""
    for path in trash.iterdir():
        if path.is_symlink() or not path.is_dir():  # `rmtree` would open it, and a FIFO would block us
            path.unlink(missing_ok=True)
            continue
        _open_up(path)
        unfinished.remove(path)
        for directory, below, _ in os.walk(path):
            for name in below:  # before os.walk descends into them
                _open_up(Path(directory, name))
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):  # it was not a directory
            path.unlink(missing_ok=True)


def _open_up(directory: Path) -> None:
    """Let us read and change a directory, without following a link that a handler put in its place."""
    with contextlib.suppress(OSError):
        if not directory.is_symlink():
            directory.chmod(0o700)
