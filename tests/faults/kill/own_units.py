"""Handlers in units of their own, in one world: systemd's stand-in, and what points the agent and its shims at it."""

import asyncio
import contextlib
import json
from pathlib import Path

from tests.support.buses import BOOT, Systemd, place_of_its_own

from iot_jobs_agent.attempts.units import Units
from iot_jobs_agent.core.job import ExecutionId

SYSTEMD = "org.freedesktop.systemd1"
DBUS = "org.freedesktop.DBus.Error"
REFUSALS = {
    "destructive": f"{SYSTEMD}.TransactionIsDestructive",
    "shutting-down": f"{SYSTEMD}.ShuttingDown",
    "no-rule": f"{DBUS}.AccessDenied",
    "no-reply": f"{DBUS}.NoReply",
    "too-much": f"{DBUS}.LimitsExceeded",
}
TIMES = 2
AGAIN_S = 0.5  # instead of half a minute until a refused start is tried again
AGENT = """
from iot_jobs_agent.attempts import launchers
from iot_jobs_agent.core import running
from iot_jobs_agent.shim import bus
bus.SYSTEM_BUS, launchers.BOOT, running.DEVICE_FAULT_S = {bus!r}, {boot!r}, {again_s}
"""


class OwnUnits:
    """The units of a world. `refusals` is how the first starts are refused; `defect` spoils the shims."""

    def __init__(self, refusals: list[str], defect: str) -> None:
        self._stack = contextlib.ExitStack()
        self.systemd = Systemd(self._stack.enter_context(place_of_its_own()))
        self._stack.callback(self.systemd.close)
        self._is_started = False
        self._defect = defect
        self.systemd.behave(first={"StartUnit": refusals})

    async def start(self) -> None:
        """Start it, but once."""
        if not self._is_started:
            self._is_started = True
            await asyncio.to_thread(self.systemd.start)

    async def close(self) -> None:
        """End all units and what ran them."""
        await asyncio.to_thread(self._stack.close)

    @property
    def code(self) -> str:
        """What the agent has to run first."""
        begin, _, end = BOOT.format(place=str(self.systemd.place)).partition("from iot_jobs_agent.shim.supervisor")
        boot = f"{begin}{self._defect}\nfrom iot_jobs_agent.shim.supervisor{end}"
        return AGENT.format(bus=str(self.systemd.bus), boot=boot, again_s=AGAIN_S)

    @property
    def live(self) -> set[str]:
        """The units that systemd does not call over."""
        try:
            return set(json.loads((self.systemd.place / "units").read_text()))
        except FileNotFoundError:
            return set()

    def unit(self, state: Path, job: str) -> str:
        """Return the name of a job's unit."""
        return Units(state.resolve(), "network", {}).name(ExecutionId("", job, 1), "ledger")

    def home(self, unit: str) -> Path:
        """Return its first process's directory, as it has it in its environment."""
        return self.systemd.place / "home" / unit.partition("@")[2].removesuffix(".service")
