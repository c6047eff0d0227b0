"""The nouns: job execution, plan, step, attempt, outcome. They are frozen values; the rules are elsewhere.

`ExecutionId` identifies an execution; `AttemptId` adds the step and the attempt number. Nothing here knows the JSON of
the service (`aws.messages` converts it) or of the journal (`state.encoding` converts it).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeAlias

from iot_jobs_agent.core.value import dataclass, field, replace

StatusDetails: TypeAlias = Mapping[str, str]


class ExecutionStatus(StrEnum):
    """Status of a job execution (AWS IoT Jobs data plane API, JobExecution.status)."""

    QUEUED = "QUEUED"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    REJECTED = "REJECTED"
    REMOVED = "REMOVED"
    CANCELED = "CANCELED"

    @property
    def is_terminal(self) -> bool:
        """True for a status that never changes again."""
        return self not in {ExecutionStatus.QUEUED, ExecutionStatus.IN_PROGRESS}


@dataclass(frozen=True, slots=True, order=True)
class ExecutionId:
    """One job execution on this thing. Retries reuse a job id, hence the number. `""` is the default namespace."""

    namespace: str
    job_id: str
    execution_number: int

    @property
    def job(self) -> tuple[str, str]:
        """Namespace and job id."""
        return self.namespace, self.job_id

    @property
    def directory_name(self) -> str:
        """A file name unique to this execution: AWS allows [a-zA-Z0-9_-] in both ids, so no part contains a dot."""
        return f"{self.namespace}.{self.job_id}.{self.execution_number}"

    def __str__(self) -> str:
        """Return `job-1` or `team-a/job-1`, plus `#2` from the second execution on, as logs and commands show it."""
        prefix = f"{self.namespace}/" if self.namespace else ""
        suffix = f"#{self.execution_number}" if self.execution_number != 1 else ""
        return f"{prefix}{self.job_id}{suffix}"


@dataclass(frozen=True, slots=True, order=True)
class AttemptId:
    """One start of one step. At most one process is ever started for it. `step` counts from 0, `number` from 1."""

    execution: ExecutionId
    step: int
    number: int

    @property
    def directory_name(self) -> str:
        """A file name unique to this attempt."""
        return f"{self.execution.directory_name}.{self.step}.{self.number}"


class OnInterrupt(StrEnum):
    """What to do after a power loss, a reboot or a kill cut an attempt short (manifest `on_interrupt`)."""

    FAIL = "fail"
    RERUN = "rerun"
    RESUME = "resume"


class StartReason(StrEnum):
    """Why an attempt is made. KILLED: the last one was killed in this same boot; REBOOT: the handler asked for it."""

    FIRST = "first"
    KILLED = "killed"
    REBOOT = "reboot"
    POWER_LOSS = "power-loss"
    RETRY = "retry"


class StepKind(StrEnum):
    """How a step is started: a handler under protocol 1, or a plain command of an AWS document (exit 0 or not)."""

    HANDLER = "handler"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to run. Durations are in seconds, `quota_mb` is in MiB.

    `user` is whose unit it runs in, as `runAsUser` of its document says; "" is the usual one of its handler.
    `argv` is the program to execute (for a Python handler the worker, for a plain command the command itself) and
    `input` is the JSON text for its stdin. Both may contain secrets such as presigned URLs, so they come fresh with
    each describe, and are never journalled (`without_secrets`) or shown.
    """

    name: str
    handler: str
    kind: StepKind
    timeout_s: float = 3600.0
    max_timeout_s: float = 3600.0
    grace_s: float = 30.0
    on_interrupt: OnInterrupt = OnInterrupt.FAIL
    exclusive: bool = False
    may_reboot: bool = False
    retry_limit: int = 3
    retry_delay_s: float = 60.0
    ignore_failure: bool = False
    allow_stderr: int | None = None
    include_stdout: bool = True
    argv: tuple[str, ...] = field(default=(), repr=False)
    input: str = field(default="{}", repr=False)
    settings: str = field(default="{}", repr=False)
    quota_mb: int = 256
    user: str = ""

    @property
    def without_secrets(self) -> "Step":
        """The step, without the secrets that must not be journalled."""
        return replace(self, argv=(), input="{}", settings="{}")

    def after(self, spent_s: float) -> "Step":
        """Return the step with `spent_s` taken off its timeouts."""
        left_s = max(0.0, self.timeout_s - spent_s)
        return replace(self, timeout_s=left_s, max_timeout_s=max(left_s, self.max_timeout_s - spent_s))


@dataclass(frozen=True, slots=True)
class Plan:
    """What an accepted job document asks for: its steps, in order. A plain document is a plan of one step."""

    steps: tuple[Step, ...]

    @property
    def is_exclusive(self) -> bool:
        """True if nothing else may run at the same time."""
        return any(step.exclusive for step in self.steps)

    @property
    def without_secrets(self) -> "Plan":
        """The plan, without the secrets that must not be journalled."""
        return replace(self, steps=tuple(step.without_secrets for step in self.steps))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a document does not become a plan. The execution is REJECTED with this reason, which a person can act on.

    `is_unknown`: nothing here knows this kind of document, so it may be meant for another agent.
    """

    reason: str
    is_unknown: bool = False


class Ending(StrEnum):
    """How an attempt's process ended. Only `EXITED` with code 0 can be a success."""

    EXITED = "exited"
    SIGNALED = "signaled"
    OOM = "oom"
    DEADLINE = "deadline"
    STOPPED = "stopped"
    QUOTA = "quota"
    CANNOT_START = "cannot-start"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What is known about an attempt that has ended.

    `code` is the exit code (EXITED), `signal` the signal number (SIGNALED, OOM). `leftovers_killed` counts the
    processes that the handler left behind and that were killed, `leftovers_alive` those that could not be killed. For a
    LOST attempt, `duration_s` is a lower bound. `handler_result` is the handler's own result file, parsed, or None;
    `bad_result` says why it could not be parsed. `stdout` and `stderr` are the end of the output, unchanged;
    `stderr_lines` counts all lines. `notes` are remarks of the shim, for example about a line on fd 3 that it ignored.
    """

    ending: Ending
    code: int | None = None
    signal: int | None = None
    duration_s: float = 0.0
    leftovers_killed: int = 0
    leftovers_alive: int = 0
    stderr_lines: int = 0
    handler_result: Mapping[str, Any] | None = None
    bad_result: str = ""
    reason: str = ""
    stdout: str = ""
    stderr: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an execution, or one step of it, ended, in the service's words. `reason` is empty only for SUCCEEDED.

    Not to be confused with `iot_jobs_agent.handler.Outcome`, which is what the author of a handler returns.
    """

    status: ExecutionStatus
    reason: str = ""
    code: str = ""
    details: StatusDetails = field(default_factory=dict)
