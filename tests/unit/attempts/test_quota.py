"""What a handler may take of the disk: measured by the shim while the handler runs, whatever lies in JOB_DIR."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iot_jobs_agent.attempts import launchers
from iot_jobs_agent.attempts.launchers import plain
from iot_jobs_agent.core.job import AttemptId, Ending, ExecutionId
from iot_jobs_agent.core.outcome import outcome_of
from iot_jobs_agent.shim import files
from iot_jobs_agent.shim.quota import SECTOR_BYTES, measure_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Story

ATTEMPT = AttemptId(ExecutionId("", "job-1", 1), 0, 1)
MIB = 1 << 20
PLENTY = 1 << 40
# Waits until the shim has opened JOB_DIR `times` more: the measurement before that one is over by then.
MEASURED = """
import ctypes, json, os
libc = ctypes.CDLL(None)
watch = libc.inotify_init()
libc.inotify_add_watch(watch, os.environ["JOB_DIR"].encode(), 0x20)
def measured(times):
    for _ in range(times):
        os.read(watch, 4096)
def told(message):
    os.write(3, json.dumps({"message": message}).encode() + b"\\n")
"""
# Makes directories below each other whose path is longer than any path may be.
DEEP = """
at = os.open(os.environ["JOB_DIR"] + "/.tmp", os.O_RDONLY)
for _ in range(25):
    os.mkdir("d" * 200, dir_fd=at)
    at = os.open("d" * 200, os.O_RDONLY, dir_fd=at)
"""
HANGING = """
import os, sys
sys.path.append(sys.argv[1])
from iot_jobs_agent.shim import quota, supervisor
reader, writer = os.pipe()
def hanging(directory, _):
    if "gate" not in os.listdir(directory):
        return 0, True
    os.close(os.open(directory + "/gate", os.O_WRONLY))
    return os.read(reader, 1)
quota.measure_bytes = hanging
sys.exit(supervisor.main(sys.argv[2]))
"""
WRITE_2_MIB = "head -c 2097152 /dev/zero > "


def soon(directory: Path) -> int:
    """Start the shim with a quota that is looked at all the time."""
    spec = json.loads((directory / files.SPEC).read_text())
    (directory / files.SPEC).write_text(json.dumps(spec | {"quota_every_s": 0.01}))
    return plain(directory)


async def test_a_handler_over_its_quota_is_stopped_and_told_how_much_there_was(
    new_story: "Callable[..., Story]",
) -> None:
    result = await new_story(soon).run(WRITE_2_MIB + "big; sleep 1000", quota_mb=1)
    assert (result.ending, result.leftovers_alive, result.duration_s < 15) == (Ending.QUOTA, 0, True)
    assert result.reason.startswith("JOB_DIR took ")
    assert result.reason.endswith(" MiB or more, quota_mb is 1")
    assert 1 < float(result.reason.split()[2]) <= 2.1
    outcome = outcome_of(result)
    assert (outcome.status, outcome.code) == ("FAILED", "quota")
    assert outcome.reason == f"stopped over its disk quota: {result.reason}"


async def test_a_handler_that_cleans_up_when_it_is_stopped_was_over_its_quota_all_the_same(
    new_story: "Callable[..., Story]",
) -> None:
    script = "import signal\ndef clean(*_): os.remove('big'); measured(2); os._exit(0)\nsignal.signal(15, clean)\n"
    script = MEASURED + script + "open('big', 'wb').write(bytes(2 << 20))\nwhile True: signal.pause()"
    result = await new_story(soon).python(script, quota_mb=1)
    assert (result.ending, result.reason[-13:]) == (Ending.QUOTA, "quota_mb is 1")


async def test_within_its_quota_a_handler_is_measured_again_and_again_and_left_alone(
    new_story: "Callable[..., Story]",
) -> None:
    story = new_story(soon)
    story.start("", argv=(sys.executable, "-I", "-c", MEASURED + "measured(3)"), quota_mb=1)
    result = await story.ended()
    assert (result.ending, result.code, result.notes) == (Ending.EXITED, 0, ())


async def test_what_grows_late_is_found(new_story: "Callable[..., Story]") -> None:
    script = MEASURED + "measured(2)\nopen('big', 'wb').write(bytes(2 << 20))\nwhile True: measured(1)"
    assert (await new_story(soon).python(script, quota_mb=1)).ending is Ending.QUOTA


async def test_what_cannot_be_measured_is_said_and_stops_nothing(new_story: "Callable[..., Story]") -> None:
    result = await new_story(soon).python(MEASURED + DEEP + "measured(2)", quota_mb=1)
    assert (result.ending, result.code) == (Ending.EXITED, 0)
    assert result.notes == ("a part of JOB_DIR could not be measured against quota_mb",)


async def test_a_disk_that_never_answers_keeps_the_shim_from_nothing(
    new_story: "Callable[..., Story]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launchers, "BOOT", HANGING)
    story = new_story(soon)
    # The gate opens when the shim opens it too, from within the measurement that then hangs.
    script = "import signal\nos.mkfifo('gate')\nopen('gate').close()\ntold('up')\nsignal.pause()"
    story.start("", argv=(sys.executable, "-I", "-c", MEASURED + script))
    await story.said("up")
    story.attempts.stop(ATTEMPT)
    result = await story.ended()
    assert (result.ending, result.leftovers_alive) == (Ending.STOPPED, 0)


def test_blocks_on_the_disk_count_and_not_lengths(tmp_path: Path) -> None:
    before, _ = measure_bytes(str(tmp_path), PLENTY)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(100 * MIB)
    (tmp_path / "full").write_bytes(b"x" * MIB)
    found, is_whole = measure_bytes(str(tmp_path), PLENTY)
    assert (MIB <= found - before < 2 * MIB, is_whole) == (True, True)


def test_a_file_with_many_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * MIB)
    one, _ = measure_bytes(str(tmp_path), PLENTY)
    for number in range(7):
        (tmp_path / f"link-{number}").hardlink_to(tmp_path / "file")
    many, _ = measure_bytes(str(tmp_path), PLENTY)
    assert one == many


def test_what_links_point_to_does_not_count(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "file").write_bytes(b"x" * MIB)
    (inside / "file").symlink_to(outside / "file")
    (inside / "directory").symlink_to(outside)
    (inside / "loop").symlink_to(inside)
    os.mkfifo(inside / "fifo")
    found, is_whole = measure_bytes(str(inside), PLENTY)
    assert (found < MIB, is_whole) == (True, True)
    assert measure_bytes(str(inside / "directory"), PLENTY) == (0, False)  # swapped for a link meanwhile


def test_empty_files_are_not_nothing_and_measuring_ends_at_what_is_enough(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).touch()
    assert measure_bytes(str(tmp_path), PLENTY)[0] == 100 * SECTOR_BYTES
    assert measure_bytes(str(tmp_path), 10 * SECTOR_BYTES)[0] == 11 * SECTOR_BYTES


def test_what_vanishes_meanwhile_is_nothing(tmp_path: Path) -> None:
    assert measure_bytes(str(tmp_path / "gone"), PLENTY) == (0, True)


def test_an_unreadable_directory_is_left_out_and_said(tmp_path: Path, ordinary: None) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    found, is_whole = measure_bytes(str(tmp_path), PLENTY)
    assert (found > 0, is_whole) == (True, False)


def test_files_that_can_be_listed_and_not_looked_at_are_said(tmp_path: Path, ordinary: None) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "big").write_bytes(b"x" * MIB)
    closed.chmod(0o400)
    try:
        assert measure_bytes(str(tmp_path), PLENTY)[1] is False
    finally:
        closed.chmod(0o700)


def test_a_name_too_long_to_be_opened_is_said(tmp_path: Path) -> None:
    at = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=at)
        deeper = os.open("d" * 200, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = deeper
    os.close(at)
    assert measure_bytes(str(tmp_path), PLENTY)[1] is False
