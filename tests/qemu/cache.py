"""Where what takes long to make is kept: in the user's cache directory, below a hash of all that it is made from."""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

KEPT = 2  # of a kind, beside a new one
WHOLE = "whole"  # a file that says that all is there: who fills a directory may be killed at any moment


def hash_of(*parts: bytes) -> str:
    """Return a name for what these bytes lead to."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:16]


@contextlib.contextmanager
def cached(kind: str, key: str) -> Iterator[tuple[Path, bool]]:
    """Give the directory of what is kept, and whether it is to be filled now: it stays only if the block ends well.

    It is filled where it stays, since disks know each other by their paths.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "iot-jobs-agent-tests"
    home.mkdir(parents=True, exist_ok=True)
    directory = home / f"{kind}-{key}"
    with (home / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (directory / WHOLE).exists():
            os.utime(directory)
            yield directory, False
            return
        for old in sorted(home.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            shutil.rmtree(old)
        if directory.exists():
            shutil.rmtree(directory)
        directory.mkdir()
        try:
            yield directory, True
        except BaseException:
            shutil.rmtree(directory)
            raise
        (directory / WHOLE).touch()
