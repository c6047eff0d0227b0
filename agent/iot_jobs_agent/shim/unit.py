"""A handler in a systemd unit of its own: asks systemd to start it, hands over what it needs, learns how it ended.

The unit's template (systemd/iot-job-PROFILE@.service) belongs to root, and so does everything that systemd opens for
it. `entry` is what runs there, and describes the messages. That the unit is over, and how, systemd itself says:
its state, and a file that the unit's ExecStopPost= writes as root.
"""

from __future__ import annotations

import os
import select
import struct
import time
from _socket import SCM_RIGHTS, SOL_SOCKET, socket

from iot_jobs_agent.shim.bus import (
    PASSING,
    BusError,
    is_over,
    kill_unit,
    longest_s,
    start_unit,
    stay_connected,
    stop_unit,
)
from iot_jobs_agent.shim.door import LOOK_S, SOCKETS, Door
from iot_jobs_agent.shim.files import JOB, NEVER_STARTED, SETTINGS, SPEC, write_all
from iot_jobs_agent.shim.lean import dumps, loads, signal
from iot_jobs_agent.shim.protocol import TRACEBACK
from iot_jobs_agent.shim.quota import quota_problem
from iot_jobs_agent.shim.tree import SWEEP_S, how_ended

TYPE_CHECKING = False  # importing `typing` would take a quarter of the start-up time
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

ENDED = "/run/iot-jobs/ended"
ENDED_BYTES = 4096
MESSAGE_BYTES = 1 << 18
ASKED_S = 5.0  # so long what a handler has left may take to end when systemd asks it; its TimeoutStopSec= is longer
SILENT_TIMES = 6  # so many measurements of the quota may fail to come
# Refusals that hit every unit, or pass: the attempt has not started, and is started again.
NO_RULE = "polkit does not let this user start it: install the shipped polkit rule"
REFUSED = {
    "org.freedesktop.DBus.Error.AccessDenied": NO_RULE,
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired": NO_RULE,
    "org.freedesktop.systemd1.TransactionIsDestructive": "the system is shutting down",
    "org.freedesktop.systemd1.ShuttingDown": "the system is shutting down",
}
FIXES = {
    "org.freedesktop.systemd1.NoSuchUnit": "there is no such profile: `iot-jobs-agent check` says what to do",
    "org.freedesktop.systemd1.UnitMasked": "it is masked: run `systemctl unmask` on its template",
    "org.freedesktop.systemd1.LoadFailed": "its template cannot be loaded: see `systemctl status`",
    "org.freedesktop.systemd1.BadUnitSetting": "its template has a bad setting: run `systemd-analyze verify` on it",
}

FORMS: dict[str, type] = {
    "invocation": str,
    "used_bytes": int,
    "is_whole": bool,
    "cannot_start": str,
    "status": int,
    "result": dict,
    "reason": str,
    "traceback": str,
    "left": int,
    "is_stopped": bool,
}


class Unit:
    """The handler's unit, from the request to start it until systemd says that it is over."""

    def __init__(self, spec: Mapping[str, Any], poller: select.poll, pause: Callable[[float], None]) -> None:
        self.spec = spec
        self.poller = poller
        self.pause = pause
        self.name = str(spec["unit"])
        self.door = Door(self.name, poller, pause)
        self.instance = self.door.instance
        self.entry: socket | None = None  # the unit's first process
        self.writers: Mapping[int, int] = {}
        self.said: dict[str, Any] = {}
        self.used_bytes = 0
        self.is_whole = True
        self.is_asked = self.is_over = False
        self.began = self.heard_at = time.monotonic()
        self.look_at = float("inf")
        self.silent_s = SILENT_TIMES * float(spec["quota_every_s"]) + 1.0
        self.before = self.ended()

    @property
    def due_at(self) -> float:
        """When `is_gone` or `over_quota` has something to tell."""
        return self.look_at if self.entry is None else min(self.look_at, self.heard_at + self.silent_s)

    @property
    def has_ended(self) -> bool:
        """Whether the handler itself has ended, or the unit is over without a word of it."""
        return "status" in self.said or "cannot_start" in self.said or self.is_over

    def start(self, writers: Mapping[int, int]) -> dict[str, Any]:
        """Have systemd start the unit. Return the result if it cannot be started, {} if it is on its way."""
        self.writers = writers
        stay_connected(is_wanted=True)  # what follows asks systemd at least three times
        try:
            self.door.open()
        except OSError as error:
            return self.refused(f"{SOCKETS} cannot be used ({error.strerror}): run `systemd-tmpfiles --create`")
        try:
            if not is_over(self.name):  # a start of what is still there would start nothing
                self.end_unit()
                return self.refused("what an earlier attempt has left in it is being ended")
            start_unit(self.name)
        except BusError as error:
            if error.name in PASSING:
                return self.refused(f"the system bus or systemd did not answer ({error})")
            if error.name in REFUSED:
                return self.refused(REFUSED[error.name])
            return self.refused(FIXES.get(error.name, f"{error} ({error.name})"), "cannot-start")
        except OSError as error:
            return self.refused(f"the system bus cannot be reached ({error.strerror or error})")
        self.look_at = time.monotonic() + LOOK_S
        return {}

    def refused(self, words: str, ending: str = NEVER_STARTED) -> dict[str, Any]:
        """Return the result of a unit that is not started."""
        self.is_over = True
        return {"ending": ending, "reason": f"cannot start {self.name}: {words}", "unit": self.name}

    def look(self) -> None:
        """Begin what is due: nothing is."""

    def hear(self, fd: int) -> None:
        """Take a connection, or a message."""
        if self.entry is not None and fd == self.entry.fileno():
            self.listen()
        elif met := self.door.hear(fd):
            self.welcome(*met)

    def welcome(self, entry: socket, said: bytes) -> None:
        """Hand over what the unit's first process needs, and listen to it. `said` is its message so far, if any."""
        self.entry = entry
        self.heard_at = time.monotonic()
        self.look_at = float("inf")
        self.poller.register(entry.fileno(), select.POLLIN)
        self.door.close()
        stay_connected(is_wanted=False)  # a handler may take days
        if said:
            self.take(said)
        try:
            self.hand_over(entry)
        except OSError:  # it is gone already; `listen` notices
            return

    def files(self) -> dict[str, int]:
        """Return what the handler gets to read, open. Raises OSError."""
        given = {"spec": SPEC, "job": JOB, "settings": SETTINGS}
        if self.spec["kind"] == "handler" and os.path.exists(self.spec["checkpoint"]):
            given["checkpoint"] = self.spec["checkpoint"]
        return {name: os.open(path, os.O_RDONLY | os.O_CLOEXEC) for name, path in given.items()}

    def hand_over(self, entry: socket) -> None:
        """Send the descriptors that the handler needs. Raises OSError."""
        everything = self.files() | {str(number): fd for number, fd in self.writers.items()}
        try:
            message = dumps({"names": list(everything)}).encode()
            descriptors = struct.pack(f"{len(everything)}i", *everything.values())
            entry.sendmsg([message], [(SOL_SOCKET, SCM_RIGHTS, descriptors)])
        finally:
            for fd in everything.values():
                os.close(fd)
            self.writers = {}

    def listen(self) -> None:
        """Take the message of the unit's first process that has come; once it is gone, ask systemd."""
        assert self.entry is not None  # noqa: S101 - for the type checker
        try:
            data = self.entry.recv(MESSAGE_BYTES)
        except OSError:
            data = b""
        self.take(data)

    def take(self, data: bytes) -> None:
        """Take a message of the unit's first process; none, or one that cannot be from it, is the last one."""
        try:
            heard = _checked(loads(data)) if data else {}
        except (ValueError, RecursionError):
            data = b""
        if not data:
            self.close_entry()
            return
        self.heard_at = time.monotonic()
        self.used_bytes = heard.pop("used_bytes", self.used_bytes)
        self.is_whole = heard.pop("is_whole", self.is_whole)
        self.said |= heard

    def close_entry(self) -> None:
        """Listen no more to the unit's first process, and ask systemd from now on."""
        if self.entry is not None:
            self.poller.unregister(self.entry.fileno())
            self.entry.close()
            self.entry = None
            self.look_at = time.monotonic()

    def is_gone(self) -> bool:
        """Return whether systemd says that the unit is over: none of its processes is left."""
        now = time.monotonic()
        if self.is_over or now < self.look_at:
            return self.is_over
        self.look_at = now + LOOK_S
        try:
            self.is_over = is_over(self.name)
        except (BusError, OSError):  # the bus or systemd is being restarted
            return False
        return self.is_over

    def over_quota(self) -> str:
        """Return what is wrong with the disk that the handler takes, "" if nothing."""
        if problem := quota_problem("JOB_DIR with /tmp", self.used_bytes, int(self.spec["quota_mb"])):
            return problem
        if not self.is_whole:  # it can only be this handler that has closed a directory of its own
            return "a part of JOB_DIR or /tmp cannot be measured against quota_mb: the handler has made it unreadable"
        if self.entry is not None and time.monotonic() - self.heard_at >= self.silent_s:
            return (
                f"the first process of its unit said nothing for {self.silent_s:.0f} s, so its disk quota cannot be "
                "measured: somebody stopped it, or the device had no memory left"
            )
        return ""

    def terminate(self, now: float) -> None:  # noqa: ARG002 - as of Tree
        """Ask every process to end; take the start back if it still waits."""
        self.is_asked = True
        self.end_unit(signal.SIGTERM)
        self.look_at = time.monotonic()

    def end_unit(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to all of the unit. If it is not there, or the bus is not, `sweep` deals with it."""
        try:
            if not self.said:  # nobody came: its start may be queued, and a signal would find nothing
                stop_unit(self.name)
            kill_unit(self.name, number)
        except (BusError, OSError):
            return

    def sweep(self) -> tuple[int, int]:
        """Let systemd end what is left; return how many were killed besides the handler, and how many are alive."""
        self.door.close()
        stay_connected(is_wanted=True)
        began = time.monotonic()
        self.look_at = 0.0
        while not self.is_gone():
            waited_s = time.monotonic() - began
            if waited_s > SWEEP_S:
                return 0, 1
            # Of a unit that ends by itself, systemd runs ExecStopPost= meanwhile, which a signal would hit, too.
            if not self.has_ended or self.is_asked or waited_s > ASKED_S:
                self.end_unit()
            self.pause(LOOK_S)
            self.drain()
        self.drain()
        self.close_entry()
        return int(self.said.get("left", 0)), 0

    def drain(self) -> None:
        """Take the messages that have come."""
        while self.entry is not None and select.select([self.entry.fileno()], [], [], 0)[0]:
            self.listen()

    def ended(self) -> dict[str, str]:
        """Read what the unit's ExecStopPost= wrote at its last end."""
        try:
            fd = os.open(f"{ENDED}/{self.instance}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return {}
        try:
            words = os.read(fd, ENDED_BYTES).decode(errors="replace").split()
        finally:
            os.close(fd)
        return dict(word.split("=", 1) for word in words if "=" in word)

    def ending(self) -> dict[str, Any]:
        """Return how the handler ended by itself, in systemd's words where it has any."""
        if "cannot_start" in self.said:
            return {"ending": "cannot-start", "reason": str(self.said["cannot_start"])}
        ended = self.ended()
        is_known = ended.get("invocation", "") not in {"", self.before.get("invocation")}
        if is_known and (ended.get("result") == "oom-kill" or ended.get("oom_kills", "0") not in {"", "0"}):
            return {"ending": "oom", "signal": int(signal.SIGKILL)}
        if self.said.get("is_stopped") and not self.is_asked:
            return self.stopped(ended.get("result", "") if is_known else "")
        if "status" in self.said:
            return how_ended(os.waitstatus_to_exitcode(int(self.said["status"])), str(self.said.get("reason", "")))
        if not is_known:
            return {"ending": "interrupted"}
        if "invocation" not in self.said and ended.get("result") == "success":
            return {"ending": "interrupted"}  # stopped by the same before it came to us
        if "invocation" not in self.said:
            words = f"its unit ended as {ended.get('result')} ({ended.get('code')}, {ended.get('status')})"
            return {"ending": "cannot-start", "reason": f"cannot start {self.name}: {words}: see `systemctl status`"}
        if ended.get("result") == "timeout":
            return self.stopped("timeout")
        if ended.get("code") == "exited" and ended.get("status", "").isdecimal():
            return how_ended(int(ended["status"]), f"the first process of its unit failed: journalctl -u {self.name}")
        number = getattr(signal, f"SIG{ended.get('status')}", signal.SIGKILL)
        return how_ended(-int(number), "the first process of its unit was killed")

    def stopped(self, result: str) -> dict[str, Any]:
        """Return how it ended if systemd stopped it, not we: at the end of its profile's time, or for somebody."""
        lasted_s = time.monotonic() - self.began
        try:
            limit_s = longest_s(self.name) if result == "timeout" else float("inf")
        except (BusError, OSError):
            limit_s = float("inf")
        if lasted_s < limit_s:  # by a shutdown, or somebody's `systemctl stop`, which the handler may not have followed
            return {"ending": "interrupted"}
        return {"ending": "deadline", "reason": f"its profile allows {limit_s:g} s (RuntimeMaxSec=)"}

    def notes(self, is_oom: bool) -> list[str]:
        """Return what helps to explain how it went."""
        found = []
        ended = self.ended()
        peak = ended.get("peak", "")
        if is_oom and peak.isdecimal():
            less = "less than" if ended.get("limit_hits") == "0" else "as"  # then the device had none left
            found.append(f"it had {int(peak) / (1 << 20):.0f} MiB at most, {less} its profile allows")
        return found

    def result(self) -> dict[str, Any]:
        """Return what the handler left as members of `result.json`; its worker's traceback goes where others' do."""
        if traceback := str(self.said.get("traceback", "")):
            self.keep(os.path.join(self.spec["cwd"], TRACEBACK), traceback)
        return dict(self.said.get("result", {}))

    def keep(self, path: str, text: str) -> None:
        """Write a file that only explains. A full disk costs the explanation."""
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                write_all(fd, text.encode(errors="replace"))
            finally:
                os.close(fd)
        except OSError:
            return


def _checked(heard: object) -> dict[str, Any]:
    """Return a message of the unit's first process. Raises ValueError if it cannot be from `entry`."""
    if not isinstance(heard, dict) or not all(FORMS.get(name) is type(value) for name, value in heard.items()):
        raise ValueError("not a message")
    return heard
