"""A handler whose processes are below this shim: the plain way, which needs no service manager."""

from __future__ import annotations

import os
import time

from iot_jobs_agent.shim.lean import PR_SET_CHILD_SUBREAPER, prctl, signal
from iot_jobs_agent.shim.memory import oom_kills
from iot_jobs_agent.shim.processes import (
    Process,
    descendants,
    freeze,
    reap_children,
    send,
)
from iot_jobs_agent.shim.quota import Quota
from iot_jobs_agent.shim.result import handler_result
from iot_jobs_agent.shim.start import crash_reason, reason_of, start_handler

TYPE_CHECKING = False  # importing `typing` would take a quarter of the start-up time
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

SWEEP_S = 10.0
FREEZE_S = 2.0
PAUSE_S = 0.01


class Tree:
    """The handler's process and everything below it, found in /proc. `pause` waits for a signal, or so many seconds."""

    def __init__(self, spec: Mapping[str, Any], memory_events: str, wake: int, pause: Callable[[float], None]) -> None:
        self.spec = spec
        self.memory_events = memory_events
        self.oom_kills_before = oom_kills(memory_events)
        self.pause = pause
        self.pid = 0
        self.status: int | None = None  # the handler's, as returned by waitpid
        self.quota = Quota([spec["cwd"]], spec["quota_mb"], spec["quota_every_s"], wake)
        prctl(PR_SET_CHILD_SUBREAPER, 1)

    @property
    def due_at(self) -> float:
        """When `look` has something to do next."""
        return self.quota.due_at

    def start(self, writers: Mapping[int, int]) -> dict[str, Any]:
        """Start the handler with the write ends of its pipes. Return the result if that fails, {} if not."""
        try:
            self.pid = start_handler(self.spec, writers)
        except OSError as error:
            return {"ending": "cannot-start", "reason": reason_of(error, self.spec["argv"][0])}
        return {}

    @property
    def has_ended(self) -> bool:
        """Whether the handler itself has ended."""
        return self.status is not None

    def hear(self, fd: int) -> None:
        """Take what a descriptor that was registered with the poller brought: there is none."""

    def look(self) -> None:
        """Begin what is due."""
        self.quota.look()

    def is_gone(self) -> bool:
        """Reap every dead child, our own or adopted. True only if it is certain that no child is left."""
        statuses, is_childless = reap_children()
        self.status = statuses.get(self.pid, self.status)
        return is_childless

    def over_quota(self) -> str:
        """Return what is wrong with the disk that the handler takes, "" if nothing."""
        return self.quota.problem()

    def terminate(self, now: float) -> None:
        """Ask every process to end."""
        for each in freeze(self.family, now + FREEZE_S):  # otherwise a process forked meanwhile is missed
            send(each, signal.SIGTERM)
            send(each, signal.SIGCONT)

    def family(self) -> list[Process]:
        """List every live process below us."""
        return descendants(os.getpid())

    def sweep(self) -> tuple[int, int]:
        """Kill every descendant; return how many were killed besides the handler, and how many are still alive."""
        until = time.monotonic() + SWEEP_S
        killed: set[int] = set()
        while not self.is_gone():
            left = freeze(self.family, until)
            if time.monotonic() > until:
                return len(killed), max(1, len(left))
            killed.update(each.pid for each in left if send(each, signal.SIGKILL) and each.pid != self.pid)
            self.pause(PAUSE_S)
        return len(killed), 0

    def notes(self, is_oom: bool) -> list[str]:
        """Return what helps to explain how it went. `is_oom`: that memory ran out is told already."""
        found = [] if self.quota.is_whole else ["a part of JOB_DIR could not be measured against quota_mb"]
        killed = oom_kills(self.memory_events) - self.oom_kills_before
        if killed > 0 and not is_oom:
            processes = "1 of its processes was" if killed == 1 else f"{killed} of its processes were"
            found.append(f"{processes} killed by the kernel's out-of-memory killer")
        return found

    def ending(self) -> dict[str, Any]:
        """Return how the handler ended by itself."""
        code = os.waitstatus_to_exitcode(self.status or 0)
        if code == -signal.SIGKILL and oom_kills(self.memory_events) > self.oom_kills_before:
            return {"ending": "oom", "signal": -code}
        return how_ended(code, crash_reason(code))

    def result(self) -> dict[str, Any]:
        """Return what the handler left as members of `result.json`."""
        return handler_result(self.spec["handler_result"]) if self.spec["handler_result"] else {}


def how_ended(code: int, reason: str) -> dict[str, Any]:
    """Return how a process ended as members of `result.json`; `code` is negative for a signal."""
    how: dict[str, Any] = {"ending": "signaled", "signal": -code} if code < 0 else {"ending": "exited", "code": code}
    return how | ({"reason": reason} if reason else {})
