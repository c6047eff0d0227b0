"""Journals as earlier versions left them: schemas 1 and 2."""

import json
import os
import sqlite3
from pathlib import Path

from tests.faults.crash.life import Life
from tests.faults.crash.service import Job, plan_of

from iot_jobs_agent.core.effects import Save
from iot_jobs_agent.core.job import AttemptId, ExecutionStatus, Outcome, Plan
from iot_jobs_agent.core.state import Claiming, Execution, Phase, Preparing, Reporting, Running, Stopping, Work
from iot_jobs_agent.state.journal import FILE_NAME, _checksum

OLD_PHASES = {"delayed": "waiting"}
OLD_MEMBERS = {"is_ordered": "is_asked", "omits_details": "is_bare"}
OLD_CODES = {"processes-left": "unswept", "cannot-start": "unstartable"}
CANCELED = Outcome(ExecutionStatus.CANCELED, "the service ended it")


def of_schema_1(life: Life) -> None:
    """Let the life have what schema 1 can hold, and its service what belongs to it."""
    for name in ("claiming", "preparing", "running", "stopping", "reporting"):
        nature, status = ("canceled", "CANCELED") if name == "stopping" else ("steps", "IN_PROGRESS")
        job = Job(name, nature, status, 2, life.agent_id)
        plan = plan_of(job)
        assert isinstance(plan, Plan)
        phase = _phase(name, plan.without_secrets)
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
    """Rewrite a journal. Ends the process; the write-ahead log stays."""
    rewrite(state / FILE_NAME, 1, close=False)
    os._exit(0)


def rewrite(journal: Path, schema: int, *, close: bool = True) -> None:
    """Give a journal the words of schema 2, and for schema 1 the place that a phase's `work` had before."""
    database = sqlite3.connect(journal, isolation_level=None)
    for *known, name, text, _ in database.execute("SELECT * FROM execution").fetchall():
        phase = {OLD_MEMBERS.get(key, key): value for key, value in json.loads(text).items()}
        if schema == 1:
            phase |= phase.pop("work", {})
        fields = [*known, OLD_PHASES.get(name, name), json.dumps(phase)]
        database.execute("REPLACE INTO execution VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [*fields, _checksum(fields)])
    for entry, *fields, _ in database.execute("SELECT * FROM history").fetchall():
        fields[6] = OLD_CODES.get(fields[6], fields[6])
        row = [fields[6], _checksum(fields), entry]
        database.execute("UPDATE history SET code = ?, checksum = ? WHERE entry = ?", row)
    database.execute("ALTER TABLE history RENAME COLUMN service_accepted TO was_accepted")
    database.execute(f"PRAGMA user_version={schema}")
    if close:
        database.close()
