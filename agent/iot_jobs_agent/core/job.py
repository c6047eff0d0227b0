"""The nouns: job execution, plan, step, attempt, outcome. Frozen values, no behaviour beyond their own form.

Identity of work is `ExecutionId`; an attempt adds step and attempt number. Nothing here knows the service's JSON
(`aws.messages` converts) or the journal's (`state.journal` converts).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeAlias

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
    """Which work: retries reuse a job id, hence the execution number. `""` is the default namespace."""

    namespace: str
    job_id: str
    execution_number: int

    @property
    def job(self) -> tuple[str, str]:
        """The job that it is an execution of."""
        return self.namespace, self.job_id

    def __str__(self) -> str:
        """`job-1` or `team-a/job-1`, with `#2` from the second execution on: as people see it in logs and commands."""
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
        """A file name no other attempt has: no part may contain a dot (AWS allows [a-zA-Z0-9_-] in both ids)."""
        e = self.execution
        return f"{e.namespace}.{e.job_id}.{e.execution_number}.{self.step}.{self.number}"


class OnInterrupt(StrEnum):
    """What becomes of an attempt that power loss, a reboot or a kill cut short (manifest `on_interrupt`)."""

    FAIL = "fail"
    RERUN = "rerun"
    RESUME = "resume"


class StartReason(StrEnum):
    """Why an attempt is made. Killed: in the same boot; reboot: asked for by the handler; power loss: any other."""

    FIRST = "first"
    KILLED = "killed"
    REBOOT = "reboot"
    POWER_LOSS = "power-loss"
    RETRY = "retry"


class StepKind(StrEnum):
    """How a step is started: a handler under protocol 1, or a plain command (AWS documents: exit 0 or not, no fd 3)."""

    HANDLER = "handler"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to run. Durations in seconds, `quota_mb` in MiB.

    `argv` is what is executed (for a Python handler the worker, for a plain command the command itself) and `input` the
    JSON text for its stdin. Both may carry secrets such as presigned URLs: they come fresh with each describe, are
    never journalled (`bare`) and never shown.
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

    @property
    def bare(self) -> "Step":
        """The step without what must not be kept."""
        return replace(self, argv=(), input="{}", settings="{}")

    def after(self, spent_s: float) -> "Step":
        """The step with what is left of its deadline."""
        left_s = max(0.0, self.timeout_s - spent_s)
        return replace(self, timeout_s=left_s, max_timeout_s=max(left_s, self.max_timeout_s - spent_s))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a job document asks for, judged and accepted: steps in order (a plain document is a plan of one)."""

    steps: tuple[Step, ...]

    @property
    def is_exclusive(self) -> bool:
        """True if nothing else may run beside it."""
        return any(step.exclusive for step in self.steps)

    @property
    def bare(self) -> "Plan":
        """The plan without what must not be kept."""
        return replace(self, steps=tuple(step.bare for step in self.steps))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a document does not become a plan: REJECTED with this reason, which a person can act on.

    `is_unknown`: no enabled handler knows it, so it may be another agent's.
    """

    reason: str
    is_unknown: bool = False


class Ending(StrEnum):
    """How an attempt's process ended, as its supervisor saw it. Only `EXITED` with code 0 can be a success."""

    EXITED = "exited"
    SIGNALED = "signaled"
    OOM = "oom"
    DEADLINE = "deadline"
    STOPPED = "stopped"
    QUOTA = "quota"
    UNSTARTABLE = "unstartable"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What is known of an attempt that is over.

    `code` is the exit code (EXITED), `signal` the signal number (SIGNALED, OOM), `swept` the number of processes that
    were left behind and killed, `unswept` of those that could not be. `duration_s` of a LOST one is what is known at
    least. `handler_result` is the handler's own result file, parsed, or None; `bad_result` says why it could not be.
    `stdout` and `stderr` are the last part of the output, raw; `stderr_lines` counts the lines of all of it. `notes`
    are remarks of the supervisor, such as a line on fd 3 that was ignored.
    """

    ending: Ending
    code: int | None = None
    signal: int | None = None
    duration_s: float = 0.0
    swept: int = 0
    unswept: int = 0
    stderr_lines: int = 0
    handler_result: Mapping[str, Any] | None = None
    bad_result: str = ""
    reason: str = ""
    stdout: str = ""
    stderr: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an execution (or one step of it) ended, in the service's words. `reason` is empty only for SUCCEEDED."""

    status: ExecutionStatus
    reason: str = ""
    code: str = ""
    details: StatusDetails = field(default_factory=dict)
