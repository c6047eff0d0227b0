"""An execution from its connection to its end, and its steps."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.playbook import (
    ATTEMPT,
    BADLY,
    FAILED,
    IN_PROGRESS,
    JOB,
    ME,
    QUEUED,
    REJECTED,
    SUCCEEDED,
    TWO_STEPS,
    WELL,
    claim,
    described,
    judge,
    run,
    run_recovered,
    sent,
    two_steps,
)

from iot_jobs_agent.core.effects import (
    Describe,
    Fetch,
    ForgetAttempts,
    Settle,
    StartAttempt,
    Update,
)
from iot_jobs_agent.core.events import (
    AttemptEnded,
    AttemptNeverStarted,
    AttemptStarted,
    Connected,
    JournalOpened,
    Listed,
    Notified,
    Tick,
    UpdateAccepted,
)
from iot_jobs_agent.core.job import (
    AttemptId,
    AttemptResult,
    Ending,
    ExecutionId,
    ExecutionStatus,
    Outcome,
    Plan,
    Refusal,
    Step,
    StepKind,
)
from iot_jobs_agent.core.state import (
    Claiming,
    Execution,
    Preparing,
    Reporting,
    Running,
    Settings,
    Work,
)


class TestTheUsualWay:
    def test_nothing_is_asked_before_there_is_a_connection(self, agent: Any) -> None:
        assert agent.hears(Tick()) == []
        assert agent.hears(Notified("", (JOB,), is_complete=True)) == []
        assert agent.deadline is None

    def test_nothing_is_claimed_or_asked_while_the_journal_is_unusable(self, agent: Any) -> None:
        agent.state = replace(agent.state, is_journal_usable=False)
        assert agent.hears(Connected()) == []
        assert agent.hears(Notified("", (JOB,), is_complete=True)) == []

    def test_a_connection_begins_with_the_whole_list_of_every_namespace(self, agent: Any) -> None:
        agent.state = replace(agent.state, settings=Settings(namespaces=("", "team-a")))
        assert agent.hears(Connected()) == [Fetch("", 1, is_complete=True), Fetch("team-a", 2, is_complete=True)]

    def test_a_pending_execution_is_described_claimed_described_afresh_and_started(
        self, agent: Any, plan: Plan
    ) -> None:
        judge(agent)
        assert agent.hears(described(agent, QUEUED, plan)) == [
            Update(JOB, 3, IN_PROGRESS, agent.all_effects[-1].details, expected_version=1, step_timeout_minutes=17)
        ]
        assert agent.all_effects[-1].details["agent"] == "me"
        assert agent.saved == [Claiming(plan.without_secrets)]
        assert agent.hears(UpdateAccepted(JOB, 3)) == [Describe(JOB, 4)]
        assert agent.saved == []  # a lost journal write would lose nothing here: the claim is journalled
        assert agent.hears(described(agent, IN_PROGRESS, plan, "me")) == [StartAttempt(ATTEMPT, plan.steps[0])]
        assert agent.saved == [Running(Work(plan.without_secrets))]

    def test_a_success_is_reported_then_settled_then_the_next_is_asked_for(self, agent: Any, plan: Plan) -> None:
        run(agent, plan)
        [update] = agent.hears(AttemptEnded(ATTEMPT, WELL))
        assert (update.status, update.expected_version) == (SUCCEEDED, 0)
        assert [type(phase) for phase in agent.saved] == [Reporting]
        settled, *rest = agent.hears(UpdateAccepted(JOB, agent.ticket))
        assert settled == Settle(JOB, "greet", Outcome(SUCCEEDED), 0.0, service_accepted=True)
        assert rest == [ForgetAttempts(JOB), Fetch("", agent.ticket, is_complete=False)]
        assert agent.state.executions == {}

    def test_a_failure_is_reported_with_its_reason(self, agent: Any, plan: Plan) -> None:
        run(agent, plan)
        [update] = agent.hears(AttemptEnded(ATTEMPT, BADLY))
        assert update.status is FAILED
        assert "3" in update.details["reason"]

    def test_no_secret_of_a_document_is_journalled(self, agent: Any, plan: Plan) -> None:
        run(agent, plan)
        assert all(
            step.input == "{}" and step.argv == () for step in agent.state.executions[JOB].durable.phase.work.plan.steps
        )

    def test_slots_are_filled_round_robin_between_namespaces(self, agent: Any) -> None:
        agent.state = replace(agent.state, settings=Settings(namespaces=("", "a"), max_concurrent=3))
        agent.hears(Connected())
        ours = [ExecutionId("", f"job-{n}", 1) for n in range(3)]
        theirs = [ExecutionId("a", f"job-{n}", 1) for n in range(3)]
        agent.hears(Listed("a", 2, tuple(theirs), is_complete=True))
        assert list(agent.state.executions) == theirs
        agent.state = replace(agent.state, executions={})
        agent.hears(Listed("", 1, tuple(ours), is_complete=True))
        assert len({e.namespace for e in agent.state.executions}) == 2


class TestSteps:
    def test_steps_run_one_after_the_other_each_with_a_fresh_document(self, agent: Any) -> None:
        plan = two_steps()
        run(agent, plan)
        assert agent.hears(AttemptEnded(ATTEMPT, WELL)) == [Describe(JOB, agent.ticket)]
        assert agent.saved == [Preparing(Work(plan.without_secrets, 1, 1, (("one", "SUCCEEDED"),)))]
        started, progress = agent.hears(described(agent, IN_PROGRESS, plan, "me"))
        assert started == StartAttempt(AttemptId(JOB, 1, 1), plan.steps[1])
        assert progress.step_timeout_minutes == 76
        [update] = agent.hears(AttemptEnded(AttemptId(JOB, 1, 1), WELL))
        assert update.status is SUCCEEDED
        assert "one=SUCCEEDED" in update.details["steps"]
        assert "two=SUCCEEDED" in update.details["steps"]

    def test_the_first_failure_ends_the_plan(self, agent: Any) -> None:
        run(agent, two_steps())
        [update] = agent.hears(AttemptEnded(ATTEMPT, BADLY))
        assert update.status is FAILED
        assert "two" not in update.details["steps"]

    def test_a_failure_that_is_to_be_ignored_does_not(self, agent: Any) -> None:
        plan = two_steps(ignore_failure=True)
        run(agent, plan)
        assert agent.hears(AttemptEnded(ATTEMPT, BADLY)) == [Describe(JOB, agent.ticket)]
        agent.hears(described(agent, IN_PROGRESS, plan, "me"))
        [update] = agent.hears(AttemptEnded(AttemptId(JOB, 1, 1), WELL))
        assert update.status is SUCCEEDED
        assert "one=FAILED" in update.details["steps"]

    def test_a_last_failure_that_is_to_be_ignored_leaves_a_success_without_its_words(self, agent: Any) -> None:
        run(agent, Plan((Step("one", "greet", StepKind.COMMAND, ignore_failure=True),)))
        [update] = agent.hears(AttemptEnded(ATTEMPT, BADLY))
        assert update.status is SUCCEEDED
        assert "reason" not in update.details
        assert agent.phase().outcome == Outcome(SUCCEEDED)

    def test_a_later_step_cannot_reject_what_has_been_worked_on(self, agent: Any) -> None:
        plan = two_steps()
        run(agent, plan)
        agent.hears(AttemptEnded(ATTEMPT, WELL))
        agent.hears(described(agent, IN_PROGRESS, plan, "me"))
        rejected = AttemptResult(Ending.EXITED, code=0, handler_result={"outcome": "rejected", "reason": "not here"})
        [update] = agent.hears(AttemptEnded(AttemptId(JOB, 1, 1), rejected))
        assert (update.status, update.details["reason"]) == (FAILED, "not here")

    def test_a_document_whose_steps_changed_under_way_fails(self, agent: Any, plan: Plan) -> None:
        run(agent, two_steps())
        agent.hears(AttemptEnded(ATTEMPT, WELL))
        [update] = agent.hears(described(agent, IN_PROGRESS, plan, "me"))
        assert update.status is FAILED

    @pytest.mark.parametrize(("is_first", "status"), [(True, REJECTED), (False, FAILED)])
    def test_a_document_refused_after_the_claim_is_rejected_only_before_any_work(
        self, agent: Any, is_first: bool, status: ExecutionStatus
    ) -> None:
        if is_first:
            claim(agent, two_steps())
            agent.hears(UpdateAccepted(JOB, agent.ticket))
        else:
            run(agent, two_steps())
            agent.hears(AttemptEnded(ATTEMPT, WELL))
        [update] = agent.hears(described(agent, IN_PROGRESS, Refusal("gone"), "me"))
        assert (update.status, update.details["reason"]) == (status, "gone")


def test_an_ignored_failure_does_not_excuse_what_could_not_be_killed(agent: Any) -> None:
    run_recovered(agent, TWO_STEPS)
    [update] = sent(agent.hears(AttemptEnded(ATTEMPT, replace(BADLY, leftovers_alive=1))))
    assert update.status is ExecutionStatus.FAILED


def test_a_later_step_that_was_never_started_is_prepared_again(agent: Any) -> None:
    phase = Running(Work(TWO_STEPS.without_secrets, 1, 1, (("one", "SUCCEEDED"),)))
    agent.hears(JournalOpened(ME, (Execution(JOB, phase, "greet"),)))
    agent.hears(Connected())
    agent.hears(AttemptNeverStarted(AttemptId(JOB, 1, 1)))
    assert isinstance(agent.phase(), Preparing)


def test_a_second_start_of_the_clock_changes_nothing(agent: Any, plan: Plan) -> None:
    run_recovered(agent, plan)
    before = agent.state
    agent.hears(AttemptStarted(ATTEMPT), at=5)
    assert agent.state == before
