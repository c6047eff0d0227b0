"""Which answer counts for what."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.playbook import ATTEMPT, JOB, ME, THEIRS, run_recovered, sent

from iot_jobs_agent.core import requests
from iot_jobs_agent.core.effects import (
    Describe,
    Forget,
    Note,
    Settle,
)
from iot_jobs_agent.core.events import (
    AttemptProgressed,
    Connected,
    Described,
    DescribeFailed,
    Disconnected,
    JournalOpened,
    Notified,
    UpdateAccepted,
    UpdateFailed,
)
from iot_jobs_agent.core.job import (
    AttemptId,
    ExecutionStatus,
    Outcome,
    Plan,
)
from iot_jobs_agent.core.state import (
    Claiming,
    Execution,
    Judging,
    Reporting,
    Stopping,
    Work,
)


@pytest.mark.parametrize("answer", ["accepted", "refused", "described", "not described"])
def test_an_answer_of_a_kind_that_was_not_asked_for_changes_only_what_is_in_flight(
    agent: Any, plan: Plan, answer: str
) -> None:
    events: dict[str, Any] = {
        "accepted": UpdateAccepted(JOB, 1),
        "refused": UpdateFailed(JOB, 1, ""),
        "described": Described(JOB, 1, ExecutionStatus.QUEUED, 1, "", plan),
        "not described": DescribeFailed(JOB, 1, ""),
    }
    phase = Reporting(Outcome(ExecutionStatus.SUCCEEDED)) if "described" in answer else Claiming(plan.without_secrets)
    agent.hears(JournalOpened(ME, (Execution(JOB, phase, "greet"),)))
    if isinstance(phase, Claiming):
        agent.state = agent.state.with_phase(agent.state.executions[JOB], Judging())
    agent.hears(Connected())
    agent.hears(events[answer])
    assert not [e for e in agent.all_effects if isinstance(e, Settle | Forget | Note)]


def test_progress_and_the_question_after_it_are_both_waited_for(agent: Any, plan: Plan) -> None:
    run_recovered(agent, plan)
    [progress] = sent(agent.hears(AttemptProgressed(ATTEMPT, 5)))
    [probe] = sent(agent.hears(Notified("", (), is_complete=True)))
    agent.hears(UpdateAccepted(JOB, progress.ticket))
    assert agent.phase().updates.probe == probe.ticket
    agent.hears(Disconnected())
    agent.hears(DescribeFailed(JOB, probe.ticket, ""))
    [again, _] = agent.hears(Connected())
    assert isinstance(again, Describe)


def test_what_is_being_stopped_waits_for_no_answer(plan: Plan) -> None:
    stopping = Execution(JOB, Stopping(Work(plan), Outcome(ExecutionStatus.CANCELED, "the service ended it")))
    assert not requests.is_awaited(stopping.phase, 1)


def test_an_execution_is_called_by_its_namespace_and_number_where_it_has_them() -> None:
    names = [str(JOB), str(THEIRS), str(replace(THEIRS, execution_number=2))]
    assert names == ["job-1", "team-a/job-1", "team-a/job-1#2"]
    assert AttemptId(THEIRS, 0, 1).directory_name == "team-a.job-1.1.0.1"
