"""systemd's notify protocol: ready, status, stopping, watchdog. Does nothing unless systemd asked for it.

Source: sd_notify(3), sd_watchdog_enabled(3). Owns the protocol, but not when to send what.
"""

import asyncio
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Notifier:
    """Sends notifications to `address`, or nowhere if it is "". A lost message is no error.

    `watchdog_interval_s` is how often to call `watchdog`: half of the time that systemd allows, or 0.0 for never.
    Methods return whether systemd's socket took the message. Every user may write to that socket, so somebody can keep
    it full. What systemd ends the agent without waits for its turn; the rest returns at once, and is lost then.
    """

    address: str = ""
    watchdog_interval_s: float = 0.0

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> "Notifier":
        """Return a notifier from systemd's environment. Ignores a watchdog for another process (WATCHDOG_PID)."""
        address = environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return cls()
        meant_for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        period = environ.get("WATCHDOG_USEC", "")
        period_us = int(period) if meant_for_us and period.isascii() and period.isdigit() else 0
        return cls(address, period_us / _MICROSECONDS / 2)

    async def ready(self, status: str) -> bool:
        """Report that start-up is over, so that `systemctl start` returns. Waits while the socket is full."""
        return await self._deliver(f"READY=1\nSTATUS={_one_line(status)}")

    def status(self, text: str) -> bool:
        """Report one line for `systemctl status`."""
        return self._send(f"STATUS={_one_line(text)}")

    async def watchdog(self) -> bool:
        """Report that the main loop is alive. Waits while the socket is full."""
        return await self._deliver("WATCHDOG=1")

    def stopping(self) -> bool:
        """Report that shutdown has begun."""
        return self._send("STOPPING=1")

    async def _deliver(self, message: str) -> bool:
        """Return whether systemd's socket took the message, as soon as it has room for it."""
        if not self.address:
            return False
        try:
            with self._connected() as sender:
                await asyncio.get_running_loop().sock_sendall(sender, message.encode(errors="replace"))
        except OSError:
            return False
        return True

    def _send(self, message: str) -> bool:
        """Return whether systemd's socket took the message. Never blocks: with a full buffer, the message is lost."""
        if not self.address:
            return False
        try:
            with self._connected() as sender:
                return sender.send(message.encode(errors="replace")) > 0
        except OSError:
            return False

    def _connected(self) -> socket.socket:
        """Return a socket that never blocks and leads to systemd's. Raises OSError."""
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        sender.setblocking(False)  # noqa: FBT003 - the socket's own signature
        try:
            sender.connect(f"\0{self.address[1:]}" if self.address.startswith("@") else self.address)
        except OSError:
            sender.close()
            raise
        return sender


def _one_line(text: str) -> str:
    return " ".join(text.split())
