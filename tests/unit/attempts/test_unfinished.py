"""What a handler keeps unfinished outside of its directory goes with the execution, and nothing else does."""

import fcntl
import json
import os
from pathlib import Path

import pytest

from iot_jobs_agent.attempts import trash, unfinished
from iot_jobs_agent.handler import Job


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """An unfinished file and its note, in the trash that the directory of its execution has come to."""
    path = tmp_path / "root" / ".file.part"
    path.parent.mkdir()
    path.write_text("half")
    path.with_name(".file.part.json").write_text("{}")
    (tmp_path / "trash" / "job").mkdir(parents=True)
    found = path.stat()
    note = {"path": str(path), "device": found.st_dev, "inode": found.st_ino}
    (tmp_path / "trash" / "job" / "unfinished.json").write_text(json.dumps(note))
    return path


def test_field_d1_an_unfinished_file_goes_with_the_directory_of_its_execution(part: Path, tmp_path: Path) -> None:
    trash.empty(tmp_path / "trash")
    assert not list(part.parent.iterdir())
    assert not list((tmp_path / "trash").iterdir())


def test_field_d1_a_file_that_has_taken_its_name_stays(part: Path, tmp_path: Path) -> None:
    part.rename(tmp_path / "finished")
    part.write_text("another's")
    trash.empty(tmp_path / "trash")
    assert (part.read_text(), (tmp_path / "finished").read_text()) == ("another's", "half")


def test_field_d1_an_unfinished_file_that_another_download_uses_stays(part: Path, tmp_path: Path) -> None:
    with part.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        trash.empty(tmp_path / "trash")
    assert part.read_text() == "half"


def test_field_d1_an_unfinished_file_outlives_the_directory_that_a_rerun_replaces(part: Path, tmp_path: Path) -> None:
    unfinished.keep(tmp_path / "trash" / "job")
    trash.empty(tmp_path / "trash")
    assert part.read_text() == "half"


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"path": 3}', '{"path": "a", "device": 0, "inode": 0}'])
def test_a_note_that_is_none_removes_nothing(part: Path, tmp_path: Path, note: str) -> None:
    (tmp_path / "trash" / "job" / "unfinished.json").write_text(note)
    trash.empty(tmp_path / "trash")
    assert part.read_text() == "half"


def test_a_fifo_in_the_place_of_the_note_blocks_nothing(part: Path, tmp_path: Path) -> None:
    note = tmp_path / "trash" / "job" / "unfinished.json"
    note.unlink()
    os.mkfifo(note)
    trash.empty(tmp_path / "trash")
    assert part.read_text() == "half"


@pytest.mark.parametrize("note", [b"{", b"[" * 100_000, b'{"path": 7}', b'"x"', None], ids=str)
def test_a_note_that_another_handler_spoilt_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: bytes | None
) -> None:
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
    (tmp_path / "good" / "unfinished.json").write_text(json.dumps({"path": "/srv/.a.part"}))
    if note is None:
        os.mkfifo(tmp_path / "bad" / "unfinished.json")
    else:
        (tmp_path / "bad" / "unfinished.json").write_bytes(note)
    job = Job.__new__(Job)
    monkeypatch.setattr(job, "dir", tmp_path / "good", raising=False)
    assert job.unfinished_files() == {Path("/srv/.a.part")}
