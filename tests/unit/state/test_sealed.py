"""A sealed file counts only as its owner wrote it."""

import os
from pathlib import Path

import pytest

from iot_jobs_agent.state.sealed import read_sealed, write_sealed

VALUE = {"a": [1, 2.5, None, True], "ö": "x" * 1000}


def sealed(directory: Path) -> Path:
    file = directory / "sealed.json"
    write_sealed(file, VALUE)
    return file


def test_what_was_written_is_read(tmp_path: Path) -> None:
    file = sealed(tmp_path)
    assert read_sealed(file, os.geteuid()) == VALUE
    assert file.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["sealed.json"]


def test_a_file_that_changed_in_any_bit_is_none(tmp_path: Path) -> None:
    file = sealed(tmp_path)
    good = file.read_bytes()
    for place in range(len(good)):
        file.write_bytes(bytes([*good[:place], good[place] ^ 4, *good[place + 1 :]]))
        assert read_sealed(file, os.geteuid()) == {}, place
    for length in range(0, len(good), 7):
        file.write_bytes(good[:length])
        assert read_sealed(file, os.geteuid()) == {}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610])
def test_a_file_that_others_may_use_is_none(tmp_path: Path, mode: int) -> None:
    file = sealed(tmp_path)
    file.chmod(mode)
    assert read_sealed(file, os.geteuid()) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_file_and_its_directory_must_be_the_owners(tmp_path: Path) -> None:
    file = sealed(tmp_path)
    os.chown(file, 12345, -1)
    assert read_sealed(file, 0) == read_sealed(file, 12345) == {}
    os.chown(tmp_path, 12345, -1)
    assert read_sealed(file, 0) == {}
    assert read_sealed(file, 12345) == VALUE
    write_sealed(file, {"b": 1})
    assert read_sealed(file, 12345) == VALUE, "in another user's directory, nothing is written"


def test_what_is_no_regular_file_or_no_object_is_none(tmp_path: Path) -> None:
    file = sealed(tmp_path)
    link = tmp_path / "link.json"
    link.symlink_to(file)
    assert read_sealed(link, os.geteuid()) == {}
    os.mkfifo(tmp_path / "fifo.json")
    assert read_sealed(tmp_path / "fifo.json", os.geteuid()) == {}
    assert read_sealed(tmp_path / "none.json", os.geteuid()) == {}
    write_sealed(file, [])  # type: ignore[arg-type]  # what a later version may write
    assert read_sealed(file, os.geteuid()) == {}


def test_what_cannot_be_written_is_left_out(tmp_path: Path) -> None:
    file = sealed(tmp_path)
    write_sealed(file, {"a": object()})
    write_sealed(tmp_path / "nowhere/sealed.json", VALUE)
    assert read_sealed(file, os.geteuid()) == VALUE
