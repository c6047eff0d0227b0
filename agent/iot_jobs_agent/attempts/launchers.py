"""Starts an attempt's shim so that it outlives the agent: it depends on no process or open file of the agent."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from iot_jobs_agent.installation import ROOT
from iot_jobs_agent.shim import files
from iot_jobs_agent.shim.early import END

BOOT = (  # it ends at once: to tidy up an interpreter takes 2 ms, and nothing of it is left to be written
    "import os, sys; sys.path.append(sys.argv[1]); "
    "from iot_jobs_agent.shim.supervisor import main; os._exit(main(sys.argv[2]))"
)


class Launcher(Protocol):
    """Starts the shim of the attempt in `directory`, whose files are complete, and returns its pid. Raises OSError."""

    def __call__(self, directory: Path) -> int: ...  # noqa: D102 - the class says it


def plain(directory: Path) -> int:
    """Start the shim as a child in its own session, with its stderr in the attempt's log file. Raises OSError.

    It survives the agent's death, and a restart by a service manager that kills only the main process
    (systemd.kill(5), KillMode=process). Python imports it as a module, so that its byte code is cached.
    """
    with (directory / files.LOG).open("ab") as log:
        return _start(str(directory), subprocess.DEVNULL, log.fileno())


class Early:
    """A launcher that can start a shim before it is needed. Not for two threads at a time, except for `pid`.

    The shim is like any other, and used once. It is told the attempt's directory when that is complete and durable, in
    one write, and does nothing before; so an attempt still starts at most once, whoever dies at which moment.
    """

    def __init__(self) -> None:
        self.pid = 0  # of the shim that waits
        self._pipe = -1

    def get_ready(self) -> None:
        """Have a shim wait for the next attempt. Blocks briefly. Does nothing if one waits already, or none can."""
        if self.pid:
            return
        with contextlib.suppress(OSError):  # the start of the attempt will say what is wrong
            reader, writer = os.pipe()
            try:
                self.pid = _start("", reader, subprocess.DEVNULL)
            finally:
                os.close(reader)
                if self.pid:
                    self._pipe = writer
                else:
                    os.close(writer)

    def dismiss(self) -> None:
        """End the shim that waits. Blocks briefly, until it has ended. Idempotent."""
        if self.pid:
            os.close(self._pipe)
            self._reap()

    def __call__(self, directory: Path) -> int:
        """Start the shim of an attempt. Raises OSError."""
        if not self.pid:
            return plain(directory)
        (directory / files.LOG).touch()
        try:
            os.write(self._pipe, os.fsencode(directory) + END)
        except BrokenPipeError:  # somebody has killed it
            os.close(self._pipe)
            self._reap()
            return plain(directory)
        os.close(self._pipe)
        pid, self.pid = self.pid, 0
        return pid

    def _reap(self) -> None:
        """End a shim that was told nothing. It is killed, since it may be stopped, or still be importing."""
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)  # the pid is its own until we have reaped it
            os.waitpid(self.pid, 0)
        self.pid = 0


def _start(directory: str, stdin: int, stderr: int) -> int:
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", BOOT, str(ROOT), directory],
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        cwd="/",
        env={"LC_ALL": "C.UTF-8"},
        start_new_session=True,
    )
    process.returncode = 0  # we reap it by its pid, so this object must neither wait nor warn
    return process.pid
