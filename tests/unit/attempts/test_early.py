"""A shim that is started before its attempt: used once, invisible to the handler, and gone when nobody needs it."""

import os
import select
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iot_jobs_agent.attempts import ready
from iot_jobs_agent.attempts.launchers import Early
from iot_jobs_agent.core.events import AttemptStarted
from iot_jobs_agent.core.job import AttemptId, Ending, ExecutionId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Story

ATTEMPT = AttemptId(ExecutionId("", "job-1", 1), 0, 1)
UP = 'echo \'{"message": "up"}\' >&3; '
SEES = (
    "import os, sys; print(sorted((k, v) for k, v in os.environ.items() if k != 'JOB_TOKEN'))\n"
    "for name in sorted(os.listdir('/proc/self/fd')):\n"
    "    try: print(name, os.readlink(f'/proc/self/fd/{name}').partition(':')[0])\n"
    "    except OSError: pass\n"
    "status = open('/proc/self/status').read().splitlines()\n"
    "print([line for line in status if line[:4] in ('SigB', 'SigI', 'SigC', 'Umas', 'CapE', 'CapB')], os.getcwd())\n"
    "print(os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid(), os.nice(0))\n"
)


@pytest.fixture
def early() -> "Iterator[Early]":
    made = Early()
    yield made
    made.dismiss()


def is_gone(pid: int) -> bool:
    """Tell whether there is no process of that number, not even one that nobody has reaped."""
    return not Path(f"/proc/{pid}").exists()


async def wait_ready(story: "Story", early: Early) -> int:
    """Have a shim wait; its pid."""
    story.attempts.get_ready()
    story.attempts._thread.submit(int).result()
    assert early.pid
    return early.pid


async def test_an_attempt_is_run_by_the_shim_that_waited(new_story: "Callable[..., Story]", early: Early) -> None:
    story = new_story(early)
    pid = await wait_ready(story, early)
    story.start("mkfifo go; " + UP + "read word < go; echo $word; echo oops >&2; exit 7")
    await story.said("up")
    assert story.pid_of_shim() == pid
    assert early.pid == 0
    holds = Path(f"/proc/{pid}/fd")
    assert (holds / "0").readlink() == (holds / "1").readlink() == Path("/dev/null")
    assert (holds / "2").readlink() == story.directory() / "shim.log"
    story.go()
    result = await story.ended()
    assert (result.ending, result.code, result.stdout, result.stderr) == (Ending.EXITED, 7, "heard\n", "oops\n")
    assert (story.directory() / "shim.log").read_bytes() == b""
    assert is_gone(pid)


async def test_a_handler_sees_no_difference(new_story: "Callable[..., Story]", early: Early) -> None:
    seen = []
    for launcher in (early, early):
        story = new_story(launcher)
        if not seen:
            await wait_ready(story, early)
        result = await story.python(SEES)
        assert result.code == 0, result.stderr
        seen.append(result.stdout)
        story.attempts.forget(ATTEMPT.execution)
        story.attempts._thread.submit(int).result()
        story.attempts.close()
    assert seen[0] == seen[1]
    assert "JOB_DIR" in seen[0]


async def test_no_shim_is_used_twice(new_story: "Callable[..., Story]", early: Early) -> None:
    story = new_story(early)
    first = await wait_ready(story, early)
    attempts = [AttemptId(ExecutionId("", f"job-{number}", 1), 0, 1) for number in range(3)]
    for attempt in attempts:
        story.start("echo $JOB_ID", attempt)
    results = [(await story.ended(attempt)).stdout for attempt in attempts]
    assert results == ["job-0\n", "job-1\n", "job-2\n"]
    second = await wait_ready(story, early)
    assert second != first


async def test_one_waits_at_a_time_and_is_dismissed_when_nothing_comes(
    new_story: "Callable[..., Story]", early: Early, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = new_story(early)
    pid = await wait_ready(story, early)
    assert await wait_ready(story, early) == pid
    pidfd = os.pidfd_open(pid)
    monkeypatch.setattr(ready, "READY_S", 0.0)
    story.attempts.get_ready()
    await story.until(lambda: _pass(story) and not early.pid)
    assert is_gone(pid)
    os.close(pidfd)
    assert (await story.run("echo on")).stdout == "on\n"


def _pass(story: "Story") -> bool:
    """Let the loop and the thread go on."""
    story.attempts._loop.call_soon(story._news.set)
    return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
async def test_an_attempt_starts_although_the_shim_that_waited_was_killed(
    new_story: "Callable[..., Story]", early: Early, number: int
) -> None:
    story = new_story(early)
    pid = await wait_ready(story, early)
    os.kill(pid, number)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert (await story.run("echo started >> ../../ledger; cat ../../ledger")).stdout == "started\n"
    assert is_gone(pid)


async def test_the_shim_that_waits_is_no_orphan_and_survives_a_sweep(
    new_story: "Callable[..., Story]", early: Early
) -> None:
    story = new_story(early)
    story.start(UP + "exec sleep 1000")
    await story.said("up")
    pid = await wait_ready(story, early)
    os.kill(story.pid_of_shim(), signal.SIGKILL)
    assert (await story.ended()).ending is Ending.LOST
    again = AttemptId(ATTEMPT.execution, 0, 2)
    story.start("mkfifo go; " + UP + "read word < go", again)
    await story.until(lambda: len(story.progressed) == 2)
    assert (story.directory(again) / "lock").read_text().split()[0] == str(pid)
    story.go()
    assert (await story.ended(again)).code == 0


async def test_a_later_agent_finds_its_attempt_again(new_story: "Callable[..., Story]", early: Early) -> None:
    first = new_story(early)
    pid = await wait_ready(first, early)
    first.start("mkfifo go; " + UP + "read word < go; echo $word")
    await first.said("up")
    first.attempts.close()
    second = new_story()
    assert second.attempts.reattach([ATTEMPT]) == set()
    assert second.events[0] == AttemptStarted(ATTEMPT)
    assert second.pid_of_shim() == pid
    second.go()
    assert (await second.ended()).stdout == "heard\n"


async def test_a_later_agent_stops_it_and_ends_one_that_was_killed(
    new_story: "Callable[..., Story]", early: Early
) -> None:
    first = new_story(early)
    pid = await wait_ready(first, early)
    first.start(UP + "exec sleep 1000")
    await first.said("up")
    first.attempts.close()
    second = new_story()
    assert second.attempts.reattach([ATTEMPT]) == set()
    os.kill(pid, signal.SIGKILL)
    assert (await second.ended()).ending is Ending.LOST
    assert second.alive() == []


@pytest.mark.parametrize("told", [b"", b"/tmp/x", b"/"], ids=["nothing", "half a word", "the root"])
def test_it_ends_with_its_agent_and_has_done_nothing(early: Early, told: bytes, tmp_path: Path) -> None:
    early.get_ready()
    os.write(early._pipe, told)
    os.close(early._pipe)
    pid, early.pid = early.pid, 0
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_one_that_is_stopped_keeps_nobody_waiting(early: Early) -> None:
    early.get_ready()
    pid = early.pid
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
    early.dismiss()
    assert is_gone(pid)


def test_what_it_holds_while_it_waits(early: Early) -> None:
    early.get_ready()
    process = Path(f"/proc/{early.pid}")
    poller = select.poll()
    pidfd = os.pidfd_open(early.pid)
    poller.register(pidfd, select.POLLIN)
    while (process / "comm").read_text() != "shim\n":
        assert not poller.poll(5), "it has ended"
    os.close(pidfd)  # a test that counts those of its process may follow
    assert {fd.name: fd.readlink().name.partition(":")[0] for fd in (process / "fd").iterdir()} == {
        "0": "pipe",
        "1": "null",
        "2": "null",
    }
    assert (process / "environ").read_bytes() == b"LC_ALL=C.UTF-8\0"
    assert (process / "cwd").readlink() == Path("/")


def test_no_descriptor_is_left_if_none_can_be_started(early: Early, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    early.get_ready()
    assert early.pid == 0
    assert len(list(Path("/proc/self/fd").iterdir())) == before
