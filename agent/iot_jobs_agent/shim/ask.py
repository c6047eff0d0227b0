"""Runs one program for its output, and lets nothing that it has started live on: the agent asks handlers with it.

A process of its own, since only a subreaper sees what a program leaves behind in sessions of its own.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

from iot_jobs_agent.shim.lean import PR_SET_CHILD_SUBREAPER, prctl, signal
from iot_jobs_agent.shim.processes import descendants, freeze, reap_children, send

TIOCNOTTY = 0x5422  # tty_ioctl(4); the module with it is a file of its own, which another user may be unable to read
SWEEP_S = 5.0
TIMED_OUT = b"timeout"


def main(report_fd: int, timeout_s: float, argv: list[str]) -> None:
    """Run it to its end or for `timeout_s` seconds, then end as it did, by the same code or signal.

    What no status can say goes to `report_fd`: `TIMED_OUT`, or the errno with which it could not be started. SIGTERM
    ends it before its time.
    """
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    _leave_terminal()
    awaited = {signal.SIGCHLD, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    until = time.monotonic() + timeout_s
    pid = os.fork()
    if pid == 0:
        _become(argv, report_fd)
    fcntl.fcntl(report_fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    status = None
    while status is None:
        left_s = until - time.monotonic()
        info = signal.sigtimedwait(awaited, left_s) if left_s > 0 else None
        if info is None or info.si_signo == signal.SIGTERM:
            os.write(report_fd, TIMED_OUT)
            break
        status = reap_children()[0].get(pid)
    _sweep()
    end_as(1 if status is None else os.waitstatus_to_exitcode(status))


def _leave_terminal() -> None:
    """Give up the terminal of who asked, if it is one: a program could write there, or read what is typed."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    fcntl.ioctl(terminal, TIOCNOTTY)
    os.close(terminal)


def _become(argv: list[str], report_fd: int) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    fcntl.fcntl(report_fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    try:
        os.execve(argv[0], argv, dict(os.environ))  # noqa: S606 - a shell is what must not be there
    except OSError as error:
        os.write(report_fd, b"%d" % (error.errno or 1))
    finally:
        os._exit(127)


def _sweep() -> None:
    """Kill every process below us."""
    until = time.monotonic() + SWEEP_S
    while time.monotonic() < until:
        left = freeze(lambda: descendants(os.getpid()), until)
        if not left:
            return
        for each in left:
            send(each, signal.SIGKILL)
        signal.sigtimedwait({signal.SIGCHLD}, 0.1)
        reap_children()


def end_as(code: int) -> None:
    """End this process by an exit code or, if it is negative, by a signal."""
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in {signal.SIGKILL, signal.SIGSTOP} else None
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.kill(os.getpid(), -code)
    sys.exit(code if code >= 0 else 1)
