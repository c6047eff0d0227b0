"""Keeps the tally of `run --once`: what was settled, what is left, and the exit status that follows."""

import os
from dataclasses import dataclass

from iot_jobs_agent.core.decide import untaken
from iot_jobs_agent.core.effects import Settle
from iot_jobs_agent.core.job import ExecutionStatus
from iot_jobs_agent.core.state import State


@dataclass(slots=True)
class Tally:
    """Counts outcomes. `was_reached` is true once there was a connection, `is_done` if nothing was left pending."""

    settled: int = 0
    succeeded: int = 0
    was_reached: bool = False
    is_done: bool = False

    def count(self, settle: Settle) -> None:
        """Count an outcome. A success only counts as one if the service accepted it."""
        self.settled += 1
        self.succeeded += settle.outcome.status is ExecutionStatus.SUCCEEDED and settle.service_accepted

    def exit_status(self, state: State) -> int:
        """Return 0 if all succeeded and nothing is left, 69 if the service was never reached, else 1."""
        if not self.was_reached:
            return os.EX_UNAVAILABLE
        return 0 if self.is_done and self.succeeded == self.settled and not left(state) else 1


def left(state: State) -> list[str]:
    """Return the names of the executions that are not settled: under way, or not taken on."""
    return [str(each) for each in (*state.executions, *untaken(state))]
