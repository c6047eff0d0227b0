"""The table at the head of `decide`, the picture of it, and what the core does: one and the same."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.faults.model.lives import Life, lived
from tests.support.playbook import ATTEMPT, IN_PROGRESS, JOB, ME, QUEUED, WELL, claims, prepares

from iot_jobs_agent.core import decide as core
from iot_jobs_agent.core.backoff import STALE_ANSWERS
from iot_jobs_agent.core.continuing import INTERRUPTIONS
from iot_jobs_agent.core.events import (
    AttemptEnded,
    Described,
    Event,
    JournalOpened,
    Listed,
    RebootFailed,
    Tick,
    UpdateAccepted,
    UpdateFailed,
)
from iot_jobs_agent.core.job import Plan, Refusal
from iot_jobs_agent.core.settling import REFUSALS
from iot_jobs_agent.core.state import Claiming, Phase, Settings, State

ROOT = Path(__file__).parents[3]
LIVES = 200
Transition = tuple[str, str]


def name(phase: Phase) -> str:
    return type(phase).__name__


class Recorder:
    """Stands in for `decide`, and keeps from which phase to which every execution went."""

    def __init__(self) -> None:
        self.seen: set[Transition] = set()
        self._decide = core.decide

    def __call__(self, state: State, event: Event, now: float) -> Any:
        after, effects = self._decide(state, event, now)
        before = {e.id: e for e in event.executions} if isinstance(event, JournalOpened) else state.executions
        for execution in before.keys() | after.executions.keys():
            there = name(before[execution].phase) if execution in before else "(pending)"
            then = name(after.executions[execution].phase) if execution in after.executions else "-"
            if there == "Reporting" and then == "Judging":  # settled, and the next execution of its id looked at
                self.seen |= {(there, "-"), ("(pending)", then)}
            elif there != then:
                self.seen.add((there, then))
        return after, effects


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(core, "decide", made)
    return made


@pytest.fixture(scope="module")
def states() -> ModuleType:
    spec = importlib.util.spec_from_file_location("states", ROOT / "docs" / "pictures" / "states.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def refuse_late(agent: Any, plan: Plan) -> None:
    claims(agent, plan)
    agent.hears(Described(JOB, agent.ticket, IN_PROGRESS, 2, "me", Refusal("no"), "h"))


def insist_on_what_is_settled(agent: Any, plan: Plan) -> None:
    claims(agent, plan)
    prepares(agent, plan)
    agent.hears(AttemptEnded(ATTEMPT, WELL))
    agent.hears(UpdateAccepted(JOB, agent.ticket))
    agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
    agent.hears(Described(JOB, agent.ticket, QUEUED, 1, "", plan, "h"))
    agent.hears(UpdateFailed(JOB, agent.ticket, ""))
    while isinstance(agent.phase(), Claiming):
        agent.hears(Tick(), at=agent.deadline)
        prepares(agent, plan)


def end_what_is_delayed(agent: Any, plan: Plan) -> None:
    claims(agent, plan)
    prepares(agent, plan)
    retry = replace(WELL, handler_result={"outcome": "retry", "reason": "busy"})
    agent.hears(AttemptEnded(ATTEMPT, retry))
    agent.hears(UpdateFailed(JOB, agent.ticket, "TerminalStateReached"))


def refuse_to_reboot(agent: Any, plan: Plan) -> None:
    plan = Plan(tuple(replace(step, may_reboot=True) for step in plan.steps))
    claims(agent, plan)
    prepares(agent, plan)
    agent.hears(AttemptEnded(ATTEMPT, replace(WELL, handler_result={"outcome": "reboot"})))
    agent.hears(RebootFailed("systemctl ended with 1"))


def test_every_execution_goes_where_the_table_says_and_everywhere_it_says(
    recorder: Recorder, states: ModuleType, agent: Any, plan: Plan
) -> None:
    """Random lives of the model, and stories of what is too rare for them."""
    told = {(phase, following) for phase, _, following in states.rows() if phase != following}
    for story in (refuse_late, insist_on_what_is_settled, end_what_is_delayed, refuse_to_reboot):
        agent.state = State(Settings())
        agent.hears(JournalOpened(ME), at=0.0)
        story(agent, plan)
    for life in range(LIVES):
        lived(Life(life))
    assert recorder.seen - told == set()
    assert told - recorder.seen == set()


def test_the_table_counts_as_the_rules_do() -> None:
    table = str(core.__doc__)
    words = ["no time", "once", "twice", "three times", "four times", "five times", "six times", "seven times"]
    assert f"Describe, {words[STALE_ANSWERS]}; then Update FAILED journal-lost" in table
    assert f"{words[REFUSALS]}: the slot is freed" in table
    assert f'on_interrupt "rerun" or "resume", {words[INTERRUPTIONS - 1]} at most' in table


def test_the_page_has_the_picture_of_the_table(states: ModuleType) -> None:
    page = states.PAGE.read_text()
    assert page == states.with_diagram(page), "run: uv run python docs/pictures/states.py"
