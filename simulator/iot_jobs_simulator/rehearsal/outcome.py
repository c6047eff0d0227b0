"""How a rehearsal of one seed went: each execution, and when the job was aborted. Both engines answer in this form."""

from dataclasses import dataclass
from typing import NamedTuple

from iot_jobs_simulator.jobs.execution import ExecutionStatus


class ExecutionRow(NamedTuple):
    """One execution: the thing's number in the fleet, the attempt's from 1 on, and times in epoch seconds."""

    thing: int
    number: int
    status: ExecutionStatus
    queued_at: float
    started_at: float | None
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class RehearsedJob:
    """The executions by thing and number; `aborted_at` is None unless abortConfig ended the job."""

    rows: tuple[ExecutionRow, ...]
    aborted_at: float | None
