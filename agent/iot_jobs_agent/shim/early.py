"""A shim that is started before it is needed: it has imported all that it needs, and waits for its attempt.

Until then it has done nothing, holds nothing of any attempt, and has the pipe from its agent on stdin and nothing else.
It ends when that is closed because the agent is gone. An agent that no longer needs it kills it.
"""

from __future__ import annotations

import os

from iot_jobs_agent.shim.files import LOG

END = b"\0"  # no path contains it
_NAME = "/proc/self/comm"  # proc_pid_comm(5)


def name_of(directory: str) -> str:
    """Return the name of the process that is the attempt's shim. Its command line cannot tell. Raises OSError."""
    return f"shim-{os.stat(directory).st_ino & 0xFFFFFFFFFF:x}"  # the kernel keeps 15 characters


def awaited_directory() -> str:
    """Wait for the attempt's directory on stdin, and take on a shim's stdin, stderr and name; "" if none will come.

    Raises OSError at once if the process cannot have a name: after a restart, the agent would not find it again.
    """
    _take_name("shim")
    told = b""
    while not told.endswith(END):
        chunk = os.read(0, 65536)
        if not chunk:  # the agent is gone, perhaps in the middle of a word
            return ""
        told += chunk
    directory = os.fsdecode(told[: -len(END)])
    _take_name(name_of(directory))
    _put(0, os.devnull, os.O_RDONLY)
    _put(2, os.path.join(directory, LOG), os.O_WRONLY | os.O_APPEND)
    return directory


def _take_name(name: str) -> None:
    with open(_NAME, "w") as file:
        file.write(name)


def _put(descriptor: int, path: str, flags: int) -> None:
    """Make `descriptor` one of the file. If that cannot be opened, it stays what it was."""
    try:
        opened = os.open(path, flags | os.O_CLOEXEC)
    except OSError:
        return
    os.dup2(opened, descriptor)
    os.close(opened)
