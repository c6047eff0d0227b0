"""A device that cannot start handlers: nothing more is claimed, what is claimed waits, and goes on once it can."""

from typing import Any

from tests.support.playbook import ATTEMPT, IN_PROGRESS, JOB, ME, OTHER, SUCCEEDED, claim, described

from iot_jobs_agent.core.effects import Describe, StartAttempt
from iot_jobs_agent.core.events import (
    AttemptNeverStarted,
    AttemptStarted,
    Described,
    DescribeFailed,
    JournalOpened,
    Notified,
    Tick,
    UpdateAccepted,
)
from iot_jobs_agent.core.job import AttemptId, Outcome, Plan
from iot_jobs_agent.core.running import DEVICE_FAULT_S
from iot_jobs_agent.core.state import Claiming, Execution, Reporting, Running, Settings, State, Work
from iot_jobs_agent.state.status import StatusBoard


def fail_to_start(agent: Any, plan: Plan, why: str = "No space left on device") -> list[Any]:
    claim(agent, plan)
    agent.hears(UpdateAccepted(JOB, agent.ticket))
    [start] = agent.hears(described(agent, IN_PROGRESS, plan, "me"))
    assert isinstance(start, StartAttempt)
    effects: list[Any] = agent.hears(AttemptNeverStarted(ATTEMPT, why))
    return effects


def try_again(agent: Any, plan: Plan) -> None:
    [ask] = [e for e in agent.hears(Tick(), at=agent.deadline) if isinstance(e, Describe)]
    assert isinstance(agent.hears(Described(JOB, ask.ticket, IN_PROGRESS, 2, "me", plan, "greet"))[0], StartAttempt)


def test_field_c1_what_is_claimed_waits_and_nothing_is_reported(agent: Any, plan: Plan) -> None:
    assert fail_to_start(agent, plan) == []
    assert agent.notes == ["cannot start handlers, trying again"]
    assert isinstance(agent.phase(), Claiming)
    assert agent.deadline == agent.now + DEVICE_FAULT_S


def test_field_c1_nothing_more_is_claimed_meanwhile(plan: Plan, agent: Any) -> None:
    agent.state = State(Settings(max_concurrent=4), is_journal_usable=True, claimant=ME)
    fail_to_start(agent, plan)
    assert agent.hears(Notified("", (JOB, OTHER), is_complete=True)) == []
    assert list(agent.state.executions) == [JOB]
    try_again(agent, plan)
    asked = agent.hears(AttemptStarted(ATTEMPT))
    assert [e.execution for e in asked if isinstance(e, Describe)] == [OTHER]


def test_field_c1_it_is_tried_again_until_it_can_be_started_and_said_once(agent: Any, plan: Plan) -> None:
    fail_to_start(agent, plan)
    for _ in range(3):
        try_again(agent, plan)
        assert agent.hears(AttemptNeverStarted(ATTEMPT, "No space left on device")) == []
        assert agent.notes == []
    try_again(agent, plan)
    agent.hears(AttemptNeverStarted(ATTEMPT, "Too many open files"))
    assert agent.notes == ["cannot start handlers, trying again"]
    try_again(agent, plan)
    agent.hears(AttemptStarted(ATTEMPT))
    assert isinstance(agent.phase(), Running)
    assert agent.state.device_fault == ""


def test_field_c1_others_are_claimed_again_if_what_waited_has_gone(agent: Any, plan: Plan) -> None:
    fail_to_start(agent, plan)
    [ask] = [e for e in agent.hears(Tick(), at=agent.deadline) if isinstance(e, Describe)]
    agent.hears(DescribeFailed(JOB, ask.ticket, "ResourceNotFound"))
    [ask] = [e for e in agent.hears(Notified("", (OTHER,), is_complete=True)) if isinstance(e, Describe)]
    assert ask.execution == OTHER


def test_field_c1_status_says_what_the_device_lacks(agent: Any, plan: Plan) -> None:
    fail_to_start(agent, plan)
    board = StatusBoard("pi-1")
    assert board.content(agent.state)["degraded"].startswith("no handler can be started (No space left on device)")
    assert board.line(agent.state).startswith("degraded: no handler can be started")


def test_field_c1_the_fault_is_forgotten_with_what_waited_for_it(agent: Any, plan: Plan) -> None:
    fail_to_start(agent, plan)
    [ask] = [e for e in agent.hears(Tick(), at=agent.deadline) if isinstance(e, Describe)]
    agent.hears(DescribeFailed(JOB, ask.ticket, "ResourceNotFound"))
    assert agent.state.device_fault == ""
    assert StatusBoard("pi-1").content(agent.state)["degraded"] == ""


def test_field_c1_an_execution_that_is_being_reported_does_not_wait_for_the_device(agent: Any, plan: Plan) -> None:
    agent.state = State(Settings(max_concurrent=4), is_journal_usable=True, claimant=ME)
    agent.hears(JournalOpened(ME, (Execution(OTHER, Reporting(Outcome(SUCCEEDED)), "greet"),)))
    fail_to_start(agent, plan)
    [ask] = [e for e in agent.hears(Tick(), at=agent.deadline) if isinstance(e, Describe) and e.execution == JOB]
    agent.hears(DescribeFailed(JOB, ask.ticket, "ResourceNotFound"))
    assert list(agent.state.executions) == [OTHER]
    assert agent.state.device_fault == ""


def test_a_start_of_before_says_nothing_about_a_fault_since_then(agent: Any, plan: Plan) -> None:
    running = tuple(Execution(each, Running(Work(plan.without_secrets)), "greet") for each in (JOB, OTHER))
    agent.state = State(Settings(max_concurrent=2))
    agent.hears(JournalOpened(ME, running))
    agent.hears(AttemptNeverStarted(ATTEMPT, "systemd refuses"))
    agent.hears(AttemptStarted(AttemptId(OTHER, 0, 1)), at=1.0)
    assert agent.state.device_fault == "systemd refuses"
    assert agent.state.device_fault_until == DEVICE_FAULT_S
