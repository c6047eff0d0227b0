"""Another try later, a reboot, an interruption, handlers that run alone, the pause, and other agents' jobs."""

from dataclasses import replace
from typing import Any

import pytest

from iot_jobs_agent.core.decide import is_idle, untaken
from iot_jobs_agent.core.effects import Describe, ForgetAttempts, Reboot, Settle, StartAttempt, StopAttempt, Update
from iot_jobs_agent.core.events import (
    AttemptEnded,
    AttemptNeverStarted,
    AttemptProgressed,
    AttemptStarted,
    Connected,
    Described,
    DescribeFailed,
    Disconnected,
    JournalOpened,
    Listed,
    Notified,
    Paused,
    RebootFailed,
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
    OnInterrupt,
    Outcome,
    Plan,
    Refusal,
    StartReason,
    Step,
    StepKind,
)
from iot_jobs_agent.core.state import (
    Claiming,
    Delayed,
    Execution,
    Judging,
    Preparing,
    Rebooting,
    Running,
    Settings,
    State,
    Stopping,
    Work,
)

S = ExecutionStatus
JOB, OTHER, THIRD = (ExecutionId("", f"job-{n}", 1) for n in (1, 2, 3))
WELL = AttemptResult(Ending.EXITED, code=0, duration_s=10.0)
LOST = AttemptResult(Ending.LOST, duration_s=10.0)


def wishes(word: str, reason: str = "busy") -> AttemptResult:
    return replace(WELL, handler_result={"outcome": word, "reason": reason, "details": {"slot": "B"}})


def plan(**members: Any) -> Plan:
    return Plan((Step("greet", "greet", StepKind.HANDLER, **{"timeout_s": 60.0, **members}),))


def number(attempt: int, step: int = 0, execution: ExecutionId = JOB) -> AttemptId:
    return AttemptId(execution, step, attempt)


def described(agent: Any, status: str, verdict: Any, execution: ExecutionId = JOB, agent_id: str = "me") -> list[Any]:
    """Answer the request in flight for `execution`."""
    [ticket] = {
        t
        for t in range(agent.state.last_ticket + 1)
        if (e := agent.state.executions.get(execution)) is not None and t and in_flight(e, t)
    }
    effects: list[Any] = agent.hears(Described(execution, ticket, S(status), 1, agent_id, verdict, "greet"))
    return effects


def in_flight(execution: Execution, ticket: int) -> bool:
    phase = execution.phase
    if isinstance(phase, Running | Delayed | Rebooting):
        return ticket == (phase.updates.probe.ticket if phase.updates.probe else 0)
    return not isinstance(phase, Stopping) and ticket == phase.request.ticket


def call_ticket(agent: Any, execution: ExecutionId = JOB) -> int:
    phase = agent.phase(execution)
    ticket: int = (phase.updates.request if isinstance(phase, Running | Delayed | Rebooting) else phase.request).ticket
    return ticket


def runs(agent: Any, what: Plan, execution: ExecutionId = JOB) -> None:
    if not agent.state.is_connected:
        agent.hears(Connected())
        agent.hears(Listed("", agent.ticket, (), is_complete=True))
    agent.hears(Notified("", tuple({*agent.state.executions, execution}), is_complete=True))
    described(agent, "QUEUED", what, execution)
    agent.hears(UpdateAccepted(execution, call_ticket(agent, execution)))
    described(agent, "IN_PROGRESS", what, execution)
    agent.hears(AttemptStarted(number(1, execution=execution)))


def restarted(agent: Any, boot_id: str = "boot-1") -> Any:
    """Another process, with the journal of this one; the handlers of an old boot are gone."""
    kept = tuple(d for e in agent.state.executions.values() if (d := e.durable) is not None)
    agent.state = State(replace(agent.state.settings, boot_id=boot_id))
    agent.hears(JournalOpened("me", kept))
    return agent


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
        agent.hears(DescribeFailed(JOB, agent.phase().updates.probe.ticket, "", 0.5))
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

    @pytest.mark.parametrize(("boot_id", "words"), [("boot-1", "supervisor was killed"), ("boot-2", "power loss")])
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
        agent.hears(AttemptEnded(number(1, execution=OTHER), WELL))
        effects = agent.hears(UpdateAccepted(OTHER, call_ticket(agent, OTHER)))
        assert isinstance(agent.phase(), Claiming)
        assert [e.status for e in effects if isinstance(e, Update)] == [] or call_ticket(agent)
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
        agent.hears(JournalOpened("me", both))
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
        described(agent, "IN_PROGRESS", plan(), agent_id="other")
        assert isinstance(agent.phase(), Stopping)
