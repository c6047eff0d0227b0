"""What `iot-jobs-simulator rehearse` prints, and what it says of files that it cannot use."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_simulator import __main__ as simulator
from iot_jobs_simulator.rehearsal import seeds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FLEET = """
[groups.pumps]
size = 200
duration_min = 5
never_online_share = 0.1
[bad_build]
share = 0.5
"""
JOB: dict[str, Any] = {
    "targets": ["arn:aws:iot:eu-west-1:1:thinggroup/pumps"],
    "jobExecutionsRolloutConfig": {"maximumPerMinute": 10},
    "abortConfig": {
        "criteriaList": [
            {"failureType": "ALL", "action": "CANCEL", "thresholdPercentage": 20, "minNumberOfExecutedThings": 10}
        ]
    },
}


@pytest.fixture
def rehearse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the command beside `fleet.toml` and `job.json`; exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fleet.toml").write_text(FLEET)
    (tmp_path / "job.json").write_text(json.dumps(JOB))

    def run(*arguments: str, fleet: str = "fleet.toml") -> tuple[int, str, str]:
        status = simulator.main(["rehearse", fleet, "--job", "job.json", *arguments])
        return status, *capsys.readouterr()

    return run


def test_json_has_times_in_seconds_and_null_for_never(rehearse: Any) -> None:
    status, printed, said = rehearse("--json", "--build", "good", "--seeds", "3")
    (job,) = json.loads(printed)
    assert (status, said) == (0, "")
    assert (job["job"], job["devices"], job["seeds"], job["engine"]) == ("job.json", 200, 3, "arrays")
    assert 600 < job["done_after_s"]["50"]["low"] <= job["done_after_s"]["50"]["high"] < 1200
    assert job["done_after_s"]["100"] == {"low": None, "middle": None, "high": None}
    assert job["aborted"] == {"seeds": 0, "after_s": None}
    assert job["bad_build"] == {"seeds": 0, "harmed": None}
    assert job["endings"].keys() == {"updated", "QUEUED: never online"}


def test_both_engines_print_the_same(rehearse: Any) -> None:
    by_core, by_arrays = (rehearse("--seeds", "4", "--engine", engine)[1] for engine in ("core", "arrays"))
    assert by_core == by_arrays
    assert "aborted                            in 4 of 4 seeds, after" in by_core


def test_several_processes_print_the_same_as_one(rehearse: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    by_one = rehearse("--seeds", "4")[1]
    monkeypatch.setattr(seeds, "WORTH_A_PROCESS", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert rehearse("--seeds", "4")[1] == by_one


def test_one_seed_is_the_cores_and_another_first_seed_has_other_fates(rehearse: Any) -> None:
    first, second = (rehearse("--seeds", "1", "--first-seed", seed, "--json")[1] for seed in ("1", "2"))
    assert json.loads(first)[0]["engine"] == "core"
    assert first != second


def test_a_grid_varies_the_rate_and_the_threshold(rehearse: Any) -> None:
    found = json.loads(rehearse("--grid", "10,100", "20,60", "--seeds", "2", "--json")[1])
    assert [(each["rate_per_minute"], each["threshold_percent"]) for each in found] == [
        (10, 20.0),
        (10, 60.0),
        (100, 20.0),
        (100, 60.0),
    ]
    harmed = [each["bad"]["bad_build"]["harmed"]["middle"] for each in found]
    assert harmed[0] < harmed[2] <= harmed[1]  # at 60 % nothing stops a build that is bad for half of the devices
    assert all(each["good"]["bad_build"]["seeds"] == 0 for each in found)
    assert len(rehearse("--grid", "10", "20", "--seeds", "2")[1].splitlines()) == 2


def test_a_plot_is_written_beside_the_figures(rehearse: Any, tmp_path: Path) -> None:
    assert rehearse("--plot", "plot.png", "--seeds", "2")[0] == 0
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("--plot", "plot.xyz"), 65, "--plot plot.xyz: Format 'xyz' is not supported"),
        (("--plot", "nowhere/plot.svg"), 1, "nowhere/plot.svg: No such file or directory"),
        (("--compare", "other.json"), 1, "other.json: No such file or directory"),
        (("--job", "./job.json"), 0, ""),
        (("--job", "twice.json"), 65, "job.json and twice.json have targets in common; rehearse one after the other"),
        (("--grid", "fast", "5"), 65, "--grid: fast is not a list of numbers such as 50,200,1000"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    rehearse: Any, tmp_path: Path, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    (tmp_path / "twice.json").write_text(json.dumps(JOB))
    found, _, said = rehearse("--seeds", "1", *arguments)
    assert (found, sentence in said, said == "") == (status, True, sentence == "")


@pytest.mark.parametrize(
    "words",
    [
        ["--seeds", "0"],
        ["--at", "noon"],
        ["--first-seed", "4294967296"],
        *(["--grid", "1", "5", *more] for more in (["--compare", "job.json"], ["--plot", "x.svg"], ["--build", "bad"])),
    ],
)
def test_an_argument_that_cannot_be_ends_the_program(rehearse: Any, words: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        rehearse(*words)
    assert raised.value.code == 2


def test_a_grid_needs_a_bad_build_and_a_rule_to_abort(rehearse: Any, tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text(FLEET.partition("[bad_build]")[0])
    assert "the fleet file has no [bad_build]" in rehearse("--grid", "1", "5", fleet="good.toml")[2]
    (tmp_path / "job.json").write_text(json.dumps({"targets": JOB["targets"]}))
    assert "--grid needs an abortConfig in the job" in rehearse("--grid", "1", "5")[2]


@pytest.mark.parametrize(("engine", "status"), [("core", 0), ("arrays", 1)])
def test_the_core_does_without_numpy(rehearse: Any, tmp_path: Path, engine: str, status: int) -> None:
    without = "import sys; sys.modules['numpy'] = None; from iot_jobs_simulator.__main__ import main; sys.exit(main())"
    words = ["rehearse", "fleet.toml", "--job", "job.json", "--engine", engine, "--seeds", "2"]
    done = subprocess.run(
        [sys.executable, "-c", without, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    assert ("pip install 'iot-jobs-agent[rehearsal]'" in done.stderr) == bool(status)


def test_a_bar_is_drawn_on_a_terminal_only(rehearse: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    said = rehearse("--seeds", "3")[2]
    assert "job.json [##########                    ] 1 of 3 seeds" in said
    assert said.endswith("3 of 3 seeds\r\033[K")
