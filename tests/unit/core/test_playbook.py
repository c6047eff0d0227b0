"""The life of an execution, told as scripts of events and effects."""

from dataclasses import replace
from typing import Any

import pytest

from iot_jobs_agent.core.effects import (
    Describe,
    Fetch,
    Forget,
    ForgetAttempts,
    Settle,
    StartAttempt,
    StopAttempt,
    Update,
)
from iot_jobs_agent.core.events import (
    AttemptEnded,
    AttemptNeverStarted,
    AttemptProgressed,
    AttemptStarted,
    Connected,
    Described,
    DescribeFailed,
    Disconnected,
    FetchFailed,
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
    Outcome,
    Plan,
    Refusal,
    Step,
    StepKind,
)
from iot_jobs_agent.core.state import (
    Claiming,
    Execution,
    Judging,
    Preparing,
    Reporting,
    Running,
    Settings,
    Stopping,
    Work,
)

JOB = ExecutionId("", "job-1", 1)
ATTEMPT = AttemptId(JOB, 0, 1)
QUEUED, IN_PROGRESS = ExecutionStatus.QUEUED, ExecutionStatus.IN_PROGRESS
SUCCEEDED, FAILED, REJECTED = ExecutionStatus.SUCCEEDED, ExecutionStatus.FAILED, ExecutionStatus.REJECTED
CANCELED, TIMED_OUT = ExecutionStatus.CANCELED, ExecutionStatus.TIMED_OUT
WELL = AttemptResult(Ending.EXITED, code=0)
BADLY = AttemptResult(Ending.EXITED, code=3)


def described(
    agent: Any, status: ExecutionStatus, verdict: Plan | Refusal, agent_id: str = "", **more: Any
) -> Described:
    return Described(JOB, agent.ticket, status, 1, agent_id, verdict, "greet", **more)


def connect(agent: Any) -> None:
    agent.hears(Connected())
    agent.hears(Listed("", agent.ticket, (), is_complete=True))


def judge(agent: Any) -> None:
    connect(agent)
    assert agent.hears(Notified("", (JOB,), is_complete=True)) == [Describe(JOB, agent.ticket)]


def claim(agent: Any, plan: Plan) -> None:
    judge(agent)
    [claim] = agent.hears(described(agent, QUEUED, plan))
    assert isinstance(claim, Update)


def run(agent: Any, plan: Plan) -> None:
    claim(agent, plan)
    agent.hears(UpdateAccepted(JOB, agent.ticket))
    agent.hears(described(agent, IN_PROGRESS, plan, "me"))
    agent.hears(AttemptStarted(ATTEMPT))


def report(agent: Any, plan: Plan, result: AttemptResult = WELL) -> None:
    run(agent, plan)
    [report] = agent.hears(AttemptEnded(ATTEMPT, result))
    assert isinstance(report, Update)


def two_steps(**more: Any) -> Plan:
    return Plan(
        (Step("one", "greet", StepKind.COMMAND, **more), Step("two", "greet", StepKind.COMMAND)),
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


class TestJudging:
    def test_a_refused_document_is_rejected_straight_from_queued_guarded_by_its_version(self, agent: Any) -> None:
        judge(agent)
        [update] = agent.hears(described(agent, QUEUED, Refusal("unknown operation")))
        assert (update.status, update.expected_version) == (REJECTED, 1)
        assert update.details["reason"] == "unknown operation"

    def test_a_rejection_that_met_another_version_is_judged_again(self, agent: Any) -> None:
        judge(agent)
        agent.hears(described(agent, QUEUED, Refusal("unknown operation")))
        forgotten, asked = agent.hears(UpdateFailed(JOB, agent.ticket, "VersionMismatch", IN_PROGRESS))
        assert (forgotten, asked) == (Forget(JOB), Describe(JOB, agent.ticket))
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
        assert agent.hears(UpdateFailed(JOB, agent.ticket, "VersionMismatch")) == [Describe(JOB, agent.ticket)]
        assert agent.hears(described(agent, IN_PROGRESS, plan, "somebody")) == [Forget(JOB)]

    def test_a_second_mismatch_in_a_row_waits(self, agent: Any, plan: Plan) -> None:
        claim(agent, plan)
        agent.hears(UpdateFailed(JOB, agent.ticket, "VersionMismatch"))
        agent.hears(replace(described(agent, QUEUED, plan), version=7))
        agent.state = agent.state.with_phase(
            agent.state.executions[JOB], replace(agent.phase(), request=replace(agent.phase().request, failures=1))
        )
        assert agent.hears(UpdateFailed(JOB, agent.ticket, "VersionMismatch")) == []

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
        ("status", "agent_id", "kept"), [(CANCELED, "me", CANCELED), (IN_PROGRESS, "other", ExecutionStatus.REMOVED)]
    )
    def test_what_ended_between_claim_and_start_is_not_started(
        self, agent: Any, plan: Plan, status: ExecutionStatus, agent_id: str, kept: ExecutionStatus
    ) -> None:
        claim(agent, plan)
        agent.hears(UpdateAccepted(JOB, agent.ticket))
        settle, *_ = agent.hears(described(agent, status, plan, agent_id))
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

    @pytest.mark.parametrize(
        ("code", "status"), [("ResourceNotFound", ExecutionStatus.REMOVED), ("TerminalStateReached", CANCELED)]
    )
    def test_it_is_stopped_if_the_service_does_not_know_it(
        self, agent: Any, plan: Plan, code: str, status: ExecutionStatus
    ) -> None:
        run(agent, plan)
        agent.hears(Notified("", (), is_complete=True))
        assert agent.hears(DescribeFailed(JOB, agent.ticket, code)) == [StopAttempt(ATTEMPT)]
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


class TestReporting:
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
        assert agent.phase().request.retry_at == 3600
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
        agent.hears(JournalOpened("me", (Execution(JOB, Running(Work(plan.without_secrets)), "greet"),)))
        assert agent.all_effects == ()
        probe, _ = agent.hears(Connected())
        agent.hears(Described(JOB, probe.ticket, IN_PROGRESS, 2, "me", plan, "greet"))
        agent.hears(AttemptStarted(ATTEMPT))
        [update] = agent.hears(AttemptEnded(ATTEMPT, WELL))
        assert update.status is SUCCEEDED

    def test_an_attempt_that_was_lost_is_failed(self, agent: Any, plan: Plan) -> None:
        agent.hears(JournalOpened("me", (Execution(JOB, Running(Work(plan.without_secrets)), "greet"),)))
        agent.hears(Connected())
        assert agent.hears(AttemptEnded(ATTEMPT, AttemptResult(Ending.LOST))) == [Describe(JOB, agent.ticket)]
        [update] = agent.hears(described(agent, IN_PROGRESS, plan, "me"))
        assert update.status is FAILED

    def test_an_attempt_that_was_never_started_is_started_with_a_fresh_document(self, agent: Any, plan: Plan) -> None:
        agent.hears(JournalOpened("me", (Execution(JOB, Running(Work(plan.without_secrets)), "greet"),)))
        agent.hears(Connected())
        [asked] = agent.hears(AttemptNeverStarted(ATTEMPT))
        assert isinstance(asked, Describe)
        started, renewed = agent.hears(described(agent, IN_PROGRESS, plan, "me"))
        assert started == StartAttempt(ATTEMPT, plan.steps[0])
        assert renewed.step_timeout_minutes == 17

    def test_a_stop_is_asked_for_again(self, agent: Any, plan: Plan) -> None:
        stopping = Stopping(Work(plan.without_secrets), Outcome(CANCELED, "the service ended it"))
        assert agent.hears(JournalOpened("me", (Execution(JOB, stopping, "greet"),))) == [StopAttempt(ATTEMPT)]
        settle, *_ = agent.hears(AttemptNeverStarted(ATTEMPT))
        assert isinstance(settle, Settle)

    def test_a_claim_is_looked_into_before_anything_else(self, agent: Any, plan: Plan) -> None:
        agent.hears(JournalOpened("me", (Execution(JOB, Claiming(plan.without_secrets), "greet"),)))
        assert agent.hears(Connected())[0] == Describe(JOB, 1)

    def test_an_outcome_is_reported_before_the_first_list_is_asked_for(self, agent: Any, plan: Plan) -> None:
        agent.hears(JournalOpened("me", (Execution(JOB, Reporting(Outcome(SUCCEEDED)), "greet"),)))
        assert agent.hears(Connected()) == [Describe(JOB, agent.ticket)]
        [update] = agent.hears(described(agent, IN_PROGRESS, plan, "me"))
        assert update.status is SUCCEEDED


class TestLists:
    def test_a_list_is_asked_for_again_at_the_poll(self, agent: Any) -> None:
        connect(agent)
        assert agent.deadline == 1800 * 0.9
        assert agent.hears(Tick(), at=agent.deadline) == [Fetch("", agent.ticket, is_complete=True)]

    def test_a_list_that_cannot_be_had_is_asked_for_again(self, agent: Any) -> None:
        agent.hears(Connected())
        assert agent.hears(FetchFailed("", agent.ticket, "")) == []
        assert agent.hears(Tick(), at=agent.deadline) == [Fetch("", agent.ticket, is_complete=True)]

    def test_a_head_that_belongs_to_another_agent_makes_us_ask_for_what_is_behind_it(
        self, agent: Any, plan: Plan
    ) -> None:
        judge(agent)
        agent.hears(described(agent, IN_PROGRESS, plan, "somebody"))
        brief = ExecutionId("", "job-2", 1)
        agent.hears(Notified("", (brief,), is_complete=False))
        agent.hears(DescribeFailed(brief, agent.ticket, "ResourceNotFound"))
        assert agent.hears(Listed("", agent.ticket, (JOB,), is_complete=False)) == [
            Fetch("", agent.ticket, is_complete=True)
        ]

    @pytest.mark.parametrize(
        "stale",
        [
            Listed("", 999, (JOB,), is_complete=True),
            FetchFailed("", 999, ""),
            Listed("unserved", 1, (JOB,), is_complete=True),
            FetchFailed("unserved", 1, ""),
            Notified("unserved", (JOB,), is_complete=True),
            AttemptStarted(ATTEMPT),
            UpdateAccepted(JOB, 1),
        ],
    )
    def test_what_nobody_asked_for_changes_nothing(self, agent: Any, stale: Any) -> None:
        connect(agent)
        before = agent.state
        assert agent.hears(stale) == []
        assert agent.state == before
