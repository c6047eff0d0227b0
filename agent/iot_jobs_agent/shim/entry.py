"""The first process of a handler's own unit: starts the handler with what its shim hands over, and says how it ended.

systemd starts it as the handler's user, in the handler's sandbox (systemd/iot-job-network@.service), from files that
root owns. The shim is another user, and nothing of the agent can be reached from here: what the handler needs comes as
open descriptors over a socket, and what it leaves goes back the same way. So no handler can write the files that the
agent believes, and the agent gives systemd no path to open, link or execute.

Messages on the socket (SOCK_SEQPACKET), each a JSON object:

* from here, first: `invocation`, systemd's id of this start;
* from the shim, once: `names`, what the descriptors beside it are: "spec", "job", "settings", "checkpoint" (to read),
  "1", "2", "3" (the handler's own, to write);
* from here: `used_bytes`, `is_whole` (the quota's measurement, at least every quota_every_s); then either
  `cannot_start` (why), or `status` (as of waitpid), `result` (members of result.json), `traceback`, `left` (how many
  processes the handler left behind; systemd ends them), `is_stopped` (systemd asked this unit to end).

The handler is this process's user and could stop or kill it. It gains nothing: the shim ends a unit that is silent.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from _socket import AF_UNIX, CMSG_LEN, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket

from iot_jobs_agent.shim.files import write_all
from iot_jobs_agent.shim.lean import PR_SET_DUMPABLE, dumps, loads, prctl, signal
from iot_jobs_agent.shim.processes import processes
from iot_jobs_agent.shim.protocol import CHECKPOINT, TRACEBACK
from iot_jobs_agent.shim.quota import Quota
from iot_jobs_agent.shim.result import handler_result
from iot_jobs_agent.shim.start import crash_reason, reason_of, start_handler

TYPE_CHECKING = False  # importing `typing` would take a quarter of the start-up time
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

SOCKETS = "/run/iot-jobs/sockets"
PRIVATE = "/tmp/iot-job"  # noqa: S108 - the unit's own /tmp
MOST_DESCRIPTORS = 8
TRACEBACK_BYTES = 1 << 14
RESULT_NAME = ".result"


class RefusedError(Exception):
    """What the shim asks for is not started; the message says why."""


class Entry:
    """One handler, from what the shim hands over to its end."""

    def __init__(self, shim: socket) -> None:
        self.shim = shim
        self.pid = 0
        self.is_stopped = False
        self.signals, self.wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self.wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self.stop)
        for number in (signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)

    def stop(self, *_: object) -> None:
        """Note that the unit was asked to end: the handler was, too, and is waited for."""
        self.is_stopped = True

    def say(self, **members: Any) -> None:
        """Send one message to the shim. Raises OSError if it is gone."""
        self.shim.sendall(dumps(members).encode())

    def run(self, home: str, invocation: str, approve: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        """Do all of it. Raises OSError if the shim is gone: systemd then ends what is left."""
        self.say(invocation=invocation)
        given = self.receive()
        spec = loads(_read_all(given.pop("spec")))
        try:
            spec = approve(spec)
            self.pid = self.start(spec, home, given)
        except RefusedError as error:
            self.say(cannot_start=str(error))
            return
        except OSError as error:
            self.say(cannot_start=reason_of(error, spec["argv"][0]))
            return
        places = [os.path.realpath(home), os.path.dirname(PRIVATE)]  # where it can write to the disk
        status = self.wait(Quota(places, spec["quota_mb"], spec["quota_every_s"], self.wake))
        result = handler_result(os.path.join(home, RESULT_NAME)) if spec["kind"] == "handler" else {}
        own = _cgroup("self")
        left = sum(1 for each in processes() if each.is_live and each.pid != os.getpid() and _cgroup(each.pid) == own)
        reason = crash_reason(os.waitstatus_to_exitcode(status))
        self.say(
            status=status,
            result=result,
            reason=reason,
            traceback=_take(os.path.join(home, TRACEBACK)),
            left=left,
            is_stopped=self.is_stopped,
        )

    def receive(self) -> dict[str, int]:
        """Return the descriptors by their names. Raises OSError if the shim is gone."""
        message, ancillary, *_ = self.shim.recvmsg(4096, CMSG_LEN(4 * MOST_DESCRIPTORS), MSG_CMSG_CLOEXEC)
        if not message:
            raise BrokenPipeError(errno.EPIPE, "it is gone")
        descriptors: list[int] = []
        for level, kind, data in ancillary:
            if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
                descriptors += memoryview(data[: len(data) // 4 * 4]).cast("i")
        return dict(zip(loads(message)["names"], descriptors, strict=True))

    def start(self, spec: Mapping[str, Any], home: str, given: Mapping[str, int]) -> int:
        """Lay out the files that the handler finds by name, and start it. Raises OSError."""
        os.mkdir(PRIVATE, 0o700)
        if spec.get("is_fresh"):
            _empty(home)
        scratch = os.path.join(home, ".tmp")
        if not os.path.isdir(scratch) or os.path.islink(scratch):
            _remove(scratch)
            os.mkdir(scratch, 0o700)
        checkpoint = os.path.join(home, CHECKPOINT)
        _remove(checkpoint)
        is_handler = spec["kind"] == "handler"
        names = {"job": f"{PRIVATE}/job.json", "settings": f"{PRIVATE}/settings.json"}
        for name, path in (names | ({"checkpoint": checkpoint} if is_handler else {})).items():
            if name != "checkpoint" and name in spec:  # by who approved it
                _write(path, spec[name].encode(), 0o400)
            elif name in given:
                _write(path, _read_all(given[name]), 0o600 if name == "checkpoint" else 0o400)
        environment = spec["env"] | {
            "HOME": spec.get("home") or home,
            "TMPDIR": scratch,
            "JOB_DIR": home,
            "JOB_FILE": names["job"],
            "JOB_SETTINGS_FILE": names["settings"],
        }
        if is_handler:
            environment["JOB_RESULT_FILE"] = result = os.path.join(home, RESULT_NAME)
            _remove(result)
        own = {"argv": spec["argv"], "env": environment, "cwd": home, "stdin": names["job"]}
        outputs = ("1", "2", "3") if is_handler else ("1", "2")
        return start_handler(own, {int(name): given[name] for name in outputs if name in given})

    def wait(self, quota: Quota) -> int:
        """Wait until the handler has ended; measure its directory meanwhile. Return its status."""
        poller = select.poll()
        poller.register(self.signals, select.POLLIN)
        poller.register(self.shim.fileno(), select.POLLIN)  # it says nothing more: then it is gone
        while True:
            quota.look()
            for fd, _ in poller.poll(quota.every_s * 1000):
                if fd != self.signals:
                    raise BrokenPipeError
                os.read(self.signals, 4096)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return status
            self.say(used_bytes=quota.used_bytes, is_whole=quota.is_whole)


def _remove(path: str) -> None:
    """Remove whatever an earlier attempt put there. Raises OSError."""
    if os.path.isdir(path) and not os.path.islink(path):
        _empty(path)
        os.rmdir(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _empty(directory: str) -> None:
    """Remove what is in a directory. Raises OSError."""
    for path, directories, _ in os.walk(directory):
        for name in directories:
            below = os.path.join(path, name)
            if not os.path.islink(below):  # its owner is this user, and may have closed it to itself
                os.chmod(below, 0o700)
    for path, directories, names in os.walk(directory, topdown=False):
        for name in names:
            os.unlink(os.path.join(path, name))
        for name in directories:
            below = os.path.join(path, name)
            (os.unlink if os.path.islink(below) else os.rmdir)(below)


def _cgroup(pid: int | str) -> bytes:
    """Return which cgroups a process is in; nothing if it is gone."""
    try:
        with open(f"/proc/{pid}/cgroup", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _read_all(fd: int) -> bytes:
    """Read a file that was handed over from its beginning, and close it."""
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        return file.read()


def _write(path: str, data: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        write_all(fd, data)
    finally:
        os.close(fd)


def _take(path: str) -> str:
    """Read and remove a file that the handler's worker may have left, "" if there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return ""
            return os.read(fd, TRACEBACK_BYTES).decode("utf-8", "replace")
        finally:
            os.close(fd)
            os.unlink(path)
    except OSError:
        return ""


def main(instance: str, approve: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda spec: spec) -> int:
    """Be the first process of the unit of `instance`. Return its exit status: 1 if the shim is gone.

    `approve` returns what to start in place of what the shim asked for, or raises RefusedError.
    """
    prctl(PR_SET_DUMPABLE, 0)  # the handler, which is this user, must not look into this process or trace it
    shim = socket(AF_UNIX, SOCK_SEQPACKET)
    try:
        shim.connect(f"{SOCKETS}/{instance}")
        Entry(shim).run(os.environ["STATE_DIRECTORY"], os.environ["INVOCATION_ID"], approve)
    except OSError as error:
        os.write(2, f"the shim of this attempt cannot be reached: {error.strerror or error}\n".encode())
        return 1
    return 0
