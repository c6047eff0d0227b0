"""Handlers in units of their own, on the stand-in for systemd. All of that is outside of the disk that loses power."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.buses import Systemd, UnitLauncher, place_of_its_own

from iot_jobs_agent.attempts import directory as attempt_directory
from iot_jobs_agent.attempts.attempts import Attempts
from iot_jobs_agent.attempts.units import Units
from iot_jobs_agent.core.events import AttemptEnded, AttemptEvent, AttemptNeverStarted, AttemptProgressed
from iot_jobs_agent.shim import bus

REFUSED = {"StartUnit": "org.freedesktop.systemd1.TransactionIsDestructive"}


class OwnUnits:
    """Systemd, and what happens to units. `refuses`: each attempt's first start. `kills`: the job whose shim, once."""

    def __init__(self, systemd: Systemd, *, refuses: bool, kills: str) -> None:
        self.systemd = systemd
        self._refuses, self._kills = refuses, kills
        self._refuse()

    def attempts(self, state: Path, post: Callable[[AttemptEvent], None]) -> Attempts:
        """Return the attempts of an agent."""

        def heard(event: AttemptEvent) -> None:
            self._react(state, event)
            post(event)

        units = Units(state, "network", {})
        return Attempts(state, UnitLauncher(self.systemd.place), heard, own_units=units)

    def _refuse(self) -> None:
        if self._refuses:
            self.systemd.behave(errors=REFUSED)

    def _react(self, state: Path, event: AttemptEvent) -> None:
        if isinstance(event, AttemptNeverStarted):
            self.systemd.behave()
        elif isinstance(event, AttemptEnded):
            self._refuse()
        elif isinstance(event, AttemptProgressed) and event.attempt.execution.job_id == self._kills:
            self._kills = ""
            pid = attempt_directory.read_shim_pid(state / "attempts" / event.attempt.directory_name)
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def own_units(*, refuses: bool = False, kills: str = "") -> Iterator[OwnUnits]:
    """Start systemd's stand-in, for this process and those below it."""
    with place_of_its_own() as place:
        systemd = Systemd(place)
        bus.SYSTEM_BUS = str(systemd.bus)
        try:
            systemd.start()
            yield OwnUnits(systemd, refuses=refuses, kills=kills)
        finally:
            systemd.close()
