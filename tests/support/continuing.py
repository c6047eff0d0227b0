"""The same for what is tried again, resumed or rebooted for."""

from dataclasses import replace
from typing import Any

from tests.support.playbook import ME

from iot_jobs_agent.core.events import (
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
    Plan,
    Step,
    StepKind,
)
from iot_jobs_agent.core.state import (
    Delayed,
    Execution,
    Rebooting,
    Running,
    State,
    Stopping,
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


def described(agent: Any, status: str, verdict: Any, execution: ExecutionId = JOB, claimed_by: str = "me") -> list[Any]:
    """Answer the request in flight for `execution`."""
    [ticket] = {
        t
        for t in range(agent.state.last_ticket + 1)
        if (e := agent.state.executions.get(execution)) is not None and t and in_flight(e, t)
    }
    effects: list[Any] = agent.hears(Described(execution, ticket, S(status), 1, claimed_by, verdict, "greet"))
    return effects


def in_flight(execution: Execution, ticket: int) -> bool:
    phase = execution.phase
    if isinstance(phase, Running | Delayed | Rebooting):
        return ticket == phase.updates.probe
    return not isinstance(phase, Stopping) and ticket == phase.ticket


def call_ticket(agent: Any, execution: ExecutionId = JOB) -> int:
    phase = agent.phase(execution)
    ticket: int = phase.updates.ticket if isinstance(phase, Running | Delayed | Rebooting) else phase.ticket
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
    agent.hears(JournalOpened(ME, kept))
    return agent
