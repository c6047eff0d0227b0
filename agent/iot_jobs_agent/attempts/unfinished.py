"""Removes the unfinished file that a handler keeps outside of JOB_DIR when JOB_DIR goes: `Job.remove_with_execution`.

The note in JOB_DIR names the file and its inode. What has another inode by now, or is in use, is not removed.
Everything blocks briefly.
"""

import contextlib
import fcntl
import os
from pathlib import Path

from iot_jobs_agent.attempts.reading import parse_json_object
from iot_jobs_agent.shim.protocol import UNFINISHED
from iot_jobs_agent.state.durable import open_regular

NOTE_BYTES = 1 << 16


def remove(job_directory: Path) -> None:
    """Remove the file that the note names, and the one beside it with `.json` after its name. Raises nothing."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        with open_regular(job_directory / UNFINISHED) as file:
            note = parse_json_object(file.read(NOTE_BYTES))
        path = Path(str(note["path"]))
        with open_regular(path) as file:
            found = os.fstat(file.fileno())
            if path.is_absolute() and (found.st_dev, found.st_ino) == (note["device"], note["inode"]):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.with_name(f"{path.name}.json").unlink(missing_ok=True)
                path.unlink()


def keep(job_directory: Path) -> None:
    """Let the file outlive JOB_DIR, because the attempt that follows goes on with it. Raises OSError."""
    (job_directory / UNFINISHED).unlink(missing_ok=True)
