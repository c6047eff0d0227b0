"""What the service is told under way, and hears of itself."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.playbook import (
    ATTEMPT,
    CANCELED,
    IN_PROGRESS,
    JOB,
    ME,
    SUCCEEDED,
    TIMED_OUT,
    WELL,
    claim,
    claims,
    described,
    prepares,
    run,
)

from iot_jobs_agent.core.effects import (
    Describe,
    Fetch,
    ForgetAttempts,
    StartAttempt,
    StopAttempt,
    Update,
)
from iot_jobs_agent.core.events import (
    AttemptEnded,
    AttemptProgressed,
    Connected,
    DescribeFailed,
    JournalOpened,
    Notified,
    Tick,
    UpdateAccepted,
    UpdateFailed,
)
from iot_jobs_agent.core.job import (
    ExecutionStatus,
    Outcome,
    Plan,
)
from iot_jobs_agent.core.state import (
    Execution,
    Running,
    Stopping,
    Work,
)


class TestProgress:
    def test_the_first_is_sent_at_once_and_the_rest_once_an_interval(self, agent: Any, plan: Plan) -> None:
        run(agent, plan)
        [first] = agent.hears(AttemptProgressed(ATTEMPT, 10, "copying"), at=1)
        assert (first.status, first.details["progress"]) == (IN_PROGRESS, "10 % copying")
        agent.hears(UpdateAccepted(JOB, agent.ticket))
        assert agent.hears(AttemptProgressed(ATTEMPT, 20), at=2) == []
        assert agent.hears(AttemptProgressed(ATTEMPT, 30, details={"slot": "B"}), at=3) == []
        assert agent.deadline == 11
        [second] = agent.hears(Tick(), at=11)
        assert second.details["progress"] == "30 % copying"
        assert "slot" in second.details["details"]
        assert agent.hears(Tick(), at=12) == []

    def test_each_renews_the_step_timer_from_what_is_left_of_the_deadline(self, agent: Any, plan: Plan) -> None:
        run(agent, plan)
        [update] = agent.hears(AttemptProgressed(ATTEMPT, 10), at=59)
        assert update.step_timeout_minutes == 16

    def test_an_extension_lengthens_the_step_timer(self, agent: Any, plan: Plan) -> None:
        run(agent, Plan((replace(plan.steps[0], max_timeout_s=7200.0),)))
        [update] = agent.hears(AttemptProgressed(ATTEMPT, 10, extend_s=600.0), at=59)
        assert update.step_timeout_minutes == 26

    def test_progress_that_was_not_answered_is_sent_again(self, agent: Any, plan: Plan) -> None:
        run(agent, plan)
        agent.hears(AttemptProgressed(ATTEMPT, 10), at=1)
        assert agent.hears(UpdateFailed(JOB, agent.ticket, "")) == []
        [again] = agent.hears(Tick(), at=agent.deadline)
        assert again.details["progress"] == "10 %"

    def test_progress_that_was_worded_wrongly_is_dropped(self, agent: Any, plan: Plan) -> None:
        run(agent, plan)
        agent.hears(AttemptProgressed(ATTEMPT, 10), at=1)
        assert agent.hears(UpdateFailed(JOB, agent.ticket, "InvalidRequest")) == []
        assert agent.notes == ["progress refused"]
        assert isinstance(agent.phase(), Running)


class TestTheServiceChangesItsMind:
    @pytest.mark.parametrize("code", ["ResourceNotFound", "InvalidStateTransition", "TerminalStateReached"])
    def test_a_refused_progress_report_stops_the_handler_and_nothing_more_is_sent(
        self, agent: Any, plan: Plan, code: str
    ) -> None:
        run(agent, plan)
        agent.hears(AttemptProgressed(ATTEMPT, 10))
        assert agent.hears(UpdateFailed(JOB, agent.ticket, code, CANCELED)) == [StopAttempt(ATTEMPT)]
        assert isinstance(agent.phase(), Stopping)
        settle, forget, fetch = agent.hears(AttemptEnded(ATTEMPT, WELL))
        assert (settle.outcome.status, settle.service_accepted) == (CANCELED, False)
        assert (forget, fetch) == (ForgetAttempts(JOB), Fetch("", agent.ticket, is_complete=False))

    def test_a_running_execution_that_is_no_longer_listed_is_asked_after(self, agent: Any, plan: Plan) -> None:
        run(agent, plan)
        assert agent.hears(Notified("", (), is_complete=True)) == [Describe(JOB, agent.ticket)]
        assert agent.hears(described(agent, CANCELED, plan, "me")) == [StopAttempt(ATTEMPT)]

    def test_it_goes_on_if_it_was_a_false_alarm(self, agent: Any, plan: Plan) -> None:
        run(agent, plan)
        agent.hears(Notified("", (), is_complete=True))
        assert agent.hears(described(agent, IN_PROGRESS, plan, "me")) == []
        assert agent.phase().updates.probe is None

    def test_it_is_stopped_if_the_service_does_not_know_it(self, agent: Any, plan: Plan) -> None:
        run(agent, plan)
        agent.hears(Notified("", (), is_complete=True))
        assert agent.hears(DescribeFailed(JOB, agent.ticket, "ResourceNotFound")) == [StopAttempt(ATTEMPT)]
        assert agent.phase().outcome.status is ExecutionStatus.REMOVED

    @pytest.mark.parametrize("status", [CANCELED, TIMED_OUT, ExecutionStatus.REMOVED, SUCCEEDED])
    @pytest.mark.parametrize("code", ["TerminalStateReached", "InvalidStateTransition"])
    def test_field_d3_if_the_service_does_not_describe_it_an_update_finds_out_how_it_ended(
        self, agent: Any, plan: Plan, code: str, status: ExecutionStatus
    ) -> None:
        run(agent, plan)
        agent.hears(Notified("", (), is_complete=True))
        [asking] = agent.hears(DescribeFailed(JOB, agent.ticket, code))
        assert asking.status is IN_PROGRESS
        assert agent.hears(UpdateFailed(JOB, asking.ticket, code, status)) == [StopAttempt(ATTEMPT)]
        assert agent.phase().outcome.status is status

    def test_asking_after_it_is_repeated_until_answered(self, agent: Any, plan: Plan) -> None:
        run(agent, plan)
        agent.hears(Notified("", (), is_complete=True))
        assert agent.hears(DescribeFailed(JOB, agent.ticket, "")) == []
        assert agent.hears(Tick(), at=agent.deadline) == [Describe(JOB, agent.ticket)]

    def test_the_head_of_the_list_alone_raises_no_alarm(self, agent: Any, plan: Plan) -> None:
        run(agent, plan)
        assert agent.hears(Notified("", (), is_complete=False)) == []

    def test_another_namespaces_list_raises_no_alarm(self, agent: Any, plan: Plan) -> None:
        run(agent, plan)
        assert agent.hears(Notified("team-b", (), is_complete=True)) == []

    def test_a_claimed_execution_that_is_no_longer_listed_is_asked_after_at_once(self, agent: Any, plan: Plan) -> None:
        claim(agent, plan)
        agent.hears(UpdateAccepted(JOB, agent.ticket))
        agent.hears(DescribeFailed(JOB, agent.ticket, ""))
        assert agent.hears(Notified("", (), is_complete=True)) == [Describe(JOB, agent.ticket)]


def test_words_of_an_attempt_that_is_being_stopped_change_nothing(agent: Any, plan: Plan) -> None:
    stopping = Stopping(Work(plan.without_secrets), Outcome(ExecutionStatus.CANCELED, "the service ended it"))
    agent.hears(JournalOpened(ME, (Execution(JOB, stopping, "greet"),)))
    agent.hears(Connected())
    before = agent.state
    assert agent.hears(AttemptProgressed(ATTEMPT, 5)) == []
    assert agent.state == before


class TestACancellationWhileTheDocumentIsOnItsWay:
    def test_the_service_is_told_at_the_start_so_that_it_can_object(self, agent: Any, plan: Plan) -> None:
        claims(agent, plan)
        assert agent.hears(Notified("", (), is_complete=True)) == []
        started, told = prepares(agent, plan)
        assert isinstance(started, StartAttempt)
        assert (type(told), told.status) == (Update, ExecutionStatus.IN_PROGRESS)

    def test_without_it_the_start_is_not_told(self, agent: Any, plan: Plan) -> None:
        claims(agent, plan)
        assert [type(effect) for effect in prepares(agent, plan)] == [StartAttempt]
