"""Stories of a service that contradicts itself, of names that are used again, and of the corners of the rules."""

from dataclasses import replace
from typing import Any

import pytest

from iot_jobs_agent.core import requests
from iot_jobs_agent.core.backoff import delay_s
from iot_jobs_agent.core.decide import is_idle
from iot_jobs_agent.core.effects import Describe, Fetch, Forget, Note, Settle, StartAttempt, Update
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
from iot_jobs_agent.core.queues import PENDING_KEPT
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
OTHER = ExecutionId("", "job-2", 1)
THEIRS = ExecutionId("team-a", "job-1", 1)
ATTEMPT = AttemptId(JOB, 0, 1)
STATUS = ExecutionStatus
WELL = AttemptResult(Ending.EXITED, code=0)
BADLY = AttemptResult(Ending.EXITED, code=3)
TWO_STEPS = Plan((Step("one", "greet", StepKind.COMMAND, ignore_failure=True), Step("two", "greet", StepKind.COMMAND)))


def described(agent: Any, status: ExecutionStatus, verdict: Plan | Refusal, agent_id: str = "me") -> Described:
    return Described(JOB, agent.ticket, status, 1, agent_id, verdict, "greet")


def running(agent: Any, plan: Plan, execution: ExecutionId = JOB, **settings: Any) -> None:
    """Start with a journal that knows a running attempt, and be connected."""
    agent.state = replace(agent.state, settings=Settings(**settings))
    agent.hears(JournalOpened("me", (Execution(execution, Running(Work(plan.without_secrets)), "greet"),)))
    still_ours(agent, agent.hears(Connected()), execution, plan)
    agent.hears(AttemptStarted(AttemptId(execution, 0, 1)))


def reporting(agent: Any, outcome: Outcome | None = None) -> None:
    agent.hears(JournalOpened("me", (Execution(JOB, Reporting(outcome or Outcome(STATUS.SUCCEEDED)), "greet"),)))
    still_ours(agent, agent.hears(Connected()), JOB, Refusal(""))


def still_ours(agent: Any, effects: list[Any], execution: ExecutionId, verdict: Plan | Refusal) -> None:
    """Answer what is asked of everything claimed, once there is a connection."""
    [probe] = [e for e in effects if isinstance(e, Describe)]
    agent.hears(Described(execution, probe.ticket, STATUS.IN_PROGRESS, 2, "me", verdict, "greet"))


def sent(effects: list[Any]) -> list[Any]:
    return [e for e in effects if isinstance(e, Fetch | Describe | Update)]


class TestAServiceThatContradictsItself:
    @pytest.mark.parametrize("denial", ["ResourceNotFound", "TerminalStateReached", STATUS.CANCELED])
    def test_a_list_that_names_what_a_description_denies_is_asked_for_with_a_backoff(
        self, agent: Any, denial: Any
    ) -> None:
        asked, effects = 0, agent.hears(Connected())
        while agent.now < 600:
            for request in sent(effects):
                asked += 1
                if isinstance(request, Fetch):
                    effects = agent.hears(Listed("", request.ticket, (JOB,), is_complete=True))
                elif isinstance(denial, STATUS):
                    effects = agent.hears(described(agent, denial, Refusal("")))
                else:
                    effects = agent.hears(DescribeFailed(JOB, request.ticket, denial))
            if not sent(effects):
                effects = agent.hears(Tick(), at=agent.deadline)
        assert asked < 100

    def test_the_backoff_ends_as_soon_as_something_that_was_named_is_there(self, agent: Any, plan: Plan) -> None:
        agent.hears(Connected())
        for _ in range(2):
            agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
            agent.hears(DescribeFailed(JOB, agent.ticket, "ResourceNotFound"))
        assert agent.deadline == agent.now + delay_s(1, 0.0)
        agent.hears(Notified("", (JOB,), is_complete=True))
        agent.hears(described(agent, STATUS.QUEUED, plan, ""))
        assert agent.state.queues[""].misses == 0

    def test_what_cannot_be_looked_at_is_not_done(self, agent: Any) -> None:
        agent.hears(Connected())
        for _ in range(2):
            agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
            agent.hears(DescribeFailed(JOB, agent.ticket, "ResourceNotFound"))
        assert not is_idle(agent.state)
        agent.hears(Tick(), at=agent.deadline)
        agent.hears(Listed("", agent.ticket, (), is_complete=True))
        assert is_idle(agent.state)

    def test_a_list_that_could_not_be_had_again_may_have_named_more(self, agent: Any) -> None:
        reporting(agent)
        agent.hears(UpdateAccepted(JOB, agent.ticket))
        agent.hears(Listed("", agent.ticket, (), is_complete=True))
        assert is_idle(agent.state)
        agent.hears(Tick(), at=agent.deadline)
        agent.hears(FetchFailed("", agent.ticket, "RequestThrottled"))
        assert not is_idle(agent.state)
        agent.hears(Tick(), at=agent.deadline)
        agent.hears(Listed("", agent.ticket, (), is_complete=True))
        assert is_idle(agent.state)

    def test_an_execution_that_the_service_ended_is_never_reported_whatever_it_says_later(
        self, agent: Any, plan: Plan
    ) -> None:
        running(agent, plan)
        agent.hears(Notified("", (), is_complete=True))
        agent.hears(described(agent, STATUS.CANCELED, plan))
        agent.hears(AttemptEnded(ATTEMPT, WELL))
        agent.hears(Notified("", (JOB,), is_complete=True))
        assert agent.hears(described(agent, STATUS.IN_PROGRESS, plan)) == []
        assert agent.notes == ["left alone"]

    def test_a_claim_that_is_queued_again_before_anything_ran_is_made_again(self, agent: Any, plan: Plan) -> None:
        agent.hears(Connected())
        agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
        agent.hears(described(agent, STATUS.QUEUED, plan, ""))
        agent.hears(UpdateAccepted(JOB, agent.ticket))
        assert agent.hears(described(agent, STATUS.QUEUED, plan, "")) == []
        assert agent.hears(Tick(), at=agent.deadline) == [Describe(JOB, agent.ticket)]
        [claim] = agent.hears(described(agent, STATUS.QUEUED, plan, ""))
        assert (claim.status, claim.expected_version) == (STATUS.IN_PROGRESS, 1)

    def test_one_that_is_queued_again_after_a_step_ran_does_not_hold_its_slot_forever(self, agent: Any) -> None:
        running(agent, TWO_STEPS)
        agent.hears(AttemptEnded(ATTEMPT, WELL))
        settled: list[Any] = []
        for _ in range(10):
            settled = [e for e in agent.hears(described(agent, STATUS.QUEUED, TWO_STEPS)) if isinstance(e, Settle)]
            if settled:
                break
            agent.hears(Tick(), at=agent.deadline)
        assert settled[0].outcome.status is STATUS.REMOVED

    def test_a_report_that_met_an_end_of_unknown_kind_is_remembered_as_it_was(self, agent: Any) -> None:
        reporting(agent)
        settle, *_ = agent.hears(UpdateFailed(JOB, agent.ticket, "TerminalStateReached"))
        assert (settle.outcome, settle.service_accepted) == (Outcome(STATUS.SUCCEEDED), False)

    def test_a_report_of_what_is_gone_is_remembered_as_removed(self, agent: Any) -> None:
        reporting(agent)
        settle, *_ = agent.hears(UpdateFailed(JOB, agent.ticket, "ResourceNotFound"))
        assert settle.outcome.status is STATUS.REMOVED


class TestLists:
    def test_our_own_work_at_the_head_does_not_make_us_ask_without_end(self, agent: Any, plan: Plan) -> None:
        """The whole list of a namespace comes over HTTPS; where that fails, only its head is known."""
        running(agent, plan, THEIRS, namespaces=("team-a",))
        assert agent.hears(Listed("team-a", agent.ticket, (THEIRS,), is_complete=False)) == []
        assert agent.deadline >= 1600

    def test_a_head_that_is_ours_makes_us_ask_once_for_what_is_behind_it(self, agent: Any, plan: Plan) -> None:
        running(agent, plan, THEIRS, namespaces=("team-a",), max_concurrent=2)
        agent.hears(Listed("team-a", agent.ticket, (THEIRS,), is_complete=True))
        behind = ExecutionId("team-a", "job-2", 1)
        agent.hears(Notified("team-a", (behind,), is_complete=False))
        agent.hears(DescribeFailed(behind, agent.ticket, "ResourceNotFound"))
        ticket = agent.ticket
        assert agent.hears(Listed("team-a", ticket, (THEIRS,), is_complete=False)) == [
            Fetch("team-a", ticket + 1, is_complete=True)
        ]

    def test_a_flood_of_heads_is_not_remembered_without_end(self, agent: Any, plan: Plan) -> None:
        running(agent, plan)
        for number in range(500):
            agent.hears(Notified("", (ExecutionId("", f"flood-{number}", 1),), is_complete=False))
        assert len(agent.state.queues[""].pending) == PENDING_KEPT

    def test_a_job_that_was_announced_and_run_leaves_no_doubt_behind(self, agent: Any, plan: Plan) -> None:
        agent.hears(Connected())
        agent.hears(Listed("", agent.ticket, (), is_complete=True))
        agent.hears(Notified("", (JOB,), is_complete=True))
        agent.hears(described(agent, STATUS.QUEUED, plan, ""))
        agent.hears(UpdateAccepted(JOB, agent.ticket))
        agent.hears(described(agent, STATUS.IN_PROGRESS, plan))
        agent.hears(AttemptEnded(ATTEMPT, WELL))
        agent.hears(UpdateAccepted(JOB, agent.ticket))
        agent.hears(Listed("", agent.ticket, (), is_complete=True))
        assert is_idle(agent.state)
        assert agent.deadline >= 1600

    @pytest.mark.parametrize("status", [STATUS.CANCELED, STATUS.IN_PROGRESS])
    def test_what_is_judged_of_a_namespace_that_is_no_longer_served_is_let_go(
        self, agent: Any, plan: Plan, status: ExecutionStatus
    ) -> None:
        agent.hears(JournalOpened("me", (Execution(THEIRS, Claiming(plan.without_secrets), "greet"),)))
        agent.hears(Connected())
        [ask] = [e for e in agent.all_effects if isinstance(e, Describe)]
        agent.hears(Described(THEIRS, ask.ticket, status, 1, "somebody", plan))
        assert THEIRS not in agent.state.executions

    def test_what_is_done_of_a_namespace_that_is_no_longer_served_is_settled(self, agent: Any) -> None:
        agent.hears(JournalOpened("me", (Execution(THEIRS, Reporting(Outcome(STATUS.SUCCEEDED)), "greet"),)))
        [update, *_] = agent.hears(Connected())
        settle, *_ = agent.hears(UpdateAccepted(THEIRS, update.ticket))
        assert isinstance(settle, Settle)

    def test_an_outcome_that_cannot_be_reported_does_not_keep_the_agent_from_rest(self, agent: Any) -> None:
        reporting(agent)
        agent.hears(UpdateFailed(JOB, agent.ticket, "InvalidTopic"))
        agent.hears(Listed("", agent.ticket, (), is_complete=True))
        assert is_idle(agent.state)


class TestCorners:
    def test_the_step_timer_is_renewed_when_the_claim_may_be_old(self, agent: Any, plan: Plan) -> None:
        agent.hears(JournalOpened("me", (Execution(JOB, Claiming(plan.without_secrets), "greet"),)))
        agent.hears(Connected())
        ask = next(e for e in agent.all_effects if isinstance(e, Describe))
        started, renewed = agent.hears(Described(JOB, ask.ticket, STATUS.IN_PROGRESS, 2, "me", plan))
        assert isinstance(started, StartAttempt)
        assert (renewed.status, renewed.step_timeout_minutes) == (STATUS.IN_PROGRESS, 17)

    def test_an_ignored_failure_does_not_excuse_what_could_not_be_killed(self, agent: Any) -> None:
        running(agent, TWO_STEPS)
        [update] = sent(agent.hears(AttemptEnded(ATTEMPT, replace(BADLY, leftovers_alive=1))))
        assert update.status is STATUS.FAILED

    def test_a_later_step_that_was_never_started_is_prepared_again(self, agent: Any) -> None:
        phase = Running(Work(TWO_STEPS.without_secrets, 1, 1, (("one", "SUCCEEDED"),)))
        agent.hears(JournalOpened("me", (Execution(JOB, phase, "greet"),)))
        agent.hears(Connected())
        agent.hears(AttemptNeverStarted(AttemptId(JOB, 1, 1)))
        assert isinstance(agent.phase(), Preparing)

    def test_a_second_start_of_the_clock_changes_nothing(self, agent: Any, plan: Plan) -> None:
        running(agent, plan)
        before = agent.state
        agent.hears(AttemptStarted(ATTEMPT), at=5)
        assert agent.state == before

    def test_words_of_an_attempt_that_is_being_stopped_change_nothing(self, agent: Any, plan: Plan) -> None:
        stopping = Stopping(Work(plan.without_secrets), Outcome(STATUS.CANCELED, "the service ended it"))
        agent.hears(JournalOpened("me", (Execution(JOB, stopping, "greet"),)))
        agent.hears(Connected())
        before = agent.state
        assert agent.hears(AttemptProgressed(ATTEMPT, 5)) == []
        assert agent.state == before

    @pytest.mark.parametrize("answer", ["accepted", "refused", "described", "not described"])
    def test_an_answer_of_a_kind_that_was_not_asked_for_changes_only_what_is_in_flight(
        self, agent: Any, plan: Plan, answer: str
    ) -> None:
        events: dict[str, Any] = {
            "accepted": UpdateAccepted(JOB, 1),
            "refused": UpdateFailed(JOB, 1, ""),
            "described": Described(JOB, 1, STATUS.QUEUED, 1, "", plan),
            "not described": DescribeFailed(JOB, 1, ""),
        }
        phase = Reporting(Outcome(STATUS.SUCCEEDED)) if "described" in answer else Claiming(plan.without_secrets)
        agent.hears(JournalOpened("me", (Execution(JOB, phase, "greet"),)))
        if isinstance(phase, Claiming):
            agent.state = agent.state.with_phase(agent.state.executions[JOB], Judging())
        agent.hears(Connected())
        agent.hears(events[answer])
        assert not [e for e in agent.all_effects if isinstance(e, Settle | Forget | Note)]

    def test_progress_and_the_question_after_it_are_both_waited_for(self, agent: Any, plan: Plan) -> None:
        running(agent, plan)
        [progress] = sent(agent.hears(AttemptProgressed(ATTEMPT, 5)))
        [probe] = sent(agent.hears(Notified("", (), is_complete=True)))
        agent.hears(UpdateAccepted(JOB, progress.ticket))
        assert agent.phase().updates.probe.ticket == probe.ticket
        agent.hears(Disconnected())
        agent.hears(DescribeFailed(JOB, probe.ticket, ""))
        [again, _] = agent.hears(Connected())
        assert isinstance(again, Describe)

    def test_what_is_over_for_a_reason_that_the_service_does_not_tell_is_told_as_such(
        self, agent: Any, plan: Plan
    ) -> None:
        running(agent, plan)
        [probe] = sent(agent.hears(Notified("", (), is_complete=True)))
        agent.hears(DescribeFailed(JOB, probe.ticket, "TerminalStateReached"))
        assert "cancelled, timed out or ended by somebody else" in agent.phase().outcome.reason

    def test_what_is_being_stopped_waits_for_no_answer(self, plan: Plan) -> None:
        stopping = Execution(JOB, Stopping(Work(plan), Outcome(STATUS.CANCELED, "the service ended it")))
        assert not requests.is_awaited(stopping.phase, 1)

    def test_an_execution_is_called_by_its_namespace_and_number_where_it_has_them(self) -> None:
        names = [str(JOB), str(THEIRS), str(replace(THEIRS, execution_number=2))]
        assert names == ["job-1", "team-a/job-1", "team-a/job-1#2"]
        assert AttemptId(THEIRS, 0, 1).directory_name == "team-a.job-1.1.0.1"
