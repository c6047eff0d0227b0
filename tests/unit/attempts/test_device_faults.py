"""What the device lacks, or what somebody did to the agent's own files, is not told as a failure of the job."""

import asyncio
import contextlib
import errno
import fcntl
import gc
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iot_jobs_agent.attempts import attempts as attempts_module
from iot_jobs_agent.attempts.attempts import Attempts
from iot_jobs_agent.attempts.directory import Facts
from iot_jobs_agent.attempts.launchers import plain
from iot_jobs_agent.core.events import AttemptEnded, AttemptNeverStarted
from iot_jobs_agent.core.job import AttemptId, Ending, ExecutionId, StartReason
from iot_jobs_agent.core.outcome import ending_in_words
from iot_jobs_agent.shim.lean import PR_SET_CHILD_SUBREAPER, prctl

if TYPE_CHECKING:
    from conftest import Story

ATTEMPT = AttemptId(ExecutionId("", "job-1", 1), 0, 1)


async def never_started(story: "Story") -> AttemptNeverStarted:
    await story.until(lambda: any(isinstance(e, AttemptNeverStarted) for e in story.events))
    assert not any(isinstance(e, AttemptEnded) for e in story.events)
    assert not story.directory().exists()
    [event] = [e for e in story.events if isinstance(e, AttemptNeverStarted)]
    story.events.remove(event)
    return event


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EMFILE, errno.ENOMEM, errno.ENOSPC])
async def test_field_c1_what_the_device_lacks_is_said_and_the_attempt_can_start_later(
    new_story: "Callable[..., Story]", number: int
) -> None:
    lacks = [number]

    def launcher(directory: Path) -> int:
        if lacks:
            raise OSError(lacks.pop(), os.strerror(number))
        return plain(directory)

    story = new_story(launcher)
    story.start("exit 0")
    assert (await never_started(story)).why == os.strerror(number)
    assert (await story.run("echo once >> ledger")).ending is Ending.EXITED
    assert (story.job_directory() / "ledger").read_text() == "once\n"


async def test_field_c1_no_inodes_for_the_attempts_files(story: "Story", monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(story.directory() / "spec.json"))

    with monkeypatch.context() as patched:
        patched.setattr(attempts_module.attempt_directory, "fill", fill)
        story.start("exit 0")
        assert "No space left on device" in (await never_started(story)).why
    assert (await story.run("exit 0")).code == 0


@pytest.mark.parametrize("name", ["attempts", "jobs", "trash"])
async def test_field_c1_a_directory_that_was_removed_is_made_again(story: "Story", name: str) -> None:
    shutil.rmtree(story.state / name)
    assert (await story.run("exit 0")).code == 0


@pytest.mark.parametrize("name", ["attempts", "jobs"])
def test_field_c3_a_directory_that_nobody_may_read_is_opened_again(tmp_path: Path, ordinary: None, name: str) -> None:
    (tmp_path / name).mkdir(mode=0)
    Attempts(tmp_path, plain, lambda _: None).prepare()
    assert list((tmp_path / name).iterdir()) == []


@pytest.mark.parametrize("name", ["attempts", "jobs", "trash"])
def test_what_is_no_directory_is_named_with_the_fix(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match=f"it is not a directory; move it away: '{tmp_path}/{name}'"):
        Attempts(tmp_path, plain, lambda _: None).prepare()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, Path.touch])
def test_field_c3_whatever_stands_in_the_place_of_the_wake_up_fifo_is_put_away(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "wake")
    Attempts(tmp_path, plain, lambda _: None).prepare()
    assert (tmp_path / "wake").is_fifo()


async def test_field_c3_a_fifo_in_the_place_of_a_jobs_directory_blocks_nothing(story: "Story") -> None:
    await story.run('rm -rf "$JOB_DIR"/.tmp; cd /; rmdir "$JOB_DIR" || rm -rf "$JOB_DIR"; mkfifo "$JOB_DIR"')
    story.attempts.forget(ATTEMPT.execution)
    story.attempts._thread.submit(int).result(timeout=10)
    assert list((story.state / "trash").iterdir()) == []


@pytest.mark.parametrize("is_of_another", [True, False], ids=["another's pid", "no pid"])
async def test_field_c4_a_lock_that_the_handler_holds_keeps_recovery_waiting_for_a_while_only(
    new_story: "Callable[..., Story]", monkeypatch: pytest.MonkeyPatch, is_of_another: bool
) -> None:
    """What holds it here is this very process, which must not be taken for the shim, and not be ended."""
    monkeypatch.setattr(attempts_module, "LOOKS", 3)
    first = new_story(lambda _: -1)
    directory = first.directory()
    directory.mkdir()
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT)
    os.write(lock, b"%d 1.0" % os.getppid() if is_of_another else b"")
    fcntl.flock(lock, fcntl.LOCK_EX)
    later = new_story()
    assert later.attempts.reattach([ATTEMPT]) == set()
    assert (await later.ended()).ending is Ending.LOST
    os.close(lock)


@pytest.mark.parametrize("pid", ["99999999999", "-1", "0x", ""])
async def test_field_c4_a_pid_that_none_can_be_in_the_lock_is_no_shim(
    new_story: "Callable[..., Story]", monkeypatch: pytest.MonkeyPatch, pid: str
) -> None:
    monkeypatch.setattr(attempts_module, "LOOKS", 3)
    directory = new_story(lambda _: -1).directory()
    directory.mkdir()
    (directory / "lock").write_text(f"{pid} 1.0")
    (directory / "spec.json").write_text('{"token": "\\ud800"}')
    lock = os.open(directory / "lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    later = new_story()
    assert later.attempts.reattach([ATTEMPT]) == set()
    assert (await later.ended()).ending is Ending.LOST
    os.close(lock)


async def test_field_d2_a_new_execution_of_an_id_is_not_told_the_end_of_the_one_before(story: "Story") -> None:
    """The thread is busy, so what the one before has left is still there when the new one starts."""
    assert (await story.run("exit 0")).code == 0
    story.events.clear()
    go = threading.Event()
    story.attempts._thread.submit(go.wait)
    story.attempts.forget(ATTEMPT.execution)
    story.start("exit 3")
    go.set()
    assert (await story.ended()).code == 3


async def test_field_c1_an_end_is_told_once_there_are_descriptors_again(story: "Story") -> None:
    story.start('mkfifo go; echo \'{"message": "up"}\' >&3; read word < go; exit 3')
    await story.said("up")
    story.go()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    loop = asyncio.get_running_loop()
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    loop.call_later(0.5, resource.setrlimit, resource.RLIMIT_NOFILE, limits)
    assert (await story.ended()).code == 3


async def test_field_c1_what_cannot_be_put_away_ends_no_agent(story: "Story") -> None:
    """As the daemon does, which ends on what nobody has expected."""
    surprises: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: surprises.append(context))
    assert (await story.run("exit 0")).code == 0
    shutil.rmtree(story.state / "trash")
    (story.state / "results").touch()
    story.attempts.forget(ATTEMPT.execution)
    other = AttemptId(ExecutionId("", "job-2", 1), 0, 1)
    story.start("exit 0", attempt=other)  # after that, in the same thread
    await story.ended(other)
    gc.collect()
    assert surprises == []
    assert not story.attempts._leaving


@pytest.mark.parametrize("kind", ["a file", "a dangling link"])
@pytest.mark.parametrize("name", ["attempts", "jobs"])
async def test_field_c1_what_stands_in_the_place_of_a_directory_fails_no_job(
    story: "Story", name: str, kind: str
) -> None:
    shutil.rmtree(story.state / name)
    if kind == "a file":
        (story.state / name).touch()
    else:
        (story.state / name).symlink_to("/nonexistent/directory")
    story.start("exit 0")
    assert name in (await never_started(story)).why
    (story.state / name).unlink()
    assert (await story.run("exit 0")).code == 0


async def test_field_c1_a_jobs_directory_on_another_file_system_is_the_jobs_own_fault(story: "Story") -> None:
    """Else one job, whose handler has put a link to a read-only place there, would hold up all others."""
    await story.run('rm -rf "$JOB_DIR"; ln -s /proc/self "$JOB_DIR"')
    story.start("exit 0", attempt=replace(ATTEMPT, number=2), facts=Facts("thing-1", "run", StartReason.RETRY))
    ended = await story.ended(replace(ATTEMPT, number=2))
    assert ended.ending is Ending.CANNOT_START


async def test_field_c6_a_handler_is_killed_before_its_supervisor_when_memory_runs_out(story: "Story") -> None:
    result = await story.run("cat /proc/self/oom_score_adj /proc/$PPID/oom_score_adj")
    ours = int(Path("/proc/self/oom_score_adj").read_text())
    assert result.stdout.split() == [str(max(200, ours)), str(ours)]


FORGED = """printf '%s' '{"ending": "exited", "code": 0, "duration_s": 1.0}' > ../../attempts/.job-1.1.0.1/result.json
setsid sleep 1000 & echo '{"message": "up"}' >&3; """


async def test_field_d2_a_supervisor_that_was_killed_has_no_result(story: "Story") -> None:
    story.start(FORGED + "kill -9 $PPID; sleep 1000")
    result = await story.ended()
    assert result.ending is Ending.LOST
    assert not story.alive()


def launch_for_another(directory: Path) -> int:
    """Start the shim as an earlier agent has: when that is gone, the shim belongs to init, which sees how it ends."""
    program = "import sys; from pathlib import Path; from iot_jobs_agent.attempts.launchers import plain; "
    prctl(PR_SET_CHILD_SUBREAPER, 0)
    try:
        command = [sys.executable, "-c", f"{program}print(plain(Path(sys.argv[1])))", str(directory)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 1)


async def adopted(new_story: "Callable[..., Story]", script: str) -> "Story":
    """Start a handler that waits, and let another agent find it."""
    first = new_story(launch_for_another)
    first.start(f'mkfifo go; {script} echo \'{{"message": "up"}}\' >&3; read word < go; exit 0')
    await first.started()  # whoever launched it is gone, so it has come to init: this process adopts again from now on
    await first.said("up")
    pid = first.pid_of_shim()
    assert int(Path(f"/proc/{pid}/stat").read_text().split()[3]) != os.getpid()
    first.attempts.close()
    later = new_story()
    later.attempts.reattach([ATTEMPT])
    await later.started()
    return later


async def test_field_d2_the_result_of_an_adopted_shim_that_leaves_nothing_is_believed(
    new_story: "Callable[..., Story]",
) -> None:
    later = await adopted(new_story, "")
    later.go()
    result = await later.ended()
    assert (result.ending, result.code) == (Ending.EXITED, 0)


async def test_field_d2_a_result_beside_living_processes_is_not_believed_after_a_restart(
    new_story: "Callable[..., Story]",
) -> None:
    later = await adopted(new_story, FORGED)
    os.kill(later.pid_of_shim(), signal.SIGKILL)
    result = await later.ended()
    assert result.ending is Ending.LOST
    assert result.leftovers_killed
    assert not later.alive()


async def test_field_d4_a_stop_that_the_agent_did_not_ask_for_is_said_to_be_none_of_its(story: "Story") -> None:
    result = await story.run("printf s > ../../attempts/.job-1.1.0.1/control; sleep 1000")
    assert result.ending is Ending.STOPPED
    assert ending_in_words(result).startswith("stopped on a request that was not the agent's after ")


@pytest.fixture(autouse=True)
def own_children() -> None:
    """Reap what earlier tests of this process have left, so that their pids cannot be found here."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
