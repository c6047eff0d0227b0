"""Starts the handler's process with exactly what it is meant to inherit, and nothing else."""

from __future__ import annotations

import errno
import fcntl
import os

from iot_jobs_agent.shim.lean import PR_SET_PDEATHSIG, prctl, signal

TYPE_CHECKING = False  # importing `typing` would take a quarter of the start-up time
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


OOM_SCORE_ADJ = 200  # of a handler; others have 0, and the agent in its unit less
FIRST_LINE_BYTES = 256  # as much of a first line as Linux reads (BINPRM_BUF_SIZE)
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CRASHES = (signal.SIGTRAP, signal.SIGILL, signal.SIGSEGV, signal.SIGABRT)


def first_line_problem(program: str) -> str:
    """Return why the first line of a script keeps the system from running it, "" if it does not."""
    start = start_of(program)
    line, end, _ = start.partition(b"\n")
    if start.startswith(BYTE_ORDER_MARK + b"#!"):
        return "it has a byte order mark in front of #!; save it as UTF-8 without one"
    if line.startswith(b"#!") and end and line.endswith(b"\r"):
        return "its lines end with CR LF as on Windows; save it with LF, or run `sed -i 's/\\r$//'` on it"
    name = _interpreter_of(start)
    if name.startswith("/") and not os.path.exists(name):  # another one is relative to where the script is started
        return _missing(name)
    return ""


def _interpreter_of(start: bytes) -> str:
    """Return the interpreter that the first line of a script names, "" if it names none."""
    line = start.partition(b"\n")[0]
    return (line[2:].split() or [b""])[0].decode("utf-8", "replace") if line.startswith(b"#!") else ""


def _missing(interpreter: str) -> str:
    return f"the interpreter named in its first line does not exist: install {interpreter}, or correct the line"


def start_of(program: str) -> bytes:
    """Return the first bytes of a file; none if it cannot be read."""
    try:
        fd = os.open(program, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, FIRST_LINE_BYTES)
    except OSError:
        return b""
    finally:
        os.close(fd)


def reason_of(error: OSError, program: str) -> str:
    """Return why a program could not be started, in words that lead to the fix."""
    words = error.strerror or str(error)
    start = start_of(program)
    if error.errno == errno.EACCES:
        words = "not executable for this user"
    elif error.errno in {errno.ENOEXEC, errno.ENOENT} and (problem := first_line_problem(program)):
        words = problem
    elif error.errno == errno.ENOEXEC:
        words = "neither a program for this machine nor a script with a #! line"
        if start and b"\0" not in start and not start.startswith((b"\x7fELF", b"#!")):
            words += "; if it is a shell script, begin it with the line #!/bin/sh"
    elif error.errno == errno.ENOENT and start.startswith(b"#!"):
        words = _missing(_interpreter_of(start))
    elif error.errno == errno.ENOENT and os.path.exists(program):
        words = "the interpreter that it names for itself does not exist; it may be built for another system"
    return f"cannot start {program}: {words}"


def give_up_protection() -> None:
    """Let the kernel kill this process rather than the agent or the shim when memory runs out.

    Everybody may raise their own score (proc(5), "oom_score_adj"). The unit lowers those of the other two.
    """
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # no /proc: then nothing can be read there about the agent either
        return
    try:
        if int(os.read(fd, 16)) < OOM_SCORE_ADJ:
            os.pwrite(fd, b"%d" % OOM_SCORE_ADJ, 0)
    except (OSError, ValueError):
        return
    finally:
        os.close(fd)


def crash_reason(code: int) -> str:
    """Return why a handler may have ended with this exit code, if the likely reason is a limit of our unit; else "".

    `code` is negative for a signal; a shell passes a signal of its child on as 128 and the signal.
    """
    number = -code if code < 0 else code - 128
    if number not in CRASHES or may_make_code():
        return ""
    return (
        "perhaps because its unit forbids memory that is both writable and executable, which Node.js, Java and other"
        " just-in-time compilers need; if so, set MemoryDenyWriteExecute=no with `systemctl edit`"
    )


def may_make_code() -> bool:
    """Return whether this process, and so the handler, may have memory that is writable and executable."""
    import mmap  # noqa: PLC0415 - only after a crash

    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    except OSError as error:
        return error.errno not in {errno.EACCES, errno.EPERM}
    return True


def become(spec: Mapping[str, Any], descriptors: Mapping[int, int], shim: int) -> None:
    """Become the handler; called in the forked child. Does not return unless it fails (OSError, ValueError)."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != shim:
        os._exit(1)
    os.setsid()
    give_up_protection()
    for target, fd in descriptors.items():
        os.dup2(fd, target)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:  # the agent or we may have ignored some
        signal.signal(number, signal.SIG_DFL)
    os.chdir(spec["cwd"])
    os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - starting without a shell is the point


def start_handler(spec: Mapping[str, Any], outputs: Mapping[int, int]) -> int:
    """Start the handler with `outputs` (its descriptors: write ends of pipes); return its pid. Raises OSError."""

    def high(fd: int) -> int:
        """Move a descriptor out of the range of those that the handler is given."""
        try:
            return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 16)
        finally:
            os.close(fd)

    descriptors = {0: high(os.open(spec["stdin"], os.O_RDONLY | os.O_CLOEXEC))}
    descriptors |= {target: high(fd) for target, fd in outputs.items()}
    reader, writer = os.pipe()
    writer = high(writer)
    shim = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            become(spec, descriptors, shim)
        except OSError as error:
            os.write(writer, b"%d" % (error.errno or errno.EINVAL))
        except ValueError:  # a NUL or an unpaired surrogate in an argument
            os.write(writer, b"%d" % errno.EINVAL)
        finally:
            os._exit(127)
    for fd in (writer, *descriptors.values()):
        os.close(fd)
    number = os.read(reader, 16)
    os.close(reader)
    if number:
        os.waitpid(pid, 0)
        raise OSError(int(number), os.strerror(int(number)))
    return pid
