"""The socket at which a shim meets the first process of its handler's unit, and who is let in: that one, nobody else.

systemd is asked whose a connection is, because the agent's unit hides other users' processes from us. A dynamic user is
this unit's alone, so its name is enough, and root has no need to lie to us. A user of the device (profile `as-USER`)
has other processes, too, which must not take the first one's place. So that one is known by what no other can send:
a message with systemd's id of this start, which nobody could know before the first process was there, from the pid that
systemd has started. The kernel says who sends (SCM_CREDENTIALS, unix(7)); who connected may be gone, and its pid
another's.
"""

from __future__ import annotations

import os
import pwd
import select
import struct
import time
from _socket import (
    AF_UNIX,
    CMSG_LEN,
    SCM_CREDENTIALS,
    SO_PASSCRED,
    SO_PEERCRED,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
)

from iot_jobs_agent.shim.bus import PASSING, BusError, dynamic_user, main_process
from iot_jobs_agent.shim.lean import loads

TYPE_CHECKING = False  # importing `typing` would take a quarter of the start-up time
if TYPE_CHECKING:
    from collections.abc import Callable

SOCKETS = "/run/iot-jobs/sockets"
USER_PREFIX = "j-"
AS_USER = "iot-job-as-"
LOOK_S = 0.05  # between questions whether the unit is over, once its first process is gone or has not come yet
BUS_S = 10.0  # so long the bus may be away while we ask whose connection it is
MOST_GUESTS = 8
GREETING_BYTES = 4096
CREDENTIALS_BYTES = 12  # pid, uid, gid


class Door:
    """Open from the request to start the unit until its first process is there, or the attempt is over."""

    def __init__(self, unit: str, poller: select.poll, pause: Callable[[float], None]) -> None:
        self.unit = unit
        prefix, _, instance = unit.removesuffix(".service").partition("@")
        self.instance = instance
        self.user = prefix.removeprefix(AS_USER) if prefix.startswith(AS_USER) else ""
        self.poller = poller
        self.pause = pause
        self.path = f"{SOCKETS}/{instance}"
        self.listener: socket | None = None
        self.guests: dict[int, socket] = {}  # of the device's user, and not yet known

    def open(self) -> None:
        """Make the socket that the unit's first process connects to. Raises OSError."""
        if os.path.lexists(self.path):  # of a shim that was killed
            os.unlink(self.path)
        self.listener = socket(AF_UNIX, SOCK_SEQPACKET)
        self.listener.settimeout(0)
        self.poller.register(self.listener.fileno(), select.POLLIN)
        self.listener.setsockopt(SOL_SOCKET, SO_PASSCRED, 1)
        self.listener.bind(self.path)
        os.chmod(self.path, 0o666)  # noqa: S103 - whose connection it is, systemd tells
        self.listener.listen(8)

    def close(self) -> None:
        """Wait no longer, and send away who is not known."""
        if self.listener is not None:
            self.poller.unregister(self.listener.fileno())
            self.listener.close()
            self.listener = None
            if os.path.lexists(self.path):
                os.unlink(self.path)
        while self.guests:
            self.send_away(next(iter(self.guests)))

    def hear(self, fd: int) -> tuple[socket, bytes] | None:
        """Take a connection, or a guest's first message. Return the first process with its message, if it is known."""
        if self.listener is not None and fd == self.listener.fileno():
            return self.meet(self.listener)
        return self.recognise(fd) if fd in self.guests else None

    def meet(self, listener: socket) -> tuple[socket, bytes] | None:
        """Take a connection. Whether it is the first process's may show only in its first message."""
        try:
            peer, _ = listener._accept()  # type: ignore[attr-defined] # noqa: SLF001 - all that `socket` would do
        except OSError:
            return None
        found = socket(fileno=peer)
        _, uid, _ = struct.unpack("iII", found.getsockopt(SOL_SOCKET, SO_PEERCRED, CREDENTIALS_BYTES))
        if not self.user and self.is_the_units(uid):
            return found, b""
        if not self.user or uid != self.uid():
            found.close()
            return None
        if len(self.guests) >= MOST_GUESTS:
            self.send_away(next(iter(self.guests)))
        found.settimeout(0)
        self.guests[peer] = found
        self.poller.register(peer, select.POLLIN)
        return None

    def recognise(self, fd: int) -> tuple[socket, bytes] | None:
        """Take a guest's first message. Let it in if it is the unit's first process, else send it away."""
        guest = self.guests[fd]
        try:
            said, ancillary, *_ = guest.recvmsg(GREETING_BYTES, CMSG_LEN(CREDENTIALS_BYTES))
            invocation = loads(said)["invocation"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            self.send_away(fd)
            return None
        senders = [struct.unpack("iII", data)[0] for _, kind, data in ancillary if kind == SCM_CREDENTIALS]
        claims = [(pid, invocation) for pid in senders if pid and invocation]
        if not self.is_told(lambda: main_process(self.unit) in claims):
            self.send_away(fd)
            return None
        del self.guests[fd]
        self.poller.unregister(fd)
        guest.settimeout(None)
        return guest, said

    def send_away(self, fd: int) -> None:
        """Close the connection of a guest."""
        self.poller.unregister(fd)
        self.guests.pop(fd).close()

    def uid(self) -> int:
        """Return the id of the device's user, -1 if there is none of this name."""
        try:
            return pwd.getpwnam(self.user).pw_uid
        except KeyError:
            return -1

    def is_the_units(self, uid: int) -> bool:
        """Return whether a user is that of this unit: systemd gives each instance one of its own, by its name."""
        return uid == 0 or self.is_told(lambda: dynamic_user(uid) == f"{USER_PREFIX}{self.instance}")

    def is_told(self, ask: Callable[[], bool]) -> bool:
        """Return systemd's answer. While the bus or systemd is away, wait for it, for BUS_S at most."""
        until = time.monotonic() + BUS_S
        while True:
            try:
                return ask()
            except (BusError, OSError) as error:
                is_passing = not isinstance(error, BusError) or error.name in PASSING
                if not is_passing or time.monotonic() > until:
                    return False
            self.pause(LOOK_S)
