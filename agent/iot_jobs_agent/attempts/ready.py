"""When a shim is started before its attempt, and how long it waits. For the loop; the work itself is the thread's."""

import asyncio
from concurrent.futures import Executor

from iot_jobs_agent.attempts.launchers import Early, Launcher

READY_S = 10.0  # the answers to a claim and to a describe come much sooner, or not at all


class Ready:
    """The shim that waits. With a launcher that cannot start one early, there is none."""

    def __init__(self, launcher: Launcher, thread: Executor) -> None:
        self._early = launcher if isinstance(launcher, Early) else None
        self._thread = thread
        self._dismissal: asyncio.TimerHandle | None = None

    def wish(self) -> None:
        """Have a shim wait for the next attempt, until READY_S seconds after the last call."""
        if self._early is not None:
            self._cancel()
            self._thread.submit(self._early.get_ready)
            self._dismissal = asyncio.get_running_loop().call_later(READY_S, self.dismiss)

    def dismiss(self) -> None:
        """End the shim that waits, if one does."""
        if self._early is not None:
            self._cancel()
            self._thread.submit(self._early.dismiss)

    def has(self, pid: int) -> bool:
        """Return whether the process is the shim that waits. Any thread."""
        return self._early is not None and self._early.pid == pid

    def _cancel(self) -> None:
        if self._dismissal is not None:
            self._dismissal.cancel()
            self._dismissal = None
