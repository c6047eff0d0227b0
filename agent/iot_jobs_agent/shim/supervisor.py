"""Supervises one handler process, from its start until none of its processes is left."""

from __future__ import annotations

import fcntl
import os
import select
import time

from iot_jobs_agent.shim.files import CONTROL, LOCK, RESULT, SPEC, STDERR, STDOUT, wake, write_all, write_durably
from iot_jobs_agent.shim.lean import dumps, loads, signal
from iot_jobs_agent.shim.memory import events_file
from iot_jobs_agent.shim.protocol import CONTROL_FD, LINE_BYTES
from iot_jobs_agent.shim.said import Said, parse_line
from iot_jobs_agent.shim.tree import Tree

TYPE_CHECKING = False  # importing `typing` would take a quarter of the start-up time
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from iot_jobs_agent.shim.unit import Unit

TAIL_BYTES = CHUNK_BYTES = 65536
TAILS_EVERY_S = 30.0
DRAIN_CHUNKS = 16  # 1 MiB, the largest pipe that an ordinary user may have


class Tail:
    """The last TAIL_BYTES of an output: kept in memory, written to disk now and then, and durably at the end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.data = bytearray()
        self.line_ends = 0
        self.is_new = False

    def feed(self, chunk: bytes) -> None:
        """Add output that was read."""
        self.data += chunk
        self.line_ends += chunk.count(b"\n")
        self.is_new |= bool(chunk)
        if len(self.data) > 4 * TAIL_BYTES:
            del self.data[:-TAIL_BYTES]

    @property
    def lines(self) -> int:
        """The number of lines in all, including an unfinished last one."""
        return self.line_ends + (bool(self.data) and not self.data.endswith(b"\n"))

    def keep(self, is_last: bool) -> None:
        """Write the tail to its file, durably if `is_last`. A full disk costs the output, not the attempt."""
        if not self.is_new and not (is_last and self.data):
            return
        self.is_new = False
        try:
            fd = os.open(self.name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                write_all(fd, bytes(self.data[-TAIL_BYTES:]))
                if is_last:
                    os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            if os.path.exists(self.name):
                os.unlink(self.name)  # leave the last blocks to the result
            complain(f"{self.name}: {error.strerror}\n")


def complain(text: str) -> None:
    """Write to the attempt's log file. It may be on the disk that is full, and that must not end anything."""
    try:
        os.write(2, text.encode(errors="replace"))
    except OSError:
        return


class Supervisor:
    """One attempt, from its start until none of its processes is left."""

    def __init__(self, spec: Mapping[str, Any], lock: int, memory_events: str) -> None:
        self.spec = spec
        self.lock = lock
        self.said = Said(spec["wake"])
        self.tails = {1: Tail(STDOUT), 2: Tail(STDERR)}
        self.readers: dict[int, int] = {}  # our end of each pipe -> the handler's descriptor number
        self.line = b""
        self.cause = self.reason = ""  # why we are ending the attempt, once we are
        self.is_interrupted = False
        self.began = time.monotonic()
        self.deadline = self.began + spec["timeout_s"]
        self.tails_at = self.began + TAILS_EVERY_S
        self.poller = select.poll()
        self.control = os.open(CONTROL, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.signals, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self.interrupt)
        for fd in (self.control, self.signals):
            self.poller.register(fd, select.POLLIN)
        self.only_signals = select.poll()  # in a pause: a pipe whose writers are gone would end it at once
        self.only_signals.register(self.signals, select.POLLIN)
        self.handler: Tree | Unit
        if spec.get("unit"):
            from iot_jobs_agent.shim.unit import Unit  # noqa: PLC0415 - a third of our imports, and others need none

            self.handler = Unit(spec, self.poller, self.pause)
        else:
            self.handler = Tree(spec, memory_events, writer, self.pause)

    def interrupt(self, *_: object) -> None:
        """Handle SIGTERM from the service manager or a shutdown: the attempt will be stopped and have no result."""
        self.is_interrupted = True

    def start(self) -> dict[str, Any]:
        """Start the handler. Return the result of an attempt that cannot be started, {} if it is."""
        writers = {}
        for number in (1, 2, CONTROL_FD) if self.spec["kind"] == "handler" else (1, 2):
            reader, writers[number] = os.pipe()
            if self.spec.get("unit"):
                os.fchmod(reader, 0o622)  # its user is another one, and opens /dev/stderr by name
            os.set_blocking(reader, False)
            self.readers[reader] = number
            self.poller.register(reader, select.POLLIN)
        return self.handler.start(writers)

    def run(self) -> dict[str, Any]:
        """Supervise the attempt until it is over, kill what is left of it, and return the result."""
        while not self.is_over():
            self.turn()
        ended_at = time.monotonic()
        leftovers_killed, leftovers_alive = self.handler.sweep()
        for _ in range(DRAIN_CHUNKS):
            for reader in tuple(self.readers):
                self.read(reader)
        self.hear(b"\n")  # an unfinished line counts as a line
        self.said.flush(time.monotonic())
        return {
            **self.ending(),
            "duration_s": round(ended_at - self.began, 3),
            "stderr_lines": self.tails[2].lines,
            "leftovers_killed": leftovers_killed,
            "leftovers_alive": leftovers_alive,
            "notes": self.said.notes,
        }

    def ending(self) -> dict[str, Any]:
        """Return how the attempt ended, and add notes that help explain it."""
        how = {"ending": self.cause, "reason": self.reason} if self.cause else self.handler.ending()
        for note in self.handler.notes(is_oom=how["ending"] == "oom"):
            self.said.note(note)
        return how

    def is_over(self) -> bool:
        """Return whether the handler ended by itself or, once we are ending it, all is gone or the grace is over."""
        is_gone = self.handler.is_gone()
        if self.cause:
            return is_gone or time.monotonic() >= self.deadline
        return self.handler.has_ended

    def turn(self) -> None:
        """Wait until something happens or is due, and deal with it."""
        self.handler.look()
        due = min(self.deadline, self.tails_at, self.handler.due_at, *([self.said.due_at] if self.said.fresh else []))
        is_asked = self.take(max(0.0, due - time.monotonic()))
        now = time.monotonic()
        if self.said.fresh and now >= self.said.due_at:
            self.keep_age(now)  # before flush wakes the agent
            self.said.flush(now)
        if now >= self.tails_at:
            self.tails_at = now + TAILS_EVERY_S
            self.keep_tails()
            self.keep_age(now)
        self.handler.is_gone()
        if self.handler.has_ended or self.cause:
            return
        if self.is_interrupted:
            self.end("interrupted", now)
        elif is_asked or now >= self.deadline:
            self.end("stopped" if is_asked else "deadline", now)
        elif reason := self.handler.over_quota():
            self.reason = reason
            self.end("quota", now)

    def take(self, within_s: float) -> bool:
        """Take what comes within a time, and return at the first; return whether somebody asked for a stop."""
        is_asked = False
        for fd, _ in self.poller.poll(within_s * 1000 + 1):
            if fd == self.signals:
                os.read(fd, CHUNK_BYTES)
            elif fd == self.control:
                is_asked = bool(os.read(fd, CHUNK_BYTES)) or is_asked
            elif fd in self.readers:
                self.read(fd)
            else:
                self.handler.hear(fd)
        return is_asked

    def end(self, cause: str, now: float) -> None:
        """Ask every process to end. From now on, `deadline` is the end of the grace period."""
        self.cause = cause
        self.deadline = now + self.spec["grace_s"]
        self.handler.terminate(now)

    def pause(self, seconds: float) -> None:
        """Wait until a signal comes, or for so long."""
        if self.only_signals.poll(seconds * 1000):
            os.read(self.signals, CHUNK_BYTES)

    def read(self, reader: int) -> None:
        """Read at most one chunk from a pipe of the handler."""
        number = self.readers[reader]
        try:
            chunk = os.read(reader, CHUNK_BYTES)
        except BlockingIOError:
            return
        if number == CONTROL_FD:
            self.hear(chunk)
        else:
            self.tails[number].feed(chunk)
        if not chunk:
            self.poller.unregister(reader)
            del self.readers[reader]
            os.close(reader)

    def hear(self, chunk: bytes) -> None:
        """Split what arrived on fd 3 into lines and act on them. A line that is too long is never kept whole."""
        lines = (self.line + chunk).split(b"\n")
        self.line = lines.pop()[: LINE_BYTES + 1]
        checkpoint = None
        for line in filter(None, lines):
            try:
                heard = parse_line(line)
            except ValueError as error:
                self.said.note(f"a line on fd 3 was ignored: {error}")
                continue
            checkpoint = heard.get("checkpoint", checkpoint)
            if "extend_s" in heard and not self.cause:
                wanted = time.monotonic() + heard["extend_s"]
                self.deadline = max(self.deadline, min(wanted, self.began + self.spec["max_timeout_s"]))
                heard["deadline"] = self.deadline
            self.said.add(heard)
        if checkpoint is not None:  # durable before we read or pass on anything that the handler says later
            try:
                write_durably(self.spec["checkpoint"], checkpoint.encode())
            except OSError as error:
                self.said.note(f"a checkpoint could not be kept: {error.strerror}")

    def keep_age(self, now: float) -> None:
        """Write the attempt's age into the lock, in case it gets lost. File times will not do: clocks are set."""
        try:
            os.pwrite(self.lock, b"%d %.1f\n" % (os.getpid(), now - self.began), 0)
        except OSError as error:
            complain(f"{LOCK}: {error.strerror}\n")

    def keep_tails(self, is_last: bool = False) -> None:
        """Write the tails of both outputs."""
        for tail in self.tails.values():
            tail.keep(is_last)


def supervise(memory_events: str) -> int:
    """Run the attempt in the current directory. Return the exit status: 0 with a result, 1 without."""
    lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if os.path.exists(RESULT):
        return 1
    with open(SPEC, "rb") as file:
        spec = loads(file.read())
    os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whoever started the agent may have blocked some; we need SIGCHLD
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    supervisor = Supervisor(spec, lock, memory_events)
    try:
        result = supervisor.start() or supervisor.run()
    finally:  # whatever happened, no process of the attempt may outlive us
        supervisor.handler.sweep()
    supervisor.keep_tails(is_last=True)
    if result["ending"] == "interrupted":
        return 1
    result |= supervisor.handler.result()
    write_durably(RESULT, dumps(result).encode())
    wake(spec["wake"])
    return 0


def main(directory: str, has_own_cgroup: bool = False) -> int:
    """Supervise the attempt in `directory`. Return the exit status: 0 with a result, 1 without; the log then says why.

    Without a directory, it comes on stdin once there is one (`shim.early`); 0 if none comes.
    `has_own_cgroup` says that this process's cgroup (v2) contains nothing but the attempt.
    """
    if not directory:
        from iot_jobs_agent.shim.early import awaited_directory  # noqa: PLC0415 - others need none of it

        directory = awaited_directory()
        if not directory:
            return 0
    os.chdir(directory)
    try:
        return supervise(events_file() if has_own_cgroup else "")
    except OSError as error:
        complain(f"no result: {error}\n")
        return 1
