"""What is found, judged and claimed."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.playbook import (
    CANCELED,
    FAILED,
    IN_PROGRESS,
    JOB,
    ME,
    QUEUED,
    REJECTED,
    SUCCEEDED,
    claim,
    connect,
    described,
    judge,
    report,
    run,
    two_steps,
)

from iot_jobs_agent.core.claimant import Claimant
from iot_jobs_agent.core.claiming import step_timeout_minutes
from iot_jobs_agent.core.decide import may_start_soon
from iot_jobs_agent.core.effects import (
    Describe,
    Fetch,
    Forget,
    Note,
    Settle,
    StartAttempt,
    Update,
)
from iot_jobs_agent.core.events import (
    Connected,
    Described,
    DescribeFailed,
    JournalOpened,
    Listed,
    Notified,
    Paused,
    Tick,
    UpdateAccepted,
    UpdateFailed,
)
from iot_jobs_agent.core.job import (
    ExecutionId,
    ExecutionStatus,
    Plan,
    Refusal,
)
from iot_jobs_agent.core.state import (
    Claiming,
    Execution,
    Judging,
)


class TestJudging:
    def test_a_refused_document_is_rejected_straight_from_queued_guarded_by_its_version(self, agent: Any) -> None:
        judge(agent)
        [update] = agent.hears(described(agent, QUEUED, Refusal("unknown operation")))
        assert (update.status, update.expected_version) == (REJECTED, 1)
        assert update.details["reason"] == "unknown operation"

    def test_a_rejection_that_met_another_version_is_judged_again(self, agent: Any) -> None:
        judge(agent)
        agent.hears(described(agent, QUEUED, Refusal("unknown operation")))
        assert agent.hears(UpdateFailed(JOB, agent.ticket, "VersionMismatch", IN_PROGRESS)) == [Forget(JOB)]
        assert agent.hears(Tick(), at=agent.deadline) == [Describe(JOB, agent.ticket)]
        assert agent.now < 1
        assert isinstance(agent.phase(), Judging)

    def test_what_another_agent_works_on_is_left_alone_and_the_next_one_taken(self, agent: Any, plan: Plan) -> None:
        other = ExecutionId("", "job-2", 1)
        connect(agent)
        agent.hears(Notified("", (JOB, other), is_complete=True))
        assert agent.hears(described(agent, IN_PROGRESS, plan, "somebody")) == [Describe(other, agent.ticket)]
        assert agent.state.foreign == {JOB}

    def test_what_is_no_longer_listed_is_no_longer_remembered_as_foreign(self, agent: Any, plan: Plan) -> None:
        judge(agent)
        agent.hears(described(agent, IN_PROGRESS, plan, "somebody"))
        agent.hears(Connected())
        agent.hears(Listed("", agent.ticket, (), is_complete=True))
        assert agent.state.foreign == frozenset()

    def test_in_progress_with_our_id_and_no_journal_is_failed_not_run(self, agent: Any, plan: Plan) -> None:
        judge(agent)
        [update] = agent.hears(described(agent, IN_PROGRESS, plan, "me"))
        assert update.status is FAILED
        assert "journal" in update.details["reason"]

    def test_in_progress_with_our_id_and_a_known_outcome_gets_that_outcome_again(self, agent: Any, plan: Plan) -> None:
        report(agent, plan)
        agent.hears(UpdateAccepted(JOB, agent.ticket))
        agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
        [update] = agent.hears(described(agent, IN_PROGRESS, plan, "me"))
        assert update.status is SUCCEEDED

    @pytest.mark.parametrize("mark", ["me", "me.new", "me.old"])
    def test_in_progress_by_a_claim_of_a_journal_that_we_had_is_failed(self, agent: Any, plan: Plan, mark: str) -> None:
        agent.state = replace(agent.state, claimant=Claimant("me", "new", frozenset({"old"})))
        judge(agent)
        [update] = agent.hears(described(agent, IN_PROGRESS, plan, mark))
        assert (update.status, update.details["agent"]) == (FAILED, "me.new")

    def test_field_d8_in_progress_by_a_claim_of_a_journal_that_we_never_had_is_left_alone(
        self, agent: Any, plan: Plan
    ) -> None:
        agent.state = replace(agent.state, claimant=Claimant("me", "new", frozenset({"old"})))
        judge(agent)
        effects = agent.hears(described(agent, IN_PROGRESS, plan, "me.another"))
        [note] = [effect for effect in agent.all_effects if isinstance(effect, Note)]
        assert (note.what, note.is_problem) == ("left to another agent", True)
        assert "it has the same agent-id but another journal" in note.why
        assert not [effect for effect in effects if isinstance(effect, Update)]
        assert agent.state.executions == {}

    def test_over_before_we_looked_is_dropped(self, agent: Any, plan: Plan) -> None:
        judge(agent)
        assert agent.hears(described(agent, CANCELED, plan)) == [Fetch("", agent.ticket, is_complete=False)]
        assert agent.state.executions == {}

    def test_a_description_that_does_not_come_is_asked_for_again(self, agent: Any) -> None:
        judge(agent)
        assert agent.hears(DescribeFailed(JOB, agent.ticket, ""), at=10) == []
        assert agent.deadline == 10.5
        assert agent.hears(Tick(), at=10.5) == [Describe(JOB, agent.ticket)]

    def test_one_that_cannot_be_looked_at_gives_its_slot_to_the_next(self, agent: Any) -> None:
        other = ExecutionId("", "job-2", 1)
        connect(agent)
        agent.hears(Notified("", (JOB, other), is_complete=True))
        for _ in range(4):
            assert agent.hears(DescribeFailed(JOB, agent.ticket, "InternalError")) == []
            assert agent.hears(Tick(), at=agent.deadline) == [Describe(JOB, agent.ticket)]
        asked, *_ = agent.hears(DescribeFailed(JOB, agent.ticket, "InternalError"))
        assert asked == Describe(other, asked.ticket)
        assert JOB not in agent.state.executions

    def test_what_a_notification_named_and_the_service_does_not_know_yet_is_asked_for_again(self, agent: Any) -> None:
        judge(agent)
        assert agent.hears(DescribeFailed(JOB, agent.ticket, "ResourceNotFound")) == [
            Fetch("", agent.ticket, is_complete=False)
        ]
        asked = 0
        for _ in range(20):
            agent.hears(Listed("", agent.ticket, (), is_complete=True))
            if agent.deadline is None or agent.deadline - agent.now > 60:
                break
            asked += len(agent.hears(Tick(), at=agent.deadline))
        assert asked == 4


class TestClaiming:
    def test_its_timer_is_that_of_the_first_step(self, agent: Any) -> None:
        first, second = two_steps().steps
        judge(agent)
        [claim] = agent.hears(
            described(agent, QUEUED, Plan((replace(first, timeout_s=6000), replace(second, timeout_s=60))))
        )
        assert claim.step_timeout_minutes == step_timeout_minutes(replace(first, timeout_s=6000))
        assert claim.step_timeout_minutes > 100

    def test_a_claim_without_an_answer_is_looked_into_not_repeated(self, agent: Any, plan: Plan) -> None:
        claim(agent, plan)
        assert agent.hears(UpdateFailed(JOB, agent.ticket, "")) == []
        assert agent.hears(Tick(), at=agent.deadline) == [Describe(JOB, agent.ticket)]
        started, renewed = agent.hears(described(agent, IN_PROGRESS, plan, "me"))
        assert isinstance(started, StartAttempt)
        assert renewed.step_timeout_minutes == 17

    def test_a_throttled_claim_is_repeated_and_costs_no_question(self, agent: Any, plan: Plan) -> None:
        claim(agent, plan)
        agent.hears(UpdateFailed(JOB, agent.ticket, "RequestThrottled"))
        [again] = agent.hears(Tick(), at=agent.deadline)
        assert (again.status, again.expected_version) == (IN_PROGRESS, 1)

    def test_a_claim_that_was_never_sent_is_made_again(self, agent: Any, plan: Plan) -> None:
        claim(agent, plan)
        agent.hears(UpdateFailed(JOB, agent.ticket, ""))
        agent.hears(Tick(), at=agent.deadline)
        [again] = agent.hears(described(agent, QUEUED, plan))
        assert (again.status, again.expected_version) == (IN_PROGRESS, 1)

    def test_a_claim_that_another_agent_was_faster_with_is_given_up(self, agent: Any, plan: Plan) -> None:
        claim(agent, plan)
        assert agent.hears(UpdateFailed(JOB, agent.ticket, "VersionMismatch")) == []
        assert agent.hears(Tick(), at=agent.deadline) == [Describe(JOB, agent.ticket)]
        assert agent.hears(described(agent, IN_PROGRESS, plan, "somebody")) == [Forget(JOB)]

    @pytest.mark.parametrize("code", ["ResourceNotFound", "TerminalStateReached", "InvalidStateTransition"])
    def test_a_claim_on_what_is_over_is_forgotten(self, agent: Any, plan: Plan, code: str) -> None:
        claim(agent, plan)
        assert agent.hears(UpdateFailed(JOB, agent.ticket, code)) == [
            Forget(JOB),
            Fetch("", agent.ticket, is_complete=False),
        ]

    def test_a_claim_that_we_worded_wrongly_is_left_alone(self, agent: Any, plan: Plan) -> None:
        claim(agent, plan)
        assert agent.hears(UpdateFailed(JOB, agent.ticket, "InvalidRequest")) == [Forget(JOB)]
        assert agent.notes == ["claim refused"]

    def test_an_answer_older_than_our_claim_is_asked_for_again(self, agent: Any, plan: Plan) -> None:
        claim(agent, plan)
        agent.hears(UpdateAccepted(JOB, agent.ticket))
        assert agent.hears(described(agent, QUEUED, plan)) == []
        assert agent.hears(Tick(), at=agent.deadline) == [Describe(JOB, agent.ticket)]

    @pytest.mark.parametrize(
        ("status", "claimed_by", "kept"), [(CANCELED, "me", CANCELED), (IN_PROGRESS, "other", ExecutionStatus.REMOVED)]
    )
    def test_what_ended_between_claim_and_start_is_not_started(
        self, agent: Any, plan: Plan, status: ExecutionStatus, claimed_by: str, kept: ExecutionStatus
    ) -> None:
        claim(agent, plan)
        agent.hears(UpdateAccepted(JOB, agent.ticket))
        settle, *_ = agent.hears(described(agent, status, plan, claimed_by))
        assert (settle.outcome.status, settle.service_accepted) == (kept, False)

    def test_what_vanished_between_claim_and_start_is_not_started(self, agent: Any, plan: Plan) -> None:
        claim(agent, plan)
        agent.hears(UpdateAccepted(JOB, agent.ticket))
        settle, *_ = agent.hears(DescribeFailed(JOB, agent.ticket, "ResourceNotFound"))
        assert isinstance(settle, Settle)

    def test_a_fresh_document_that_does_not_come_is_asked_for_again(self, agent: Any, plan: Plan) -> None:
        claim(agent, plan)
        agent.hears(UpdateAccepted(JOB, agent.ticket))
        assert agent.hears(DescribeFailed(JOB, agent.ticket, "")) == []
        assert agent.hears(Tick(), at=agent.deadline) == [Describe(JOB, agent.ticket)]


def test_the_step_timer_is_renewed_when_the_claim_may_be_old(agent: Any, plan: Plan) -> None:
    agent.hears(JournalOpened(ME, (Execution(JOB, Claiming(plan.without_secrets), "greet"),)))
    agent.hears(Connected())
    ask = next(e for e in agent.all_effects if isinstance(e, Describe))
    started, renewed = agent.hears(Described(JOB, ask.ticket, ExecutionStatus.IN_PROGRESS, 2, "me", plan))
    assert isinstance(started, StartAttempt)
    assert (renewed.status, renewed.step_timeout_minutes) == (ExecutionStatus.IN_PROGRESS, 17)


@pytest.mark.parametrize("by", ["deleted", "canceled"])
def test_what_ended_while_its_claim_was_in_doubt_is_not_told_an_end_by_an_old_answer(
    agent: Any, plan: Plan, by: str
) -> None:
    agent.hears(Connected())
    agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
    agent.hears(Described(JOB, agent.ticket, ExecutionStatus.QUEUED, 1, "", plan, "h"))
    agent.hears(UpdateFailed(JOB, agent.ticket, ""))
    agent.hears(Tick(), at=60)
    if by == "deleted":
        agent.hears(DescribeFailed(JOB, agent.phase().ticket, "ResourceNotFound"))
    else:
        agent.hears(Described(JOB, agent.phase().ticket, ExecutionStatus.CANCELED, 3, "me", plan, "h"))
    assert not agent.hears(Notified("", (JOB,), is_complete=True))
    agent.hears(Tick(), at=agent.deadline)
    [describe] = [e for e in agent.all_effects if isinstance(e, Describe)]
    agent.hears(Described(JOB, describe.ticket, ExecutionStatus.IN_PROGRESS, 2, "me", plan, "h"))
    assert not [e for e in agent.all_effects if isinstance(e, Update)]


def test_a_claim_in_a_namespace_that_is_no_longer_served_is_let_go_when_it_is_over(agent: Any, plan: Plan) -> None:
    gone = ExecutionId("gone", "job-1", 1)
    agent.hears(JournalOpened(ME, (Execution(gone, Claiming(plan, 1), "h"),)))
    agent.hears(Connected())
    agent.hears(UpdateFailed(gone, agent.phase(gone).ticket, "ResourceNotFound"))
    assert agent.state.executions == {}


def test_an_attempt_may_start_soon_while_the_service_is_asked_what_to_run(agent: Any, plan: Plan) -> None:
    assert not may_start_soon(agent.state, JOB)
    judge(agent)
    assert may_start_soon(agent.state, JOB)
    agent.hears(described(agent, QUEUED, plan))
    assert not may_start_soon(agent.state, JOB), "the answer to a claim tells nothing that could be run"
    agent.hears(UpdateAccepted(JOB, agent.ticket))
    assert may_start_soon(agent.state, JOB)
    agent.hears(described(agent, IN_PROGRESS, plan, "me"))
    assert not may_start_soon(agent.state, JOB)


def test_an_execution_that_did_not_change_is_not_journalled_again(agent: Any, plan: Plan) -> None:
    run(agent, plan)
    assert agent.saved == []
    before = agent.state.executions[JOB]
    agent.hears(Tick())
    agent.hears(Paused(is_paused=True))
    assert agent.state.executions[JOB] is before
    assert agent.all_effects == ()
