"""The commands: one list, which `--help` and the README have."""

import importlib
from pathlib import Path

import pytest

from iot_jobs_agent.__main__ import main
from iot_jobs_agent.commands.table import COMMANDS, module_of

README = (Path(__file__).parents[3] / "README.md").read_text()


def test_the_readme_lists_the_commands_in_their_own_words() -> None:
    rows = [
        f"| `iot-jobs-agent {' '.join(filter(None, [name, command.takes]))}` | {command.summary} |"
        for name, command in COMMANDS.items()
    ]
    assert "\n".join(["| command | what it does |", "|---|---|", *rows, ""]) in README


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps_in_its_own_words(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    help_text = " ".join(capsys.readouterr().out.split())
    words = COMMANDS[name].summary.replace("`", "")
    assert words[1:] in help_text
    assert COMMANDS[name].takes in help_text


def test_there_is_no_command_beside_the_list() -> None:
    shared = {"__init__", "options", "table", "terminal"}
    package = importlib.import_module("iot_jobs_agent.commands").__path__[0]
    files = {path.stem for path in Path(package).glob("*.py")} - shared
    assert files == {module_of(name).rpartition(".")[2] for name in COMMANDS}
