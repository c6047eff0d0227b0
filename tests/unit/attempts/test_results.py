"""What is kept of settled executions: how their attempts ended and what they printed, of the last 200, and no more."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_agent.__main__ import main
from iot_jobs_agent.attempts import results
from iot_jobs_agent.core.effects import Settle
from iot_jobs_agent.core.job import AttemptId, Ending, ExecutionId, ExecutionStatus, Outcome
from iot_jobs_agent.core.state import SETTLED_KEPT
from iot_jobs_agent.state.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Story

ATTEMPT = AttemptId(ExecutionId("", "job-1", 1), 0, 1)
SECRET = "https://bucket/x?X-Amz-Signature=0123"


async def settled(story: "Story", script: str, attempt: AttemptId = ATTEMPT, **changes: object) -> None:
    """Run an attempt to its end and forget its execution."""
    story.start(script, attempt, **changes)  # type: ignore[arg-type] - the members of a step
    await story.ended(attempt)
    forget(story, attempt.execution)


def forget(story: "Story", execution: ExecutionId = ATTEMPT.execution) -> None:
    story.attempts.forget(execution)
    story.attempts._thread.submit(int).result()


def everything_in(directory: Path) -> dict[str, str]:
    """Name what lies below a directory, and the permissions of each."""
    return {
        str(path.relative_to(directory)): f"{path.stat().st_mode & 0o777:o}" for path in sorted(directory.rglob("*"))
    }


async def test_result_and_output_stay_and_nothing_that_could_hold_secrets(story: "Story") -> None:
    script = "echo output; echo trouble >&2; echo more > file; echo '{\"progress\": 1}' >&3; exit 3"
    await settled(story, script, input=json.dumps({"url": SECRET}), settings=json.dumps({"token": SECRET}))
    assert everything_in(story.state / "results") == {
        "00000001..job-1.1": "700",
        "00000001..job-1.1/0.1": "700",
        "00000001..job-1.1/0.1/result.json": "600",
        "00000001..job-1.1/0.1/stderr": "600",
        "00000001..job-1.1/0.1/stdout": "600",
    }
    for name in ("attempts", "jobs", "trash"):
        assert list((story.state / name).iterdir()) == []
    for path in story.state.rglob("*/*"):
        assert path.is_dir() or SECRET not in path.read_text()


async def test_what_was_kept_is_read_with_every_step_and_attempt_in_order(story: "Story") -> None:
    for step, number, script in ((1, 2, "echo last"), (0, 1, "exit 7"), (1, 1, "kill -KILL $PPID")):
        attempt = AttemptId(ATTEMPT.execution, step, number)
        story.start(script, attempt)
        await story.ended(attempt)
    before = results.read(story.state, ATTEMPT.execution)
    forget(story)
    kept = results.read(story.state, ATTEMPT.execution)
    assert [(step, number, each.ending, each.code, each.stdout) for step, number, each in kept] == [
        (0, 1, Ending.EXITED, 7, ""),
        (1, 1, Ending.LOST, None, ""),
        (1, 2, Ending.EXITED, 0, "last\n"),
    ]
    assert kept == before
    assert results.read(story.state, ExecutionId("", "job-1", 11)) == []
    assert results.read(story.state, ExecutionId("", "job", 1)) == []


async def test_results_survive_restarts_and_go_on_being_counted(new_story: "Callable[..., Story]") -> None:
    first = new_story()
    await settled(first, "echo one")
    first.attempts.close()
    second = new_story()
    assert await second.attempts.abandon_others(()) == []
    other = AttemptId(ExecutionId("team-a", "job-2", 3), 0, 1)
    await settled(second, "echo two", other)
    assert sorted(path.name for path in (second.state / "results").iterdir()) == [
        "00000001..job-1.1",
        "00000002.team-a.job-2.3",
    ]
    assert results.read(second.state, other.execution)[0][2].stdout == "two\n"


async def test_what_a_dead_agent_did_not_put_away_is_put_away_by_the_next(new_story: "Callable[..., Story]") -> None:
    first = new_story()
    for number in (1, 2):
        attempt = replace(ATTEMPT, number=number)
        first.start(f"echo {number}", attempt)
        await first.ended(attempt)
    kept = first.state / "results" / "00000001..job-1.1"
    kept.mkdir(parents=True)
    first.directory().rename(kept / "0.1")  # so far it came
    first.attempts.close()
    second = new_story()
    assert await second.attempts.abandon_others(()) == [replace(ATTEMPT, number=2)]
    second.attempts._thread.submit(int).result()
    assert [(number, each.stdout) for _, number, each in results.read(second.state, ATTEMPT.execution)] == [
        (1, "1\n"),
        (2, "2\n"),
    ]
    assert [path.name for path in (second.state / "results").iterdir()] == [kept.name]


def made(directory: Path, number: int, size_bytes: int = 10) -> tuple[str, list[Path]]:
    """Make what an execution leaves."""
    name = f".job-{number}.1"
    attempt = directory / f"{name}.0.1"
    attempt.mkdir(parents=True)
    (attempt / "stdout").write_bytes(b"x" * size_bytes)
    return name, [attempt]


def remove(paths: list[Path]) -> list[str]:
    """Throw away what is to be thrown away; their names."""
    for path in paths:
        path.rename(path.parent.parent / "thrown")
        (path.parent.parent / "thrown").rename(path.parent.parent / f"thrown-{os.urandom(4).hex()}")
    return [path.name for path in paths]


def test_the_oldest_goes_when_there_are_too_many_also_after_a_restart(tmp_path: Path) -> None:
    store = results.Results(tmp_path / "results")
    thrown = [remove(store.keep(*made(tmp_path / "attempts", number))) for number in range(SETTLED_KEPT + 1)]
    assert [each for each in thrown if each] == [["00000001..job-0.1"]]
    store = results.Results(tmp_path / "results")
    assert remove(store.keep(".never-started.1", [])) == ["00000002..job-1.1"]  # it is in the history too
    assert len(list((tmp_path / "results").iterdir())) == SETTLED_KEPT


def test_the_oldest_go_when_all_take_too_much_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "KEPT_BYTES", 300_000)
    store = results.Results(tmp_path / "results")
    assert remove(store.keep(*made(tmp_path / "attempts", 1, 130_000))) == []
    assert remove(store.keep(*made(tmp_path / "attempts", 2, 130_000))) == []
    assert remove(store.keep(*made(tmp_path / "attempts", 3, 130_000))) == ["00000001..job-1.1"]


def test_what_no_shim_wrote_is_not_kept(tmp_path: Path) -> None:
    store = results.Results(tmp_path / "results")
    name, [attempt] = made(tmp_path / "attempts", 1)
    (attempt / "planted" / "below").mkdir(parents=True)
    (attempt / "stderr").symlink_to("/etc/passwd")
    os.mkfifo(attempt / "result.json")
    assert store.keep(name, [attempt]) == []
    assert [*everything_in(tmp_path / "results")] == [
        "00000001..job-1.1",
        "00000001..job-1.1/0.1",
        "00000001..job-1.1/0.1/stdout",
    ]
    name, [attempt] = made(tmp_path / "attempts", 2, results.ATTEMPT_BYTES + 1)
    assert store.keep(name, [attempt]) == [attempt]


@pytest.fixture
def history(tmp_path: Path) -> "Callable[..., list[str]]":
    """Write the history of the state directory; returns the arguments of `iot-jobs-agent jobs`."""

    def write(*executions: ExecutionId, reason: str = "exited with code 3") -> list[str]:
        written = Journal(tmp_path / "state")
        written.open()
        outcome = Outcome(ExecutionStatus.FAILED, reason, "exit-code")
        written.write([Settle(each, "free-space", outcome, 1.0, service_accepted=True) for each in executions])
        written.close()
        written.thread.shutdown()
        (tmp_path / "config.toml").write_text(f"[agent]\nstate_directory = {str(tmp_path / 'state')!r}\n")
        return ["jobs", "--config", str(tmp_path / "config.toml")]

    return write


async def test_jobs_shows_what_was_kept_of_a_job(
    story: "Story", history: "Callable[..., list[str]]", capsys: pytest.CaptureFixture[str]
) -> None:
    script = r"""printf 'one\ntwo\033[2J\n'; echo trouble >&2; echo '{"reason": "no"}' > $JOB_RESULT_FILE; exit 3"""
    await settled(story, script)
    jobs = history(ATTEMPT.execution, ExecutionId("team-a", "job-1", 2), ExecutionId("", "job-2", 1))
    assert main([*jobs, "job-1"]) == 0
    newest, nothing, oldest, attempt = capsys.readouterr().out.split("\n\n")
    assert newest.endswith("team-a/job-1#2  free-space  exited with code 3")
    assert nothing == "nothing was started, or nothing of it was kept"
    assert oldest.endswith("job-1  free-space  exited with code 3")
    assert [line.partition(" after")[0] for line in attempt.splitlines()] == [
        "step 1, attempt 1: exited with code 3",
        'result: {"reason": "no"}',
        "--- stdout",
        "one",
        "two�[2J",
        "--- stderr",
        "trouble",
    ]
    assert main([*jobs, "--json", "job-1"]) == 0
    [other, [shown]] = [each["attempts"] for each in json.loads(capsys.readouterr().out)]
    assert other == []
    assert (shown["step"], shown["attempt"], shown["ending"], shown["code"]) == (1, 1, "exited", 3)
    assert (shown["stdout"], shown["stderr"]) == ("one\ntwo\x1b[2J\n", "trouble\n")
    assert shown["handler_result"] == {"reason": "no"}


@pytest.mark.parametrize(("asked", "count"), [("job-1", 2), ("team-a/job-1#2", 1), ("job-2", 1)])
def test_a_job_is_asked_for_by_its_id_or_as_the_list_shows_it(
    tmp_path: Path, history: "Callable[..., list[str]]", capsys: pytest.CaptureFixture[str], asked: str, count: int
) -> None:
    (tmp_path / "state").mkdir()
    jobs = history(ATTEMPT.execution, ExecutionId("team-a", "job-1", 2), ExecutionId("", "job-2", 1))
    assert main([*jobs, asked, "--json"]) == 0
    shown: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert len(shown) == count


def test_a_job_that_the_history_does_not_know_is_an_error(
    tmp_path: Path, history: "Callable[..., list[str]]", capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").mkdir()
    assert main([*history(ATTEMPT.execution), "job-3"]) == 1
    assert "no execution of job-3 is among the last 200" in capsys.readouterr().err


def test_the_list_does_not_command_the_terminal(
    tmp_path: Path, history: "Callable[..., list[str]]", capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").mkdir()
    assert main(history(ATTEMPT.execution, reason="clear\x1b[2J")) == 0
    assert capsys.readouterr().out.endswith("clear�[2J\n")
