"""The units that handlers run in: how they are named, and how one is ended whose shim is gone.

The unit of an execution is `iot-job-PROFILE@HASH.service`. The hash is the same for all attempts of an execution, so
that systemd keeps its directory over another try and a reboot; it names neither the job nor the thing, because every
user of the device can read it.
"""

import re
import select
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import structlog

from iot_jobs_agent.core.job import ExecutionId
from iot_jobs_agent.device import AS_USER
from iot_jobs_agent.shim import bus

UNIT = re.compile(r"iot-job-[a-z][a-z0-9_-]*@[0-9a-f]{24}\.service")
FORGET = "iot-job-forget@{}.service"
END_S = 10.0
PAUSE_S = 0.05

LOG = structlog.get_logger(__name__)


class Units:
    """The units of one agent's executions. `profiles` maps handlers to theirs; all others have `profile`."""

    def __init__(self, state_directory: Path, profile: str, profiles: Mapping[str, str]) -> None:
        self._place = str(state_directory)
        self._profile = profile
        self._profiles = profiles

    def name(self, execution: ExecutionId, handler: str, user: str = "") -> str:
        """Return the unit of an attempt that runs `handler`; as `user`, if its document names one."""
        profile = f"{AS_USER}{user}" if user else self._profiles.get(handler, self._profile)
        return f"iot-job-{profile}@{self._instance(execution.directory_name)}.service"

    def forget(self, directory_name: str) -> None:
        """Have systemd remove what an ended execution has left, as root. Blocks. A failure is only logged."""
        try:
            bus.start_unit(FORGET.format(self._instance(directory_name)))
        except (bus.BusError, OSError) as error:
            LOG.warning("cannot be removed", execution=directory_name, why=str(error))

    def _instance(self, directory_name: str) -> str:
        import hashlib  # noqa: PLC0415 - takes 0.4 MB, and not every agent has units

        return hashlib.sha256(f"{self._place}\0{directory_name}".encode()).hexdigest()[:24]


def end(unit: str) -> bool:
    """End every process of a unit; return whether none is left.

    Blocks for END_S and one request: never on the loop's thread.
    """
    until = time.monotonic() + END_S
    while time.monotonic() < until:
        try:
            if bus.is_over(unit):
                return True
            bus.stop_unit(unit)  # first: it also takes back a start that is queued, in which a signal finds nothing
            bus.kill_unit(unit, signal.SIGKILL)
        except (bus.BusError, OSError):  # the bus or systemd is being restarted, or it has just ended
            pass
        select.select([], [], [], PAUSE_S)
    return False
