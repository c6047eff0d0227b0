"""How an attempt's shim is started. It outlives the agent: nothing of it depends on the agent's life or files."""

import subprocess
import sys
from pathlib import Path
from typing import Protocol

from iot_jobs_agent.installation import ROOT
from iot_jobs_agent.shim import files

BOOT = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from iot_jobs_agent.shim.supervisor import main; sys.exit(main(sys.argv[2]))"
)


class Launcher(Protocol):
    """Starts the shim of the attempt in `directory`, whose files are complete; returns its pid. Raises OSError."""

    def __call__(self, directory: Path) -> int: ...  # noqa: D102 - said by the class


def plain(directory: Path) -> int:
    """Start the shim as a child in a session of its own, its stderr in the attempt's log file. Raises OSError.

    It survives the agent's death, and a restart by a service manager that ends only the main process
    (systemd.kill(5), KillMode=process). It is imported as a module, not run as a file, so that its byte code is cached.
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
    process.returncode = 0  # reaped by its pid: this object must neither wait for it nor complain
    return process.pid
