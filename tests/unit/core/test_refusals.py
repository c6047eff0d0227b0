"""What a service gets to hear that refuses whatever we ask: six requests in ten seconds, then two a minute."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.playbook import ATTEMPT, IN_PROGRESS, JOB, ME, QUEUED, REJECTED, SUCCEEDED, TIMED_OUT, WELL, claim

from iot_jobs_agent.core.effects import Describe, Effect, Fetch, Settle, StartAttempt, Update
from iot_jobs_agent.core.events import (
    AttemptEnded,
    AttemptStarted,
    Connected,
    Described,
    DescribeFailed,
    Event,
    JournalOpened,
    Listed,
    Tick,
    UpdateAccepted,
    UpdateFailed,
)
from iot_jobs_agent.core.job import ExecutionStatus, Outcome, Plan, Refusal
from iot_jobs_agent.core.state import Claiming, Delayed, Execution, Preparing, Reporting, Running, Settled, Work

CODES = (
    "InternalError",
    "InvalidJson",
    "InvalidRequest",
    "InvalidStateTransition",
    "InvalidTopic",
    "RequestThrottled",
    "ResourceNotFound",
    "SomethingNew",
    "TerminalStateReached",
    "VersionMismatch",
)
LEAD_ON = ("InvalidJson", "InvalidRequest", "InvalidStateTransition", "TerminalStateReached")  # to another request
FIRST_S, BURST, PER_MINUTE, WATCHED_S = 10.0, 6, 2, 310.0
QUEUED_AT = 1_700_000_000

Answer = Callable[[Describe | Update], Event]


def refusing(code: str, status: ExecutionStatus, verdict: Plan | Refusal, *, takes_claims: bool = False) -> Answer:
    """Return a service that refuses every update with `code`, and goes on describing the execution with `status`."""

    def answer(request: Describe | Update) -> Event:
        if isinstance(request, Describe):
            claimed_by = "me" if status is IN_PROGRESS else ""
            return Described(JOB, request.ticket, status, 1, claimed_by, verdict, "greet", queued_at=QUEUED_AT)
        if takes_claims and request.status is IN_PROGRESS:
            return UpdateAccepted(JOB, request.ticket)
        return UpdateFailed(JOB, request.ticket, code)

    return answer


def mute(code: str) -> Answer:
    """Return a service that refuses descriptions and updates with `code`."""
    return lambda request: (
        DescribeFailed(JOB, request.ticket, code)
        if isinstance(request, Describe)
        else UpdateFailed(JOB, request.ticket, code)
    )


def moody(seed: int, plan: Plan) -> Answer:
    """Return a service that refuses every update and some looks, each with a code that is drawn."""
    dice = random.Random(seed)  # noqa: S311 - no secret

    def answer(request: Describe | Update) -> Event:
        code = dice.choice(LEAD_ON)
        if isinstance(request, Update):
            return UpdateFailed(JOB, request.ticket, code)
        if dice.random() < 0.5:
            return DescribeFailed(JOB, request.ticket, code)
        status = dice.choice([QUEUED, IN_PROGRESS])
        claimed_by = ME.mark if status is IN_PROGRESS else ""
        return Described(JOB, request.ticket, status, 1, claimed_by, plan, "greet", queued_at=QUEUED_AT)

    return answer


def asked(agent: Any, answer: Answer, *, starts: bool = False) -> list[float]:
    """Play the service, which always lists the job, for a while. Return when it was asked about the job."""
    times: list[float] = []
    queue: list[Effect] = agent.hears(Connected())
    while agent.now < WATCHED_S:
        while queue:
            effect = queue.pop(0)
            if isinstance(effect, Fetch):
                queue += agent.hears(Listed("", effect.ticket, (JOB,), is_complete=True), at=agent.now + 0.03)
            elif isinstance(effect, Describe | Update):
                times.append(agent.now)
                queue += agent.hears(answer(effect), at=agent.now + 0.03)
            else:
                assert starts or not isinstance(effect, StartAttempt), effect
            assert len(times) < 100, "a hot loop"
        if agent.deadline is None:
            break
        queue = agent.hears(Tick(), at=agent.deadline)
    return [at for at in times if at < WATCHED_S]


def require_patience(times: list[float]) -> None:
    first = times[0]
    for n, at in enumerate(times, 1):
        minutes = max(0.0, at - first - FIRST_S) / 60
        assert n <= BURST + PER_MINUTE * (int(minutes) + (minutes > 0)), times


PHASES: dict[str, Callable[[Plan], Execution | None]] = {
    "not tracked": lambda _plan: None,
    "claiming": lambda plan: Execution(JOB, Claiming(plan), "greet", queued_at=QUEUED_AT),
    "preparing": lambda plan: Execution(JOB, Preparing(Work(plan, number=2)), "greet", queued_at=QUEUED_AT),
    "running": lambda plan: Execution(JOB, Running(Work(plan)), "greet", queued_at=QUEUED_AT),
    "delayed": lambda plan: Execution(JOB, Delayed(Work(plan), 3600.0), "greet", queued_at=QUEUED_AT),
    "reporting": lambda _plan: Execution(JOB, Reporting(Outcome(SUCCEEDED)), "greet", queued_at=QUEUED_AT),
}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("status", [QUEUED, IN_PROGRESS, SUCCEEDED])
@pytest.mark.parametrize("code", CODES)
def test_field_b1_every_refusal_of_updates_in_every_phase(
    agent: Any, plan: Plan, phase: str, status: ExecutionStatus, code: str
) -> None:
    known = PHASES[phase](plan)
    agent.hears(JournalOpened(ME, () if known is None else (known,)))
    require_patience(asked(agent, refusing(code, status, plan), starts=True))


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("takes_claims", [True, False])
@pytest.mark.parametrize("status", [QUEUED, IN_PROGRESS])
def test_field_b1_a_rejection_that_is_refused(
    agent: Any, code: str, status: ExecutionStatus, takes_claims: bool
) -> None:
    require_patience(asked(agent, refusing(code, status, Refusal("no such handler"), takes_claims=takes_claims)))


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("code", CODES)
def test_field_b1_everything_is_refused(agent: Any, plan: Plan, phase: str, code: str) -> None:
    known = PHASES[phase](plan)
    agent.hears(JournalOpened(ME, () if known is None else (known,)))
    require_patience(asked(agent, mute(code)))


@pytest.mark.parametrize("phase", PHASES)
def test_field_b1_one_refusal_after_the_other_each_for_another_reason(agent: Any, plan: Plan, phase: str) -> None:
    for seed in range(500):
        known = PHASES[phase](plan)
        another = type(agent)(agent.state.settings)
        history = {JOB: Settled(Outcome(SUCCEEDED), QUEUED_AT)} if seed % 2 else {}
        another.hears(JournalOpened(ME, () if known is None else (known,), history))
        require_patience(asked(another, moody(seed, plan), starts=True))


@pytest.mark.parametrize("code", CODES)
def test_field_b1_a_service_that_takes_claims_and_forgets_them(agent: Any, plan: Plan, code: str) -> None:
    """The accepted claim itself is not counted: its version shows that it was no repetition."""
    times = asked(agent, refusing(code, QUEUED, plan, takes_claims=True))
    assert len(times) <= BURST + BURST / 2 + PER_MINUTE * 1.5 * WATCHED_S / 60
    assert sum(at < FIRST_S for at in times) <= BURST + BURST / 2


def test_field_b1_the_log_has_one_line_for_one_cause_and_the_history_one_entry(agent: Any, plan: Plan) -> None:
    lines: list[str] = []
    settled: list[Settle] = []
    real = agent.hears

    def hears(event: Event, *, at: float | None = None) -> list[Effect]:
        effects: list[Effect] = real(event, at=at)
        lines.extend(agent.notes)
        settled.extend(e for e in effects if isinstance(e, Settle))
        return effects

    agent.hears = hears
    asked(agent, refusing("TerminalStateReached", QUEUED, Refusal("no such handler")))
    assert lines.count("report refused") == 1
    assert len(settled) == 1


def test_field_b1_progress_forgets_the_refusals(agent: Any, plan: Plan) -> None:
    claim(agent, plan)
    agent.hears(UpdateFailed(JOB, agent.ticket, "InternalError"))
    assert agent.state.back_offs[JOB].failures == 1
    [ask] = agent.hears(Tick(), at=agent.deadline)
    [claimed] = agent.hears(Described(JOB, ask.ticket, QUEUED, 1, "", plan, "greet"))
    [ask] = agent.hears(UpdateAccepted(JOB, claimed.ticket))
    agent.hears(Described(JOB, ask.ticket, IN_PROGRESS, 2, "me", plan, "greet"))
    assert JOB in agent.state.back_offs
    agent.hears(AttemptStarted(ATTEMPT))
    assert JOB not in agent.state.back_offs


class TestAServiceThatWasRestoredFromABackup:
    """It shows an execution as QUEUED again, with the `queuedAt` that it had."""

    def known(self, agent: Any, outcome: Outcome) -> None:
        agent.hears(JournalOpened(ME, (), {JOB: Settled(outcome, QUEUED_AT)}))
        agent.hears(Connected())
        agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))

    def described(self, agent: Any, plan: Plan, **facts: Any) -> list[Effect]:
        facts = {"queued_at": QUEUED_AT, **facts}
        effects: list[Effect] = agent.hears(Described(JOB, agent.ticket, QUEUED, 1, "", plan, "greet", **facts))
        return effects

    def test_field_b5_the_outcome_is_told_again_and_nothing_starts(self, agent: Any, plan: Plan) -> None:
        self.known(agent, Outcome(SUCCEEDED))
        [claimed] = self.described(agent, plan)
        assert (claimed.status, claimed.expected_version) == (IN_PROGRESS, 1)
        [told] = agent.hears(UpdateAccepted(JOB, claimed.ticket))
        assert told.status is SUCCEEDED
        assert any(isinstance(e, Settle) for e in agent.hears(UpdateAccepted(JOB, told.ticket)))

    def test_field_b5_a_rejection_is_told_again_at_once(self, agent: Any, plan: Plan) -> None:
        self.known(agent, Outcome(REJECTED, "no", "document-refused"))
        [told] = self.described(agent, plan)
        assert (told.status, told.expected_version) == (REJECTED, 1)

    def test_field_b5_what_the_service_itself_had_ended_is_left_alone(self, agent: Any, plan: Plan) -> None:
        self.known(agent, Outcome(TIMED_OUT, "the service ended it"))
        assert self.described(agent, plan) == []
        assert agent.notes == ["left alone"]

    def test_field_b5_what_was_queued_later_is_another_execution(self, agent: Any, plan: Plan) -> None:
        self.known(agent, Outcome(SUCCEEDED))
        self.described(agent, plan, queued_at=QUEUED_AT + 1)
        assert isinstance(agent.phase(), Claiming)

    def test_field_b5_what_runs_goes_on_and_is_told(self, agent: Any, plan: Plan) -> None:
        running = Execution(JOB, Running(Work(plan.without_secrets)), "greet", queued_at=QUEUED_AT)
        agent.hears(JournalOpened(ME, (running,)))
        agent.hears(AttemptStarted(ATTEMPT))
        agent.hears(Connected())
        probe = agent.phase().updates.probe
        [told] = agent.hears(Described(JOB, probe, QUEUED, 1, "", plan, "greet", queued_at=QUEUED_AT))
        assert told.status is IN_PROGRESS
        agent.hears(UpdateAccepted(JOB, told.ticket))
        [report] = [e for e in agent.hears(AttemptEnded(ATTEMPT, WELL)) if isinstance(e, Update)]
        assert report.status is SUCCEEDED

    def test_field_b5_a_claim_in_doubt_of_what_has_ended_here_is_told_its_outcome(self, agent: Any, plan: Plan) -> None:
        claiming = Execution(JOB, Claiming(plan.without_secrets), "greet", queued_at=QUEUED_AT)
        agent.hears(JournalOpened(ME, (claiming,), {JOB: Settled(Outcome(SUCCEEDED), QUEUED_AT)}))
        [ask, *_] = agent.hears(Connected())
        [told] = agent.hears(Described(JOB, ask.ticket, IN_PROGRESS, 2, "me", plan, "greet", queued_at=QUEUED_AT))
        assert (told.status, told.expected_version) == (SUCCEEDED, 0)

    def test_field_b5_a_description_of_an_earlier_execution_of_the_id_is_outdated(self, agent: Any, plan: Plan) -> None:
        preparing = Execution(JOB, Preparing(Work(plan, number=2)), "greet", queued_at=QUEUED_AT)
        agent.hears(JournalOpened(ME, (preparing,)))
        agent.hears(Connected())
        agent.hears(Described(JOB, agent.phase().ticket, SUCCEEDED, 3, "me", plan, "greet", queued_at=QUEUED_AT - 9))
        assert isinstance(agent.phase(), Preparing)
        assert agent.state.back_offs[JOB].contradictions == 1
