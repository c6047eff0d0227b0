"""The words of the core's playbook: how an execution comes as far as a test wants it."""

from dataclasses import replace
from typing import Any

from iot_jobs_agent.core.claimant import Claimant
from iot_jobs_agent.core.effects import (
    Describe,
    Fetch,
    Update,
)
from iot_jobs_agent.core.events import (
    AttemptEnded,
    AttemptStarted,
    Connected,
    Described,
    JournalOpened,
    Listed,
    Notified,
    UpdateAccepted,
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
    Step,
    StepKind,
)
from iot_jobs_agent.core.state import (
    Execution,
    Reporting,
    Running,
    Settings,
    Work,
)

ME = Claimant("me")
JOB = ExecutionId("", "job-1", 1)
ATTEMPT = AttemptId(JOB, 0, 1)
QUEUED, IN_PROGRESS = ExecutionStatus.QUEUED, ExecutionStatus.IN_PROGRESS
SUCCEEDED, FAILED, REJECTED = ExecutionStatus.SUCCEEDED, ExecutionStatus.FAILED, ExecutionStatus.REJECTED
CANCELED, TIMED_OUT = ExecutionStatus.CANCELED, ExecutionStatus.TIMED_OUT
WELL = AttemptResult(Ending.EXITED, code=0)
BADLY = AttemptResult(Ending.EXITED, code=3)
OTHER = ExecutionId("", "job-2", 1)
THEIRS = ExecutionId("team-a", "job-1", 1)
TWO_STEPS = Plan((Step("one", "greet", StepKind.COMMAND, ignore_failure=True), Step("two", "greet", StepKind.COMMAND)))


def described(
    agent: Any, status: ExecutionStatus, verdict: Plan | Refusal, claimed_by: str = "", **more: Any
) -> Described:
    return Described(JOB, agent.ticket, status, 1, claimed_by, verdict, "greet", **more)


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


def ours(agent: Any, status: ExecutionStatus, verdict: Plan | Refusal, claimed_by: str = ME.mark) -> Described:
    return Described(JOB, agent.ticket, status, 1, claimed_by, verdict, "greet")


def run_recovered(agent: Any, plan: Plan, execution: ExecutionId = JOB, **settings: Any) -> None:
    """Start with a journal that knows a running attempt, and be connected."""
    agent.state = replace(agent.state, settings=Settings(**settings))
    agent.hears(JournalOpened(ME, (Execution(execution, Running(Work(plan.without_secrets)), "greet"),)))
    still_ours(agent, agent.hears(Connected()), execution, plan)
    agent.hears(AttemptStarted(AttemptId(execution, 0, 1)))


def report_recovered(agent: Any, outcome: Outcome | None = None) -> None:
    agent.hears(JournalOpened(ME, (Execution(JOB, Reporting(outcome or Outcome(ExecutionStatus.SUCCEEDED)), "greet"),)))
    still_ours(agent, agent.hears(Connected()), JOB, Refusal(""))


def still_ours(agent: Any, effects: list[Any], execution: ExecutionId, verdict: Plan | Refusal) -> None:
    """Answer what is asked of everything claimed, once there is a connection."""
    [probe] = [e for e in effects if isinstance(e, Describe)]
    agent.hears(Described(execution, probe.ticket, ExecutionStatus.IN_PROGRESS, 2, "me", verdict, "greet"))


def sent(effects: list[Any]) -> list[Any]:
    return [e for e in effects if isinstance(e, Fetch | Describe | Update)]


def ignored(how: OnInterrupt) -> Plan:
    """Return a plan whose first step may fail."""
    step = Step("one", "h", StepKind.COMMAND, on_interrupt=how, ignore_failure=True)
    return Plan((step, replace(step, name="two")))


def claims(agent: Any, what: Plan) -> None:
    agent.hears(Connected())
    agent.hears(Listed("", agent.ticket, (JOB,), is_complete=True))
    agent.hears(Described(JOB, agent.ticket, ExecutionStatus.QUEUED, 1, "", what, "h"))
    agent.hears(UpdateAccepted(JOB, agent.ticket))


def prepares(agent: Any, what: Plan) -> list[Any]:
    ticket = agent.phase().ticket
    effects: list[Any] = agent.hears(Described(JOB, ticket, ExecutionStatus.IN_PROGRESS, 2, "me", what, "h"))
    return effects
