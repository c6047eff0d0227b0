"""Outcomes: reported until the service has them, kept over restarts."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.playbook import (
    ATTEMPT,
    CANCELED,
    FAILED,
    IN_PROGRESS,
    JOB,
    ME,
    QUEUED,
    SUCCEEDED,
    TIMED_OUT,
    WELL,
    claims,
    described,
    judge,
    prepares,
    report,
    run,
    run_recovered,
    sent,
)

from iot_jobs_agent.core import backoff
from iot_jobs_agent.core.effects import (
    Describe,
    Fetch,
    Settle,
    StartAttempt,
    StopAttempt,
    Update,
)
from iot_jobs_agent.core.events import (
    AttemptEnded,
    AttemptNeverStarted,
    AttemptStarted,
    Connected,
    Described,
    DescribeFailed,
    Disconnected,
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
    ExecutionStatus,
    Outcome,
    Plan,
    Refusal,
)
from iot_jobs_agent.core.state import (
    Claiming,
    Execution,
    Reporting,
    Running,
    Stopping,
    Work,
)


class TestReporting:
    def test_only_a_job_of_several_steps_is_told_how_each_of_them_ended(self, agent: Any, plan: Plan) -> None:
        run(agent, plan)
        [report] = agent.hears(AttemptEnded(ATTEMPT, WELL))
        assert "steps" not in report.details

    def test_silence_is_met_with_the_same_again(self, agent: Any, plan: Plan) -> None:
        report(agent, plan)
        first = agent.all_effects[-1]
        waits = []
        for _ in range(8):
            agent.hears(UpdateFailed(JOB, agent.ticket, ""))
            waits.append(agent.deadline - agent.now)
            [again] = agent.hears(Tick(), at=agent.deadline)
            assert again == replace(first, ticket=agent.ticket)
        assert waits == [0.5, 1, 2, 4, 8, 15, 15, 15]

    def test_throttling_is_waited_out_for_longer(self, agent: Any, plan: Plan) -> None:
        report(agent, plan)
        for _ in range(12):
            agent.hears(UpdateFailed(JOB, agent.ticket, "RequestThrottled"))
            longest = agent.deadline - agent.now
            agent.hears(Tick(), at=agent.deadline)
        assert longest == 320

    def test_a_new_connection_sends_reports_at_once_and_asks_for_lists_when_they_are_answered(
        self, agent: Any, plan: Plan
    ) -> None:
        report(agent, plan)
        agent.hears(Disconnected())
        agent.hears(UpdateFailed(JOB, agent.ticket, ""))
        assert agent.deadline is None
        assert agent.hears(Connected()) == [Describe(JOB, agent.ticket)]
        [update] = agent.hears(described(agent, IN_PROGRESS, plan, "me"))
        assert update.status is SUCCEEDED
        *_, fetch = agent.hears(UpdateAccepted(JOB, agent.ticket))
        assert fetch == Fetch("", agent.ticket, is_complete=True)

    def test_details_that_the_service_refuses_are_left_out_once(self, agent: Any, plan: Plan) -> None:
        report(agent, plan)
        [bare_status] = agent.hears(UpdateFailed(JOB, agent.ticket, "InvalidRequest"))
        assert (bare_status.status, bare_status.details) == (SUCCEEDED, None)
        assert agent.hears(UpdateFailed(JOB, agent.ticket, "InvalidRequest")) == []
        assert agent.notes == ["outcome cannot be reported"]
        assert backoff.of(agent.state, JOB).until == 3600
        assert not agent.state.executions[JOB].holds_a_slot

    def test_what_cannot_be_reported_is_tried_again_at_each_connect(self, agent: Any, plan: Plan) -> None:
        report(agent, plan)
        agent.hears(UpdateFailed(JOB, agent.ticket, "InvalidTopic"))
        agent.hears(Disconnected())
        agent.hears(Connected())
        [update, *_] = agent.hears(DescribeFailed(JOB, agent.ticket, "InvalidTopic"))
        assert update.status is SUCCEEDED

    @pytest.mark.parametrize("code", ["ResourceNotFound", "TerminalStateReached", "InvalidStateTransition"])
    def test_the_service_has_the_last_word(self, agent: Any, plan: Plan, code: str) -> None:
        report(agent, plan)
        settle, *_ = agent.hears(UpdateFailed(JOB, agent.ticket, code, TIMED_OUT))
        assert (settle.outcome.status, settle.service_accepted) == (TIMED_OUT, False)

    def test_an_outcome_that_is_there_already_counts_as_accepted(self, agent: Any, plan: Plan) -> None:
        report(agent, plan)
        settle, *_ = agent.hears(UpdateFailed(JOB, agent.ticket, "InvalidStateTransition", SUCCEEDED))
        assert (settle.outcome, settle.service_accepted) == (Outcome(SUCCEEDED), True)

    def test_a_rejection_that_may_not_be_becomes_a_failure_with_the_same_reason(self, agent: Any) -> None:
        judge(agent)
        agent.hears(described(agent, QUEUED, Refusal("not here")))
        [update] = agent.hears(UpdateFailed(JOB, agent.ticket, "InvalidStateTransition", IN_PROGRESS))
        assert (update.status, update.details["reason"]) == (FAILED, "not here")

    def test_a_late_answer_to_an_older_request_changes_nothing(self, agent: Any, plan: Plan) -> None:
        report(agent, plan)
        before = agent.state
        assert agent.hears(UpdateAccepted(JOB, agent.ticket - 1)) == []
        assert agent.state == before


class TestAfterARestart:
    def test_a_running_attempt_that_is_alive_goes_on(self, agent: Any, plan: Plan) -> None:
        agent.hears(JournalOpened(ME, (Execution(JOB, Running(Work(plan.without_secrets)), "greet"),)))
        assert agent.all_effects == ()
        probe, _ = agent.hears(Connected())
        agent.hears(Described(JOB, probe.ticket, IN_PROGRESS, 2, "me", plan, "greet"))
        agent.hears(AttemptStarted(ATTEMPT))
        [update] = agent.hears(AttemptEnded(ATTEMPT, WELL))
        assert update.status is SUCCEEDED

    def test_an_attempt_that_was_lost_is_failed(self, agent: Any, plan: Plan) -> None:
        agent.hears(JournalOpened(ME, (Execution(JOB, Running(Work(plan.without_secrets)), "greet"),)))
        agent.hears(Connected())
        assert agent.hears(AttemptEnded(ATTEMPT, AttemptResult(Ending.LOST))) == [Describe(JOB, agent.ticket)]
        [update] = agent.hears(described(agent, IN_PROGRESS, plan, "me"))
        assert update.status is FAILED

    def test_an_attempt_that_was_never_started_is_started_with_a_fresh_document(self, agent: Any, plan: Plan) -> None:
        agent.hears(JournalOpened(ME, (Execution(JOB, Running(Work(plan.without_secrets)), "greet"),)))
        agent.hears(Connected())
        [asked] = agent.hears(AttemptNeverStarted(ATTEMPT))
        assert isinstance(asked, Describe)
        started, renewed = agent.hears(described(agent, IN_PROGRESS, plan, "me"))
        assert started == StartAttempt(ATTEMPT, plan.steps[0])
        assert renewed.step_timeout_minutes == 17

    def test_a_stop_is_asked_for_again(self, agent: Any, plan: Plan) -> None:
        stopping = Stopping(Work(plan.without_secrets), Outcome(CANCELED, "the service ended it"))
        assert agent.hears(JournalOpened(ME, (Execution(JOB, stopping, "greet"),))) == [StopAttempt(ATTEMPT)]
        settle, *_ = agent.hears(AttemptNeverStarted(ATTEMPT))
        assert isinstance(settle, Settle)

    def test_a_claim_is_looked_into_before_anything_else(self, agent: Any, plan: Plan) -> None:
        agent.hears(JournalOpened(ME, (Execution(JOB, Claiming(plan.without_secrets), "greet"),)))
        assert agent.hears(Connected())[0] == Describe(JOB, 1)

    def test_an_outcome_is_reported_before_the_first_list_is_asked_for(self, agent: Any, plan: Plan) -> None:
        agent.hears(JournalOpened(ME, (Execution(JOB, Reporting(Outcome(SUCCEEDED)), "greet"),)))
        assert agent.hears(Connected()) == [Describe(JOB, agent.ticket)]
        [update] = agent.hears(described(agent, IN_PROGRESS, plan, "me"))
        assert update.status is SUCCEEDED


class TestAnswersOlderThanTheEnd:
    """A list and descriptions from before the end make a settled execution look like a new one under the same id."""

    def ended(self, agent: Any, plan: Plan) -> None:
        claims(agent, plan)
        prepares(agent, plan)
        agent.hears(AttemptEnded(AttemptId(JOB, 0, 1), WELL))
        agent.hears(UpdateAccepted(JOB, agent.ticket))
        agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
        [claim] = agent.hears(Described(JOB, agent.ticket, ExecutionStatus.QUEUED, 1, "", plan, "h"))
        assert isinstance(claim, Update)

    def test_a_claim_that_is_refused_because_it_is_over_is_not_asked_about(self, agent: Any, plan: Plan) -> None:
        self.ended(agent, plan)
        agent.hears(UpdateFailed(JOB, agent.ticket, "VersionMismatch", ExecutionStatus.SUCCEEDED))
        assert JOB not in agent.state.executions

    def test_what_was_settled_is_not_started_on_an_answer_that_may_be_old(self, agent: Any, plan: Plan) -> None:
        self.ended(agent, plan)
        agent.hears(UpdateFailed(JOB, agent.ticket, ""))
        agent.hears(Tick(), at=agent.deadline)
        assert prepares(agent, plan) == []
        agent.hears(Tick(), at=agent.deadline)
        agent.hears(DescribeFailed(JOB, agent.phase().ticket, "TerminalStateReached"))
        assert JOB not in agent.state.executions

    def test_it_is_not_started_even_if_all_answers_say_that_it_is_ours(self, agent: Any, plan: Plan) -> None:
        self.ended(agent, plan)
        agent.hears(UpdateFailed(JOB, agent.ticket, ""))
        while isinstance(agent.phase(), Claiming):
            agent.hears(Tick(), at=agent.deadline)
            effects = prepares(agent, plan)
        [told] = effects
        assert (told.status, agent.phase().outcome.code) == (ExecutionStatus.FAILED, "journal-lost")
        assert agent.now > 15


def test_what_is_over_for_a_reason_that_the_service_does_not_tell_is_told_as_such(agent: Any, plan: Plan) -> None:
    run_recovered(agent, plan)
    [probe] = sent(agent.hears(Notified("", (), is_complete=True)))
    [asking] = sent(agent.hears(DescribeFailed(JOB, probe.ticket, "TerminalStateReached")))
    agent.hears(UpdateFailed(JOB, asking.ticket, "TerminalStateReached"))
    assert "cancelled, timed out or ended by somebody else" in agent.phase().outcome.reason
