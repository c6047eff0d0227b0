"""What the core does after a recovery, until nothing more follows: what an agent does then is what the core decides.

The service is as it was when power was cut; what becomes of further attempts is the job's nature.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.faults.crash.service import Service, result_of

from iot_jobs_agent.core.claimant import Claimant
from iot_jobs_agent.core.decide import decide, is_idle, next_deadline
from iot_jobs_agent.core.effects import Effect, Reboot, StartAttempt, StopAttempt, Update
from iot_jobs_agent.core.events import (
    AttemptEnded,
    AttemptEvent,
    AttemptNeverStarted,
    AttemptStarted,
    Connected,
    Event,
    JournalOpened,
    Tick,
)
from iot_jobs_agent.core.job import AttemptId
from iot_jobs_agent.core.state import Settings, State
from iot_jobs_agent.state.journal import Recovered

MAX_TURNS = 600


@dataclass(frozen=True)
class Aftermath:
    """What a recovered agent does: the attempts it starts, and the last words it says of executions."""

    started: frozenset[str]
    told: Mapping[str, frozenset[str]]
    known: Mapping[str, str]  # executions that it knows to be settled, from before or by now, with their status
    service: Service  # at the end


def aftermath(
    recovered: Recovered,
    attempts: Iterable[AttemptEvent],
    never_started: Iterable[AttemptId],
    service_text: str,
    me: Claimant,
) -> Aftermath:
    """Let the core go on from what was recovered, with the service as it was, until nothing more follows."""
    after = _Afterwards(Service.of(service_text), me)
    after.boot(JournalOpened(me, recovered.executions, recovered.settled))
    after.events += [AttemptNeverStarted(attempt) for attempt in never_started]
    after.events += [*attempts, Connected()]
    after.go_on()
    known = {str(execution): settled.outcome.status.value for execution, settled in after.state.settled.items()}
    told = {execution: frozenset(words) for execution, words in after.told.items()}
    return Aftermath(frozenset(after.started), told, known, after.service)


class _Afterwards:
    """A device on virtual time; power is not cut again."""

    def __init__(self, service: Service, me: Claimant) -> None:
        self.service, self.me = service, me
        self.events: deque[Event] = deque()
        self.started: set[str] = set()
        self.told: dict[str, set[str]] = {}
        self.boots = 0

    def boot(self, opened: JournalOpened) -> None:
        """Start over, in another boot than before."""
        self.boots += 1
        self.state = State(Settings(max_concurrent=100, boot_id=f"boot {self.boots} after the power cut"))
        self.now = 0.0
        self.events.clear()
        self.events.append(opened)

    def go_on(self) -> None:
        """Live until all is settled, or for too long."""
        for _ in range(MAX_TURNS):
            if not self.events:
                due_at = next_deadline(self.state, self.now)
                if is_idle(self.state) or due_at is None:
                    return
                self.now = due_at
                self.events.append(Tick())
            self.state, effects = decide(self.state, self.events.popleft(), self.now)
            for effect in effects:
                self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case StartAttempt(attempt):
                self.started.add(attempt.directory_name)
                act = self.service.jobs[attempt.execution].act(attempt)
                self.events += [AttemptStarted(attempt), AttemptEnded(attempt, result_of(act))]
            case StopAttempt(attempt):
                self.events.append(AttemptEnded(attempt, result_of("canceled")))
            case Reboot():
                durable = tuple(d for e in self.state.executions.values() if (d := e.durable) is not None)
                self.boot(JournalOpened(self.me, durable, self.state.settled))
                self.events.append(Connected())
            case Update() if effect.status.is_terminal:
                self.told.setdefault(str(effect.execution), set()).add(effect.status.value)
                self._ask(effect)
            case _:
                self._ask(effect)

    def _ask(self, effect: Effect) -> None:
        if (answer := self.service.answered(effect, self.me.mark)) is not None:
            self.events.append(answer)
