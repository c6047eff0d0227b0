"""The agent's side of attempts: stories of starting, stopping, dying and coming back."""

import contextlib
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iot_jobs_agent.attempts import directory as attempt_directory
from iot_jobs_agent.attempts.launchers import plain
from iot_jobs_agent.core.events import AttemptEnded, AttemptProgressed, AttemptStarted
from iot_jobs_agent.core.job import AttemptId, Ending, ExecutionId
from iot_jobs_agent.shim import files

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Story

ATTEMPT = AttemptId(ExecutionId("", "job-1", 1), 0, 1)
UP = 'echo \'{"message": "up"}\' >&3; '
ORPHAN = "setsid sh -c 'setsid sleep 1000 & echo $! > pid; exec sleep 1000' & while [ ! -s pid ]; do :; done; "
CLEARED = "env -i setsid /bin/sh -c 'echo $$ > bare; exec sleep 1000' & while [ ! -s bare ]; do :; done; "


async def test_an_attempt_is_told_to_have_started_and_then_to_have_ended(story: "Story") -> None:
    result = await story.run("exit 0")
    assert story.events == [AttemptStarted(ATTEMPT), AttemptEnded(ATTEMPT, result)]
    assert result.ending is Ending.EXITED


async def test_the_directory_exists_before_the_shim_is_started(new_story: "Callable[..., Story]") -> None:
    seen: list[bool] = []

    def launcher(directory: Path) -> int:
        seen.append((directory / files.SPEC).exists() and (directory / files.JOB).exists())
        return plain(directory)

    await new_story(launcher).run("exit 0")
    assert seen == [True]


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, set[str]]]:
    """Directories that were fsynced, each with the names that were in it then."""
    seen: list[tuple[Path, set[str]]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_dir():
            seen.append((path, {each.name for each in path.iterdir()}))

    monkeypatch.setattr(os, "fsync", watched)
    return seen


async def test_the_directories_of_a_new_installation_survive_power_loss(
    synced: list[tuple[Path, set[str]]], new_story: "Callable[..., Story]"
) -> None:
    state = new_story().state
    assert any(path == state and names >= {"attempts", "jobs", "trash"} for path, names in synced)


async def test_a_checkpoint_of_an_earlier_step_does_not_come_back(
    synced: list[tuple[Path, set[str]]], story: "Story"
) -> None:
    await story.run("echo '{\"checkpoint\": 1}' >&3")
    synced.clear()
    second = replace(ATTEMPT, step=1)
    story.start("exit 0", attempt=second)
    await story.ended(second)
    assert any(path == story.job_directory() and "checkpoint.json" not in names for path, names in synced)


async def test_an_attempt_does_not_exist_before_the_checkpoint_of_the_step_before_is_gone(story: "Story") -> None:
    """Otherwise one that power loss cut short before it began would be resumed with it."""
    await story.run("mkdir checkpoint.json")  # which is not gone so easily
    second = replace(ATTEMPT, step=1)
    story.start("exit 0", attempt=second)
    assert (await story.ended(second)).ending is Ending.CANNOT_START
    assert not story.directory(second).exists()


async def test_an_attempt_is_never_started_twice(story: "Story") -> None:
    story.start("mkfifo go; " + UP + "echo once >> ledger; read word < go")
    await story.said("up")
    story.start("echo twice >> ledger")
    story.go()
    result = await story.ended()
    assert (story.job_directory() / "ledger").read_text() == "once\n"
    assert [type(event) for event in story.events] == [AttemptStarted, AttemptProgressed, AttemptEnded]
    assert result.ending is Ending.EXITED


async def test_an_attempt_that_a_forgotten_agent_started_is_told_as_it_was(new_story: "Callable[..., Story]") -> None:
    result = await new_story().run("echo once >> ledger; exit 3")
    later = new_story()
    assert await later.run("echo twice >> ledger") == result
    assert (later.job_directory() / "ledger").read_text() == "once\n"


async def test_a_file_in_the_place_of_an_attempt_keeps_it_from_starting(story: "Story") -> None:
    story.directory().write_text("")
    result = await story.run("exit 0")
    assert (result.ending, result.reason) == (Ending.CANNOT_START, "the attempt could not be prepared: File exists")


async def test_what_may_hold_secrets_goes_when_the_attempt_is_over(story: "Story") -> None:
    await story.run("exit 0", input='{"url": "canary"}')
    kept = [p.name for p in story.directory().iterdir()]
    assert sorted(kept) == ["lock", "result.json", "shim.log"]


async def test_a_job_id_that_leads_elsewhere_makes_no_directory(story: "Story") -> None:
    hostile = AttemptId(ExecutionId("", "../../x", 1), 0, 1)
    story.start("exit 0", attempt=hostile)
    assert (await story.ended(hostile)).ending is Ending.CANNOT_START
    assert list((story.state / "attempts").iterdir()) == []


async def test_a_stop_ends_the_whole_family(story: "Story") -> None:
    story.start(ORPHAN + UP + "wait")
    await story.said("up")
    story.attempts.stop(ATTEMPT)
    story.attempts.stop(ATTEMPT)
    assert (await story.ended()).ending is Ending.STOPPED
    assert not story.alive()


async def test_a_stop_right_after_the_start_is_not_lost(story: "Story") -> None:
    story.start("sleep 1000")
    story.attempts.stop(ATTEMPT)
    assert (await story.ended()).ending is Ending.STOPPED


async def test_a_stop_that_comes_too_late_changes_nothing(story: "Story") -> None:
    await story.run("exit 0")
    story.attempts.stop(ATTEMPT)
    assert [type(e) for e in story.events] == [AttemptStarted, AttemptEnded]


async def test_a_killed_shim_takes_everything_with_it(story: "Story") -> None:
    story.start(ORPHAN + CLEARED + UP + "wait")
    await story.said("up")
    bare = Path("/proc", (story.job_directory() / "bare").read_text().strip())
    assert bare.exists()
    os.kill(story.pid_of_shim(), signal.SIGKILL)
    result = await story.ended()
    assert (result.ending, result.leftovers_alive) == (Ending.LOST, 0)
    assert result.leftovers_killed >= 3
    assert not story.alive()
    assert not bare.exists()


async def test_a_handler_that_removes_its_attempts_directory_has_lost_the_attempt_and_nothing_more(
    story: "Story",
) -> None:
    result = await story.run('sleep 1000 & rm -r "$(dirname "$JOB_FILE")"; exit 0')
    assert result.ending is Ending.LOST
    assert story.alive() == []
    second = replace(ATTEMPT, number=2)
    story.start("exit 3", second)
    assert (await story.ended(second)).code == 3


async def test_a_shim_that_is_asked_to_go_stops_its_handler_and_leaves_no_result(story: "Story") -> None:
    story.start("trap 'exit 0' TERM; " + UP + "while :; do sleep 0.01; done")
    await story.said("up")
    os.kill(story.pid_of_shim(), signal.SIGTERM)
    assert (await story.ended()).ending is Ending.LOST
    assert not (story.directory() / files.RESULT).exists()
    assert not story.alive()


async def test_a_shim_goes_on_when_a_terminal_or_a_keyboard_is_gone(story: "Story") -> None:
    story.start("mkfifo go; " + UP + "read word < go; exit 7")
    await story.said("up")
    for number in (signal.SIGHUP, signal.SIGINT):
        os.kill(story.pid_of_shim(), number)
    story.go()
    assert (await story.ended()).code == 7


async def test_a_shim_that_finds_a_result_starts_nothing(new_story: "Callable[..., Story]") -> None:
    specs: list[bytes] = []

    def launcher(directory: Path) -> int:
        specs.append((directory / files.SPEC).read_bytes())
        return plain(directory)

    story = new_story(launcher)
    await story.run("echo started >> ledger")
    (story.directory() / files.SPEC).write_bytes(specs[0])
    (story.directory() / files.JOB).write_text("{}")
    os.mkfifo(story.directory() / files.CONTROL)
    _, status = os.waitpid(plain(story.directory()), 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert (story.job_directory() / "ledger").read_text() == "started\n"


async def test_a_lost_shim_does_not_cost_another_attempt_its_life(story: "Story") -> None:
    other = replace(ATTEMPT, execution=ExecutionId("", "job-2", 1))
    story.start(UP + "sleep 1000")
    story.start('mkfifo go; echo \'{"message": "ready"}\' >&3; read word < go; exit 7', other)
    await story.said("up")
    await story.said("ready")
    os.kill(story.pid_of_shim(), signal.SIGKILL)
    assert (await story.ended()).ending is Ending.LOST
    story.go("job-2")
    assert (await story.ended(other)).code == 7


async def hang(story: "Story") -> None:
    """Stop the shim of a handler that is up, and return once it has stopped: it is our child."""
    await story.said("up")
    pid = story.pid_of_shim()
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED)


async def test_a_shim_that_hangs_beyond_the_handlers_time_is_given_up_and_nothing_of_it_lives(
    story: "Story", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "iot_jobs_agent.attempts.attempts.HUNG_S", -24.0
    )  # as if 24 s of the 20 s and of the grace of 5 s were over
    story.start(ORPHAN + UP + "exec sleep 1000")
    await hang(story)
    assert (await story.ended()).ending is Ending.LOST
    assert not story.alive()


@pytest.mark.parametrize(
    "spec", ["", "{}", '{"max_timeout_s": NaN, "grace_s": 1}', '{"max_timeout_s": -9, "grace_s": 1}']
)
def test_limits_that_cannot_be_read_end_no_attempt_early(tmp_path: Path, spec: str) -> None:
    (tmp_path / "spec.json").write_text(spec)
    assert attempt_directory.read_limits(tmp_path) == (604800, 600)
    assert attempt_directory.read_limits(tmp_path / "missing") == (604800, 600)


@pytest.mark.parametrize("is_of_an_earlier_agent", [False, True])
async def test_a_shim_that_hangs_when_it_is_to_stop_is_given_up(
    new_story: "Callable[..., Story]", monkeypatch: pytest.MonkeyPatch, is_of_an_earlier_agent: bool
) -> None:
    agent = new_story()
    agent.start(ORPHAN + UP + "exec sleep 1000", grace_s=0.2)
    await hang(agent)
    if is_of_an_earlier_agent:
        agent.attempts.close()
        agent = new_story()
        assert agent.attempts.reattach([ATTEMPT]) == set()
    monkeypatch.setattr("iot_jobs_agent.attempts.attempts.HUNG_S", 0.1)
    agent.attempts.stop(ATTEMPT)
    agent.attempts.stop(ATTEMPT)
    assert (await agent.ended()).ending is Ending.LOST
    assert not agent.alive()


async def test_nothing_is_kept_open_for_an_attempt_that_is_over(story: "Story") -> None:
    def held() -> list[str]:
        found = []
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the one that lists them is gone by now
                found.append(str(descriptor.readlink()))
        return [target for target in found if "pidfd" in target or target.startswith(str(story.directory()))]

    story.start(UP + "sleep 1000")
    await story.said("up")
    assert held()
    story.attempts.stop(ATTEMPT)
    await story.ended()
    assert held() == []


async def test_a_full_disk_costs_progress_but_not_the_handler(new_story: "Callable[..., Story]") -> None:
    def launcher(directory: Path) -> int:
        for name in (files.EVENTS, files.EVENTS + ".new", files.STDOUT):
            (directory / name).symlink_to("/dev/full")
        return plain(directory)

    story = new_story(launcher)
    result = await story.run(UP + "echo output; exit 0")
    assert (result.code, result.stdout) == (0, "")
    assert result.notes == ("progress could not be kept: No space left on device",)
    assert story.progressed == []


async def test_a_result_that_cannot_be_written_is_a_lost_attempt(new_story: "Callable[..., Story]") -> None:
    def launcher(directory: Path) -> int:
        (directory / (files.RESULT + ".new")).symlink_to("/dev/full")
        return plain(directory)

    result = await new_story(launcher).run("exit 0")
    assert result.ending is Ending.LOST
