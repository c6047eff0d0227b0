"""The files in an attempt's directory: their names, their contents, and how to write them.

`spec.json`, read once, with the lock held:
    argv, env, cwd, stdin (a file)      the program to start, and its surroundings
    timeout_s, max_timeout_s, grace_s
    quota_mb, quota_every_s             how many MiB of disk `cwd` may take, and how often to measure that
    kind                                "handler" (fd 3, result file, checkpoint) or "command" (none of them)
    handler_result, checkpoint, wake    paths: the handler's result, its last checkpoint, the agent's wake-up FIFO
    token                               JOB_TOKEN, by which the agent finds the processes that a lost shim left alive
    unit, handler, is_fresh             its own unit, "" without one; its name; whether JOB_DIR is to be emptied first

`result.json`, written last. If it is missing and the lock is free, the attempt was interrupted:
    ending                              exited signaled oom deadline stopped quota cannot-start; never-started if
                                        systemd refused to start the `unit`, which says nothing about the handler
    code, signal, duration_s, leftovers_killed, leftovers_alive, stderr_lines, handler_result, bad_result, reason, notes

`events.jsonl`: what the handler said on fd 3, merged into one line at most four times a second:
    progress, message, details, deadline (monotonic seconds, after an extension)
At EVENTS_BYTES it is replaced (a new inode) by one line with everything so far, so that a flood cannot fill the disk.

Any byte in the FIFO `control` asks for a stop, and stays there until the shim reads it. The wake-up is a FIFO rather
than a datagram socket because its path may have any length, and because a reader that is gone or slow gives an error at
once (ENXIO, EAGAIN).
"""

from __future__ import annotations

import os

LOCK = "lock"  # locked while the shim lives; contains its pid and, updated now and then, its age in seconds
SPEC = "spec.json"
JOB = "job.json"
SETTINGS = "settings.json"
RESULT = "result.json"
EVENTS = "events.jsonl"
STDOUT = "stdout"
STDERR = "stderr"
CONTROL = "control"
LOG = "shim.log"
NEVER_STARTED = "never-started"
WAKE = "wake"  # in the state directory


def write_durably(path: str, data: bytes) -> None:
    """Replace a file so that a power cut at any instant leaves either the old or the new one. Raises OSError."""
    fresh = path + ".new"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(fresh, path)
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, or raise OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def wake(path: str) -> None:
    """Wake the agent, if one runs, because there is something to read."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # nobody is listening
        return
    try:
        os.write(fd, b"\n")
    except OSError:  # the FIFO is full, so the agent will wake anyway
        pass
    finally:
        os.close(fd)
