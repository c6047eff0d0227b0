"""The playbook: a test of the core is a script of what is heard and done, and reads like a sequence diagram."""

import pytest
from tests.support.playbook import ME

from iot_jobs_agent.core import decide as core
from iot_jobs_agent.core.effects import Effect, Note, Save
from iot_jobs_agent.core.events import Event, JournalOpened
from iot_jobs_agent.core.job import ExecutionId, Plan, Step, StepKind
from iot_jobs_agent.core.state import Phase, Settings, State

JOB = ExecutionId("", "job-1", 1)


class Agent:
    """The core, its state, and the time."""

    def __init__(self, settings: Settings) -> None:
        self.state = State(settings)
        self.now = 0.0
        self.all_effects: tuple[Effect, ...] = ()

    def hears(self, event: Event, *, at: float | None = None) -> list[Effect]:
        """Decide on `event`; the effects but for the journal's saves and the notes for people."""
        self.now = self.now if at is None else at
        self.state, self.all_effects = core.decide(self.state, event, self.now)
        return [e for e in self.all_effects if not isinstance(e, Save | Note)]

    @property
    def saved(self) -> list[Phase]:
        """The phases that the last decision journalled."""
        return [e.execution.phase for e in self.all_effects if isinstance(e, Save)]

    @property
    def notes(self) -> list[str]:
        return [e.what for e in self.all_effects if isinstance(e, Note)]

    @property
    def ticket(self) -> int:
        """The last request's."""
        return self.state.last_ticket

    @property
    def deadline(self) -> float | None:
        return core.next_deadline(self.state, self.now)

    def phase(self, execution: ExecutionId = JOB) -> Phase:
        return self.state.executions[execution].phase


@pytest.fixture
def plan() -> Plan:
    return Plan((Step("greet", "greet", StepKind.HANDLER, timeout_s=60, argv=("/h/greet",), input='{"word": "hi"}'),))


@pytest.fixture
def agent() -> Agent:
    """An agent with an empty journal, not connected yet."""
    new = Agent(Settings())
    new.hears(JournalOpened(ME))
    return new
