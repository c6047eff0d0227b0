"""A start that systemd refused, and of which no agent has heard yet: whoever comes next takes it back."""

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iot_jobs_agent.attempts import units
from iot_jobs_agent.attempts.units import Units
from iot_jobs_agent.core.events import AttemptEnded, AttemptNeverStarted
from iot_jobs_agent.core.job import AttemptId, Ending, ExecutionId

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Story
    from tests.support.buses import Systemd

DBUS = "org.freedesktop.DBus.Error"
SHUTTING_DOWN = "org.freedesktop.systemd1.TransactionIsDestructive"
ATTEMPT = AttemptId(ExecutionId("", "job-1", 1), 0, 1)
REFUSED = json.dumps({"ending": "never-started", "reason": "no"})


async def why_not_started(story: "Story") -> str:
    await story.until(lambda: any(isinstance(e, AttemptNeverStarted) for e in story.events))
    assert not any(isinstance(e, AttemptEnded) for e in story.events)
    assert not story.directory().exists()
    [why] = [e.why for e in story.events if isinstance(e, AttemptNeverStarted)]
    return why


def leave(story: "Story", **spec: str) -> None:
    """Leave what a shim does that was refused its unit."""
    story.directory().mkdir()
    (story.directory() / "result.json").write_text(REFUSED)
    if spec:
        (story.directory() / "spec.json").write_text(json.dumps(spec))


def unit_of(story: "Story") -> str:
    return Units(story.state, "network", {}).name(ATTEMPT.execution, "shell")


async def runs_unheard(story: "Story", systemd: "Systemd", script: str) -> None:
    """Let an attempt come to its end, or to its refusal, after its agent has gone."""
    assert systemd.manager is not None
    os.kill(systemd.manager.pid, signal.SIGSTOP)  # the shim waits for its answer
    story.start(script)
    await story.started()
    shim = story.attempts._watches[ATTEMPT].pid
    story.attempts.close()
    os.kill(systemd.manager.pid, signal.SIGCONT)
    os.waitpid(shim, 0)


@pytest.mark.parametrize("settings", [b"", None], ids=["settings lost in a power cut", "settings there"])
async def test_a_refusal_of_which_the_agent_did_not_live_to_hear_is_taken_back_by_the_next(
    new_story: "Callable[..., Story]", unit_story: "Story", systemd: "Systemd", settings: bytes | None
) -> None:
    systemd.behave(errors={"StartUnit": SHUTTING_DOWN})
    await runs_unheard(unit_story, systemd, "echo ran")
    if settings is not None:
        (unit_story.directory() / "spec.json").write_bytes(settings)
    second = new_story(unit_story.launcher, unit_story.own_units)
    assert second.attempts.reattach([ATTEMPT]) == set()
    assert await why_not_started(second) == f"cannot start {unit_of(second)}: the system is shutting down"
    systemd.behave()
    assert (await second.run("echo ran")).stdout == "ran\n"


async def test_a_result_counts_although_the_bus_is_away_when_the_next_agent_reads_it(
    new_story: "Callable[..., Story]", unit_story: "Story", systemd: "Systemd", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "END_S", 0.3)
    await runs_unheard(unit_story, systemd, "echo ran; exit 3")
    systemd.stop()
    second = new_story(unit_story.launcher, unit_story.own_units)
    assert second.attempts.reattach([ATTEMPT]) == set()
    result = await second.ended()
    assert (result.ending, result.code, result.stdout) == (Ending.EXITED, 3, "ran\n")


async def test_a_refusal_counts_though_its_shim_failed_after_writing_it(
    unit_story: "Story",
) -> None:
    launcher = unit_story.launcher

    def killed(directory: Path) -> int:
        (directory / "result.json").write_text(REFUSED)  # so that the shim ends at once, with status 1
        return launcher(directory)

    unit_story.attempts._launching._launcher = killed
    unit_story.start("exit 0")
    assert await why_not_started(unit_story) == "no"


async def test_a_refusal_is_taken_back_though_somebody_has_removed_the_trash(
    new_story: "Callable[..., Story]", unit_story: "Story"
) -> None:
    leave(unit_story, unit=unit_of(unit_story))
    (unit_story.state / "trash").rmdir()
    unit_story.attempts.reattach([ATTEMPT])
    assert await why_not_started(unit_story) == "no"


async def test_a_refusal_of_no_unit_is_none(unit_story: "Story") -> None:
    leave(unit_story, unit="ssh.service")
    unit_story.attempts.reattach([ATTEMPT])
    assert (await unit_story.ended()).ending is Ending.LOST


async def test_an_agent_whose_handlers_could_have_written_it_believes_no_refusal(
    story: "Story", systemd: "Systemd"
) -> None:
    leave(story, unit=unit_of(story))
    story.attempts.reattach([ATTEMPT])
    assert (await story.ended()).ending is Ending.LOST


async def test_a_refusal_beside_a_unit_that_cannot_be_ended_is_not_believed(
    unit_story: "Story", systemd: "Systemd", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "END_S", 0.3)
    systemd.behave(errors={"ListUnitsByNames": f"{DBUS}.NoReply"})
    leave(unit_story, unit=unit_of(unit_story))
    unit_story.attempts.reattach([ATTEMPT])
    result = await unit_story.ended()
    assert (result.ending, result.leftovers_alive) == (Ending.LOST, 1)
