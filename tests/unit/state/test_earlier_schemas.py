"""Journals that the builds with schema 1 and 2 wrote themselves are taken over, or set aside as they were."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from iot_jobs_agent.core.job import (
    ExecutionId,
    ExecutionStatus,
    OnInterrupt,
    Outcome,
    Plan,
    StartReason,
    Step,
    StepKind,
)
from iot_jobs_agent.core.state import (
    Claiming,
    Delayed,
    Execution,
    Phase,
    Preparing,
    Rebooting,
    Reporting,
    Running,
    Stopping,
    Work,
)
from iot_jobs_agent.errors import JournalDamagedError
from iot_jobs_agent.state.journal import FILE_NAME, Journal, read_history
from iot_jobs_agent.state.schema import SCHEMA_VERSION, checksum

CLAIMED_AT = 1767225600.123456
FAILED = Outcome(ExecutionStatus.FAILED, "exited with code 3: ☃\n", "cannot-start", {"slot": "B"})
CANCELED = replace(FAILED, status=ExecutionStatus.CANCELED)
HISTORY = [("settled-well", "", True), ("settled-unstartable", "cannot-start", True)]
HISTORY += [("settled-unswept", "processes-left", True), ("settled-lost", "lost", False)]


def phases(schema: int) -> dict[str, Phase]:
    """What the build with that schema meant by the phases that it wrote."""
    more = {"retry_limit": 5, "retry_delay_s": 6.5, "quota_mb": 7} if schema > 1 else {}
    step = Step(
        "one", "greet", StepKind.COMMAND, 1.5, 2.5, 3.5, OnInterrupt.RESUME, exclusive=True, may_reboot=True,
        ignore_failure=True, allow_stderr=3, include_stdout=False, **more,
    )  # fmt: skip
    plan = Plan((step, replace(step, name="zwei ☃", on_interrupt=OnInterrupt.RERUN)))
    work, boot = Work(plan, 1, 2, (("one", "SUCCEEDED"),)), ""
    since_2: dict[str, Phase] = {}
    if schema > 1:
        work = replace(work, reason=StartReason.POWER_LOSS, is_resumed=True, retries=1, interruptions=2)
        work, boot = replace(work, reboots=2, spent_s=3.5), "boot-1"
        since_2["waiting"] = Delayed(work, 60.0, {"agent": "me"})
        since_2["rebooting"] = Rebooting(work, boot, {"agent": "me"}, is_ordered=True)
    return {
        "claiming": Claiming(plan),
        "preparing": Preparing(work),
        "reporting": Reporting(FAILED, {"agent": "me"}, 7, omits_details=True),
        "running": Running(work, boot),
        "stopping": Stopping(work if schema > 1 else replace(work, results=()), CANCELED),
        **since_2,
    }


@pytest.fixture(params=[1, 2])
def schema(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def journal(schema: int, tmp_path: Path) -> Iterator[Journal]:
    database = sqlite3.connect(tmp_path / FILE_NAME)
    database.executescript(Path(__file__).with_name(f"journal_of_schema_{schema}.sql").read_text())
    database.close()
    journal = Journal(tmp_path)
    yield journal
    journal.close()
    journal.thread.shutdown()


def change(journal: Journal, statement: str) -> None:
    database = sqlite3.connect(journal.path)
    with database:
        database.execute(statement)
    database.close()


def test_every_phase_is_taken_over_and_the_history_is_too(journal: Journal, schema: int) -> None:
    expected = {
        ExecutionId("team-a", name, 2): Execution(ExecutionId("team-a", name, 2), phase, "greet", CLAIMED_AT)
        for name, phase in phases(schema).items()
    }
    for _ in range(2):  # once from the earlier schema, once from this one
        recovered = journal.open()
        assert {execution.id: execution for execution in recovered.executions} == expected
        history = [(e.execution.job_id, e.outcome.code, e.service_accepted) for e in recovered.history]
        assert history == HISTORY
        journal.close()
    database = sqlite3.connect(journal.path)
    assert database.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    database.close()


def test_the_history_can_be_read_before_an_agent_took_it_over(journal: Journal) -> None:
    entries = read_history(journal.path.parent)
    assert [(e.execution.job_id, e.outcome.code, e.service_accepted) for e in entries[::-1]] == HISTORY


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE execution SET operation = 'other' WHERE job_id = 'running'",
        "UPDATE execution SET checksum = 0 WHERE job_id = 'claiming'",
    ],
)
def test_a_damaged_execution_leaves_the_file_as_it_was(journal: Journal, schema: int, statement: str) -> None:
    change(journal, statement)
    with pytest.raises(JournalDamagedError, match="checksum"):
        journal.open()
    database = sqlite3.connect(journal.set_aside())
    assert database.execute("PRAGMA user_version").fetchone() == (schema,)
    assert len(database.execute("SELECT * FROM execution").fetchall()) == len(phases(schema))
    database.close()


@pytest.mark.parametrize("text", ["{", "[]", "1", '{"plan": []}', '{"plan": {}, "outcome": [], "work": 1}'])
def test_a_row_that_no_build_wrote_is_damage_even_if_its_checksum_is_right(journal: Journal, text: str) -> None:
    fields = ["", "job-1", 1, "greet", 1.0, "running", text]
    database = sqlite3.connect(journal.path)
    with database:
        database.execute("INSERT INTO execution VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [*fields, checksum(fields)])
    database.close()
    with pytest.raises(JournalDamagedError):
        journal.open()


def test_a_damaged_memory_is_left_out(journal: Journal) -> None:
    change(journal, "UPDATE history SET reason = 'other' WHERE job_id = 'settled-lost'")
    assert [entry.execution.job_id for entry in journal.open().history] == [job for job, *_ in HISTORY[:-1]]
