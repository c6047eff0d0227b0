"""The lives of jobs, as the daemon leads them: `agent.core.decide`, the real journal, and real or instant attempts.

The service is a dictionary. It and the aftermath of a power cut use the same rules, so that what an agent does after
a recovery is what the core decides, not what a test believes.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from agent.attempts import Attempts, Facts
from agent.core.decide import decide, is_idle
from agent.core.effects import (
    JOURNAL,
    Describe,
    Effect,
    Fetch,
    ForgetAttempts,
    JournalEffect,
    Save,
    Settle,
    StartAttempt,
    StopAttempt,
    Update,
)
from agent.core.events import (
    AttemptEnded,
    AttemptEvent,
    AttemptNeverStarted,
    AttemptProgressed,
    AttemptStarted,
    Connected,
    Described,
    Event,
    JournalOpened,
    Listed,
    Notified,
    UpdateAccepted,
    UpdateFailed,
)
from agent.core.job import (
    AttemptId,
    AttemptResult,
    Ending,
    ExecutionId,
    ExecutionStatus,
    Outcome,
    Plan,
    Refusal,
    Step,
    StepKind,
)
from agent.core.state import Execution, Settings, State
from agent.journal import HistoryEntry, Journal, Recovered, encoded

MAX_TURNS = 200
# What a handler of a real attempt does: a checkpoint, a word of it, an output and a result that name the attempt.
SCRIPT = """
echo "{\\"checkpoint\\": \\"$1\\", \\"message\\": \\"as far as that\\"}" >&3
echo "said by $1"
printf '{"outcome": "succeeded", "details": {"attempt": "%s"}}' "$1" > "$JOB_RESULT_FILE"
"""

Mark = Callable[..., None]


@dataclass
class Job:
    """An execution as the service has it. `nature` says what will become of it: see `plan_of` and `result_of`."""

    job_id: str
    nature: str
    status: str = "QUEUED"
    version: int = 1
    agent_id: str = ""

    @property
    def id(self) -> ExecutionId:
        """Its identity."""
        return ExecutionId("", self.job_id, 1)


def plan_of(job: Job) -> Plan | Refusal:
    """Return what the job's document asks for: natures are well, fails, refused, canceled, steps."""
    if job.nature == "refused":
        return Refusal("its document asks for a handler that does not exist")
    names = ("first", "second") if job.nature == "steps" else ("only",)
    return Plan(tuple(_step(job, place, name) for place, name in enumerate(names)))


def _step(job: Job, place: int, name: str) -> Step:
    attempt = AttemptId(job.id, place, 1).directory_name
    argv = ("/bin/sh", "-c", SCRIPT, f"handler:{attempt}", attempt)
    return Step(name=name, handler="shell", kind=StepKind.HANDLER, timeout_s=600, grace_s=5, argv=argv)


@dataclass
class Service:
    """AWS IoT Jobs as far as an agent without faults meets it."""

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

    def described(self, effect: Describe, at: float) -> Event:
        """Answer a describe."""
        job = self.jobs[effect.execution]
        return Described(
            execution=job.id,
            ticket=effect.ticket,
            status=ExecutionStatus(job.status),
            version=job.version,
            agent_id=job.agent_id,
            verdict=plan_of(job),
            operation=job.nature,
            at=at,
        )

    def updated(self, effect: Update, agent_id: str) -> Event:
        """Do an update, or refuse it."""
        job = self.jobs[effect.execution]
        status = ExecutionStatus(job.status)
        if status.is_terminal:
            return UpdateFailed(effect.execution, effect.ticket, "InvalidStateTransition", current=status)
        if effect.expected_version not in {0, job.version}:
            return UpdateFailed(effect.execution, effect.ticket, "VersionMismatch", current=status)
        job.status, job.version, job.agent_id = effect.status.value, job.version + 1, agent_id
        return UpdateAccepted(effect.execution, effect.ticket)


def text_of(executions: Iterable[Execution], history: Iterable[HistoryEntry]) -> str:
    """Return what a journal holds, all of it but the times of settling, as text that can be compared."""
    rows = sorted([str(e.id), e.operation, e.claimed_at, *encoded(e.phase)] for e in executions)
    past = [
        [
            str(e.execution),
            e.operation,
            e.outcome.status,
            e.outcome.reason,
            e.outcome.code,
            e.was_accepted,
            e.claimed_at,
        ]
        for e in history
    ]
    return json.dumps([rows, past])


class Shadow:
    """What the journal has to hold, by another way than through SQLite."""

    def __init__(self, recovered: Recovered) -> None:
        self.executions = {execution.id: execution for execution in recovered.executions}
        self.history = list(recovered.history)

    def apply(self, effects: Iterable[JournalEffect]) -> str:
        """Follow a transaction, and return the content after it."""
        for effect in effects:
            match effect:
                case Save(execution):
                    self.executions[execution.id] = execution
                case Settle(execution, operation, outcome, claimed_at, was_accepted):
                    self.executions.pop(execution, None)
                    bare = Outcome(outcome.status, outcome.reason, outcome.code)
                    self.history.append(HistoryEntry(execution, operation, bare, was_accepted, claimed_at, 0.0))
                case forget:
                    self.executions.pop(forget.execution, None)
        return text_of(self.executions.values(), self.history)


class Instant:
    """Attempts without processes: each is over as soon as it is started."""

    def __init__(self, service: Service, post: Callable[[Event], None]) -> None:
        self.service, self.post = service, post

    def start(self, attempt: AttemptId, _step: Step, _facts: Facts) -> None:
        """Be over at once, or wait to be stopped."""
        job = self.service.jobs[attempt.execution]
        self.post(AttemptStarted(attempt))
        if job.nature == "canceled":
            job.status = "CANCELED"
            self.post(AttemptProgressed(attempt, progress=1.0))
            return
        code = 1 if job.nature == "fails" else 0
        words = {"details": {"words": "x" * 300}}
        self.post(AttemptProgressed(attempt, progress=50.0, message="half of it"))
        self.post(AttemptEnded(attempt, AttemptResult(Ending.EXITED, code, handler_result=words, stderr="it says so")))

    def stop(self, attempt: AttemptId) -> None:
        """Be stopped."""
        self.post(AttemptEnded(attempt, AttemptResult(Ending.STOPPED)))

    def forget(self, execution: ExecutionId) -> None:
        """Forget what was never made."""


class Life:
    """An agent from its journal on, which says with marks what it is about to write, wrote, told and forgot."""

    def __init__(self, journal: Journal, recovered: Recovered, service: Service, agent_id: str, mark: Mark) -> None:
        self.journal, self.service, self.agent_id, self.mark = journal, service, agent_id, mark
        self.inbox: asyncio.Queue[Event] = asyncio.Queue()
        self.attempts: Attempts | Instant = Instant(service, self.inbox.put_nowait)
        self.shadow = Shadow(recovered)
        self.state = State(Settings(max_concurrent=2))
        mark(service=service.text)
        for event in (JournalOpened(agent_id, recovered.executions, recovered.settled), Connected()):
            self._take(event)

    async def run(self, *jobs: Job) -> None:
        """Create the jobs and live until they are settled."""
        self.service.jobs |= {job.id: job for job in jobs}
        self.mark(service=self.service.text)
        self.inbox.put_nowait(Notified("", self.service.pending(), is_complete=True))
        while not (is_idle(self.state) and self.inbox.empty()):
            self._take(await self.inbox.get())

    def _take(self, event: Event) -> None:
        self.state, effects = decide(self.state, event, time.monotonic())
        if journal := [e for e in effects if isinstance(e, JOURNAL)]:
            self.mark(begun=self.shadow.apply(journal))
            self.journal.write(journal)
            self.mark(acknowledged=True)
        for effect in effects:
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case StartAttempt(attempt, step):
                if isinstance(self.attempts, Instant):
                    self.mark(started=attempt.directory_name)
                self.attempts.start(attempt, step, Facts("thing-1"))
            case StopAttempt(attempt):
                self.attempts.stop(attempt)
            case ForgetAttempts(execution):
                self.attempts.forget(execution)
            case Update() if effect.status.is_terminal:
                self.mark(told={str(effect.execution): effect.status.value})
                self._ask(effect)
            case _:
                self._ask(effect)

    def _ask(self, effect: Effect) -> None:
        answer = answered(self.service, effect, self.agent_id)
        if isinstance(answer, UpdateAccepted):
            self.mark(service=self.service.text)
        if answer is not None:
            self.inbox.put_nowait(answer)


def answered(service: Service, effect: Effect, agent_id: str) -> Event | None:
    """Return the service's answer to a request."""
    match effect:
        case Fetch(namespace, ticket, _):
            return Listed(namespace, ticket, service.pending(), is_complete=True)
        case Describe():
            return service.described(effect, at=1e9)
        case Update():
            return service.updated(effect, agent_id)
        case _:
            return None


@dataclass(frozen=True)
class Aftermath:
    """What a recovered agent does: the attempts it starts, and the last words it says of executions."""

    started: frozenset[str]
    told: Mapping[str, frozenset[str]]
    known: Mapping[str, str]  # executions that it knows to be settled, with their status


def aftermath(
    recovered: Recovered,
    attempts: Iterable[AttemptEvent],
    never_started: Iterable[AttemptId],
    service_text: str,
    me: str,
) -> Aftermath:
    """Let the core go on from what was recovered, with the service as it was, until nothing more follows."""
    service = Service.of(service_text)
    state = State(Settings(max_concurrent=100))
    events: deque[Any] = deque([JournalOpened(me, recovered.executions, recovered.settled)])
    events += [AttemptNeverStarted(attempt) for attempt in never_started]
    events += [*attempts, Connected()]
    started: set[str] = set()
    told: dict[str, frozenset[str]] = {}
    for turn in range(MAX_TURNS):
        if not events:
            break
        state, effects = decide(state, events.popleft(), float(turn))
        for effect in effects:
            if isinstance(effect, StartAttempt):
                started.add(effect.attempt.directory_name)
            if isinstance(effect, Update) and effect.status.is_terminal:
                words = told.get(str(effect.execution), frozenset())
                told[str(effect.execution)] = words | {effect.status.value}
            if (answer := answered(service, effect, me)) is not None:
                events.append(answer)
    known = {str(entry.execution): entry.outcome.status.value for entry in recovered.history}
    return Aftermath(frozenset(started), told, known)
