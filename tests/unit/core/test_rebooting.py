"""A reboot that a handler asks for."""

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
from tests.support.playbook import ME

from iot_jobs_agent.core.effects import (
    Reboot,
    Settle,
    StartAttempt,
)
from iot_jobs_agent.core.events import (
    AttemptEnded,
    AttemptStarted,
    Connected,
    Disconnected,
    JournalOpened,
    Notified,
    RebootFailed,
    Tick,
    UpdateAccepted,
    UpdateFailed,
)
from iot_jobs_agent.core.job import (
    ExecutionId,
    Plan,
    StartReason,
    Step,
    StepKind,
)
from iot_jobs_agent.core.state import (
    Delayed,
    Execution,
    Preparing,
    Rebooting,
    Reporting,
    Settings,
    Work,
)


@pytest.fixture
def agent(agent: Any) -> Any:
    agent.state = replace(agent.state, settings=Settings(boot_id="boot-1"))
    return agent


class TestReboot:
    def asks(self, agent: Any, **members: Any) -> list[Any]:
        runs(agent, plan(may_reboot=True, **members))
        effects: list[Any] = agent.hears(AttemptEnded(number(1), wishes("reboot", "new kernel")), at=20)
        return effects

    def test_the_service_is_told_then_the_system_and_in_the_next_boot_it_is_resumed(self, agent: Any) -> None:
        [told] = self.asks(agent)
        assert told.details["reason"] == "reboots: new kernel"
        assert agent.hears(UpdateAccepted(JOB, told.ticket)) == [Reboot()]
        assert [(phase.is_ordered, phase.due_at) for phase in agent.saved] == [(True, None)]
        restarted(agent, "boot-2").hears(Connected())
        started, *_ = described(agent, "IN_PROGRESS", plan(may_reboot=True))
        left = replace(plan(may_reboot=True).steps[0], timeout_s=40.0, max_timeout_s=3580.0)
        assert started == StartAttempt(number(2), left, StartReason.REBOOT, is_resumed=True)

    def test_it_is_ordered_once_and_the_patience_with_it_does_not_start_over(self, agent: Any) -> None:
        [told] = self.asks(agent)
        assert agent.hears(UpdateAccepted(JOB, told.ticket)) == [Reboot()]
        for at in (100, 400, 619):
            assert Reboot() not in agent.hears(Tick(), at=at)
        agent.hears(Tick(), at=20 + 600)
        assert (agent.phase().outcome.code, agent.now) == ("reboot-failed", 620)

    def test_it_is_not_allowed_by_itself(self, agent: Any) -> None:
        runs(agent, plan())
        agent.hears(AttemptEnded(number(1), wishes("reboot")))
        assert agent.phase().outcome.code == "reboot-not-allowed"

    def test_it_comes_without_a_connection_too(self, agent: Any) -> None:
        runs(agent, plan(may_reboot=True))
        agent.hears(Disconnected())
        assert agent.hears(AttemptEnded(number(1), wishes("reboot"))) == [Reboot()]

    def test_a_service_that_does_not_answer_does_not_keep_it(self, agent: Any) -> None:
        [told] = self.asks(agent)
        assert agent.hears(UpdateFailed(JOB, told.ticket, "")) == [Reboot()]

    def test_a_system_that_refuses_is_a_failure(self, agent: Any) -> None:
        [told] = self.asks(agent)
        agent.hears(UpdateAccepted(JOB, told.ticket))
        [report] = agent.hears(RebootFailed("systemctl ended with 1"))
        assert (report.status, agent.phase().outcome.code) == (S.FAILED, "reboot-failed")
        assert report.details["reason"] == "the reboot did not happen: systemctl ended with 1"

    @pytest.mark.parametrize("is_restarted", [True, False])
    def test_a_reboot_that_does_not_come_is_a_failure(self, agent: Any, is_restarted: bool) -> None:
        [told] = self.asks(agent)
        agent.hears(UpdateAccepted(JOB, told.ticket))
        if is_restarted:
            restarted(agent)
        assert agent.deadline == 620
        agent.hears(Tick(), at=620)
        assert agent.phase().outcome.code == "reboot-failed"

    def test_one_that_was_not_asked_for_before_a_restart_is_asked_for_after_it(self, agent: Any) -> None:
        self.asks(agent)
        restarted(agent)
        assert [e for e in agent.all_effects if isinstance(e, Reboot)] == [Reboot()]

    def test_it_waits_until_nothing_runs_and_nothing_begins_meanwhile(self, agent: Any) -> None:
        agent.state = replace(agent.state, settings=replace(agent.state.settings, max_concurrent=4))
        runs(agent, plan(), OTHER)
        agent.hears(Notified("", (OTHER, THIRD), is_complete=True))
        described(agent, "QUEUED", plan(), THIRD)
        agent.hears(UpdateAccepted(THIRD, call_ticket(agent, THIRD)))  # its document is on its way
        runs(agent, plan(may_reboot=True))
        [told, *_] = agent.hears(AttemptEnded(number(1), wishes("reboot")))
        agent.hears(UpdateAccepted(JOB, told.ticket))
        assert described(agent, "IN_PROGRESS", plan(), THIRD) == []
        assert isinstance(agent.phase(THIRD), Preparing)
        new = ExecutionId("", "job-9", 1)
        assert agent.hears(Notified("", (JOB, OTHER, THIRD, new), is_complete=True)) == []
        assert Reboot() in agent.hears(AttemptEnded(number(1, execution=OTHER), WELL))

    def test_one_that_came_before_its_result_was_read_counts(self, agent: Any) -> None:
        runs(agent, plan(may_reboot=True))
        restarted(agent, "boot-2").hears(Connected())
        agent.hears(AttemptEnded(number(1), wishes("reboot")))
        assert agent.phase().work.reason is StartReason.REBOOT

    def test_no_execution_reboots_a_device_for_ever(self, agent: Any) -> None:
        what = plan(may_reboot=True)
        runs(agent, what)
        for attempt in range(1, 11):
            agent.hears(AttemptEnded(number(attempt), wishes("reboot")))
            restarted(agent, f"boot-{attempt + 1}").hears(Connected())
            described(agent, "IN_PROGRESS", what)
            agent.hears(AttemptStarted(number(attempt + 1)))
        agent.hears(AttemptEnded(number(11), wishes("reboot", "once more")))
        assert agent.phase().outcome.code == "reboot-limit"
        assert agent.phase().outcome.reason == "asked for a reboot after 10 of them: once more"

    def test_the_service_may_end_it_before(self, agent: Any) -> None:
        [told] = self.asks(agent)
        settle, *_ = agent.hears(UpdateFailed(JOB, told.ticket, "TerminalStateReached"))
        assert isinstance(settle, Settle)
        assert not [e for e in agent.all_effects if isinstance(e, Reboot)]

    def test_the_other_steps_go_on_afterwards(self, agent: Any) -> None:
        what = Plan((plan(may_reboot=True).steps[0], replace(plan().steps[0], name="two")))
        runs(agent, what)
        agent.hears(AttemptEnded(number(1), wishes("reboot")))
        restarted(agent, "boot-2").hears(Connected())
        described(agent, "IN_PROGRESS", what)
        agent.hears(AttemptEnded(number(2), WELL))
        started, *_ = described(agent, "IN_PROGRESS", what)
        assert started == StartAttempt(number(1, step=1), what.steps[1])


def test_what_waited_for_a_reboot_that_does_not_come_goes_on_at_once(agent: Any) -> None:
    agent.state = replace(agent.state, settings=replace(agent.state.settings, max_concurrent=2, boot_id="boot-1"))
    step = Step("one", "h", StepKind.HANDLER, may_reboot=True)
    waits = Execution(JOB, Delayed(Work(Plan((step,)), number=2), 60.0))
    reboots = Execution(
        ExecutionId("", "job-2", 1), Rebooting(Work(Plan((step,)), number=2), "boot-1", is_ordered=True)
    )
    agent.hears(JournalOpened(ME, (waits, reboots)))
    agent.hears(Connected())
    agent.hears(Tick(), at=601)
    assert [type(agent.phase(e.id)) for e in (waits, reboots)] == [Preparing, Reporting]
