"""Every path and every command that a page for people names exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from iot_jobs_agent.commands.table import COMMANDS

ROOT = Path(__file__).parents[3]
AGENT = ROOT / "agent" / "iot_jobs_agent"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
HISTORY = {"decisions.md", "CHANGELOG.md"}  # they name what there was
FILE = re.compile(
    r"`((?:[\w.-]+/)*[\w-]+\.(?:py|toml|md|service|sh|conf|rules|svg))`|`((?:[\w.-]+/)+)`|`((?:tests|docs)/[\w/-]+)`"
)
COMMAND = re.compile(r"(?<![/\w-])(?:bin/)?iot-jobs-agent ([a-z][a-z-]*)(?![\w./])")
PYTHON = re.compile(r"\bpython (?:-m ([\w.]+)|([\w./-]+\.py))")
OF_THE_READER = {  # what the reader makes, or another program has
    *("config.toml", "greet.sh", "NAME.sh", "iot-jobs-agent.service", "keep_newest_python.py", "install-rule.sh"),
    *("download-file.sh", "install-packages.sh", "reboot.sh", "test_it.py", "Foo.py", "my_script.sh", "handlers.py"),
    *("simulator.py", "deploy.sh", "update_app.py", "agent/", "handlers/", "results/", "attempts/", "trash/"),
}
IN_CAPITALS = re.compile("[A-Z]{4}")  # stands for something else
pytestmark = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def text_of(page: Path) -> str:
    return page.read_text()


def exists(page: Path, name: str) -> bool:
    """Below the page, the top, or the agent's package, which is where most pages speak of."""
    return any((base / name).exists() for base in (page.parent, ROOT, AGENT))


def test_the_paths_on_the_page_exist(page: Path) -> None:
    if page.name in HISTORY:
        pytest.skip("it names what there was")
    named = {next(filter(None, found.groups())) for found in FILE.finditer(text_of(page))}
    assert {
        name for name in named - OF_THE_READER if not re.search("[A-Z]{4}", name) and not exists(page, name)
    } == set()


def test_the_commands_on_the_page_exist(page: Path) -> None:
    in_code = " ".join(re.findall(r"```.*?```|`[^`\n]+`", text_of(page), re.DOTALL))
    assert set(COMMAND.findall(in_code)) <= {*COMMANDS, "demo"}


def test_the_programs_on_the_page_can_be_started(page: Path) -> None:
    for module, file in PYTHON.findall(text_of(page)):
        if file:
            assert exists(page, file), file
        elif module not in {"pytest", "venv"}:
            found = subprocess.run(
                [sys.executable, "-c", f"import importlib.util as u; assert u.find_spec({module!r})"],
                cwd=ROOT,
                check=False,
            )
            assert found.returncode == 0, module
