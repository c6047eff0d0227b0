"""Runs one program for its output in a systemd unit and as a user of its own: as `ask` does, where handlers have units.

The unit is `iot-job-describe@HASH.service`. Its first process, and what passes between it and us, are those of a
handler's unit, but no attempt belongs to it, so there are no files: what it gets is in memory.
"""

from __future__ import annotations

import fcntl
import os
import select
import time

from iot_jobs_agent.shim.ask import TIMED_OUT, end_as
from iot_jobs_agent.shim.lean import dumps, signal
from iot_jobs_agent.shim.unit import Unit

UNIT = "iot-job-describe@{}.service"
LONGEST_REPORT = 4096
START_S = 20.0  # for the unit and its first process to come, on the smallest of boards
QUOTA_MB = 16
QUOTA_EVERY_S = 2.0


class Question(Unit):
    """The unit of a program that is only asked something."""

    def files(self) -> dict[str, int]:
        """Return what it gets, open: in memory."""
        return {name: _in_memory(dumps(self.spec if name == "spec" else {})) for name in ("spec", "job", "settings")}


class Asker:
    """One program, from the request to start its unit until nothing of it is left."""

    def __init__(self, timeout_s: float, argv: list[str]) -> None:
        self.timeout_s = timeout_s
        self.until = time.monotonic() + START_S + timeout_s
        self.signals, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self.stop)
        self.poller = select.poll()
        self.poller.register(self.signals, select.POLLIN)
        spec = {
            "unit": UNIT.format(os.urandom(12).hex()),
            "kind": "command",
            "argv": argv,
            "env": dict(os.environ),
            "quota_mb": QUOTA_MB,
            "quota_every_s": QUOTA_EVERY_S,
        }
        self.unit = Question(spec, self.poller, self.pause)

    def stop(self, *_: object) -> None:
        """Handle SIGTERM: end it before its time."""
        self.until = 0.0

    def pause(self, seconds: float) -> None:
        """Wait until a signal comes, or for so long."""
        if select.select([self.signals], [], [], seconds)[0]:
            os.read(self.signals, 64)

    def run(self) -> tuple[int, bytes]:
        """Ask, and return its exit code, negative for a signal, with what no code can say."""
        silence = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        refused = self.unit.start({1: os.dup(1), 2: silence})
        os.close(1)  # the output ends with the program, not with us
        if refused:
            return 1, str(refused["reason"]).encode()
        problem = self.wait()
        self.unit.sweep()
        how = self.unit.ending()
        if problem:
            return 1, problem
        if how["ending"] == "cannot-start":
            return 1, str(how["reason"]).removeprefix(f"cannot start {self.unit.spec['argv'][0]}: ").encode()
        if how["ending"] == "interrupted":
            return 1, b"its unit ended without a word: it had no memory left (MemoryMax=), or somebody stopped it"
        return how.get("code", -how.get("signal", signal.SIGKILL)), b""

    def wait(self) -> bytes:
        """Wait for its end; return why it is ended before, if it is."""
        while not self.unit.has_ended:
            left_s = self.until - time.monotonic()
            problem = self.unit.over_quota().encode() if left_s > 0 else TIMED_OUT
            if problem:
                self.unit.terminate(time.monotonic())
                return problem
            due_s = max(0.0, min(left_s, self.unit.due_at - time.monotonic()))
            had_come = self.unit.entry is not None
            for fd, _ in self.poller.poll(due_s * 1000 + 1):
                if fd == self.signals:
                    os.read(fd, 64)
                else:
                    self.unit.hear(fd)
            if self.unit.entry is not None and not had_come:
                self.until = min(self.until, time.monotonic() + self.timeout_s)
            self.unit.is_gone()
        return b""


def _in_memory(text: str) -> int:
    fd = os.memfd_create("question", os.MFD_CLOEXEC)
    os.write(fd, text.encode())
    return fd


def main(report_fd: int, timeout_s: float, argv: list[str]) -> None:
    """Run it to its end or for `timeout_s` seconds, then end as it did, by the same code or signal.

    What no status can say goes to `report_fd`: `ask.TIMED_OUT`, or why it could not be started. SIGTERM ends it before
    its time.
    """
    fcntl.fcntl(report_fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    code, report = Asker(timeout_s, argv).run()
    if report:
        os.write(report_fd, report[:LONGEST_REPORT])
    end_as(code)
