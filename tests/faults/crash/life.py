"""The lives of jobs, as the daemon leads them: `core.decide`, the real journal, and real or instant attempts.

Time is virtual, but for that of real attempts: it goes on to the next deadline once nothing else happens.
"""

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import replace

from tests.faults.crash.service import Job, Service, result_of

from iot_jobs_agent.attempts.attempts import Attempts, Facts
from iot_jobs_agent.core.claimant import Claimant
from iot_jobs_agent.core.decide import decide, is_idle, next_deadline
from iot_jobs_agent.core.effects import (
    JOURNAL,
    Effect,
    ForgetAttempts,
    JournalEffect,
    Reboot,
    Save,
    Settle,
    StartAttempt,
    StopAttempt,
    Update,
)
from iot_jobs_agent.core.events import (
    AttemptEnded,
    AttemptNeverStarted,
    AttemptProgressed,
    AttemptStarted,
    Connected,
    Event,
    JournalOpened,
    Notified,
    Tick,
)
from iot_jobs_agent.core.job import AttemptId, ExecutionId, Outcome
from iot_jobs_agent.core.state import Delayed, Execution, Phase, Rebooting, Running, Settings, State
from iot_jobs_agent.state.encoding import encode_phase
from iot_jobs_agent.state.journal import HistoryEntry, Journal, Recovered

BOOT = "boot-1"
# What a handler of a real attempt does: what is to be there in the next attempt, on the disk before a word is said; a
# checkpoint, an output and a result that name the attempt. "lost" kills its shim; in a unit, it waits for that.
SCRIPT = """
if [ "$2" != succeeded ]; then
    echo "$1" >> kept
    sync kept .
fi
echo "{\\"checkpoint\\": \\"$1\\", \\"message\\": \\"as far as that\\"}" >&3
echo "said by $1"
if [ "$2" = lost ]; then
    [ -p "${JOB_FILE%/*}/control" ] || exec sleep 1000
    until [ -s "${JOB_FILE%/*}/events.jsonl" ]; do :; done
    kill -KILL "$PPID"
fi
printf '{"outcome": "%s", "details": {"attempt": "%s"}}' "$2" "$1" > "$JOB_RESULT_FILE"
"""

Mark = Callable[..., None]
Moment = tuple[
    type[Running | Delayed | Rebooting], int
]  # a phase, and the number of the attempt that is under way, or next


def text_of(executions: Iterable[Execution], history: Iterable[HistoryEntry]) -> str:
    """Return what a journal holds, all of it but the times of settling, as text that can be compared."""
    rows = sorted([str(e.id), e.operation, e.claimed_at, *encode_phase(e.phase)] for e in executions)
    past = [
        [
            str(e.execution),
            e.operation,
            e.outcome.status,
            e.outcome.reason,
            e.outcome.code,
            e.service_accepted,
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
                case Settle(execution, operation, outcome, claimed_at, service_accepted):
                    self.executions.pop(execution, None)
                    reported = Outcome(outcome.status, outcome.reason, outcome.code)
                    self.history.append(HistoryEntry(execution, operation, reported, service_accepted, claimed_at, 0.0))
                case forget:
                    self.executions.pop(forget.execution, None)
        return text_of(self.executions.values(), self.history)


class Instant:
    """Attempts without processes: each is over as soon as it is started."""

    def __init__(self, service: Service, post: Callable[[Event], None]) -> None:
        self.service, self.post = service, post

    def start(self, attempt: AttemptId, _step: object, _facts: Facts) -> None:
        """Be over at once, or wait to be stopped."""
        job = self.service.jobs[attempt.execution]
        act = job.act(attempt)
        self.post(AttemptStarted(attempt))
        if act == "canceled":
            job.status = "CANCELED"
            self.post(AttemptProgressed(attempt, progress=1.0))
            return
        self.post(AttemptProgressed(attempt, progress=50.0, message="half of it"))
        self.post(AttemptEnded(attempt, result_of(act)))

    def stop(self, attempt: AttemptId) -> None:
        """Be stopped."""
        self.post(AttemptEnded(attempt, result_of("canceled")))

    def forget(self, execution: ExecutionId) -> None:
        """Forget what was never made."""


def _moment(phase: Phase) -> Moment | None:
    match phase:
        case Running(work=work, started_at=float()) | Delayed(work=work) | Rebooting(work=work):
            return type(phase), work.number
        case _:
            return None


class Life:
    """An agent from its journal on, which says with marks what it is about to write, wrote, told and forgot.

    `left` are the attempts that were under way when an earlier life ended; instant ones are lost.
    """

    def __init__(
        self,
        journal: Journal,
        recovered: Recovered,
        service: Service,
        claimant: Claimant,
        mark: Mark,
        *,
        boot_id: str = BOOT,
    ) -> None:
        self.journal, self.service, self.claimant, self.mark = journal, service, claimant, mark
        self.inbox: asyncio.Queue[Event] = asyncio.Queue()
        self.attempts: Attempts | Instant = Instant(service, self.inbox.put_nowait)
        self.shadow = Shadow(recovered)
        self.state = State(Settings(max_concurrent=2, boot_id=boot_id))
        self.now = 0.0
        self.is_rebooting = False
        self.left = [execution.attempt for execution in recovered.executions if execution.attempt is not None]
        self.said_of_service = ""
        self._say_how_the_service_is()
        for event in (JournalOpened(claimant, recovered.executions, recovered.settled), Connected()):
            self._take(event)

    async def run(self, *jobs: Job, until: Moment | None = None) -> None:
        """Create the jobs and live until they are settled, until a moment, or until the device reboots."""
        self.service.jobs |= {job.id: job for job in jobs}
        self._say_how_the_service_is()
        if isinstance(self.attempts, Instant):
            for attempt in self.left:
                self.inbox.put_nowait(AttemptEnded(attempt, result_of("lost")))
        self.inbox.put_nowait(Notified("", self.service.pending(), is_complete=True))
        while not self._is_over(until):
            if self.inbox.empty() and all(e.attempt is None for e in self.state.executions.values()):
                self._wait()
            self._take(await self.inbox.get())

    def _is_over(self, until: Moment | None) -> bool:
        has_come = any(_moment(e.phase) == until for e in self.state.executions.values()) and until is not None
        return has_come or self.is_rebooting or (is_idle(self.state) and self.inbox.empty())

    def _wait(self) -> None:
        """Let the time come at which something is due."""
        due_at = next_deadline(self.state, self.now)
        assert due_at is not None, self.state
        self.now = due_at
        self.inbox.put_nowait(Tick())

    def _take(self, event: Event) -> None:
        if isinstance(event, AttemptNeverStarted):
            self.mark(taken_back=event.attempt.directory_name)
        self.state, effects = decide(self.state, event, self.now)
        self._write([e for e in effects if isinstance(e, JOURNAL)])
        for effect in effects:
            self._perform(effect)

    def _write(self, effects: list[JournalEffect]) -> None:
        if effects:
            self.mark(begun=self.shadow.apply(effects))
            self.journal.write(effects)
            self.mark(acknowledged=True)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case StartAttempt():
                self._start(effect)
            case StopAttempt(attempt):
                self.attempts.stop(attempt)
            case ForgetAttempts(execution):
                self.attempts.forget(execution)
            case Reboot():
                self.is_rebooting = True
            case Update() if effect.status.is_terminal:
                self.mark(told={str(effect.execution): effect.status.value})
                self._ask(effect)
            case _:
                self._ask(effect)

    def _start(self, effect: StartAttempt) -> None:
        name = effect.attempt.directory_name
        self.mark(**{"started" if isinstance(self.attempts, Instant) else "asked": name})
        act = self.service.jobs[effect.attempt.execution].act(effect.attempt)
        step = replace(effect.step, argv=("/bin/sh", "-c", SCRIPT, f"handler:{name}", name, act))
        facts = Facts("thing-1", "resume" if effect.is_resumed else "run", effect.reason)
        self.attempts.start(effect.attempt, step, facts)

    def _ask(self, effect: Effect) -> None:
        answer = self.service.answered(effect, self.claimant.mark)
        self._say_how_the_service_is()
        if answer is not None:
            self.inbox.put_nowait(answer)

    def _say_how_the_service_is(self) -> None:
        if self.service.text != self.said_of_service:
            self.said_of_service = self.service.text
            self.mark(service=self.said_of_service)
