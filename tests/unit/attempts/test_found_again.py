"""Attempts that a later agent finds: alive, over, lost, or of nobody."""

import asyncio
import errno
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iot_jobs_agent.attempts.launchers import ROOT, plain
from iot_jobs_agent.core.events import AttemptStarted
from iot_jobs_agent.core.job import AttemptId, Ending, ExecutionId
from iot_jobs_agent.shim import files

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Story

ATTEMPT = AttemptId(ExecutionId("", "job-1", 1), 0, 1)
UP = 'echo \'{"message": "up"}\' >&3; '
EXITED = '{{"ending": "exited", "code": 0, {}}}'
LINES = [
    "{",
    "[1]",
    '{"details": 1}',
    '{"deadline": "x"}',
    '{"deadline": 1e400}',
    '{"deadline": -1%s}' % ("0" * 400),
    '{"progress": 1e400}',
    '{"progress": 1%s}' % ("0" * 400),
    '{"message": "\\ud800"}',
    "[" * 100000,
    "\udcff",
]
ORPHAN = "setsid sh -c 'setsid sleep 1000 & echo $! > pid; exec sleep 1000' & while [ ! -s pid ]; do :; done; "


async def test_an_attempt_goes_on_while_no_agent_is_there_and_is_found_again(new_story: "Callable[..., Story]") -> None:
    first = new_story()
    first.start("mkfifo go; " + UP + 'read word < go; echo "$word"; echo \'{"progress": 80}\' >&3; exit 7')
    await first.said("up")
    first.attempts.close()
    second = new_story()
    assert second.attempts.reattach([ATTEMPT]) == set()
    assert second.events[0] == AttemptStarted(ATTEMPT)
    assert second.progressed[0].message == "up"
    second.go()
    result = await second.ended()
    assert (result.code, result.stdout) == (7, "heard\n")
    assert second.progressed[-1].progress == 80


async def test_attempts_of_executions_that_nobody_knows_are_stopped_and_removed_and_others_left(
    new_story: "Callable[..., Story]",
) -> None:
    first = new_story()
    other = AttemptId(ExecutionId("team-a", "job-2", 3), 1, 2)
    first.start(UP + "exec sleep 1000")
    first.start(UP + "exec sleep 1000", other)
    await first.until(lambda: len(first.progressed) == 2)
    first.attempts.close()
    second = new_story()
    (second.directory().parent / "no attempt").mkdir()
    assert await second.attempts.abandon_others({ATTEMPT.execution}) == [other]
    second.attempts._thread.submit(int).result()
    assert not second.directory(other).exists()
    assert second.job_directory().exists()
    assert second.attempts.reattach([ATTEMPT]) == set()
    second.attempts.stop(ATTEMPT)
    assert (await second.ended()).ending is Ending.STOPPED


async def test_an_attempt_that_was_found_again_can_be_stopped(new_story: "Callable[..., Story]") -> None:
    first = new_story()
    first.start(UP + "sleep 1000")
    await first.said("up")
    first.attempts.close()
    second = new_story()
    second.attempts.reattach([ATTEMPT])
    second.attempts.stop(ATTEMPT)
    assert (await second.ended()).ending is Ending.STOPPED


async def test_an_attempt_that_ended_while_no_agent_was_there_is_told_with_what_it_said(
    new_story: "Callable[..., Story]",
) -> None:
    first = new_story()
    first.start(
        "mkfifo go; " + UP + "read word < go; echo '{\"progress\": 1}' >&3; echo '{\"progress\": 2}' >&3; exit 3"
    )
    await first.said("up")
    pid = first.pid_of_shim()
    first.attempts.close()
    first.go()
    os.waitpid(pid, 0)
    second = new_story()
    assert second.attempts.reattach([ATTEMPT]) == set()
    (said,) = second.progressed
    assert (said.message, said.progress) == ("up", 2)
    assert (await second.ended()).code == 3


async def test_a_shim_killed_while_no_agent_was_there_is_lost_and_its_family_killed(
    new_story: "Callable[..., Story]",
) -> None:
    first = new_story()
    first.start("echo $$ > me; " + ORPHAN + UP + "wait")
    await first.said("up")
    pid = first.pid_of_shim()
    first.attempts.close()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    handler = int((first.job_directory() / "me").read_text())
    assert os.waitpid(handler, 0) == (handler, signal.SIGKILL)  # at once, with nobody there to do it
    second = new_story()
    assert second.attempts.reattach([ATTEMPT]) == set()
    assert (await second.ended()).ending is Ending.LOST
    assert not second.alive()


async def test_an_attempt_without_directory_was_never_started(story: "Story") -> None:
    assert story.attempts.reattach([ATTEMPT]) == {ATTEMPT}
    assert story.events == []


async def test_a_directory_in_which_nothing_was_started_is_lost(story: "Story") -> None:
    story.directory().mkdir()
    assert story.attempts.reattach([ATTEMPT]) == set()
    assert (await story.ended()).ending is Ending.LOST


async def test_a_shim_that_comes_after_its_attempt_was_given_up_starts_nothing(
    new_story: "Callable[..., Story]",
) -> None:
    late: list[Path] = []

    def launcher(directory: Path) -> int:
        late.append(directory)
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(directory))

    story = new_story(launcher)
    await story.run("echo started > ledger")
    _, status = os.waitpid(plain(late[0]), 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert not (story.job_directory() / "ledger").exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"ending": "exited"}',
        '{"ending": "exited", "code": "0"}',
        '{"ending": "exited", "code": 0, "leftovers_killed": -1}',
        '{"ending": "stopped", "code": 0}',
        '{"ending": "lost"}',
        '{"ending": "signaled", "signal": 0}',
        "[" * 100000,
        EXITED.format('"duration_s": 1' + "0" * 400),  # a whole number that no float can hold
        EXITED.format('"duration_s": 1e400'),
        EXITED.format('"duration_s": NaN'),
        EXITED.format('"duration_s": null'),
        EXITED.format('"leftovers_killed": 1' + "0" * 400),
        EXITED.format('"leftovers_alive": 1' + "0" * 5000),  # more digits than Python reads
        EXITED.format('"bad_result": null'),
        EXITED.format('"notes": [1]'),
        EXITED.format('"reason": "\\ud800"'),
    ],
)
async def test_a_torn_or_forged_result_is_none(story: "Story", content: str) -> None:
    story.directory().mkdir()
    (story.directory() / files.RESULT).write_text(content)
    story.attempts.reattach([ATTEMPT])
    assert (await story.ended()).ending is Ending.LOST


async def test_what_a_shim_of_an_earlier_build_wrote_is_understood(story: "Story") -> None:
    story.directory().mkdir()
    old = '{"ending": "unstartable", "reason": "no such file", "swept": 2, "unswept": 1}'
    (story.directory() / files.RESULT).write_text(old)
    story.attempts.reattach([ATTEMPT])
    result = await story.ended()
    assert (result.ending, result.leftovers_killed, result.leftovers_alive) == (Ending.CANNOT_START, 2, 1)


@pytest.mark.parametrize("line", LINES)
async def test_a_torn_or_forged_event_is_skipped(story: "Story", line: str) -> None:
    text = line + '\n{"progress": 5}\n{"progress": 6'
    story.directory().mkdir()
    (story.directory() / files.EVENTS).write_text(text, errors="surrogateescape")
    story.attempts.reattach([ATTEMPT])
    await story.ended()
    assert [e.progress for e in story.progressed] == [5]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[" * 100000,
        '{"max_timeout_s": 1%s, "grace_s": 1, "token": 7}' % ("0" * 400),
        '{"max_timeout_s": "1", "grace_s": NaN, "token": []}',
    ],
)
async def test_a_torn_or_forged_specification_shortens_no_attempt(
    new_story: "Callable[..., Story]", content: str
) -> None:
    """Its limits count as the longest: it is neither lost nor stopped because of them."""
    first = new_story()
    first.start("mkfifo go; " + UP + "read word < go; exit 6")
    await first.said("up")
    first.attempts.close()
    (first.directory() / files.SPEC).write_text(content)
    second = new_story()
    assert second.attempts.reattach([ATTEMPT]) == set()
    second.go()
    assert (await second.ended()).code == 6


AGENT = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path.append(sys.argv[2])
from iot_jobs_agent.attempts.attempts import Attempts, Facts
from iot_jobs_agent.core.events import AttemptProgressed
from iot_jobs_agent.core.job import AttemptId, ExecutionId, Step, StepKind
from iot_jobs_agent.attempts.launchers import ROOT, plain

async def main():
    inbox = asyncio.Queue()
    attempts = Attempts(Path(sys.argv[1]), plain, inbox.put_nowait)
    attempts.prepare()
    attempts.open()
    step = Step("step", "shell", StepKind.HANDLER, argv=("/bin/sh", "-c", sys.argv[3]))
    attempts.start(AttemptId(ExecutionId("", "job-1", 1), 0, 1), step, Facts("thing-1"))
    while not isinstance(await inbox.get(), AttemptProgressed):
        pass
    os.killpg(0, signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_handler_survives_its_agents_violent_death(tmp_path: Path, new_story: "Callable[..., Story]") -> None:
    script = "mkfifo go; " + UP + "read word < go; echo $word; exit 5"
    command = [sys.executable, "-c", AGENT, str(tmp_path / "state"), str(ROOT), script]
    agent = await asyncio.create_subprocess_exec(*command, start_new_session=True)
    assert await agent.wait() == -signal.SIGKILL
    story = new_story()
    assert story.attempts.reattach([ATTEMPT]) == set()
    await story.started()
    story.go()
    result = await story.ended()
    assert (result.ending, result.code, result.stdout) == (Ending.EXITED, 5, "heard\n")
