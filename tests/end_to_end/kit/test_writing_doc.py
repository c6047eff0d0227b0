"""docs/writing-a-handler.md is true: its handlers are tried and conform, its tests pass, its table is the kit's."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from iot_jobs_agent.config.config import load_handlers
from iot_jobs_agent.kit.conformance import CASES

DOC = (Path(__file__).parents[3] / "docs" / "writing-a-handler.md").read_text()
EXAMPLES = {
    name: (language, text)
    for language, name, text in re.findall(r"^```(\w+) (\S+)\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
}
HANDLERS = {"./keep-newest", "./keep-newest-perl", "keep_newest_python:HANDLER"}


@pytest.fixture
def logs(author: Any, tmp_path: Path) -> dict[str, Any]:
    """Write the page's handlers, and files for them to remove; the params."""
    for name, (language, text) in EXAMPLES.items():
        if language in {"sh", "perl"} and text.startswith("#!"):
            author.write(name, text)
        elif language == "python":
            author.write(f"{name}.py", text, mode=0o644)
    for age in range(4):
        path = author.write(f"logs/log.{age}", "")
        os.utime(path, (1000 - age, 1000 - age))
    return {"directory": str(tmp_path / "logs"), "keep": 2}


def commands(example: str) -> list[list[str]]:
    return [shlex.split(line) for line in EXAMPLES[example][1].splitlines()]


def left(params: dict[str, Any]) -> set[str]:
    return {path.name for path in Path(params["directory"]).iterdir()}


def test_the_handlers_of_the_page_are_these() -> None:
    assert {words[2] for words in commands("try")} == HANDLERS
    assert json.loads(EXAMPLES["params"][1]).keys() == {"directory", "keep"}


@pytest.mark.parametrize("handler", sorted(HANDLERS))
def test_each_handler_does_what_the_page_says(author: Any, logs: dict[str, Any], handler: str) -> None:
    author.write("params.json", json.dumps(logs))
    (command,) = [words for words in commands("try") if words[2] == handler]
    done = author.run(*command[1:])
    assert done.returncode == 0, done.stdout
    assert f"progress  10 % looking at {logs['directory']}" in done.stdout
    assert left(logs) == {"log.0", "log.1"}
    missing = author.attempt(handler, {"directory": "/no/such/directory", "keep": 2})
    assert (missing["status"], missing["reason"].startswith("directory")) == ("REJECTED", True)


@pytest.mark.parametrize("handler", ["./keep-newest-perl", "keep_newest_python:HANDLER"])
def test_those_that_the_test_of_the_page_leaves_out_conform(author: Any, logs: dict[str, Any], handler: str) -> None:
    assert author.problems(handler, logs) == {}


WRONG: tuple[dict[str, Any], ...] = (
    {"keep": "two"},
    {"keep": -1},
    {"keep": None},
    {"keep": [2]},
    {"directory": ["@"]},
    {"directory": {"@": "@"}},
    {"directory": "@\n"},
    {"directory": "@ @"},
    {"directory": "-@"},
    {"directory": None},
)


@pytest.mark.parametrize("handler", sorted(HANDLERS))
def test_field_g1_no_handler_of_the_page_removes_a_file_for_a_wrong_type(
    author: Any, logs: dict[str, Any], handler: str
) -> None:
    before = left(logs)
    for wrong in WRONG:
        changed = logs | json.loads(json.dumps(wrong).replace("@", logs["directory"]))
        told = author.attempt(handler, changed)
        assert (told["status"], left(logs)) == ("REJECTED", before), wrong


@pytest.mark.parametrize("handler", sorted(HANDLERS))
def test_field_g1_the_handlers_of_the_page_take_any_name_of_a_file(
    author: Any, logs: dict[str, Any], handler: str
) -> None:
    directory = author.directory / "all my\tlögs"
    directory.mkdir()
    names = (" -rf new", "-new\ner", "old *", " o\nld", "-f")
    for age, name in enumerate(names):
        (directory / name).touch()
        os.utime(directory / name, (1000 - age, 1000 - age))
    (directory / "old").mkdir()
    told = author.attempt(handler, {"directory": str(directory), "keep": 2})
    assert told["status"] == "SUCCEEDED"
    assert {path.name for path in directory.iterdir()} == {*names[:2], "old"}


def test_the_tests_of_the_page_pass_and_conform(author: Any, logs: dict[str, Any]) -> None:
    words = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_keep_newest.py")
    done = subprocess.run(words, cwd=author.directory, capture_output=True, text=True, timeout=55, check=False)
    assert (done.returncode, "3 passed" in done.stdout) == (0, True), done.stdout


def test_the_configurations_of_the_page_are_ones(author: Any) -> None:
    for name in ("config", "enable"):
        load_handlers(author.write(f"{name}.toml", EXAMPLES[name][1]))
    points = tomllib.loads(EXAMPLES["entry-point"][1])["project"]["entry-points"]["iot_jobs_agent.handlers"]
    assert {f"./{name}" for name in tomllib.loads(EXAMPLES["enable"][1])["handlers"]["enabled"]} <= HANDLERS
    assert set(points.values()) <= HANDLERS


def test_the_table_has_the_cases_of_the_kit() -> None:
    (command,) = commands("conform")
    assert command[-1] == "--conform"
    assert re.findall(r"^\| `([^`]+)` \| ", DOC.partition("## 3.")[2].partition("## 4.")[0], re.MULTILINE) == list(
        CASES
    )


@pytest.mark.parametrize("command", commands("again"), ids=lambda words: " ".join(words[4:]))
def test_field_g2_the_handler_that_reboots_is_played_to_its_end(
    author: Any, logs: dict[str, Any], command: list[str]
) -> None:
    done = author.run(*command[1:])
    again = [line.partition("JOB_PHASE=")[2] for line in done.stdout.splitlines() if line.startswith("again")]
    assert (done.returncode, again) == {
        "--reboot": (0, ["resume JOB_REASON=reboot"]),
        "--interrupt --reboot": (0, ["resume JOB_REASON=killed", "resume JOB_REASON=reboot"]),
        "--retry": (1, []),
    }[" ".join(command[4:])], done.stdout


def test_field_g2_the_handler_that_reboots_conforms(author: Any, logs: dict[str, Any]) -> None:
    assert author.problems("./next-slot", {}) == {}
