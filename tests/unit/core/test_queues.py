"""The pending lists: when they are asked for, and what they are believed."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.playbook import (
    ATTEMPT,
    IN_PROGRESS,
    JOB,
    ME,
    THEIRS,
    WELL,
    connect,
    described,
    judge,
    ours,
    report_recovered,
    run_recovered,
)

from iot_jobs_agent.core.backoff import BURST
from iot_jobs_agent.core.decide import is_idle
from iot_jobs_agent.core.effects import (
    Describe,
    Fetch,
    Settle,
)
from iot_jobs_agent.core.events import (
    AttemptEnded,
    AttemptStarted,
    Connected,
    Described,
    DescribeFailed,
    FetchFailed,
    JournalOpened,
    Listed,
    Notified,
    Tick,
    UpdateAccepted,
    UpdateFailed,
)
from iot_jobs_agent.core.job import (
    ExecutionId,
    ExecutionStatus,
    Outcome,
    Plan,
    Refusal,
)
from iot_jobs_agent.core.queues import PENDING_KEPT
from iot_jobs_agent.core.state import (
    Claiming,
    Execution,
    Reporting,
)


class TestLists:
    def test_a_list_is_asked_for_again_at_the_poll(self, agent: Any) -> None:
        connect(agent)
        assert agent.deadline == 1800 * 0.9
        assert agent.hears(Tick(), at=agent.deadline) == [Fetch("", agent.ticket, is_complete=True)]

    def test_a_list_that_the_agent_cannot_get_is_requested_again(self, agent: Any) -> None:
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

    def test_a_late_hint_that_nothing_is_pending_makes_nobody_forget_what_waits_after_a_refusal(
        self, agent: Any
    ) -> None:
        connect(agent)
        agent.hears(Notified("", (JOB,), is_complete=True))
        assert agent.hears(DescribeFailed(JOB, agent.ticket, "ResourceNotFound")) == [
            Fetch("", agent.ticket, is_complete=False)
        ]
        agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
        assert agent.hears(Notified("", (), is_complete=True)) == []
        assert agent.deadline < 60
        assert agent.hears(Tick(), at=agent.deadline) == [Fetch("", agent.ticket, is_complete=True)]
        assert agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True)) == [Describe(JOB, agent.ticket)]

    def test_hints_do_not_cut_short_the_wait_after_a_refused_list(self, agent: Any, plan: Plan) -> None:
        run_recovered(agent, plan)
        agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
        other = ExecutionId("", "job-2", 1)
        fetches = 0
        for tenth in range(100):
            named = (JOB, other) if tenth % 2 else (JOB,)
            for fetch in agent.hears(Notified("", named, is_complete=True), at=tenth / 10):
                fetches += 1
                agent.hears(FetchFailed("", fetch.ticket, "RequestThrottled", 1.0))
        assert fetches <= BURST

    def test_a_head_does_not_hide_what_a_late_hint_made_us_ask_for(self, agent: Any, plan: Plan) -> None:
        connect(agent)
        waiting = ExecutionId("", "job-2", 1)
        agent.hears(Notified("", (JOB, waiting), is_complete=True))
        agent.hears(ours(agent, IN_PROGRESS, plan, "somebody"))
        [head] = agent.hears(DescribeFailed(waiting, agent.ticket, "ResourceNotFound"))
        assert head == Fetch("", agent.ticket, is_complete=False)
        agent.hears(Notified("", (JOB,), is_complete=True))
        assert agent.hears(Listed("", head.ticket, (JOB,), is_complete=False)) == []
        assert agent.deadline < 60
        assert agent.hears(Tick(), at=agent.deadline) == [Fetch("", agent.ticket, is_complete=True)]
        assert agent.hears(Listed("", agent.ticket, (JOB, waiting), is_complete=True)) == [
            Describe(waiting, agent.ticket)
        ]


class TestHeads:
    def test_our_own_work_at_the_head_does_not_make_us_ask_without_end(self, agent: Any, plan: Plan) -> None:
        """The whole list of a namespace comes over HTTPS; where that fails, only its head is known."""
        run_recovered(agent, plan, THEIRS, namespaces=("team-a",))
        assert agent.hears(Listed("team-a", agent.ticket, (THEIRS,), is_complete=False)) == []
        assert agent.deadline >= 1600

    def test_a_head_that_is_ours_makes_us_ask_once_for_what_is_behind_it(self, agent: Any, plan: Plan) -> None:
        run_recovered(agent, plan, THEIRS, namespaces=("team-a",), max_concurrent=2)
        agent.hears(Listed("team-a", agent.ticket, (THEIRS,), is_complete=True))
        behind = ExecutionId("team-a", "job-2", 1)
        agent.hears(Notified("team-a", (behind,), is_complete=False))
        agent.hears(DescribeFailed(behind, agent.ticket, "ResourceNotFound"))
        ticket = agent.ticket
        assert agent.hears(Listed("team-a", ticket, (THEIRS,), is_complete=False)) == [
            Fetch("team-a", ticket + 1, is_complete=True)
        ]

    def test_a_flood_of_heads_is_not_remembered_without_end(self, agent: Any, plan: Plan) -> None:
        run_recovered(agent, plan)
        for number in range(500):
            agent.hears(Notified("", (ExecutionId("", f"flood-{number}", 1),), is_complete=False))
        assert len(agent.state.queues[""].pending) == PENDING_KEPT

    def test_a_job_that_was_announced_and_run_leaves_no_doubt_behind(self, agent: Any, plan: Plan) -> None:
        agent.hears(Connected())
        agent.hears(Listed("", agent.ticket, (), is_complete=True))
        agent.hears(Notified("", (JOB,), is_complete=True))
        agent.hears(ours(agent, ExecutionStatus.QUEUED, plan, ""))
        agent.hears(UpdateAccepted(JOB, agent.ticket))
        agent.hears(ours(agent, ExecutionStatus.IN_PROGRESS, plan))
        agent.hears(AttemptEnded(ATTEMPT, WELL))
        agent.hears(UpdateAccepted(JOB, agent.ticket))
        agent.hears(Listed("", agent.ticket, (), is_complete=True))
        assert is_idle(agent.state)
        assert agent.deadline >= 1600

    @pytest.mark.parametrize("status", [ExecutionStatus.CANCELED, ExecutionStatus.IN_PROGRESS])
    def test_what_is_judged_of_a_namespace_that_is_no_longer_served_is_let_go(
        self, agent: Any, plan: Plan, status: ExecutionStatus
    ) -> None:
        agent.hears(JournalOpened(ME, (Execution(THEIRS, Claiming(plan.without_secrets), "greet"),)))
        agent.hears(Connected())
        [ask] = [e for e in agent.all_effects if isinstance(e, Describe)]
        agent.hears(Described(THEIRS, ask.ticket, status, 1, "somebody", plan))
        assert THEIRS not in agent.state.executions

    def test_what_is_done_of_a_namespace_that_is_no_longer_served_is_settled(self, agent: Any) -> None:
        agent.hears(JournalOpened(ME, (Execution(THEIRS, Reporting(Outcome(ExecutionStatus.SUCCEEDED)), "greet"),)))
        [update, *_] = agent.hears(Connected())
        settle, *_ = agent.hears(UpdateAccepted(THEIRS, update.ticket))
        assert isinstance(settle, Settle)

    def test_an_outcome_that_cannot_be_reported_does_not_keep_the_agent_from_rest(self, agent: Any) -> None:
        report_recovered(agent)
        agent.hears(UpdateFailed(JOB, agent.ticket, "InvalidTopic"))
        agent.hears(Listed("", agent.ticket, (), is_complete=True))
        assert is_idle(agent.state)


@pytest.mark.parametrize("is_complete", [True, False])
def test_a_notification_of_what_is_left_to_others_keeps_nobody_from_rest(agent: Any, is_complete: bool) -> None:
    agent.state = replace(agent.state, settings=replace(agent.state.settings, ignores_unknown=True))
    agent.hears(Connected())
    agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
    agent.hears(
        Described(JOB, agent.ticket, ExecutionStatus.QUEUED, 1, "", Refusal("no such handler", is_unknown=True), "h")
    )
    assert is_idle(agent.state)
    agent.hears(Notified("", (JOB,), is_complete=is_complete))
    assert is_idle(agent.state)


def test_a_list_that_comes_late_hides_nothing_for_long(agent: Any, plan: Plan) -> None:
    other = ExecutionId("", "job-2", 1)
    agent.hears(Connected())
    agent.hears(Listed("", agent.ticket, (JOB, other), is_complete=True))
    [fetch] = agent.hears(Notified("", (JOB,), is_complete=True))
    assert fetch == Fetch("", agent.ticket, is_complete=True)
    assert agent.hears(Notified("", (JOB,), is_complete=True)) == []
