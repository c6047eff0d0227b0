"""A handler in a systemd unit of its own: asks systemd to start it, hands over what it needs, learns how it ended.

The unit's template (systemd/iot-job-PROFILE@.service) belongs to root, and so does everything that systemd opens for
it. `entry` is what runs there, and describes the messages. That the unit is over, and how, systemd itself says:
its state, and a file that the unit's ExecStopPost= writes as root.
"""

from __future__ import annotations

import array
import json
import os
import select
import signal
import struct
import time
from _socket import AF_UNIX, SCM_RIGHTS, SO_PEERCRED, SOCK_SEQPACKET, SOL_SOCKET, socket

from iot_jobs_agent.shim.bus import PASSING, BusError, dynamic_user, is_over, kill_unit, start_unit, stop_unit
from iot_jobs_agent.shim.files import JOB, NEVER_STARTED, SETTINGS, SPEC, write_all
from iot_jobs_agent.shim.protocol import TRACEBACK
from iot_jobs_agent.shim.quota import quota_problem
from iot_jobs_agent.shim.tree import SWEEP_S, how_ended

TYPE_CHECKING = False  # importing `typing` would take a quarter of the start-up time
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

RUN = "/run/iot-jobs"
SOCKETS = f"{RUN}/sockets"
ENDED = f"{RUN}/ended"
ENDED_BYTES = 4096
USER_PREFIX = "j-"
MESSAGE_BYTES = 1 << 18
LOOK_S = 0.05  # between questions whether the unit is over, once its first process is gone or has not come yet
BUS_S = 10.0  # so long the bus may be away while we ask whose connection it is
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
    "org.freedesktop.systemd1.NoSuchUnit": "there is no such profile",
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
        self.instance = self.name.partition("@")[2].removesuffix(".service")
        self.path = f"{SOCKETS}/{self.instance}"
        self.listener: socket | None = None
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
        try:
            self.open_listener()
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
        return {"ending": ending, "reason": f"cannot start {self.name}: {words}"}

    def open_listener(self) -> None:
        """Make the socket that the unit's first process connects to. Raises OSError."""
        if os.path.lexists(self.path):  # of a shim that was killed
            os.unlink(self.path)
        self.listener = socket(AF_UNIX, SOCK_SEQPACKET)
        self.listener.settimeout(0)
        self.poller.register(self.listener.fileno(), select.POLLIN)
        self.listener.bind(self.path)
        os.chmod(self.path, 0o666)  # noqa: S103 - whose connection it is, systemd tells by its user
        self.listener.listen(8)

    def look(self) -> None:
        """Begin what is due: nothing is."""

    def hear(self, fd: int) -> None:
        """Take a connection, or a message."""
        if self.listener is not None and fd == self.listener.fileno():
            self.meet()
        elif self.entry is not None and fd == self.entry.fileno():
            self.listen()

    def meet(self) -> None:
        """Take the connection of the unit's first process, and of nobody else; hand over what it needs."""
        assert self.listener is not None  # noqa: S101 - for the type checker
        try:
            peer, _ = self.listener._accept()  # type: ignore[attr-defined] # noqa: SLF001 - all that `socket` would do
        except OSError:
            return
        found = socket(fileno=peer)
        _, uid, _ = struct.unpack("iII", found.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
        if not self.is_the_units(uid):
            found.close()
            return
        self.entry = found
        self.heard_at = time.monotonic()
        self.look_at = float("inf")
        self.poller.register(found.fileno(), select.POLLIN)
        self.close_listener()
        try:
            self.hand_over(found)
        except OSError:  # it is gone already; `listen` notices
            return

    def is_the_units(self, uid: int) -> bool:
        """Return whether a user is that of this unit: systemd gives each instance one of its own, by its name.

        A privileged profile may run as root, which has no need to lie to us.
        """
        until = time.monotonic() + BUS_S
        while uid != 0:
            try:
                return dynamic_user(uid) == f"{USER_PREFIX}{self.instance}"
            except (BusError, OSError) as error:
                is_passing = not isinstance(error, BusError) or error.name in PASSING
                if not is_passing or time.monotonic() > until:
                    return False
            self.pause(LOOK_S)
        return True

    def hand_over(self, entry: socket) -> None:
        """Send the descriptors that the handler needs."""
        given = {"spec": SPEC, "job": JOB, "settings": SETTINGS}
        if self.spec["kind"] == "handler" and os.path.exists(self.spec["checkpoint"]):
            given["checkpoint"] = self.spec["checkpoint"]
        opened = {name: os.open(path, os.O_RDONLY | os.O_CLOEXEC) for name, path in given.items()}
        everything = opened | {str(number): fd for number, fd in self.writers.items()}
        try:
            message = json.dumps({"names": list(everything)}).encode()
            entry.sendmsg([message], [(SOL_SOCKET, SCM_RIGHTS, array.array("i", everything.values()))])
        finally:
            for fd in everything.values():
                os.close(fd)
            self.writers = {}

    def listen(self) -> None:
        """Take the message of the unit's first process that has come; once it is gone, ask systemd."""
        assert self.entry is not None  # noqa: S101 - for the type checker
        try:
            data = self.entry.recv(MESSAGE_BYTES)
            heard = _checked(json.loads(data)) if data else {}
        except (OSError, ValueError, RecursionError):
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
        if problem := quota_problem(self.used_bytes, int(self.spec["quota_mb"])):
            return problem
        if not self.is_whole:  # it can only be this handler that has closed a directory of its own
            return "a part of JOB_DIR cannot be measured against quota_mb, because the handler has made it unreadable"
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
        self.close_listener()
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

    def close_listener(self) -> None:
        """Stop to wait for the unit's first process."""
        if self.listener is not None:
            self.poller.unregister(self.listener.fileno())
            self.listener.close()
            self.listener = None
            if os.path.lexists(self.path):
                os.unlink(self.path)

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
        if is_known and ended.get("result") == "oom-kill":
            return {"ending": "oom", "signal": int(signal.SIGKILL)}
        if self.said.get("is_stopped") and not self.is_asked:
            return {"ending": "interrupted"}  # by a shutdown, or somebody's `systemctl stop`
        if "status" in self.said:
            return how_ended(os.waitstatus_to_exitcode(int(self.said["status"])), str(self.said.get("reason", "")))
        if not is_known:
            return {"ending": "interrupted"}
        if "invocation" not in self.said and ended.get("result") == "success":
            return {"ending": "interrupted"}  # stopped by the same before it came to us
        if "invocation" not in self.said:
            words = f"its unit ended as {ended.get('result')} ({ended.get('code')}, {ended.get('status')})"
            return {"ending": "cannot-start", "reason": f"cannot start {self.name}: {words}: see `systemctl status`"}
        if ended.get("result") == "timeout":  # of somebody's `systemctl stop`, which the handler did not follow
            return {"ending": "interrupted"}
        if ended.get("code") == "exited" and ended.get("status", "").isdecimal():
            return how_ended(int(ended["status"]), f"the first process of its unit failed: journalctl -u {self.name}")
        number = getattr(signal, f"SIG{ended.get('status')}", signal.SIGKILL)
        return how_ended(-int(number), "the first process of its unit was killed")

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
