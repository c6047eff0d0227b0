"""A handler in a unit of its own, on the stand-in for systemd: how it ends, and what the agent is told of it."""

import os
import signal
from typing import TYPE_CHECKING

import pytest

from iot_jobs_agent.attempts import directory as attempt_directory
from iot_jobs_agent.core.job import Ending, StepKind
from iot_jobs_agent.shim import bus

if TYPE_CHECKING:
    from conftest import Story
    from tests.support.buses import Systemd

UP = 'echo \'{"message": "up"}\' >&3; '
WAITS = f"{UP}exec sleep 1000"
OOM = "invocation={{invocation}} result=oom-kill code=killed status=KILL peak={peak} limit_hits={hits}\n"


def unit_of(systemd: "Systemd") -> str:
    [name] = {call[1] for call in systemd.calls("StartUnit")}
    assert isinstance(name, str)
    return name


@pytest.fixture
def measured_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_directory, "QUOTA_EVERY_S", 0.2)


@pytest.mark.parametrize("code", [0, 3, 255])
async def test_an_exit_code_is_told_verbatim(unit_story: "Story", code: int) -> None:
    result = await unit_story.run(f"echo out; echo err >&2; exit {code}")
    assert (result.ending, result.code, result.stdout, result.stderr) == (Ending.EXITED, code, "out\n", "err\n")
    assert (result.leftovers_killed, result.leftovers_alive, result.reason) == (0, 0, "")


async def test_a_death_by_signal_is_not_an_exit(unit_story: "Story") -> None:
    result = await unit_story.run("kill -SEGV $$")
    assert (result.ending, result.signal, result.code) == (Ending.SIGNALED, signal.SIGSEGV, None)


@pytest.mark.parametrize(
    ("peak", "hits", "notes"),
    [
        (str(300 << 20), "1", ("it had 300 MiB at most, as its profile allows",)),
        (str(300 << 20), "0", ("it had 300 MiB at most, less than its profile allows",)),
        ("", "", ()),
    ],
)
async def test_that_memory_ran_out_is_systemds_word_with_the_most_that_there_was(
    unit_story: "Story", systemd: "Systemd", peak: str, hits: str, notes: tuple[str, ...]
) -> None:
    systemd.behave(killed=OOM.format(peak=peak, hits=hits))
    result = await unit_story.run("kill -KILL $PPID; exec sleep 1000")
    assert (result.ending, result.signal, result.notes) == (Ending.OOM, signal.SIGKILL, notes)


@pytest.mark.parametrize("script", ["exit 0", "exit 3", "kill -KILL $$", "kill -KILL $PPID; exec sleep 1000"])
async def test_whoever_of_the_unit_was_killed_for_its_memory_that_is_how_it_ended(
    unit_story: "Story", systemd: "Systemd", script: str
) -> None:
    """systemd leaves that to the kernel, so the rest of the handler may have gone on, and even have ended well."""
    note = "invocation={invocation} result=success code=exited status=0 peak= limit_hits=1 oom_kills=1\n"
    systemd.behave(killed=note)
    result = await unit_story.run(script)
    assert (result.ending, result.signal) == (Ending.OOM, signal.SIGKILL)


async def test_a_handler_that_is_too_slow_is_ended_at_its_deadline(unit_story: "Story") -> None:
    result = await unit_story.run(
        f"trap 'echo asked; exit 0' TERM; {UP}while :; do sleep 0.1; done", timeout_s=1.5, max_timeout_s=1.5
    )
    assert (result.ending, result.stdout) == (Ending.DEADLINE, "asked\n")
    assert (result.leftovers_killed, result.leftovers_alive) == (0, 0)


async def test_a_handler_that_does_not_end_when_asked_is_killed_after_its_grace(
    unit_story: "Story", systemd: "Systemd"
) -> None:
    unit_story.start(f"trap '' TERM; {UP}exec >&- 2>&- 3>&-; while :; do sleep 1000; done", grace_s=0.5)
    await unit_story.said("up")
    unit_story.attempts.stop(next(iter(unit_story.attempts._watches)))
    result = await unit_story.ended()
    assert (result.ending, result.leftovers_alive) == (Ending.STOPPED, 0)
    sent = [call[3] for call in systemd.calls("KillUnit")]
    assert (sent[0], sent[-1]) == (signal.SIGTERM, signal.SIGKILL)
    assert len(sent) < 20  # no flood of the bus, although the handler has closed its outputs


@pytest.mark.parametrize("where", ["$JOB_DIR", "$(dirname $(dirname $JOB_FILE))"])
async def test_too_much_on_the_disk_ends_it(unit_story: "Story", measured_often: None, where: str) -> None:
    result = await unit_story.run(f'head -c 3000000 /dev/zero > "{where}/big"; exec sleep 1000', quota_mb=1)
    assert result.ending is Ending.QUOTA
    assert "JOB_DIR with /tmp took 2.9 MiB or more, quota_mb is 1" in result.reason


async def test_a_first_process_that_its_handler_stops_costs_the_attempt(
    unit_story: "Story", measured_often: None
) -> None:
    result = await unit_story.run("kill -STOP $PPID; exec sleep 1000", grace_s=0.5)
    assert result.ending is Ending.QUOTA
    assert result.reason == (
        "the first process of its unit said nothing for 2 s, so its disk quota cannot be measured: "
        "somebody stopped it, or the device had no memory left"
    )
    assert result.leftovers_alive == 0


async def test_a_first_process_that_its_handler_kills_is_told_as_that(unit_story: "Story") -> None:
    result = await unit_story.run("kill -KILL $PPID; exec sleep 1000")
    assert (result.ending, result.signal) == (Ending.SIGNALED, signal.SIGKILL)
    assert result.reason == "the first process of its unit was killed"


async def test_a_stop_by_somebody_else_leaves_no_result_so_that_the_job_is_continued(
    unit_story: "Story", systemd: "Systemd"
) -> None:
    unit_story.start(f"trap 'exit 0' TERM; {UP}while :; do sleep 0.1; done")
    await unit_story.said("up")
    bus.stop_unit(unit_of(systemd))
    assert (await unit_story.ended()).ending is Ending.LOST
    assert not (unit_story.directory() / "result.json").exists()


async def test_a_stop_by_somebody_else_that_systemd_has_to_enforce_leaves_no_result_either(
    unit_story: "Story", systemd: "Systemd"
) -> None:
    systemd.behave(stop_s=0.3)
    unit_story.start(f"trap '' TERM; {UP}while :; do sleep 1000; done")
    await unit_story.said("up")
    bus.stop_unit(unit_of(systemd))
    assert (await unit_story.ended()).ending is Ending.LOST


@pytest.mark.parametrize("asked", ["exit 0", ":"])
async def test_the_end_of_the_profiles_time_is_a_deadline_whether_the_handler_follows_or_not(
    unit_story: "Story", systemd: "Systemd", asked: str
) -> None:
    unit_story.start(f"trap '{asked}' TERM; {UP}while :; do sleep 0.1; done", grace_s=0.5)
    await unit_story.said("up")
    systemd.behave(longest_us=600_000, stop_s=0.5)
    result = await unit_story.ended()
    assert (result.ending, result.reason) == (Ending.DEADLINE, "its profile allows 0.6 s (RuntimeMaxSec=)")
    assert result.leftovers_alive == 0


async def test_what_the_handler_leaves_behind_is_ended_and_counted(unit_story: "Story") -> None:
    script = "setsid sleep 1000 & setsid sleep 1000 & exit 0"
    result = await unit_story.run(script)
    assert (result.ending, result.leftovers_killed, result.leftovers_alive) == (Ending.EXITED, 2, 0)
    assert unit_story.alive() == []


async def test_what_a_handler_leaves_behind_that_does_not_end_when_asked_is_killed(
    unit_story: "Story", systemd: "Systemd"
) -> None:
    systemd.behave(stop_s=30.0)
    result = await unit_story.run("trap '' TERM; setsid sleep 1000 & exit 0")
    assert (result.ending, result.leftovers_killed, result.leftovers_alive) == (Ending.EXITED, 1, 0)


async def test_while_what_is_left_does_not_end_the_bus_is_not_flooded(unit_story: "Story", systemd: "Systemd") -> None:
    systemd.behave(stop_s=2.5, errors={"KillUnit": "org.freedesktop.DBus.Error.NoReply"})
    script = "trap '' TERM; setsid sh -c 'sleep 0.3; echo late; exec sleep 1000' & exit 0"
    result = await unit_story.run(script)  # what is printed now waits to be read, and must not wake the shim
    assert (result.leftovers_alive, result.stdout) == (0, "late\n")
    assert 1 <= len(systemd.calls("KillUnit")) < 60


async def test_a_first_process_whose_shim_is_killed_ends_its_unit_without_help(
    unit_story: "Story", systemd: "Systemd"
) -> None:
    unit_story.start(WAITS)
    await unit_story.said("up")
    refused = "org.freedesktop.DBus.Error.AccessDenied"
    systemd.behave(errors={"KillUnit": refused, "StopUnit": refused})
    os.kill(unit_story.pid_of_shim(), signal.SIGKILL)
    result = await unit_story.ended()
    assert (result.ending, result.leftovers_alive) == (Ending.LOST, 0)


async def test_when_the_shim_is_killed_the_unit_ends(unit_story: "Story", systemd: "Systemd") -> None:
    unit_story.start(WAITS)
    await unit_story.said("up")
    os.kill(unit_story.pid_of_shim(), signal.SIGKILL)
    result = await unit_story.ended()
    assert result.ending is Ending.LOST
    assert ["StopUnit", unit_of(systemd), "replace"] in systemd.calls("StopUnit")
    assert unit_story.alive() == []


async def test_a_command_of_a_document_has_neither_fd_3_nor_a_result(unit_story: "Story") -> None:
    script = '[ -e /proc/self/fd/3 ] || echo closed; echo "${JOB_RESULT_FILE-none}"; echo "{}" > "$JOB_DIR/.result"'
    result = await unit_story.run(script, kind=StepKind.COMMAND)
    assert (result.stdout, result.handler_result) == ("closed\nnone\n", None)
