"""A service that contradicts itself."""

from typing import Any

import pytest
from tests.support.playbook import ATTEMPT, JOB, OTHER, TWO_STEPS, WELL, ours, report_recovered, run_recovered, sent

from iot_jobs_agent.core.backoff import STALE_ANSWERS
from iot_jobs_agent.core.decide import is_idle, untaken
from iot_jobs_agent.core.effects import (
    Describe,
    Fetch,
    Settle,
)
from iot_jobs_agent.core.events import (
    AttemptEnded,
    Connected,
    DescribeFailed,
    FetchFailed,
    Listed,
    Notified,
    Tick,
    UpdateAccepted,
    UpdateFailed,
)
from iot_jobs_agent.core.job import (
    ExecutionStatus,
    Outcome,
    Plan,
    Refusal,
)


class TestAServiceThatContradictsItself:
    @pytest.mark.parametrize("denial", ["ResourceNotFound", "TerminalStateReached", ExecutionStatus.CANCELED])
    def test_a_list_that_names_what_a_description_denies_is_asked_for_with_a_backoff(
        self, agent: Any, denial: Any
    ) -> None:
        asked, effects = 0, agent.hears(Connected())
        while agent.now < 600:
            for request in sent(effects):
                asked += 1
                if isinstance(request, Fetch):
                    effects = agent.hears(Listed("", request.ticket, (JOB,), is_complete=True))
                elif isinstance(denial, ExecutionStatus):
                    effects = agent.hears(ours(agent, denial, Refusal("")))
                else:
                    effects = agent.hears(DescribeFailed(JOB, request.ticket, denial))
            if not sent(effects):
                effects = agent.hears(Tick(), at=agent.deadline)
        assert asked < 100

    def test_what_is_listed_but_denied_is_looked_at_again_after_others_and_meanwhile_not_done(self, agent: Any) -> None:
        agent.hears(Connected())
        agent.hears(Listed("", agent.ticket, (JOB, OTHER), is_complete=True))
        assert agent.hears(DescribeFailed(JOB, agent.ticket, "ResourceNotFound"))[0] == Describe(
            OTHER, agent.ticket - 1
        )
        agent.hears(DescribeFailed(OTHER, agent.ticket - 1, "ResourceNotFound"))
        agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
        assert not is_idle(agent.state)
        assert agent.hears(Tick(), at=agent.deadline) == [Describe(JOB, agent.ticket)]
        agent.hears(DescribeFailed(JOB, agent.ticket, "ResourceNotFound"))
        assert is_idle(agent.state)
        assert untaken(agent.state) == [JOB]
        agent.hears(Tick(), at=agent.deadline)
        agent.hears(Listed("", agent.ticket, (), is_complete=True))
        assert untaken(agent.state) == []

    def test_a_list_that_could_not_be_had_again_may_have_named_more(self, agent: Any) -> None:
        report_recovered(agent)
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
        run_recovered(agent, plan)
        agent.hears(Notified("", (), is_complete=True))
        agent.hears(ours(agent, ExecutionStatus.CANCELED, plan))
        agent.hears(AttemptEnded(ATTEMPT, WELL))
        agent.hears(Notified("", (JOB,), is_complete=True))
        assert agent.hears(Tick(), at=agent.deadline) == [Describe(JOB, agent.ticket)]
        assert agent.hears(ours(agent, ExecutionStatus.IN_PROGRESS, plan)) == []
        assert agent.notes == ["left alone"]

    def test_a_claim_that_is_queued_again_before_anything_ran_is_made_again(self, agent: Any, plan: Plan) -> None:
        agent.hears(Connected())
        agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
        agent.hears(ours(agent, ExecutionStatus.QUEUED, plan, ""))
        agent.hears(UpdateAccepted(JOB, agent.ticket))
        assert agent.hears(ours(agent, ExecutionStatus.QUEUED, plan, "")) == []
        assert agent.hears(Tick(), at=agent.deadline) == [Describe(JOB, agent.ticket)]
        [claim] = agent.hears(ours(agent, ExecutionStatus.QUEUED, plan, ""))
        assert (claim.status, claim.expected_version) == (ExecutionStatus.IN_PROGRESS, 1)

    def test_one_that_is_queued_again_after_a_step_ran_does_not_hold_its_slot_forever(self, agent: Any) -> None:
        run_recovered(agent, TWO_STEPS)
        agent.hears(AttemptEnded(ATTEMPT, WELL))
        for _ in range(STALE_ANSWERS):
            assert agent.hears(ours(agent, ExecutionStatus.QUEUED, TWO_STEPS)) == []
            agent.hears(Tick(), at=agent.deadline)
        [settled] = [e for e in agent.hears(ours(agent, ExecutionStatus.QUEUED, TWO_STEPS)) if isinstance(e, Settle)]
        assert settled.outcome.status is ExecutionStatus.REMOVED

    def test_a_report_that_met_an_end_of_unknown_kind_is_remembered_as_it_was(self, agent: Any) -> None:
        report_recovered(agent)
        settle, *_ = agent.hears(UpdateFailed(JOB, agent.ticket, "TerminalStateReached"))
        assert (settle.outcome, settle.service_accepted) == (Outcome(ExecutionStatus.SUCCEEDED), False)

    def test_a_report_of_what_is_gone_is_remembered_as_removed(self, agent: Any) -> None:
        report_recovered(agent)
        settle, *_ = agent.hears(UpdateFailed(JOB, agent.ticket, "ResourceNotFound"))
        assert settle.outcome.status is ExecutionStatus.REMOVED
