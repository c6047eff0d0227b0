"""systemd's notify protocol: ready, status, stopping, watchdog. Does nothing where systemd did not ask for it.

Source: sd_notify(3), sd_watchdog_enabled(3). Owns the protocol; knows nothing of when to say what.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Notifier:
    """Where to send, or nowhere (`address` ""). Every method returns at once; a lost message is not an error.

    `watchdog_interval_s` is how often `watchdog` has to be called, half of what systemd allows; 0.0 for never.
    """

    address: str = ""
    watchdog_interval_s: float = 0.0

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> "Notifier":
        """What systemd told this process. A watchdog meant for another process (WATCHDOG_PID) does not count."""
        address = environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return cls()
        meant_for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        period = environ.get("WATCHDOG_USEC", "")
        period_us = int(period) if meant_for_us and period.isascii() and period.isdigit() else 0
        return cls(address, period_us / _MICROSECONDS / 2)

    def ready(self, status: str) -> bool:
        """Start-up is over: `systemctl start` returns."""
        return self._send(f"READY=1\nSTATUS={_one_line(status)}")

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self._send(f"STATUS={_one_line(text)}")

    def watchdog(self) -> bool:
        """The main loop is alive."""
        return self._send("WATCHDOG=1")

    def stopping(self) -> bool:
        """Shutdown has begun."""
        return self._send("STOPPING=1")

    def _send(self, message: str) -> bool:
        """True if systemd's socket took it. Never blocks: a full socket buffer loses the message."""
        if not self.address:
            return False
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)  # noqa: FBT003 - the socket's own signature
                return sender.sendto(message.encode(errors="replace"), address) > 0
        except OSError:
            return False


def _one_line(text: str) -> str:
    return " ".join(text.split())
