"""What an agent's history says of each execution, compared with the service's record of it, when a test's agents end.

A test in which the two cannot agree says so: `@pytest.mark.history_differs("why")`.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from iot_jobs_agent.core.details import legal
from iot_jobs_agent.errors import AgentError
from iot_jobs_agent.state.journal import FILE_NAME, HistoryEntry, read_history
from iot_jobs_simulator.jobs.execution import JobExecution
from iot_jobs_simulator.server import RunningSimulator

MARKER = "history_differs"
TOLD = {"SUCCEEDED", "FAILED", "REJECTED"}  # a device says these
SETTLED_WITHIN_S = 10.0  # a request that got no answer, and the next one


@dataclass(frozen=True)
class Witness:
    """Compares the history in a state directory with the record of a thing."""

    sim: RunningSimulator
    thing: str
    state: Path

    def problems(self) -> list[str]:
        """Say of which executions the two disagree, or that there is a journal that nobody can read."""
        try:
            history = self._history()
        except (AgentError, sqlite3.Error) as error:
            return [f"the history cannot be read: {error}"]
        return [f"{each.execution}: {problem}" for each in history if (problem := self._problem(each))]

    def unsettled(self) -> list[str]:
        """Name the executions that have ended at the service with an outcome of this agent's, but not here yet."""
        try:
            own = (self.state / "agent-id").read_text().strip()
            journals = (self.state / "journal-ids").read_text().split()
            known = {each.execution.job_id for each in self._history()}
        except (OSError, AgentError, sqlite3.Error):  # `problems` says the latter
            return []
        marks = {own, *(f"{own}.{journal}" for journal in journals)}
        return [
            each.job_id
            for each in self._record()
            if each.status in TOLD and _mark(each) in marks and each.job_id not in known
        ]

    async def wait_until_settled(self, has_news: Callable[[float], Any]) -> list[str]:
        """Wait until an agent that still runs knows how all has ended; what it does not know in time."""
        deadline = asyncio.get_running_loop().time() + SETTLED_WITHIN_S
        while missing := self.unsettled():
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0 or not await has_news(left_s):
                return missing and self.unsettled()
        return []

    def _history(self) -> Sequence[HistoryEntry]:
        if not (self.state / FILE_NAME).is_file():
            return ()
        return read_history(self.state)

    def _record(self) -> list[JobExecution]:
        return list(self.sim.store.executions_of_thing(self.thing))

    def _found(self, entry: HistoryEntry) -> JobExecution | None:
        wanted = entry.execution
        for each in self._record():
            is_same = (each.job_id, each.number) == (wanted.job_id, wanted.execution_number)
            if is_same and entry.queued_at in {0, int(each.queued_at)}:
                return each
        return None

    def _problem(self, entry: HistoryEntry) -> str:
        told, outcome = self._found(entry), entry.outcome
        if bool(outcome.code) != (outcome.status in {"FAILED", "REJECTED"}):
            return f"{outcome.status} has the code {outcome.code!r}"
        if told is None:
            is_said = entry.service_accepted or outcome.status == "REMOVED"
            return "" if is_said else f"{outcome.status}, but the service does not have it"
        if outcome.status == "REMOVED" and not entry.service_accepted and told.status not in TOLD:
            return ""  # another agent's by now, or queued again
        if told.status.value != outcome.status:
            return f"{outcome.status} here, {told.status.value} at the service"
        reason = (told.status_details or {}).get("reason", "")
        if (
            entry.service_accepted
            and told.status_details
            and reason != (legal(outcome.reason) if outcome.reason else "")
        ):
            return f"the reason here is {outcome.reason!r}, and {reason!r} at the service"
        if not entry.service_accepted and told.status.value in TOLD:
            return f"{outcome.status} at the service, though it is said not to have been accepted"
        return ""


def _mark(execution: JobExecution) -> str:
    """Return whose claim the execution is: an installation, and its journal."""
    return (execution.status_details or {}).get("agent", "")


def reason_to_differ(request: pytest.FixtureRequest) -> str:
    """Return why the test's history may differ, or nothing."""
    marker = request.node.get_closest_marker(MARKER)
    return str(marker.args[0]) if marker else ""
