"""An execution that was deleted and created again under its id while nobody looked: it gets nothing of the old one."""

from typing import Any

import pytest
from tests.support.playbook import ME

from iot_jobs_agent.core import backoff
from iot_jobs_agent.core.effects import Describe, Settle, StopAttempt, Update
from iot_jobs_agent.core.events import (
    AttemptEnded,
    AttemptProgressed,
    AttemptStarted,
    Connected,
    Described,
    DescribeFailed,
    Disconnected,
    JournalOpened,
    Tick,
    UpdateFailed,
)
from iot_jobs_agent.core.job import AttemptId, AttemptResult, Ending, ExecutionId, ExecutionStatus, Outcome, Plan
from iot_jobs_agent.core.state import Delayed, Execution, Reporting, Running, Stopping, Work

JOB = ExecutionId("", "job-1", 1)
ATTEMPT = AttemptId(JOB, 0, 1)
WELL = AttemptResult(Ending.EXITED, code=0)
QUEUED, IN_PROGRESS, CANCELED = ExecutionStatus.QUEUED, ExecutionStatus.IN_PROGRESS, ExecutionStatus.CANCELED


def asked(effects: list[Any]) -> Describe:
    """The question about the execution, beside which nothing is said of it."""
    assert not any(isinstance(e, Update) for e in effects)
    [question] = [e for e in effects if isinstance(e, Describe)]
    return question


def answer(agent: Any, question: Describe, status: ExecutionStatus, plan: Plan, claimed_by: str = "") -> list[Any]:
    effects: list[Any] = agent.hears(Described(JOB, question.ticket, status, 1, claimed_by, plan, "greet"))
    return effects


def insist(agent: Any, question: Describe, plan: Plan) -> list[Any]:
    """Answer QUEUED as often as it is asked; what is done at last."""
    for _ in range(backoff.STALE_ANSWERS):
        effects = answer(agent, question, QUEUED, plan)
        assert not any(isinstance(e, Update) for e in effects)
        question = asked(agent.hears(Tick(), at=agent.deadline))
    return answer(agent, question, QUEUED, plan)


@pytest.fixture
def running(agent: Any, plan: Plan) -> Any:
    agent.hears(JournalOpened(ME, (Execution(JOB, Running(Work(plan.without_secrets)), "greet"),)))
    agent.hears(AttemptStarted(ATTEMPT))
    return agent


def test_what_runs_for_the_old_one_is_stopped(running: Any, plan: Plan) -> None:
    effects = insist(running, asked(running.hears(Connected())), plan)
    assert StopAttempt(ATTEMPT) in effects
    assert isinstance(running.phase(), Stopping)


def test_no_progress_of_the_old_one_claims_the_new_one(running: Any, plan: Plan) -> None:
    question = asked(running.hears(Connected()))
    assert not any(isinstance(e, Update) for e in running.hears(AttemptProgressed(ATTEMPT, 50.0)))
    [update] = [e for e in answer(running, question, IN_PROGRESS, plan, "me") if isinstance(e, Update)]
    assert update.status is IN_PROGRESS


def test_an_outcome_that_comes_before_the_answer_waits_for_it(running: Any, plan: Plan) -> None:
    running.hears(Connected())
    question = asked(running.hears(AttemptEnded(ATTEMPT, WELL)))
    settle, *_ = insist(running, question, plan)
    assert isinstance(settle, Settle)
    assert (settle.outcome.status, settle.service_accepted) == (ExecutionStatus.REMOVED, False)


def test_one_that_waits_for_another_try_is_let_go(agent: Any, plan: Plan) -> None:
    agent.hears(JournalOpened(ME, (Execution(JOB, Delayed(Work(plan.without_secrets), 3600.0), "greet"),)))
    settle, *_ = insist(agent, asked(agent.hears(Connected())), plan)
    assert isinstance(settle, Settle)


class TestAnOutcome:
    @pytest.fixture
    def question(self, agent: Any) -> Describe:
        agent.hears(Connected())
        agent.hears(JournalOpened(ME, (Execution(JOB, Reporting(Outcome(ExecutionStatus.SUCCEEDED)), "greet"),)))
        agent.hears(Disconnected())
        agent.hears(DescribeFailed(JOB, agent.ticket, ""))
        return asked(agent.hears(Connected()))

    def test_is_not_told_of_the_new_one(self, agent: Any, plan: Plan, question: Describe) -> None:
        settle, *_ = insist(agent, question, plan)
        assert (settle.outcome.status, settle.service_accepted) == (ExecutionStatus.REMOVED, False)

    def test_is_not_told_of_one_that_another_agent_has_claimed(
        self, agent: Any, plan: Plan, question: Describe
    ) -> None:
        settle, *_ = answer(agent, question, IN_PROGRESS, plan, "somebody")
        assert (settle.outcome.status, settle.service_accepted) == (ExecutionStatus.REMOVED, False)

    @pytest.mark.parametrize("claimed_by", ["me", ""])
    def test_is_told_of_the_old_one(self, agent: Any, plan: Plan, question: Describe, claimed_by: str) -> None:
        [update] = answer(agent, question, IN_PROGRESS, plan, claimed_by)
        assert update.status is ExecutionStatus.SUCCEEDED
        agent.hears(UpdateFailed(JOB, update.ticket, ""))
        [again] = agent.hears(Tick(), at=agent.deadline)
        assert isinstance(again, Update)

    @pytest.mark.parametrize("code", ["TerminalStateReached", "InvalidStateTransition", "InvalidRequest"])
    def test_is_told_where_the_answer_to_it_says_more(self, agent: Any, question: Describe, code: str) -> None:
        [update] = agent.hears(DescribeFailed(JOB, question.ticket, code))
        assert isinstance(update, Update)

    def test_is_not_told_where_it_is_gone(self, agent: Any, question: Describe) -> None:
        settle, *_ = agent.hears(DescribeFailed(JOB, question.ticket, "ResourceNotFound"))
        assert (settle.outcome.status, settle.service_accepted) == (ExecutionStatus.REMOVED, False)

    @pytest.mark.parametrize(
        ("status", "service_accepted"),
        [(ExecutionStatus.SUCCEEDED, True), (CANCELED, False), (ExecutionStatus.FAILED, False)],
    )
    def test_is_not_told_where_the_end_is_known(
        self, agent: Any, plan: Plan, question: Describe, status: ExecutionStatus, service_accepted: bool
    ) -> None:
        settle, *_ = answer(agent, question, status, plan, "me")
        assert (settle.outcome.status, settle.service_accepted) == (status, service_accepted)

    def test_waits_for_as_long_as_there_is_no_answer(self, agent: Any, question: Describe) -> None:
        for _ in range(10):
            assert not any(isinstance(e, Update) for e in agent.hears(DescribeFailed(JOB, question.ticket, "")))
            question = asked(agent.hears(Tick(), at=agent.deadline))
