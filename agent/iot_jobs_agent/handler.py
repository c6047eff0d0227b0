"""The contract for authors of Python handlers: `Handler`, `Job`, `Outcome`, `HandlerError`, and the manifest.

A handler runs in a process of its own (`worker`), never in the agent. This module imports little of the agent (an enum,
an error class, the numbers of the protocol), so that importing it costs hardly more than importing pydantic.
"""

import errno
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from iot_jobs_agent.core.job import OnInterrupt
from iot_jobs_agent.errors import HandlerError
from iot_jobs_agent.handler_name import HANDLER_NAME, handler_name_problem
from iot_jobs_agent.shim.protocol import CHECKPOINT, LINE_BYTES, UNFINISHED

__all__ = ["HANDLER_NAME", "Handler", "HandlerError", "Job", "Manifest", "Outcome"]

P = TypeVar("P", bound=BaseModel)


def valid_handler_name(name: str) -> str:
    """Return `name`. Raises ValueError, with the fix, if it cannot be the name of a handler."""
    if problem := handler_name_problem(name):
        raise ValueError(problem)
    return name


class Manifest(BaseModel):
    """What a handler declares about itself (docs/handlers.md). Durations are in seconds, `quota_mb` is in MiB.

    `[handler.NAME]` in the configuration can override every field but `name`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, AfterValidator(valid_handler_name)]
    summary: str = ""
    params: dict[str, Any] = Field(default_factory=dict)
    timeout_s: float = Field(default=3600.0, gt=0, le=604800)
    max_timeout_s: float = Field(default=0.0, ge=0, le=604800)
    grace_s: float = Field(default=30.0, ge=0, le=600)
    on_interrupt: OnInterrupt = Field(default=OnInterrupt.FAIL, strict=False)
    exclusive: bool = False
    may_reboot: bool = False
    retry_limit: int = Field(default=3, ge=0, le=100)
    retry_delay_s: float = Field(default=60.0, ge=0, le=86400)
    quota_mb: int = Field(default=256, ge=1)

    @model_validator(mode="after")
    def _longest_is_at_least_the_usual(self) -> Self:
        if self.max_timeout_s < self.timeout_s:
            object.__setattr__(self, "max_timeout_s", self.timeout_s)
        return self


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a handler says that its work ended. Details may be strings, numbers, or anything that JSON can represent.

    Not to be confused with the core's `Outcome`, which is how an execution ended in the service's words.
    """

    kind: Literal["succeeded", "failed", "rejected", "retry", "reboot"]
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def succeeded(cls, **details: Any) -> Self:
        """The work is done."""
        return cls("succeeded", "", details)

    @classmethod
    def failed(cls, reason: str, **details: Any) -> Self:
        """The work was tried and could not be done: the device's fault."""
        return cls("failed", reason, details)

    @classmethod
    def rejected(cls, reason: str, **details: Any) -> Self:
        """The handler refuses the document before doing any work: the document's fault."""
        return cls("rejected", reason, details)

    @classmethod
    def retry(cls, reason: str, **details: Any) -> Self:
        """The work cannot be done now. Try it again later, up to the manifest's `retry_limit`."""
        return cls("retry", reason, details)

    @classmethod
    def reboot(cls, reason: str, **details: Any) -> Self:
        """Reboot the device, then resume the handler. Needs `may_reboot` in the manifest and in the configuration."""
        return cls("reboot", reason, details)


class Job:
    """The job as a running handler sees it, and its way to report to the agent.

    Reporting hardly ever blocks, and raises nothing except HandlerError from `checkpoint`.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.id = environment["JOB_ID"]
        self.is_resumed = environment["JOB_PHASE"] == "resume"
        self.reason = environment.get("JOB_REASON", "first")
        self.dir = Path(environment["JOB_DIR"])
        self.settings: Mapping[str, Any] = json.loads(Path(environment["JOB_SETTINGS_FILE"]).read_bytes())
        self.cancelled = False
        self._control_fd = _pipe(int(environment["JOB_CONTROL_FD"]))

    def progress(self, percent: float, message: str = "") -> None:
        """Report how far the work is, 0 to 100, and what is being done."""
        self._tell({"progress": percent, "message": message} if message else {"progress": percent})

    def details(self, **details: Any) -> None:
        """Add details to what the service shows about this execution. Values that are not JSON become their str()."""
        self._tell({"details": details}, default=str)

    def checkpoint(self, value: Any) -> None:
        """Keep a JSON value for `last_checkpoint` after an interruption. HandlerError if over 4 KiB or not JSON."""
        problem = self._tell({"checkpoint": value})
        if problem:
            raise HandlerError(f"a checkpoint is {problem}: keep a file in job.dir instead")

    @property
    def last_checkpoint(self) -> Any:
        """The checkpoint that the previous attempt left, or None."""
        try:
            return json.loads((self.dir / CHECKPOINT).read_bytes())
        except (OSError, ValueError):
            return None

    def remove_with_execution(self, path: Path, file: int) -> None:
        """Let the agent remove `path`, open as `file`, and PATH.json, once the execution is settled; one path at most.

        It stays if it is another file by then, or locked (flock). Durable when this returns. Raises OSError.
        """
        found = os.fstat(file)
        fresh = self.dir / f".{UNFINISHED}"
        fresh.unlink(missing_ok=True)
        with fresh.open("x") as stream:
            json.dump({"path": str(path), "device": found.st_dev, "inode": found.st_ino}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(self.dir / UNFINISHED)
        directory = os.open(self.dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def unfinished_files(self) -> set[Path]:
        """Return what this and other executions of the device gave to `remove_with_execution`, there or not."""
        found = set()
        for note in self.dir.parent.glob(f"*/{UNFINISHED}"):
            try:
                found.add(Path(json.loads(_read_regular(note))["path"]))
            except (OSError, ValueError, KeyError, TypeError, RecursionError):
                continue
        return found

    def extend(self, seconds: float) -> None:
        """Move the deadline to `seconds` from now, up to the manifest's `max_timeout_s`."""
        self._tell({"extend_s": seconds})

    def run(self, argv: Sequence[str | os.PathLike[str]]) -> None:
        """Run a program with the handler's own output, and wait for it. HandlerError unless it exits with code 0.

        `argv` is the program and its arguments, one string each. There is no shell that would split or expand them.
        """
        if isinstance(argv, str | bytes) or not argv or not all(isinstance(word, str | os.PathLike) for word in argv):
            raise HandlerError('job.run was called wrongly: give it a list of strings, such as ["systemctl", "reload"]')
        name = Path(argv[0]).name
        sys.stdout.flush()
        try:
            code = subprocess.run(argv, stdin=subprocess.DEVNULL, check=False).returncode
        except OSError as error:
            raise HandlerError(f"{name} could not be started: {error.strerror}") from None
        if code < 0:
            names = {each.value: f" ({each.name})" for each in signal.Signals}
            raise HandlerError(f"{name} was killed by signal {-code}{names.get(-code, '')}")
        if code:
            raise HandlerError(f"{name} exited with code {code}")

    def _tell(self, said: Mapping[str, Any], default: Callable[[Any], str] | None = None) -> str:
        """Write one line to fd 3; return the problem with the line, or "". A closed fd 3 is not an error."""
        try:
            line = json.dumps(said, default=default).encode() + b"\n"
        except (TypeError, ValueError, RecursionError):
            problem = "not JSON"
        else:
            problem = f"longer than {LINE_BYTES} bytes" if len(line) > LINE_BYTES else ""
        if problem:
            sys.stderr.write(f"not reported: {problem}: {', '.join(said)}\n")
            return problem
        try:
            os.write(self._control_fd, line)
        except OSError:
            self._control_fd = -1
        return ""


def _pipe(fd: int) -> int:
    """Return `fd` if it is a pipe, else -1: if it is closed, the next file that the handler opens gets its number."""
    try:
        return fd if stat.S_ISFIFO(os.fstat(fd).st_mode) else -1
    except OSError:
        return -1


Run = Callable[[P, Job], "Outcome | Awaitable[Outcome | None] | None"]


@dataclass(frozen=True, slots=True)
class Handler(Generic[P]):
    """A Python handler. `params` is the pydantic model of its params, `run` does the work, the rest is its manifest."""

    name: str
    params: type[P]
    run: Run[P]
    summary: str = ""
    timeout_s: float = 3600.0
    max_timeout_s: float = 0.0
    grace_s: float = 30.0
    on_interrupt: OnInterrupt | Literal["fail", "rerun", "resume"] = OnInterrupt.FAIL
    exclusive: bool = False
    may_reboot: bool = False
    retry_limit: int = 3
    retry_delay_s: float = 60.0
    quota_mb: int = 256

    @property
    def manifest(self) -> Manifest:
        """The manifest that the handler declares. Raises pydantic's ValidationError if it is not valid."""
        return Manifest(
            name=self.name,
            summary=self.summary,
            params=self.params.model_json_schema(),
            timeout_s=self.timeout_s,
            max_timeout_s=self.max_timeout_s,
            grace_s=self.grace_s,
            on_interrupt=OnInterrupt(self.on_interrupt),
            exclusive=self.exclusive,
            may_reboot=self.may_reboot,
            retry_limit=self.retry_limit,
            retry_delay_s=self.retry_delay_s,
            quota_mb=self.quota_mb,
        )


def _read_regular(path: Path) -> bytes:
    """Read a small file that another handler may have replaced, by a FIFO or a link. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)
