"""Journals as earlier versions left them: schemas 1 and 2."""

import json
import os
import re
import sqlite3
from pathlib import Path

from tests.faults.crash.life import Life
from tests.faults.crash.service import Job, plan_of

from iot_jobs_agent.core.effects import Save
from iot_jobs_agent.core.job import AttemptId, ExecutionStatus, Outcome, Plan
from iot_jobs_agent.core.state import Claiming, Execution, Phase, Preparing, Reporting, Running, Stopping, Work
from iot_jobs_agent.state.journal import FILE_NAME
from iot_jobs_agent.state.schema import checksum, select_executions, select_history

OLD_TABLES = Path(__file__).parents[2] / "unit/state/journal_of_schema_1.sql"  # schema 2 had the same
CREATE = re.compile(r"^CREATE TABLE .*?;$", re.DOTALL | re.MULTILINE)
OLD_PHASES = {"delayed": "waiting"}
OLD_MEMBERS = {"is_ordered": "is_asked", "omits_details": "is_bare"}
OLD_CODES = {"processes-left": "unswept", "cannot-start": "unstartable"}
CANCELED = Outcome(ExecutionStatus.CANCELED, "the service ended it")


def of_schema_1(life: Life) -> None:
    """Let the life have what schema 1 can hold, and its service what belongs to it."""
    for name in ("claiming", "preparing", "running", "stopping", "reporting"):
        nature, status = ("canceled", "CANCELED") if name == "stopping" else ("steps", "IN_PROGRESS")
        job = Job(name, nature, status, 2, life.claimant.agent_id)
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
    """Give a journal the tables and words of schema 2, and for schema 1 the place that a phase's `work` had before."""
    database = sqlite3.connect(journal, isolation_level=None)
    executions = list(select_executions(database))
    history = list(select_history(database))
    for statement in ("DROP TABLE execution", "DROP TABLE history", *CREATE.findall(OLD_TABLES.read_text())):
        database.execute(statement)
    for namespace, job_id, number, _, *known, name, text in executions:
        phase = {OLD_MEMBERS.get(key, key): value for key, value in json.loads(text).items()}
        if schema == 1:
            phase |= phase.pop("work", {})
            phase.get("plan", {})["final_step"] = True
        fields = [namespace, job_id, number, *known, OLD_PHASES.get(name, name), json.dumps(phase)]
        database.execute("INSERT INTO execution VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [*fields, checksum(fields)])
    for namespace, job_id, number, _, operation, status, reason, code, *rest in history:
        fields = [namespace, job_id, number, operation, status, reason, OLD_CODES.get(code, code), *rest]
        database.execute(
            "INSERT INTO history VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [*fields, checksum(fields)]
        )
    database.execute(f"PRAGMA user_version={schema}")
    if close:
        database.close()
