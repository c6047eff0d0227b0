"""Another try later, and what becomes of an interruption."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.continuing import (
    JOB,
    LOST,
    OTHER,
    WELL,
    S,
    call_ticket,
    described,
    number,
    plan,
    restarted,
    runs,
    wishes,
)
from tests.support.playbook import claims, ignored, prepares

from iot_jobs_agent.core.decide import is_idle
from iot_jobs_agent.core.effects import (
    Describe,
    ForgetAttempts,
    StartAttempt,
    Update,
)
from iot_jobs_agent.core.events import (
    AttemptEnded,
    AttemptNeverStarted,
    AttemptProgressed,
    AttemptStarted,
    Connected,
    DescribeFailed,
    Disconnected,
    Listed,
    Notified,
    Tick,
    UpdateAccepted,
    UpdateFailed,
)
from iot_jobs_agent.core.job import (
    AttemptId,
    ExecutionStatus,
    OnInterrupt,
    Outcome,
    Plan,
    Refusal,
    StartReason,
)
from iot_jobs_agent.core.state import (
    Delayed,
    Preparing,
    Reporting,
    Settings,
    Work,
)


@pytest.fixture
def agent(agent: Any) -> Any:
    agent.state = replace(agent.state, settings=Settings(boot_id="boot-1"))
    return agent


class TestRetry:
    def test_it_is_told_the_slot_is_free_and_the_next_attempt_has_a_fresh_document(self, agent: Any) -> None:
        runs(agent, plan())
        [told] = [e for e in agent.hears(AttemptEnded(number(1), wishes("retry")), at=100) if isinstance(e, Update)]
        assert (told.status, told.step_timeout_minutes) == (S.IN_PROGRESS, 18)  # 60 + 60 + 30 s, and 15 minutes
        assert told.details["reason"] == "tried again in 60 s: busy"
        assert told.details["result"] == "exited with code 0 after 10.0 s"
        assert isinstance(agent.saved[0], Delayed)
        assert not agent.state.executions[JOB].holds_a_slot
        agent.hears(UpdateAccepted(JOB, told.ticket))
        assert agent.deadline == 160
        assert agent.hears(Tick(), at=160) == [Describe(JOB, agent.ticket)]
        again = plan(argv=("/h/new",))
        started, told = described(agent, "IN_PROGRESS", again)
        assert started == StartAttempt(number(2), again.steps[0], StartReason.RETRY)
        assert told.details["step"] == "greet, 1/1, attempt 2"

    def test_the_delay_doubles_up_to_an_hour_and_the_limit_ends_it(self, agent: Any) -> None:
        what = plan(retry_limit=8)
        runs(agent, what)
        delays = []
        for attempt in range(1, 9):
            agent.hears(AttemptEnded(number(attempt), wishes("retry")))
            delays.append(agent.phase().delay_s)
            agent.hears(UpdateAccepted(JOB, call_ticket(agent)))
            agent.hears(Tick(), at=agent.phase().due_at)
            described(agent, "IN_PROGRESS", what)
            agent.hears(AttemptStarted(number(attempt + 1)))
        assert delays == [60, 120, 240, 480, 960, 1920, 3600, 3600]
        agent.hears(AttemptEnded(number(9), wishes("retry")))
        outcome = agent.phase().outcome
        assert (outcome.status, outcome.code) == (S.FAILED, "retry-limit")

    def test_a_delay_longer_than_an_hour_stays_what_it_is(self, agent: Any) -> None:
        runs(agent, plan(retry_delay_s=7200.0))
        agent.hears(AttemptEnded(number(1), wishes("retry")))
        assert agent.phase().delay_s == 7200

    def test_a_handler_without_retries_fails(self, agent: Any) -> None:
        runs(agent, plan(retry_limit=0))
        agent.hears(AttemptEnded(number(1), wishes("retry")))
        assert agent.phase().outcome.code == "retry-limit"

    def test_others_run_meanwhile_and_it_waits_for_a_slot(self, agent: Any) -> None:
        runs(agent, plan())
        agent.hears(AttemptEnded(number(1), wishes("retry")))
        runs(agent, plan(), OTHER)
        agent.hears(Tick(), at=1000)
        assert isinstance(agent.phase(), Delayed)
        agent.hears(AttemptEnded(number(1, execution=OTHER), WELL))
        agent.hears(UpdateAccepted(OTHER, call_ticket(agent, OTHER)))
        assert isinstance(agent.phase(), Preparing)

    def test_it_is_not_idle(self, agent: Any) -> None:
        runs(agent, plan())
        agent.hears(AttemptEnded(number(1), wishes("retry")))
        agent.hears(Listed("", agent.state.queues[""].ticket, (), is_complete=True))
        assert not is_idle(agent.state)

    def test_after_a_restart_it_waits_its_time_again(self, agent: Any) -> None:
        runs(agent, plan())
        agent.hears(AttemptEnded(number(1), wishes("retry")), at=100)
        restarted(agent)
        assert agent.phase().due_at == 160
        assert agent.deadline == 160

    @pytest.mark.parametrize("by", ["probe", "lost probe", "update"])
    def test_the_service_may_end_it(self, agent: Any, by: str) -> None:
        runs(agent, plan())
        agent.hears(AttemptEnded(number(1), wishes("retry")))
        if by == "update":
            effects = agent.hears(UpdateFailed(JOB, call_ticket(agent), "InvalidStateTransition", S.CANCELED))
        else:
            [probe] = agent.hears(Notified("", (), is_complete=True))
            assert isinstance(probe, Describe)
            if by == "probe":
                effects = described(agent, "CANCELED", plan())
            else:
                agent.hears(DescribeFailed(JOB, probe.ticket, ""))
                [probe] = agent.hears(Tick(), at=2)
                effects = agent.hears(DescribeFailed(JOB, probe.ticket, "ResourceNotFound"))
        assert effects[0].outcome.status in {S.CANCELED, S.REMOVED}
        assert effects[1] == ForgetAttempts(JOB)

    def test_a_false_alarm_changes_nothing(self, agent: Any) -> None:
        runs(agent, plan())
        agent.hears(AttemptEnded(number(1), wishes("retry")))
        agent.hears(Notified("", (), is_complete=True))
        agent.hears(Disconnected())
        agent.hears(DescribeFailed(JOB, agent.phase().updates.probe, "", 0.5))
        assert [e for e in agent.hears(Connected()) if isinstance(e, Describe)]
        described(agent, "IN_PROGRESS", plan())
        assert agent.phase().updates.probe is None

    def test_a_step_begins_with_all_its_tries(self, agent: Any) -> None:
        what = Plan((plan().steps[0], replace(plan().steps[0], name="two")))
        runs(agent, what)
        agent.hears(AttemptEnded(number(1), wishes("retry")))
        agent.hears(Tick(), at=1000)
        described(agent, "IN_PROGRESS", what)
        agent.hears(AttemptEnded(number(2), WELL))
        assert agent.phase().work == Work(what.without_secrets, 1, results=(("greet", "SUCCEEDED"),))

    def test_an_attempt_that_was_never_started_is_that_attempt_still(self, agent: Any) -> None:
        runs(agent, plan())
        agent.hears(AttemptEnded(number(1), wishes("retry")))
        agent.hears(Tick(), at=1000)
        described(agent, "IN_PROGRESS", plan())
        restarted(agent).hears(Connected())
        agent.hears(AttemptNeverStarted(number(2)))
        started, *_ = described(agent, "IN_PROGRESS", plan())
        assert (started.attempt, started.reason) == (number(2), StartReason.RETRY)

    def test_a_refusal_of_the_fresh_document_is_a_failure_and_a_stale_answer_is_asked_again(self, agent: Any) -> None:
        runs(agent, plan())
        agent.hears(AttemptEnded(number(1), wishes("retry")))
        agent.hears(Tick(), at=1000)
        assert described(agent, "QUEUED", plan()) == []
        agent.hears(Tick(), at=1001)
        described(agent, "IN_PROGRESS", Refusal("gone"))
        assert agent.phase().outcome == Outcome(S.FAILED, "gone", "document-refused")


class TestInterruption:
    @pytest.mark.parametrize(
        ("boot_id", "reason"), [("boot-1", StartReason.KILLED), ("boot-2", StartReason.POWER_LOSS)]
    )
    @pytest.mark.parametrize("how", [OnInterrupt.RERUN, OnInterrupt.RESUME])
    def test_the_handler_chooses_how_it_goes_on(
        self, agent: Any, boot_id: str, reason: StartReason, how: OnInterrupt
    ) -> None:
        what = plan(on_interrupt=how)
        runs(agent, what)
        restarted(agent, boot_id).hears(Connected())
        agent.hears(AttemptEnded(number(1), LOST))
        started, *_ = described(agent, "IN_PROGRESS", what)
        is_resumed = how is OnInterrupt.RESUME
        assert (started.attempt, started.reason, started.is_resumed) == (number(2), reason, is_resumed)
        assert started.step.timeout_s == (50 if is_resumed else 60)

    @pytest.mark.parametrize(("boot_id", "words"), [("boot-1", "shim was killed"), ("boot-2", "power loss")])
    def test_by_default_it_has_failed(self, agent: Any, boot_id: str, words: str) -> None:
        runs(agent, plan())
        restarted(agent, boot_id).hears(AttemptEnded(number(1), LOST))
        assert agent.phase().outcome.code == "lost"
        assert words in agent.phase().outcome.reason

    def test_three_times_are_enough(self, agent: Any) -> None:
        what = plan(on_interrupt=OnInterrupt.RERUN)
        runs(agent, what)
        for attempt in (1, 2):
            agent.hears(AttemptEnded(number(attempt), LOST))
            described(agent, "IN_PROGRESS", what)
            agent.hears(AttemptStarted(number(attempt + 1)))
        agent.hears(AttemptEnded(number(3), LOST))
        outcome = agent.phase().outcome
        assert (outcome.status, outcome.code) == (S.FAILED, "interrupted")
        assert "3 times" in outcome.reason

    def test_they_count_over_all_steps_and_restarts(self, agent: Any) -> None:
        first = plan(on_interrupt=OnInterrupt.RERUN).steps[0]
        what = Plan((first, replace(first, name="two")))
        runs(agent, what)
        agent.hears(AttemptEnded(number(1), LOST))
        described(agent, "IN_PROGRESS", what)
        agent.hears(AttemptEnded(number(2), WELL))
        described(agent, "IN_PROGRESS", what)
        restarted(agent).hears(Connected())
        assert agent.phase().work.interruptions == 1

    def test_what_could_not_be_killed_is_not_started_again(self, agent: Any) -> None:
        runs(agent, plan(on_interrupt=OnInterrupt.RERUN))
        agent.hears(AttemptEnded(number(1), replace(LOST, leftovers_alive=1)))
        assert agent.phase().outcome.status is S.FAILED

    def test_a_deadline_that_is_used_up_is_not_resumed(self, agent: Any) -> None:
        runs(agent, plan(on_interrupt=OnInterrupt.RESUME))
        agent.hears(AttemptEnded(number(1), replace(LOST, duration_s=60.0)))
        assert agent.phase().outcome.code == "deadline"

    def test_an_extension_counts_for_what_is_resumed(self, agent: Any) -> None:
        what = plan(on_interrupt=OnInterrupt.RESUME, max_timeout_s=1000.0)
        runs(agent, what)
        agent.hears(AttemptProgressed(number(1), extend_s=300.0), at=50)
        agent.hears(AttemptEnded(number(1), LOST), at=70)
        started, *_ = described(agent, "IN_PROGRESS", what)
        assert started.step.timeout_s == 280

    def test_a_rejection_after_an_interruption_is_a_failure(self, agent: Any) -> None:
        what = plan(on_interrupt=OnInterrupt.RERUN)
        runs(agent, what)
        agent.hears(AttemptEnded(number(1), LOST))
        described(agent, "IN_PROGRESS", what)
        agent.hears(AttemptEnded(number(2), wishes("rejected")))
        assert agent.phase().outcome.status is S.FAILED


class TestInterruptionsOfAStepThatMayFail:
    def test_the_third_is_the_end_of_the_execution_all_the_same(self, agent: Any) -> None:
        what = ignored(OnInterrupt.RERUN)
        claims(agent, what)
        for attempt in (1, 2, 3):
            prepares(agent, what)
            agent.hears(AttemptStarted(AttemptId(JOB, 0, attempt)))
            agent.hears(AttemptEnded(AttemptId(JOB, 0, attempt), LOST))
        assert isinstance(agent.phase(), Reporting)
        assert (agent.phase().outcome.status, agent.phase().outcome.code) == (ExecutionStatus.FAILED, "interrupted")

    def test_one_that_ends_its_step_counts(self, agent: Any) -> None:
        what = ignored(OnInterrupt.FAIL)
        claims(agent, what)
        prepares(agent, what)
        agent.hears(AttemptEnded(AttemptId(JOB, 0, 1), LOST))
        assert isinstance(agent.phase(), Preparing)
        assert (agent.phase().work.step, agent.phase().work.interruptions) == (1, 1)
