"""Starts an attempt's shim so that it outlives the agent: it depends on no process or open file of the agent."""

import subprocess
import sys
from pathlib import Path
from typing import Protocol

from iot_jobs_agent.installation import ROOT
from iot_jobs_agent.shim import files

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
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", BOOT, str(ROOT), str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd="/",
            env={"LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
    process.returncode = 0  # we reap it by its pid, so this object must neither wait nor warn
    return process.pid
