"""How large the journal's pages are, of which each transaction writes whole ones."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from iot_jobs_agent.core.effects import Settle
from iot_jobs_agent.core.job import ExecutionId, ExecutionStatus, Outcome
from iot_jobs_agent.state.journal import FILE_NAME, Journal

SETTLED = Settle(ExecutionId("", "job-1", 1), "greet", Outcome(ExecutionStatus.SUCCEEDED), 1.5, service_accepted=True)


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[tuple[Journal, list[str]]]:
    """Open a journal; with it, the jobs of its history."""
    journal = Journal(directory)
    try:
        yield journal, [entry.execution.job_id for entry in journal.open().history]
    finally:
        journal.close()
        journal.thread.shutdown()


@pytest.mark.parametrize("page_bytes", [1024, 4096], ids=["a new one", "that of an earlier build"])
def test_a_new_journal_has_small_pages_and_an_older_one_keeps_its_own(tmp_path: Path, page_bytes: int) -> None:
    if page_bytes == 4096:
        with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as database:
            database.execute("PRAGMA journal_mode=WAL")
    with opened(tmp_path) as (journal, known):
        assert known == []
        journal.write([SETTLED])
        assert journal._database is not None
        assert journal._database.execute("PRAGMA page_size").fetchone() == (page_bytes,)
        assert journal._database.execute("PRAGMA wal_autocheckpoint").fetchone() == ((4 << 20) // page_bytes,)
    with opened(tmp_path) as (_, known):
        assert known == ["job-1"]
