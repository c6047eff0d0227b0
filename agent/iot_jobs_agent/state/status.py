"""What people see of the agent at a glance: the contents of the status file, and systemd's status line."""

import os
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iot_jobs_agent.core.state import Delayed, Execution, Preparing, Rebooting, Running, State, Stopping
from iot_jobs_agent.errors import StateDirectoryError
from iot_jobs_agent.state import directory as state_directory

ERRORS_KEPT = 10

# What readers of the status file rely on. A power cut or another version may have left something else.
_FORM: dict[str, Any] = {
    "thing_name": str,
    "pid": int,
    "connection": {"is_connected": bool, "since": int | float | None},
    "degraded": str,
    "is_paused": bool,
    "namespaces": [{"namespace": str, "pending": [str], "left_alone": int, "is_known": bool}],
    "executions": [{"execution": str, "operation": str, "phase": str}],
    "errors": [{"at": int | float, "what": str}],
}


class StatusBoard:
    """Gathers the contents of the status file. Times are in epoch seconds."""

    def __init__(self, thing_name: str, certificate_expires_at: float | None = None, volatile: str = "") -> None:
        """`volatile` says why the state directory does not survive a reboot, "" if it does."""
        self._thing_name = thing_name
        self._volatile = volatile
        self._certificate_expires_at = certificate_expires_at
        self._errors: deque[dict[str, Any]] = deque(maxlen=ERRORS_KEPT)
        self._started_at = time.time()
        self._connected_since: float | None = None
        self.degraded = ""

    def add_error(self, what: str, facts: Mapping[str, Any]) -> None:
        """Remember a problem; only the last ERRORS_KEPT are kept. One that comes again is kept once, with `times`."""
        told = {"what": what, **facts}
        times = 1
        for error in self._errors:
            if {key: value for key, value in error.items() if key not in {"at", "times"}} == told:
                times = error.get("times", 1) + 1
                self._errors.remove(error)
                break
        again = {"times": times} if times > 1 else {}
        self._errors.append({"at": round(time.time(), 3), **told, **again})

    def line(self, state: State) -> str:
        """Return the status line for `systemctl status`."""
        if degraded := self._degraded(state):
            return f"degraded: {degraded}"
        connection = "connected" if state.is_connected else "not connected"
        connection = f"paused, {connection}" if state.is_paused else connection
        return f"{connection}, {len(state.executions)} executions under way"

    def _degraded(self, state: State) -> str:
        if self.degraded or not state.device_fault:
            return self.degraded
        return f"no handler can be started ({state.device_fault}); nothing is claimed until one can"

    def content(self, state: State) -> dict[str, Any]:
        """Return the contents of the status file. The file outlives the agent, so readers must check the lock first."""
        if state.is_connected and self._connected_since is None:
            self._connected_since = time.time()
        if not state.is_connected:
            self._connected_since = None
        return {
            "thing_name": self._thing_name,
            "pid": os.getpid(),
            "started_at": round(self._started_at, 3),
            "written_at": round(time.time(), 3),
            "connection": {"is_connected": state.is_connected, "since": self._connected_since},
            "certificate_expires_at": self._certificate_expires_at,
            "degraded": self._degraded(state),
            "volatile": self._volatile,
            "is_paused": state.is_paused,
            "namespaces": [
                {
                    "namespace": ns,
                    "pending": [str(e) for e in queue.pending if e not in state.foreign],
                    "left_alone": sum(e.namespace == ns for e in state.foreign),
                    "is_known": queue.is_known,
                }
                for ns, queue in state.queues.items()
            ],
            "executions": [_execution(e) for e in state.executions.values()],
            "left_alone": [str(e) for e in state.foreign],
            "errors": list(self._errors),
        }


def _execution(execution: Execution) -> dict[str, Any]:
    phase = execution.phase
    shown: dict[str, Any] = {
        "execution": str(execution.id),
        "operation": execution.operation,
        "phase": type(phase).__name__.lower(),
    }
    if execution.claimed_at:
        shown["claimed_at"] = execution.claimed_at
    if isinstance(phase, Preparing | Running | Delayed | Rebooting | Stopping):
        work = phase.work
        shown["step"] = f"{work.current.name}, {work.step + 1}/{len(work.plan.steps)}"
        shown["attempt"] = work.number
    if isinstance(phase, Delayed | Rebooting):
        shown["message"] = phase.details.get("reason", "")
    if isinstance(phase, Running):
        shown["progress"] = phase.progress
        shown["message"] = phase.message
    return shown


def read(directory: Path) -> dict[str, Any]:
    """Return the status that the agent last wrote.

    Raises:
        StateDirectoryError: the agent never ran here; this user cannot read it; it is not what this version writes.
    """
    found = state_directory.read_status(directory)
    if not _has_form(found, _FORM):
        path = directory / state_directory.STATUS
        raise StateDirectoryError(f"{path} is damaged, or of another version: restart the agent, which writes it again")
    return found


def _has_form(value: Any, form: Any) -> bool:
    if isinstance(form, dict):
        return isinstance(value, dict) and all(key in value and _has_form(value[key], form[key]) for key in form)
    if isinstance(form, list):
        return isinstance(value, list) and all(_has_form(each, form[0]) for each in value)
    return isinstance(value, form)
