"""AWS IoT Jobs as far as an agent without faults meets it, and what becomes of each attempt of a job.

The service is a dictionary. It is the same while a life is recorded and in the aftermath of a power cut.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from iot_jobs_agent.core.effects import Describe, Effect, Fetch, Update
from iot_jobs_agent.core.events import Described, Event, Listed, UpdateAccepted, UpdateFailed
from iot_jobs_agent.core.job import (
    AttemptId,
    AttemptResult,
    Ending,
    ExecutionId,
    ExecutionStatus,
    OnInterrupt,
    Plan,
    Refusal,
    Step,
    StepKind,
)

RETRY_LIMIT = 3
LOST_AFTER_S = 5.0  # of the deadline; what is left of it is in the journal


@dataclass(frozen=True)
class Nature:
    """What the attempts at each step of a job do, by their number; the last of `acts` again and again.

    `most_attempts` are made at a step, even if power is cut once more than in the recording. `ends` is how the
    execution then ends, where that must not change it.
    """

    acts: tuple[str, ...]
    on_interrupt: OnInterrupt = OnInterrupt.FAIL
    steps: tuple[str, ...] = ("only",)
    most_attempts: int = 1
    ends: str = ""


NATURES = {
    "well": Nature(("succeeded",)),
    "fails": Nature(("failed",)),
    "refused": Nature((), most_attempts=0, ends="REJECTED"),
    "canceled": Nature(("canceled",)),
    "steps": Nature(("succeeded",), OnInterrupt.RESUME, ("first", "second"), most_attempts=3, ends="SUCCEEDED"),
    "retried": Nature(("retry", "succeeded"), OnInterrupt.RERUN, most_attempts=3, ends="SUCCEEDED"),
    "never ready": Nature(("retry",), OnInterrupt.RERUN, most_attempts=RETRY_LIMIT + 2, ends="FAILED"),
    "rerun": Nature(("lost", "succeeded"), OnInterrupt.RERUN, most_attempts=3, ends="SUCCEEDED"),
    "resumed": Nature(("lost", "succeeded"), OnInterrupt.RESUME, most_attempts=3, ends="SUCCEEDED"),
    "always lost": Nature(("lost",), OnInterrupt.RERUN, most_attempts=3, ends="FAILED"),
    "rebooted": Nature(("reboot", "succeeded"), OnInterrupt.RESUME, most_attempts=3, ends="SUCCEEDED"),
    "always reboots": Nature(("reboot",), OnInterrupt.RESUME, most_attempts=12, ends="FAILED"),
}


@dataclass
class Job:
    """An execution as the service has it. `nature` says what will become of it."""

    job_id: str
    nature: str
    status: str = "QUEUED"
    version: int = 1
    claimed_by: str = ""

    @property
    def id(self) -> ExecutionId:
        """Its identity."""
        return ExecutionId("", self.job_id, 1)

    @property
    def kind(self) -> Nature:
        """What will become of it."""
        return NATURES[self.nature]

    def act(self, attempt: AttemptId) -> str:
        """Return what an attempt of it does."""
        acts = self.kind.acts
        return acts[min(attempt.number, len(acts)) - 1]


def plan_of(job: Job) -> Plan | Refusal:
    """Return what the job's document asks for."""
    nature = job.kind
    if not nature.acts:
        return Refusal("its document asks for a handler that does not exist")
    return Plan(tuple(_step(name, nature) for name in nature.steps))


def _step(name: str, nature: Nature) -> Step:
    return Step(
        name=name,
        handler="shell",
        kind=StepKind.HANDLER,
        timeout_s=600,
        grace_s=5,
        on_interrupt=nature.on_interrupt,
        may_reboot="reboot" in nature.acts,
        retry_limit=RETRY_LIMIT,
    )


def result_of(act: str) -> AttemptResult:
    """Return how an attempt ends that does this, without a process."""
    match act:
        case "lost":
            return AttemptResult(Ending.LOST, duration_s=LOST_AFTER_S)
        case "canceled":
            return AttemptResult(Ending.STOPPED)
        case "failed":
            words: dict[str, Any] = {}
        case "succeeded":
            words = {"details": {"words": "x" * 300}}
        case _:
            words = {"outcome": act, "reason": "not yet"}
    return AttemptResult(Ending.EXITED, int(act == "failed"), handler_result=words, stderr="it says so")


@dataclass
class Service:
    """The executions of one thing, in the default namespace."""

    jobs: dict[ExecutionId, Job] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> "Service":
        """Return the service that `text` tells of."""
        return cls({job.id: job for job in (Job(**members) for members in json.loads(text))})

    @property
    def text(self) -> str:
        """Everything it knows."""
        return json.dumps([asdict(job) for job in self.jobs.values()])

    def pending(self) -> tuple[ExecutionId, ...]:
        """Return what is not over, IN_PROGRESS first."""
        ours = [job.id for job in self.jobs.values() if job.status == "IN_PROGRESS"]
        return (*ours, *(job.id for job in self.jobs.values() if job.status == "QUEUED"))

    def answered(self, effect: Effect, mark: str) -> Event | None:
        """Answer a request; nothing else is answered."""
        match effect:
            case Fetch(namespace, ticket, _):
                return Listed(namespace, ticket, self.pending(), is_complete=True)
            case Describe():
                return self._described(effect, at=1e9)
            case Update():
                return self._updated(effect, mark)
            case _:
                return None

    def _described(self, effect: Describe, at: float) -> Event:
        job = self.jobs[effect.execution]
        return Described(
            execution=job.id,
            ticket=effect.ticket,
            status=ExecutionStatus(job.status),
            version=job.version,
            claimed_by=job.claimed_by,
            verdict=plan_of(job),
            operation=job.nature,
            at=at,
        )

    def _updated(self, effect: Update, mark: str) -> Event:
        """Do an update, or refuse it."""
        job = self.jobs[effect.execution]
        status = ExecutionStatus(job.status)
        if status.is_terminal:
            return UpdateFailed(effect.execution, effect.ticket, "InvalidStateTransition", current=status)
        if effect.expected_version not in {0, job.version}:
            return UpdateFailed(effect.execution, effect.ticket, "VersionMismatch", current=status)
        job.status, job.version, job.claimed_by = effect.status.value, job.version + 1, mark
        return UpdateAccepted(effect.execution, effect.ticket)
