"""JOB_DIR: what an attempt finds in it, what survives which end, and how it goes."""

import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from iot_jobs_agent.attempts.directory import Facts
from iot_jobs_agent.core.job import AttemptId, Ending, ExecutionId

if TYPE_CHECKING:
    from conftest import Story

ATTEMPT = AttemptId(ExecutionId("", "job-1", 1), 0, 1)
NEXT = replace(ATTEMPT, number=2)
UP = 'echo \'{"message": "up"}\' >&3; '
LOOK = (
    'echo "$1" $JOB_PHASE $JOB_REASON $JOB_ATTEMPT; find . -type f ! -name ".result*" | sort; cat checkpoint.json || :'
)
LEFT = 'echo \'{"checkpoint": {"copied": 3}}\' >&3; echo kept > file; '

GET_FLAGS, SET_FLAGS, IMMUTABLE = 0x80086601, 0x40086602, 0x10

Reason = Literal["killed", "reboot", "power-loss"]


async def looked(story: "Story", facts: Facts, attempt: AttemptId = NEXT) -> list[str]:
    """Run an attempt that tells why it was started and what it finds."""
    story.start(LOOK, attempt, facts)
    result = await story.ended(attempt)
    assert result.code == 0
    return result.stdout.split("\n")


async def kill_both(story: "Story") -> None:
    """Kill the handler and its shim, as a power cut would end them, right after the handler was heard."""
    story.start(LEFT + UP + "exec sleep 1000")
    await story.said("up")
    shim = story.pid_of_shim()
    os.kill(shim, signal.SIGSTOP)
    for pid in story.alive():
        if pid != shim:
            os.kill(pid, signal.SIGKILL)
    os.kill(shim, signal.SIGKILL)
    assert (await story.ended()).ending is Ending.LOST


@pytest.mark.parametrize("reason", ["killed", "reboot", "power-loss"])
async def test_a_resume_finds_the_directory_and_the_checkpoint_as_they_were(story: "Story", reason: Reason) -> None:
    await kill_both(story)
    seen = await looked(story, Facts("thing-1", "resume", reason))
    assert seen == [f"resume resume {reason} 2", "./checkpoint.json", "./file", '{"copied": 3}']


@pytest.mark.parametrize("reason", ["killed", "reboot", "power-loss"])
async def test_a_rerun_finds_an_empty_directory(story: "Story", reason: Reason) -> None:
    await kill_both(story)
    seen = await looked(story, Facts("thing-1", "run", reason))
    assert seen == [f"run run {reason} 2", ""]


async def test_a_retry_finds_the_directory_and_the_checkpoint_as_they_were(story: "Story") -> None:
    await story.run(LEFT)
    seen = await looked(story, Facts("thing-1", "run", "retry"))
    assert seen == ["run run retry 2", "./checkpoint.json", "./file", '{"copied": 3}']


async def test_the_next_step_finds_the_directory_but_not_the_checkpoint(story: "Story") -> None:
    await story.run(LEFT)
    seen = await looked(story, Facts("thing-1"), replace(ATTEMPT, step=1))
    assert seen == ["run run first 1", "./file", ""]


async def test_a_handler_that_removes_its_directory_finds_a_new_one(story: "Story") -> None:
    await story.run('cd /; rm -r "$JOB_DIR"')
    assert await looked(story, Facts("thing-1", "resume", "killed")) == ["resume resume killed 2", ""]


async def test_a_checkpoint_is_on_the_disk_before_what_was_said_after_it(story: "Story") -> None:
    story.start("echo '{\"checkpoint\": 1}' >&3; " + UP + "exec sleep 1000")
    await story.said("up")
    assert (story.job_directory() / "checkpoint.json").read_text() == "1"
    story.attempts.stop(ATTEMPT)
    await story.ended()


async def test_a_checkpoint_that_cannot_be_kept_is_noted(story: "Story") -> None:
    result = await story.run("mkdir checkpoint.json; echo '{\"checkpoint\": 1}' >&3")
    assert result.notes == ("a checkpoint could not be kept: Is a directory",)


async def test_a_lost_attempt_tells_how_long_it_lived_as_far_as_it_is_known(story: "Story") -> None:
    story.start(UP + "exec sleep 1000")
    await story.said("up")
    pid, age_s = (story.directory() / "lock").read_text().split()
    assert (int(pid), 0 <= float(age_s) < 20) == (story.pid_of_shim(), True)
    os.kill(int(pid), signal.SIGKILL)
    assert (await story.ended()).duration_s == float(age_s)


@pytest.mark.parametrize("lock", ["", "17", "17 soon", "17 -1.0", "17 inf", "17 nan"])
async def test_a_lifetime_that_cannot_be_read_is_none(story: "Story", lock: str) -> None:
    story.directory().mkdir()
    (story.directory() / "lock").write_text(lock)
    story.attempts.reattach([ATTEMPT])
    result = await story.ended()
    assert (result.ending, result.duration_s) == (Ending.LOST, 0.0)


@pytest.fixture
def immovable() -> Iterator[Callable[[Path], None]]:
    """Make a file or directory one that not even root can remove or rename (ioctl_iflags(2)); undone at the end."""
    made: list[int] = []

    def is_set(fd: int, flag: int) -> None:
        flags = fcntl.ioctl(fd, GET_FLAGS, bytes(8))
        wanted = int.from_bytes(flags, sys.byteorder) & ~IMMUTABLE | flag
        fcntl.ioctl(fd, SET_FLAGS, wanted.to_bytes(8, sys.byteorder))

    def make(path: Path) -> None:
        fd = os.open(path, os.O_RDONLY)
        try:
            is_set(fd, IMMUTABLE)
        except OSError:
            os.close(fd)
            pytest.skip("not root, or a file system without immutable files")
        made.append(fd)

    yield make
    for fd in made:
        is_set(fd, 0)
        os.close(fd)


async def test_a_rerun_finds_an_empty_directory_though_the_old_one_cannot_be_removed(
    story: "Story", immovable: Callable[[Path], None]
) -> None:
    await story.run(LEFT)
    immovable(story.job_directory() / "file")
    assert await looked(story, Facts("thing-1", "run", "reboot")) == ["run run reboot 2", ""]
    story.attempts.forget(ATTEMPT.execution)
    story.attempts._thread.submit(int).result()
    assert not story.job_directory().exists()
    assert [path.name for path in story.state.glob("trash/*/*")] == ["file"]  # the next time perhaps


async def test_a_directory_that_cannot_be_moved_stops_its_rerun_and_not_the_agent(
    story: "Story", immovable: Callable[[Path], None]
) -> None:
    await story.run(LEFT)
    immovable(story.job_directory())
    story.start(LOOK, NEXT, Facts("thing-1", "run", "killed"))
    result = await story.ended(NEXT)
    assert (result.ending, result.reason) == (
        Ending.CANNOT_START,
        "the attempt could not be prepared: Operation not permitted",
    )
    story.attempts.forget(ATTEMPT.execution)
    story.attempts._thread.submit(int).result()
    assert story.job_directory().exists()
    assert list((story.state / "attempts").iterdir()) == []


async def test_what_is_forgotten_is_gone_even_if_its_owner_may_not_look_into_it(ordinary: None, story: "Story") -> None:
    await story.run("mkdir -p d/e; echo x > d/e/f; ln -s / d/link; chmod 0 d/e d; chmod 500 .")
    story.attempts.forget(ATTEMPT.execution)
    story.attempts.forget(ATTEMPT.execution)
    story.attempts._thread.submit(int).result()
    for name in ("attempts", "jobs", "trash"):
        assert list((story.state / name).iterdir()) == []


async def test_a_link_in_its_place_leads_nowhere(story: "Story", tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    await story.run(f"cd /; rm -r $JOB_DIR; ln -s {tmp_path}/elsewhere $JOB_DIR")
    story.attempts.forget(ATTEMPT.execution)
    story.attempts._thread.submit(int).result()
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o755
    assert list((story.state / "trash").iterdir()) == []


async def test_a_directory_of_nobody_goes_at_the_start(story: "Story") -> None:
    for name in (".job-1.1", ".job-2.1"):
        (story.state / "jobs" / name).mkdir()
    await story.attempts.abandon_others({ATTEMPT.execution})
    assert [path.name for path in (story.state / "jobs").iterdir()] == [".job-1.1"]


async def test_forgetting_follows_no_job_id_out_of_its_directory(story: "Story") -> None:
    (story.state / "jobs" / "a").mkdir()
    (story.state / "kept.1").mkdir()
    story.attempts.forget(ExecutionId("a/", "/../kept", 1))
    assert (story.state / "kept.1").exists()
