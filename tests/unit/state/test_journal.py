"""The journal on a real disk: what was written is there again, and what is damaged is set aside, never believed."""

import contextlib
import json
import os
import random
import re
import sqlite3
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iot_jobs_agent.core.effects import Forget, Save, Settle
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
    SETTLED_KEPT,
    Claiming,
    Delayed,
    Execution,
    Judging,
    Phase,
    Preparing,
    Rebooting,
    Reporting,
    Running,
    Stopping,
    Work,
)
from iot_jobs_agent.errors import JournalDamagedError, JournalError
from iot_jobs_agent.state.encoding import decode_phase, encode_phase
from iot_jobs_agent.state.journal import FILE_NAME, Journal, read_history
from iot_jobs_agent.state.schema import checksum

JOB = ExecutionId("team-a", "job-1", 2)
STEP = Step("one", "greet", StepKind.COMMAND, 1.5, 2.5, 3.5, OnInterrupt.RESUME, ignore_failure=True, allow_stderr=3)
PLAN = Plan((STEP, replace(STEP, name="zwei ☃\0", user="kiosk")))
RESULTS = (("one", "SUCCEEDED"), ("zwei", "FAILED"))
FAILED = Outcome(ExecutionStatus.FAILED, "exited with code 3: ☃\0\n", "exit-code", {"slot": "B"})
PHASES: list[Phase] = [
    Claiming(PLAN),
    Preparing(Work(PLAN, 1, 2, RESULTS)),
    Running(
        Work(PLAN, 1, 2, RESULTS, StartReason.POWER_LOSS, is_resumed=True, retries=1, interruptions=2, spent_s=3.5),
        "boot-1",
    ),
    Delayed(Work(PLAN), 60.0, {"agent": "me"}),
    Rebooting(Work(PLAN), "boot-1", {"agent": "me"}, is_ordered=True),
    Stopping(Work(PLAN), FAILED),
    Reporting(FAILED, {"agent": "me"}, 7, omits_details=True),
]

Open = Callable[[], Journal]


@pytest.fixture
def open_journal(tmp_path: Path) -> Iterator[Open]:
    """Makes journals of the same directory; closes them."""
    made: list[Journal] = []

    def make() -> Journal:
        made.append(Journal(tmp_path))
        return made[-1]

    yield make
    for journal in made:
        journal.close()
        journal.thread.shutdown()


def written(open_journal: Open, *effects: Save | Forget | Settle) -> bytes:
    """Write into a new journal and close it: the file's bytes."""
    journal = open_journal()
    journal.open()
    journal.write(effects)
    journal.close()
    return journal.path.read_bytes()


def settle(number: int, *, service_accepted: bool = True) -> Settle:
    return Settle(ExecutionId("", f"job-{number}", 1), "greet", FAILED, 1.5, service_accepted)


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: type(phase).__name__)
def test_a_phase_comes_back_equal_down_to_its_types(phase: Phase, open_journal: Open) -> None:
    execution = Execution(JOB, phase, "greet", 1767225600.123456, 1767225600)
    written(open_journal, Save(execution))
    [found] = open_journal().open().executions
    assert found == execution
    assert repr(found) == repr(execution)
    assert encode_phase(decode_phase(*encode_phase(phase))) == encode_phase(phase)


def test_a_journal_has_an_id_of_its_own_for_as_long_as_it_lives(open_journal: Open) -> None:
    first = open_journal()
    made = first.open().journal_id
    assert re.fullmatch(r"[0-9a-f]{8}", made)
    first.close()
    again = open_journal()
    assert again.open().journal_id == made
    again.close()
    again.set_aside()
    assert open_journal().open().journal_id not in {made, "00000000"}


def test_what_is_saved_twice_is_there_once_and_what_is_forgotten_not_at_all(open_journal: Open) -> None:
    first = Execution(JOB, PHASES[0], "greet", 1.0)
    other = replace(first, id=replace(JOB, execution_number=3))
    written(open_journal, Save(first), Save(replace(first, phase=PHASES[2])), Save(other), Forget(other.id))
    assert open_journal().open().executions == (replace(first, phase=PHASES[2]),)


def test_what_is_settled_is_history_whoever_had_the_last_word(open_journal: Open) -> None:
    written(open_journal, Save(Execution(JOB, PHASES[4], "greet", 1.5)), replace(settle(1), execution=JOB))
    written(open_journal, settle(2, service_accepted=False))
    recovered = open_journal().open()
    assert recovered.executions == ()
    assert [e.service_accepted for e in recovered.history] == [True, False]
    assert {k: (v.outcome.status, v.outcome.reason, v.outcome.code) for k, v in recovered.settled.items()} == {
        JOB: (FAILED.status, FAILED.reason, FAILED.code),
        ExecutionId("", "job-2", 1): (FAILED.status, FAILED.reason, FAILED.code),
    }


def test_an_execution_that_is_settled_again_has_one_entry_and_another_of_its_id_its_own(open_journal: Open) -> None:
    first = replace(settle(1, service_accepted=False), queued_at=1767225600)
    later = replace(first, queued_at=1767225601)
    written(open_journal, first, later, replace(first, service_accepted=True))
    recovered = open_journal().open()
    assert [(e.queued_at, e.service_accepted) for e in recovered.history] == [(1767225601, False), (1767225600, True)]
    written(open_journal, settle(2), settle(2))  # of a service that does not say when: whether it is one is not known
    assert len(open_journal().open().history) == 4


def test_only_the_last_of_the_history_are_kept(open_journal: Open) -> None:
    written(open_journal, *(settle(n) for n in range(SETTLED_KEPT + 50)))
    kept = open_journal().open().history
    assert len(kept) == SETTLED_KEPT
    assert (kept[0].execution.job_id, kept[-1].execution.job_id) == ("job-50", f"job-{SETTLED_KEPT + 49}")


def test_the_history_is_read_beside_an_open_journal_newest_first(open_journal: Open, tmp_path: Path) -> None:
    journal = open_journal()
    journal.open()
    journal.write([settle(1), settle(2)])
    assert [e.execution.job_id for e in read_history(tmp_path, 1)] == ["job-2"]
    journal.write([settle(3)])
    assert len(read_history(tmp_path)) == 3


def test_a_journal_that_is_being_made_has_no_history_yet(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        assert read_history(tmp_path) == []


def test_without_a_journal_there_is_no_history(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="has the agent run here"):
        read_history(tmp_path)
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(JournalError, match="cannot be read"):
        read_history(tmp_path)


def test_a_history_that_this_user_may_not_read_is_told_as_such(
    open_journal: Open, tmp_path: Path, as_nobody: Callable[..., Any]
) -> None:
    written(open_journal, settle(1))
    with as_nobody(), pytest.raises(JournalError, match="run the command with sudo, or as the agent's user"):
        read_history(tmp_path)


def test_all_of_a_write_is_there_or_none_of_it(open_journal: Open) -> None:
    journal = open_journal()
    journal.open()
    huge = replace(JOB, execution_number=2**63)
    with pytest.raises(OverflowError):
        journal.write([settle(1), Save(Execution(huge, PHASES[0]))])
    journal.close()
    assert open_journal().open().history == ()


def test_a_journal_that_is_not_open_takes_nothing(open_journal: Open) -> None:
    with pytest.raises(JournalError, match="not open"):
        open_journal().write([settle(1)])


def test_a_journal_is_for_its_owner_alone(open_journal: Open) -> None:
    journal = open_journal()
    journal.open()
    journal.write([settle(1)])
    files = list(journal.path.parent.iterdir())
    assert len(files) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@pytest.mark.parametrize("kind", ["a directory", "of a newer version", "without a disk"])
def test_what_cannot_be_used_is_not_set_aside(kind: str, open_journal: Open, tmp_path: Path) -> None:
    journal = open_journal()
    if kind == "a directory":
        journal.path.mkdir()
    elif kind == "of a newer version":
        written(open_journal, settle(1))
        with sqlite3.connect(journal.path) as database:
            database.execute("PRAGMA user_version=99")
        database.close()
    else:
        journal = Journal(tmp_path / "missing")
    with pytest.raises(JournalError) as caught:
        journal.open()
    journal.thread.shutdown()
    assert not isinstance(caught.value, JournalDamagedError)


def test_a_new_journal_has_its_name_on_the_disk_before_it_is_used(
    open_journal: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("iot_jobs_agent.state.journal.sync_directory", synced.append)
    open_journal().open()
    assert synced == [tmp_path]


def test_a_journal_that_somebody_else_holds_is_not_usable_and_not_damaged(open_journal: Open) -> None:
    journal = open_journal()
    journal.path.write_bytes(b"")
    with sqlite3.connect(journal.path) as database:
        database.execute("PRAGMA journal_mode=DELETE")
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(JournalError, match="locked"):
            Journal(journal.path.parent, busy_timeout_s=0.1).open()
    database.close()


@pytest.mark.parametrize("name", ["journal.sqlite", "journal.sqlite-wal"])
@pytest.mark.parametrize("is_replaced", [True, False], ids=["replaced", "removed"])
def test_field_c5_a_file_that_is_gone_is_noticed_before_the_next_commit(
    open_journal: Open, tmp_path: Path, name: str, is_replaced: bool
) -> None:
    journal = open_journal()
    journal.open()
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    if is_replaced:
        (tmp_path / "another").touch()  # so that the inode is not used again
        (tmp_path / name).write_bytes(content)
    with pytest.raises(JournalError, match=r"replaced or removed|No such file"):
        journal.write([Forget(JOB)])


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_field_c3_what_is_not_a_file_is_no_journal(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "journal.sqlite")
    with pytest.raises(JournalError, match=r"journal\.sqlite is not a file: move it away"):
        Journal(tmp_path).open()
    with pytest.raises(JournalError, match=r"journal\.sqlite cannot be read"):
        read_history(tmp_path)


class TestDamage:
    def test_every_damage_is_told_and_none_is_believed(self, open_journal: Open, tmp_path: Path) -> None:
        """A sample of flipped bits, cut ends and pages of zeros: nothing that counts is lost, or all is set aside."""
        saved = tuple(Execution(replace(JOB, job_id=f"job-{n}"), phase, "greet", 1.0) for n, phase in enumerate(PHASES))
        good = written(open_journal, *map(Save, saved), *(settle(n) for n in range(30)))
        chance = random.Random(7)  # noqa: S311 - a sample that repeats
        for number in range(120):
            bad = damaged(good, number, chance)
            directory = tmp_path / f"copy-{number}"
            directory.mkdir()
            (directory / FILE_NAME).write_bytes(bad)
            journal = Journal(directory)
            try:
                recovered = journal.open()
            except JournalDamagedError:
                aside = journal.set_aside()
                assert len(aside.read_bytes()) >= len(bad)
                assert journal.open().executions == ()
            else:
                found = sorted(recovered.executions, key=lambda execution: execution.id)
                assert found == (list(saved) if bad else [])
            journal.write([settle(100), Save(saved[0])])
            journal.close()
            journal.thread.shutdown()

    def test_a_row_with_another_content_is_damage(self, open_journal: Open) -> None:
        written(open_journal, Save(Execution(JOB, PHASES[0], "greet", 1.0)))
        self.change(open_journal, "UPDATE execution SET operation = 'other'")
        with pytest.raises(JournalDamagedError, match="checksum"):
            open_journal().open()

    @pytest.mark.parametrize(
        ("phase", "text"),
        [
            ("flying", "{}"),
            ("running", "{}"),
            ("running", "{"),
            ("running", "[]"),
            ("claiming", '{"plan": {"steps": [{"name": "one", "handler": "greet", "kind": "rocket"}]}}'),
            ("claiming", '{"plan": {"steps": [{"name": 1, "handler": "greet", "kind": "handler"}]}}'),
            ("claiming", '{"plan": {"steps": []}, "version": true}'),
            ("claiming", '{"plan": {"steps": []}, "height": 1}'),
            ("reporting", '{"outcome": {"status": "FAILED", "details": {"slot": 1}}}'),
            ("reporting", '{"outcome": {"status": "FAILED"}, "details": []}'),
        ],
    )
    def test_a_row_that_holds_no_phase_is_damage(self, open_journal: Open, phase: str, text: str) -> None:
        written(open_journal, Save(Execution(JOB, PHASES[2], "greet", 1.0)))
        with pytest.raises(ValueError, match="no phase"):
            decode_phase(phase, text)
        database = sqlite3.connect(open_journal().path)
        [fields] = database.execute("SELECT * FROM execution").fetchall()
        row = [*fields[:6], phase, text]
        with database:
            database.execute("REPLACE INTO execution VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [*row, checksum(row)])
        database.close()
        with pytest.raises(JournalDamagedError, match="no phase"):
            open_journal().open()

    def test_a_damaged_memory_is_left_out(self, open_journal: Open) -> None:
        written(open_journal, settle(1), settle(2))
        self.change(open_journal, "UPDATE history SET reason = 'other' WHERE job_id = 'job-1'")
        assert [e.execution.job_id for e in open_journal().open().history] == ["job-2"]

    def test_field_c3_a_memory_of_an_unknown_status_is_left_out(self, open_journal: Open, tmp_path: Path) -> None:
        written(open_journal, settle(1), settle(2))
        database = sqlite3.connect(open_journal().path)
        with database:
            [(entry, *fields, _), _] = database.execute("SELECT * FROM history").fetchall()
            fields[5] = "VANISHED"
            statement = "UPDATE history SET status = ?, checksum = ? WHERE entry = ?"
            database.execute(statement, [fields[5], checksum(fields), entry])
        database.close()
        assert [e.execution.job_id for e in open_journal().open().history] == ["job-2"]
        assert [e.execution.job_id for e in read_history(tmp_path)] == ["job-2"]

    def test_a_log_without_its_journal_is_damage_and_never_becomes_part_of_the_next_one(
        self, open_journal: Open, tmp_path: Path
    ) -> None:
        journal = open_journal()
        journal.open()
        journal.write([Save(Execution(JOB, PHASES[2], "greet", 1.0))])
        log = (tmp_path / f"{FILE_NAME}-wal").read_bytes()
        journal.close()
        journal.path.unlink()
        (tmp_path / f"{FILE_NAME}-wal").write_bytes(log)
        again = open_journal()
        with pytest.raises(JournalDamagedError, match="write-ahead log"):
            again.open()
        aside = again.set_aside()
        assert again.open().executions == ()
        assert aside.with_name(f"{aside.name}-wal").read_bytes() == log

    def test_no_two_damaged_journals_get_the_same_name(self, open_journal: Open) -> None:
        journal = open_journal()
        names = set()
        for _ in range(5):
            journal.path.write_bytes(b"no database" * 100)
            names.add(journal.set_aside())
        assert len(names) == 5

    def change(self, open_journal: Open, statement: str) -> None:
        database = sqlite3.connect(open_journal().path)
        with database:
            database.execute(statement)
        database.close()


def damaged(good: bytes, number: int, chance: random.Random) -> bytes:
    if number < 100:
        bad = bytearray(good)
        bad[chance.randrange(100, len(bad))] ^= 1 << chance.randrange(8)
        return bytes(bad)
    at = (number - 100) * len(good) // 20
    return good[:at] if number % 2 else good[: at & ~1023] + bytes(1024) + good[(at & ~1023) + 1024 :]


def test_no_member_of_a_plan_that_may_be_secret_is_written() -> None:
    secret = replace(
        STEP, argv=("curl", "https://x/?X-Amz-Signature=canary"), input='{"a": "canary"}', settings="canary"
    )
    phase = Execution(JOB, Running(Work(Plan((secret,))))).durable
    assert phase is not None
    assert "canary" not in json.dumps(encode_phase(phase.phase))
    assert Execution(JOB, Judging()).durable is None
