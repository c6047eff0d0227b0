"""Makes an attempt's files and starts its shim, or takes it all back. All but `prepare` runs in the thread."""

import errno
import os
from pathlib import Path

from iot_jobs_agent.attempts import directory as attempt_directory
from iot_jobs_agent.attempts import trash, unfinished
from iot_jobs_agent.attempts.directory import Facts
from iot_jobs_agent.attempts.launchers import Launcher
from iot_jobs_agent.attempts.units import Units
from iot_jobs_agent.attempts.watch import DeviceFaultError, Watch, is_its_own, is_usable, what_failed
from iot_jobs_agent.core.job import StartReason, Step
from iot_jobs_agent.shim.processes import ticks_now
from iot_jobs_agent.state.durable import sync_directory


class Launch:
    """How attempts are started below `state`. With `own_units`, their handlers run in units of their own."""

    def __init__(self, state: Path, launcher: Launcher, own_units: Units | None) -> None:
        self.attempts = state / "attempts"
        self.jobs = state / "jobs"
        self.trash = state / "trash"
        self._launcher = launcher
        self._units = own_units
        self.has_units = own_units is not None

    def prepare(self) -> None:
        """Create the directories, durably. Raises OSError."""
        state = self.attempts.parent
        for directory in (state, self.attempts, self.jobs, self.trash):
            if os.path.lexists(directory) and not directory.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "it is not a directory; move it away", str(directory))
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not is_usable(directory):  # somebody did something to it
                directory.chmod(0o700)
            if not is_usable(directory):
                raise PermissionError(errno.EACCES, "it is not for this user; move it away", str(directory))
        sync_directory(state)  # an attempt's directory is only as durable as the names above it

    def start(self, watch: Watch, step: Step, facts: Facts) -> int:
        """Make everything ready and durable, then start the shim and return its pid.

        Raises:
            DeviceFaultError: the device cannot do that now. The attempt has no directory, so it has not started.
            OSError: the attempt itself cannot be made, or its directory cannot be removed again.
        """
        try:
            return self._start_once(watch, step, facts)
        except OSError as error:
            if is_its_own(error, watch.directory, self.jobs / watch.attempt.execution.directory_name):
                raise
            if self.attempts.is_dir():
                self.undo(watch)
            raise DeviceFaultError(what_failed(error)) from error

    def _start_once(self, watch: Watch, step: Step, facts: Facts) -> int:
        for directory in (self.attempts, self.jobs, self.trash):
            directory.mkdir(mode=0o700, exist_ok=True)  # somebody may have removed them
        job_directory = self.jobs / watch.attempt.execution.directory_name
        if facts.reason != StartReason.FIRST and attempt_directory.is_fresh(watch.attempt, facts):
            unfinished.keep(job_directory)
            trash.throw_away(job_directory, self.trash)
        job_directory.mkdir(mode=0o700, exist_ok=True)
        if facts.reason == StartReason.FIRST:  # a retry keeps it, because that is the same work, tried again
            attempt_directory.forget_checkpoint(job_directory)
        watch.directory.mkdir(mode=0o700)  # not earlier: once it exists, the attempt can be interrupted and resumed
        unit = self._units.name(watch.attempt.execution, step.handler, step.user) if self._units is not None else ""
        attempt_directory.fill(watch.directory, job_directory, watch.attempt, step, facts, unit=unit)
        sync_directory(self.jobs)
        sync_directory(self.attempts)
        watch.since = ticks_now()
        return self._launcher(watch.directory)

    def undo(self, watch: Watch) -> None:
        """Remove an attempt that never started, durably. Raises OSError."""
        trash.throw_away(watch.directory, self.trash)
        sync_directory(self.attempts)

    def take_back(self, watch: Watch) -> str:
        """Undo an attempt that never started, because systemd refused to start its unit; return why, "" if it started.

        No handler can write that in its shim's place: a handler in a unit is another user. An attempt of our own child
        is in one, and so is any whose files name a unit; call this once nothing of that unit lives.

        Raises:
            DeviceFaultError: it cannot be undone now.
        """
        is_in_unit = self.has_units and (watch.status == 0 or attempt_directory.read_unit(watch.directory))
        why = attempt_directory.read_refusal(watch.directory) if is_in_unit else ""
        if why:
            try:
                self.undo(watch)
            except OSError as error:  # the disk is full or sick, too
                raise DeviceFaultError(what_failed(error)) from error
        return why

    def forget(self, directory_name: str) -> None:
        """Have systemd remove what the handlers of an ended execution have left."""
        if self._units is not None:
            self._units.forget(directory_name)
