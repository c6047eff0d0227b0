"""A journal as the version before left it: schema 1, with an execution in each of the phases that there were."""

import json
import os
import sqlite3
from pathlib import Path

from tests.faults.crash_life import Life
from tests.faults.crash_service import Job, plan_of

from iot_jobs_agent.core.effects import Save
from iot_jobs_agent.core.job import AttemptId, ExecutionStatus, Outcome, Plan
from iot_jobs_agent.core.state import Claiming, Execution, Phase, Preparing, Reporting, Running, Stopping, Work
from iot_jobs_agent.state.journal import FILE_NAME, _checksum

CANCELED = Outcome(ExecutionStatus.CANCELED, "the service ended it")


def of_schema_1(life: Life) -> None:
    """Let the life have what schema 1 can hold, and its service what belongs to it."""
    for name in ("claiming", "preparing", "running", "stopping", "reporting"):
        nature, status = ("canceled", "CANCELED") if name == "stopping" else ("steps", "IN_PROGRESS")
        job = Job(name, nature, status, 2, life.agent_id)
        plan = plan_of(job)
        assert isinstance(plan, Plan)
        phase = _phase(name, plan.bare)
        life.service.jobs[job.id] = job
        life._write([Save(Execution(job.id, phase, job.nature, 1e9))])
        if isinstance(phase, Running):
            life.mark(started=AttemptId(job.id, phase.work.step, phase.work.number).directory_name)
    life.mark(service=life.service.text)


def _phase(name: str, plan: Plan) -> Phase:
    second = Work(plan, 1, 1, (("first", "SUCCEEDED"),))
    phases = {
        "claiming": Claiming(plan),
        "preparing": Preparing(second),
        "running": Running(second),
        "stopping": Stopping(Work(plan), CANCELED),
    }
    return phases.get(name, Reporting(Outcome(ExecutionStatus.SUCCEEDED)))


def end_with_schema_1(state: Path) -> None:
    """Rewrite a journal: a phase held what is in its `work` since. Ends the process; the write-ahead log stays."""
    database = sqlite3.connect(state / FILE_NAME, isolation_level=None)
    for *fields, _ in database.execute("SELECT * FROM execution").fetchall():
        phase = json.loads(fields[-1])
        fields[-1] = json.dumps(phase | phase.pop("work", {}))
        database.execute("REPLACE INTO execution VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [*fields, _checksum(fields)])
    database.execute("PRAGMA user_version=1")
    os._exit(0)
