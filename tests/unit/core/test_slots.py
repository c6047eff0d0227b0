"""Who may go on: slots, handlers that run alone, the pause, and other agents' jobs."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.continuing import (
    JOB,
    OTHER,
    THIRD,
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
from tests.support.playbook import ME, claims, prepares

from iot_jobs_agent.core.decide import untaken
from iot_jobs_agent.core.effects import (
    StartAttempt,
    StopAttempt,
)
from iot_jobs_agent.core.events import (
    AttemptEnded,
    Connected,
    Described,
    JournalOpened,
    Listed,
    Notified,
    Paused,
    Tick,
    UpdateAccepted,
    UpdateFailed,
)
from iot_jobs_agent.core.job import (
    AttemptId,
    Ending,
    ExecutionId,
    ExecutionStatus,
    Plan,
    Refusal,
    Step,
    StepKind,
)
from iot_jobs_agent.core.state import (
    Claiming,
    Delayed,
    Execution,
    Judging,
    Preparing,
    Running,
    Settings,
    Stopping,
    Work,
)


@pytest.fixture
def agent(agent: Any) -> Any:
    agent.state = replace(agent.state, settings=Settings(boot_id="boot-1"))
    return agent


class TestExclusive:
    @pytest.fixture
    def agent(self, agent: Any) -> Any:
        agent.state = replace(agent.state, settings=replace(agent.state.settings, max_concurrent=2))
        return agent

    def test_it_waits_for_what_runs_and_nothing_is_taken_on_meanwhile(self, agent: Any) -> None:
        runs(agent, plan(), OTHER)
        agent.hears(Notified("", (OTHER, JOB), is_complete=True))
        assert described(agent, "QUEUED", plan(exclusive=True)) == []
        assert isinstance(agent.phase(), Claiming)
        report, claim = agent.hears(AttemptEnded(number(1, execution=OTHER), WELL))
        assert [(e.execution, e.status) for e in (report, claim)] == [(OTHER, S.SUCCEEDED), (JOB, S.IN_PROGRESS)]
        agent.hears(Notified("", (JOB, THIRD), is_complete=True))
        assert THIRD not in agent.state.executions

    def test_nothing_runs_beside_it(self, agent: Any) -> None:
        runs(agent, plan(exclusive=True))
        assert agent.hears(Notified("", (JOB, OTHER), is_complete=True)) == []
        assert OTHER not in agent.state.executions

    def test_one_that_was_looked_at_beside_it_claims_after_it(self, agent: Any) -> None:
        agent.hears(Connected())
        agent.hears(Listed("", agent.ticket, (JOB, OTHER), is_complete=True))
        assert [type(agent.phase(e)) for e in (JOB, OTHER)] == [Judging, Judging]
        [claim] = described(agent, "QUEUED", plan(exclusive=True))
        assert described(agent, "QUEUED", plan(), OTHER) == []
        agent.hears(UpdateAccepted(JOB, claim.ticket))
        described(agent, "IN_PROGRESS", plan(exclusive=True))
        [report, *_] = agent.hears(AttemptEnded(number(1), WELL))
        assert report.status is S.SUCCEEDED
        assert call_ticket(agent, OTHER), "the other one claims as soon as it has ended"

    def test_one_that_was_claimed_before_goes_first(self, agent: Any) -> None:
        agent.hears(Connected())
        agent.hears(Listed("", agent.ticket, (JOB, OTHER), is_complete=True))
        [claim] = described(agent, "QUEUED", plan(), OTHER)
        assert described(agent, "QUEUED", plan(exclusive=True)) == []
        agent.hears(UpdateAccepted(OTHER, claim.ticket))
        described(agent, "IN_PROGRESS", plan(), OTHER)
        assert isinstance(agent.phase(OTHER), Running)
        assert not call_ticket(agent)

    def test_a_retry_of_it_waits_for_others_and_is_not_starved(self, agent: Any) -> None:
        runs(agent, plan(exclusive=True))
        agent.hears(AttemptEnded(number(1), wishes("retry")))
        runs(agent, plan(), OTHER)
        agent.hears(Tick(), at=1000)
        assert isinstance(agent.phase(), Delayed)
        agent.hears(Notified("", (JOB, OTHER, THIRD), is_complete=True))
        assert THIRD not in agent.state.executions
        agent.hears(AttemptEnded(number(1, execution=OTHER), WELL))
        assert isinstance(agent.phase(), Preparing)

    def test_a_retry_does_not_come_back_beside_it(self, agent: Any) -> None:
        runs(agent, plan(retry_delay_s=60.0), OTHER)
        agent.hears(AttemptEnded(number(1, execution=OTHER), wishes("retry")))
        runs(agent, plan(exclusive=True))
        agent.hears(Tick(), at=1000)
        assert isinstance(agent.phase(OTHER), Delayed)
        agent.hears(AttemptEnded(number(1), WELL))
        assert isinstance(agent.phase(OTHER), Preparing)

    def test_one_that_is_so_by_its_fresh_document_only_waits_too(self, agent: Any) -> None:
        runs(agent, plan(), OTHER)
        agent.hears(Notified("", (OTHER, JOB), is_complete=True))
        described(agent, "QUEUED", plan())
        agent.hears(UpdateAccepted(JOB, call_ticket(agent)))
        assert described(agent, "IN_PROGRESS", plan(exclusive=True)) == []
        assert isinstance(agent.phase(), Preparing)
        agent.hears(AttemptEnded(number(1, execution=OTHER), WELL))
        effects = described(agent, "IN_PROGRESS", plan(exclusive=True))
        assert [e.attempt for e in effects if isinstance(e, StartAttempt)] == [number(1)]

    def test_of_two_that_were_cut_short_one_goes_first(self, agent: Any) -> None:
        what = plan(exclusive=True)
        both = tuple(Execution(e, Preparing(Work(what.without_secrets, number=2))) for e in (OTHER, JOB))
        restarted(agent)
        agent.hears(JournalOpened(ME, both))
        agent.hears(Connected())
        assert [bool(call_ticket(agent, e)) for e in (JOB, OTHER)] == [True, False]


def test_two_executions_of_one_job_never_overlap(agent: Any) -> None:
    agent.state = replace(agent.state, settings=replace(agent.state.settings, max_concurrent=2))
    again = ExecutionId("", JOB.job_id, 2)
    runs(agent, plan())
    agent.hears(Notified("", (again,), is_complete=True))
    described(agent, "QUEUED", plan(), again)
    assert isinstance(agent.phase(again), Claiming)
    assert not call_ticket(agent, again)
    [stop, *_] = described(agent, "TIMED_OUT", plan())
    assert stop == StopAttempt(number(1))
    assert not call_ticket(agent, again)
    agent.hears(AttemptEnded(number(1), replace(WELL, ending=Ending.STOPPED)))
    assert call_ticket(agent, again)


class TestPause:
    def test_nothing_new_is_taken_on_and_what_runs_goes_on(self, agent: Any) -> None:
        runs(agent, plan())
        agent.hears(Paused(is_paused=True))
        agent.hears(Notified("", (JOB, OTHER), is_complete=True))
        agent.hears(AttemptEnded(number(1), WELL))
        agent.hears(UpdateAccepted(JOB, call_ticket(agent)))
        assert agent.state.executions == {}
        assert untaken(agent.state) == [OTHER]
        agent.hears(Paused(is_paused=False))
        assert isinstance(agent.phase(OTHER), Judging)


class TestOtherAgents:
    def test_what_is_left_to_others_does_not_count_as_not_done(self, agent: Any) -> None:
        agent.hears(Connected())
        agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
        described(agent, "IN_PROGRESS", plan(), claimed_by="another")
        agent.hears(Notified("", (JOB, OTHER), is_complete=True))
        described(agent, "IN_PROGRESS", plan(), OTHER, claimed_by="another")
        assert agent.state.executions == {}
        assert [execution for queue in agent.state.queues.values() for execution in queue.pending] == [JOB]
        assert untaken(agent.state) == []

    @pytest.mark.parametrize("by", ["list", "notification"])
    def test_only_a_matching_job_id_is_looked_at(self, agent: Any, by: str) -> None:
        theirs, ours = ExecutionId("", "theirs-1", 1), ExecutionId("", "mine-1", 1)
        agent.state = replace(agent.state, settings=replace(agent.state.settings, only="mine-*"))
        agent.hears(Connected())
        if by == "list":
            agent.hears(Listed("", agent.ticket, (theirs, ours), is_complete=True))
        else:
            agent.hears(Notified("", (theirs, ours), is_complete=True))
        assert list(agent.state.executions) == [ours]
        assert theirs in agent.state.foreign

    @pytest.mark.parametrize(("is_unknown", "is_left"), [(True, True), (False, False)])
    def test_what_no_handler_knows_is_left_alone_if_that_is_wanted(
        self, agent: Any, is_unknown: bool, is_left: bool
    ) -> None:
        agent.state = replace(agent.state, settings=replace(agent.state.settings, ignores_unknown=True))
        agent.hears(Connected())
        agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
        described(agent, "QUEUED", Refusal("no such handler", is_unknown))
        assert (JOB in agent.state.foreign) == is_left
        assert (JOB in agent.state.executions) != is_left

    def test_by_default_it_is_rejected(self, agent: Any) -> None:
        agent.hears(Connected())
        agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
        [update] = described(agent, "QUEUED", Refusal("no such handler", is_unknown=True))
        assert update.status is S.REJECTED

    def test_an_execution_that_another_agent_took_over_is_stopped(self, agent: Any) -> None:
        runs(agent, plan())
        agent.hears(Notified("", (), is_complete=True))
        described(agent, "IN_PROGRESS", plan(), claimed_by="other")
        assert isinstance(agent.phase(), Stopping)


def test_an_exclusive_retry_and_a_claim_that_has_the_only_slot_do_not_wait_for_each_other(agent: Any) -> None:
    alone = Plan((Step("alone", "h", StepKind.HANDLER, exclusive=True, retry_delay_s=60.0),))
    other = ExecutionId("", "job-2", 1)
    claims(agent, alone)
    prepares(agent, alone)
    agent.hears(AttemptEnded(AttemptId(JOB, 0, 1), replace(WELL, handler_result={"outcome": "retry"})))
    agent.hears(Notified("", (JOB, other), is_complete=True))
    ticket = agent.phase(other).ticket
    [claim] = agent.hears(
        Described(other, ticket, ExecutionStatus.QUEUED, 1, "", Plan((replace(alone.steps[0], exclusive=False),)))
    )
    agent.hears(UpdateFailed(other, claim.ticket, ""), at=60)
    assert isinstance(agent.phase(), Delayed)
    agent.hears(Tick(), at=agent.deadline)
    assert agent.phase(other).ticket > 0
