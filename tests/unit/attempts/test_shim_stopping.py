"""How a shim ends a handler and everything that it started: at its own end, at the deadline, or on request."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iot_jobs_agent.core.job import AttemptId, Ending, ExecutionId

if TYPE_CHECKING:
    from conftest import Story

ATTEMPT = AttemptId(ExecutionId("", "job-1", 1), 0, 1)
ORPHAN = "setsid sh -c 'setsid sleep 1000 & echo $! > pid; exec sleep 1000' & while [ ! -s pid ]; do :; done; "
STUBBORN = "trap '' TERM; echo '{\"message\": \"up\"}' >&3; while :; do sleep 1000; done"


async def test_what_a_handler_leaves_behind_is_swept_and_counted(story: "Story") -> None:
    result = await story.run(ORPHAN + "exit 0")
    assert (result.ending, result.code, result.leftovers_killed, result.leftovers_alive) == (Ending.EXITED, 0, 2, 0)
    assert not story.alive()


async def test_a_child_without_token_that_keeps_the_pipes_open_blocks_nothing(story: "Story") -> None:
    result = await story.run(
        "env -i setsid /bin/sh -c 'echo $$ >pid; exec sleep 1000' & while [ ! -s pid ]; do :; done; echo done"
    )
    assert (result.code, result.leftovers_killed, result.stdout) == (0, 1, "done\n")
    assert not Path("/proc", (story.job_directory() / "pid").read_text().strip()).exists()


async def test_the_end_is_noticed_at_once_whatever_keeps_the_pipes_open(
    story: "Story", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iot_jobs_agent.attempts.directory.QUOTA_EVERY_S", 1000.0)  # all else is looked at in 30 s
    result = await story.run("sleep 1000 &")
    assert (result.leftovers_killed, result.duration_s < 20) == (1, True)


async def test_the_deadline_ends_a_handler_that_is_deaf_to_sigterm(story: "Story") -> None:
    result = await story.run(ORPHAN + STUBBORN, timeout_s=0.3, grace_s=0.2)
    assert (result.ending, result.code, result.leftovers_alive) == (Ending.DEADLINE, None, 0)
    assert result.duration_s >= 0.5
    assert not story.alive()


async def test_an_exit_0_that_the_deadline_asked_for_is_not_a_success(story: "Story") -> None:
    result = await story.run("trap 'exit 0' TERM; while :; do sleep 0.01; done", timeout_s=0.2)
    assert (result.ending, result.code) == (Ending.DEADLINE, None)
    assert result.duration_s < 4


async def test_the_grace_is_for_the_whole_family(story: "Story") -> None:
    up = 'echo \'{"message": "up"}\' >&3'
    script = f"(trap 'sleep 0.2; echo saved; exit' TERM; {up}; while :; do sleep 0.01; done) & wait"
    story.start(script, max_timeout_s=20)
    await story.said("up")
    story.attempts.stop(ATTEMPT)
    assert (await story.ended()).stdout == "saved\n"


async def test_a_stopped_process_meets_its_deadline_too(story: "Story") -> None:
    result = await story.run("kill -STOP $$; exit 0", timeout_s=0.2)
    assert result.ending is Ending.DEADLINE


async def test_a_program_whose_first_thread_has_ended_is_alive_and_is_stopped(story: "Story") -> None:
    threads = (
        "import ctypes, os, threading; go_on = threading.Event()\n"
        'threading.Thread(target=lambda: (os.write(3, b\'{"message": "up"}\\n\'), go_on.wait())).start()\n'
        "ctypes.CDLL(None).pthread_exit(0)"
    )
    story.start("", argv=(sys.executable, "-I", "-c", threads), grace_s=0.0)
    await story.said("up")
    story.attempts.stop(ATTEMPT)
    result = await story.ended()
    assert (result.ending, result.leftovers_alive, story.alive()) == (Ending.STOPPED, 0, [])


async def test_a_zombie_that_its_parent_left_costs_no_grace(story: "Story") -> None:
    parent = (
        "import os, signal\n"
        "if os.fork() == 0: os._exit(0)\n"
        'os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT); os.write(3, b\'{"message": "up"}\\n\'); signal.pause()'
    )
    story.start("", argv=(sys.executable, "-I", "-c", parent), grace_s=600.0)
    await story.said("up")
    story.attempts.stop(ATTEMPT)
    result = await story.ended()
    assert (result.ending, result.leftovers_killed, result.leftovers_alive) == (Ending.STOPPED, 0, 0)


async def test_an_extension_moves_the_deadline_up_to_the_longest_allowed(story: "Story") -> None:
    result = await story.run("echo '{\"extend_s\": 600}' >&3; sleep 1000", timeout_s=0.4, max_timeout_s=0.8)
    assert result.ending is Ending.DEADLINE
    assert 0.8 <= result.duration_s < 4
    (event,) = story.progressed
    assert event.extend_s is not None
    assert 0 < event.extend_s <= 0.8
