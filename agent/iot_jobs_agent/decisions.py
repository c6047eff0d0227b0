"""Says in a few words what the core decided, for the log at level debug: types and names, never a document's values."""

from collections.abc import Sequence

from iot_jobs_agent.core.effects import Effect
from iot_jobs_agent.core.events import AttemptEnded, AttemptNeverStarted, AttemptProgressed, AttemptStarted, Event, Tick
from iot_jobs_agent.core.job import ExecutionId
from iot_jobs_agent.core.state import State


def decision_facts(event: Event, before: State, after: State, effects: Sequence[Effect]) -> dict[str, object] | None:
    """Return what happened, which phases changed and what is to be done. None for a tick that changed nothing."""
    phases = _phase_changes(before, after)
    if isinstance(event, Tick) and not phases and not effects:
        return None
    facts: dict[str, object] = {"what": type(event).__name__}
    if execution := _execution_of(event):
        facts["execution"] = str(execution)
    if phases:
        facts["phases"] = phases
    if effects:
        facts["effects"] = [type(effect).__name__ for effect in effects]
    return facts


def _phase_changes(before: State, after: State) -> dict[str, str]:
    """Return the executions whose phase is of another type than before, as `old -> new`; "-" is none."""
    changes = {}
    for id_ in dict.fromkeys([*before.executions, *after.executions]):
        old, new = (
            type(state.executions[id_].phase).__name__.lower() if id_ in state.executions else "-"
            for state in (before, after)
        )
        if old != new:
            changes[str(id_)] = f"{old} -> {new}"
    return changes


def _execution_of(event: Event) -> ExecutionId | None:
    match event:
        case AttemptStarted() | AttemptProgressed() | AttemptEnded() | AttemptNeverStarted():
            return event.attempt.execution
        case _:
            return getattr(event, "execution", None)
