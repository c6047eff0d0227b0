"""Orders of events that the model (tests/faults/model.py) came upon, or that reasoning about its findings led to."""

from dataclasses import replace
from typing import Any

import pytest

from iot_jobs_agent.core.decide import is_idle
from iot_jobs_agent.core.effects import Describe, Fetch, StartAttempt, Update
from iot_jobs_agent.core.events import (
    AttemptEnded,
    AttemptStarted,
    Connected,
    Described,
    DescribeFailed,
    JournalOpened,
    Listed,
    Notified,
    Tick,
    UpdateAccepted,
    UpdateFailed,
)
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
from iot_jobs_agent.core.state import Claiming, Delayed, Execution, Preparing, Rebooting, Reporting, Work

S = ExecutionStatus
JOB = ExecutionId("", "job-1", 1)
LOST = AttemptResult(Ending.LOST)
WELL = AttemptResult(Ending.EXITED, code=0)


def ignored(how: OnInterrupt) -> Plan:
    """Return a plan whose first step may fail."""
    step = Step("one", "h", StepKind.COMMAND, on_interrupt=how, ignore_failure=True)
    return Plan((step, replace(step, name="two")))


def claims(agent: Any, what: Plan) -> None:
    agent.hears(Connected())
    agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
    agent.hears(Described(JOB, agent.ticket, S.QUEUED, 1, "", what, "h"))
    agent.hears(UpdateAccepted(JOB, agent.ticket))


def prepares(agent: Any, what: Plan) -> list[Any]:
    ticket = agent.phase().request.ticket
    effects: list[Any] = agent.hears(Described(JOB, ticket, S.IN_PROGRESS, 2, "me", what, "h"))
    return effects


class TestInterruptionsOfAStepThatMayFail:
    def test_the_third_is_the_end_of_the_execution_all_the_same(self, agent: Any) -> None:
        what = ignored(OnInterrupt.RERUN)
        claims(agent, what)
        for number in (1, 2, 3):
            prepares(agent, what)
            agent.hears(AttemptStarted(AttemptId(JOB, 0, number)))
            agent.hears(AttemptEnded(AttemptId(JOB, 0, number), LOST))
        assert isinstance(agent.phase(), Reporting)
        assert (agent.phase().outcome.status, agent.phase().outcome.code) == (S.FAILED, "interrupted")

    def test_one_that_ends_its_step_counts(self, agent: Any) -> None:
        what = ignored(OnInterrupt.FAIL)
        claims(agent, what)
        prepares(agent, what)
        agent.hears(AttemptEnded(AttemptId(JOB, 0, 1), LOST))
        assert isinstance(agent.phase(), Preparing)
        assert (agent.phase().work.step, agent.phase().work.interruptions) == (1, 1)


class TestACancellationWhileTheDocumentIsOnItsWay:
    def test_the_service_is_told_at_the_start_so_that_it_can_object(self, agent: Any, plan: Plan) -> None:
        claims(agent, plan)
        assert agent.hears(Notified("", (), is_complete=True)) == []
        started, told = prepares(agent, plan)
        assert isinstance(started, StartAttempt)
        assert (type(told), told.status) == (Update, S.IN_PROGRESS)

    def test_without_it_the_start_is_not_told(self, agent: Any, plan: Plan) -> None:
        claims(agent, plan)
        assert [type(effect) for effect in prepares(agent, plan)] == [StartAttempt]


@pytest.mark.parametrize("is_complete", [True, False])
def test_a_notification_of_what_is_left_to_others_keeps_nobody_from_rest(agent: Any, is_complete: bool) -> None:
    agent.state = replace(agent.state, settings=replace(agent.state.settings, ignores_unknown=True))
    agent.hears(Connected())
    agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
    agent.hears(Described(JOB, agent.ticket, S.QUEUED, 1, "", Refusal("no such handler", is_unknown=True), "h"))
    assert is_idle(agent.state)
    agent.hears(Notified("", (JOB,), is_complete=is_complete))
    assert is_idle(agent.state)


class TestAnswersOlderThanTheEnd:
    """A list and descriptions from before the end make a settled execution look like a new one under the same id."""

    def ended(self, agent: Any, plan: Plan) -> None:
        claims(agent, plan)
        prepares(agent, plan)
        agent.hears(AttemptEnded(AttemptId(JOB, 0, 1), WELL))
        agent.hears(UpdateAccepted(JOB, agent.ticket))
        agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
        [claim] = agent.hears(Described(JOB, agent.ticket, S.QUEUED, 1, "", plan, "h"))
        assert isinstance(claim, Update)

    def test_a_claim_that_is_refused_because_it_is_over_is_not_asked_about(self, agent: Any, plan: Plan) -> None:
        self.ended(agent, plan)
        agent.hears(UpdateFailed(JOB, agent.ticket, "VersionMismatch", S.SUCCEEDED))
        assert JOB not in agent.state.executions

    def test_what_was_settled_is_not_started_on_an_answer_that_may_be_old(self, agent: Any, plan: Plan) -> None:
        self.ended(agent, plan)
        agent.hears(UpdateFailed(JOB, agent.ticket, ""))
        agent.hears(Tick(), at=agent.deadline)
        assert prepares(agent, plan) == []
        agent.hears(Tick(), at=agent.deadline)
        agent.hears(DescribeFailed(JOB, agent.phase().request.ticket, "TerminalStateReached"))
        assert JOB not in agent.state.executions

    def test_it_is_not_started_even_if_all_answers_say_that_it_is_ours(self, agent: Any, plan: Plan) -> None:
        self.ended(agent, plan)
        agent.hears(UpdateFailed(JOB, agent.ticket, ""))
        while isinstance(agent.phase(), Claiming):
            agent.hears(Tick(), at=agent.deadline)
            effects = prepares(agent, plan)
        [told] = effects
        assert (told.status, agent.phase().outcome.code) == (S.FAILED, "journal-lost")
        assert agent.now > 15


def test_an_exclusive_retry_and_a_claim_that_has_the_only_slot_do_not_wait_for_each_other(agent: Any) -> None:
    alone = Plan((Step("alone", "h", StepKind.HANDLER, exclusive=True, retry_delay_s=60.0),))
    other = ExecutionId("", "job-2", 1)
    claims(agent, alone)
    prepares(agent, alone)
    agent.hears(AttemptEnded(AttemptId(JOB, 0, 1), replace(WELL, handler_result={"outcome": "retry"})))
    agent.hears(Notified("", (JOB, other), is_complete=True))
    ticket = agent.phase(other).request.ticket
    [claim] = agent.hears(Described(other, ticket, S.QUEUED, 1, "", Plan((replace(alone.steps[0], exclusive=False),))))
    agent.hears(UpdateFailed(other, claim.ticket, ""), at=60)
    assert isinstance(agent.phase(), Delayed)
    agent.hears(Tick(), at=agent.deadline)
    assert agent.phase(other).request.ticket > 0


def test_a_list_that_comes_late_hides_nothing_for_long(agent: Any, plan: Plan) -> None:
    other = ExecutionId("", "job-2", 1)
    agent.hears(Connected())
    agent.hears(Listed("", agent.ticket, (JOB, other), is_complete=True))
    [fetch] = agent.hears(Notified("", (JOB,), is_complete=True))
    assert fetch == Fetch("", agent.ticket, is_complete=True)
    assert agent.hears(Notified("", (JOB,), is_complete=True)) == []


def test_what_waited_for_a_reboot_that_does_not_come_goes_on_at_once(agent: Any) -> None:
    agent.state = replace(agent.state, settings=replace(agent.state.settings, max_concurrent=2, boot_id="boot-1"))
    step = Step("one", "h", StepKind.HANDLER, may_reboot=True)
    waits = Execution(JOB, Delayed(Work(Plan((step,)), number=2), 60.0))
    reboots = Execution(
        ExecutionId("", "job-2", 1), Rebooting(Work(Plan((step,)), number=2), "boot-1", is_ordered=True)
    )
    agent.hears(JournalOpened("me", (waits, reboots)))
    agent.hears(Connected())
    agent.hears(Tick(), at=601)
    assert [type(agent.phase(e.id)) for e in (waits, reboots)] == [Preparing, Reporting]


@pytest.mark.parametrize("by", ["deleted", "canceled"])
def test_what_ended_while_its_claim_was_in_doubt_is_not_told_an_end_by_an_old_answer(
    agent: Any, plan: Plan, by: str
) -> None:
    agent.hears(Connected())
    agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
    agent.hears(Described(JOB, agent.ticket, S.QUEUED, 1, "", plan, "h"))
    agent.hears(UpdateFailed(JOB, agent.ticket, ""))
    agent.hears(Tick(), at=60)
    if by == "deleted":
        agent.hears(DescribeFailed(JOB, agent.phase().request.ticket, "ResourceNotFound"))
    else:
        agent.hears(Described(JOB, agent.phase().request.ticket, S.CANCELED, 3, "me", plan, "h"))
    agent.hears(Notified("", (JOB,), is_complete=True))
    [describe] = [e for e in agent.all_effects if isinstance(e, Describe)]
    agent.hears(Described(JOB, describe.ticket, S.IN_PROGRESS, 2, "me", plan, "h"))
    assert not [e for e in agent.all_effects if isinstance(e, Update)]


def test_a_claim_in_a_namespace_that_is_no_longer_served_is_let_go_when_it_is_over(agent: Any, plan: Plan) -> None:
    gone = ExecutionId("gone", "job-1", 1)
    agent.hears(JournalOpened("me", (Execution(gone, Claiming(plan, 1), "h"),)))
    agent.hears(Connected())
    agent.hears(UpdateFailed(gone, agent.phase(gone).request.ticket, "ResourceNotFound"))
    assert agent.state.executions == {}
