"""The kernel's out-of-memory killer, as the shim sees it in a cgroup of its own: here files laid out like one."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iot_jobs_agent.attempts import launchers
from iot_jobs_agent.core.job import Ending
from iot_jobs_agent.core.outcome import outcome_of
from iot_jobs_agent.shim import memory

if TYPE_CHECKING:
    from conftest import Story

KILLED = "low 0\nhigh 0\nmax 7\noom 1\noom_kill %d\noom_group_kill 0\n"
OWN = """
import sys
sys.path.append(sys.argv[1])
from iot_jobs_agent.shim import memory, supervisor
memory.CGROUPS = {cgroups!r}
sys.exit(supervisor.main(sys.argv[2], {has_own!r}))
"""

Cgroup = Callable[..., Path]


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cgroup:
    """Lay out this process's cgroup with 3 kills so far, for shims to take for their own; returns `memory.events`."""

    def lay_out(*, has_own: bool = True) -> Path:
        monkeypatch.setattr(memory, "CGROUPS", str(tmp_path))
        monkeypatch.setattr(launchers, "BOOT", OWN.format(cgroups=str(tmp_path), has_own=has_own))
        events = Path(memory.events_file())
        events.parent.mkdir(parents=True, exist_ok=True)
        events.write_text(KILLED % 3)
        return events

    return lay_out


def count(events: Path, kills: int) -> str:
    return f"echo 'oom_kill {kills}' > {events}; "


async def test_a_handler_that_the_out_of_memory_killer_ended_is_told_so(story: "Story", cgroup: Cgroup) -> None:
    result = await story.run(count(cgroup(), 4) + "kill -KILL $$")
    assert (result.ending, result.signal, result.notes) == (Ending.OOM, 9, ())
    outcome = outcome_of(result)
    assert (outcome.status, outcome.code) == ("FAILED", "oom")
    assert outcome.reason == "killed by the kernel's out-of-memory killer"


async def test_a_sigkill_of_somebody_else_is_a_signal(story: "Story", cgroup: Cgroup) -> None:
    cgroup()
    result = await story.run("kill -KILL $$")
    assert (result.ending, result.signal) == (Ending.SIGNALED, 9)


async def test_a_cgroup_that_is_shared_says_nothing(story: "Story", cgroup: Cgroup) -> None:
    result = await story.run(count(cgroup(has_own=False), 4) + "kill -KILL $$")
    assert (result.ending, result.notes) == (Ending.SIGNALED, ())


@pytest.mark.parametrize("ending", ["exit 0", "exit 1", "kill -TERM $$"])
async def test_a_handler_that_lost_a_child_to_the_out_of_memory_killer_is_told_with_a_note(
    story: "Story", cgroup: Cgroup, ending: str
) -> None:
    result = await story.run(count(cgroup(), 5) + ending)
    assert result.ending in {Ending.EXITED, Ending.SIGNALED}
    assert result.notes == ("2 of its processes were killed by the kernel's out-of-memory killer",)


@pytest.mark.parametrize("content", ["", "oom_kill\n", "oom_kill many\n", "max 1\n"])
def test_a_count_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "memory.events").write_text(content)
    assert memory.oom_kills(str(tmp_path / "memory.events")) == 0


def test_without_a_cgroup_nobody_counts() -> None:
    assert memory.oom_kills("") == 0
