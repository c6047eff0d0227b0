"""Every path and every command that a page for people names exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.files import ROOT
from tests.support.programs import bare_options_on, commands_on, every_option, known_commands, options_of

AGENT = ROOT / "agent" / "iot_jobs_agent"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
HISTORY = {"decisions.md", "CHANGELOG.md"}  # they name what there was
FILE = re.compile(
    r"`((?:[\w.-]+/)*[\w-]+\.(?:py|toml|md|service|sh|conf|rules|svg))`|`((?:[\w.-]+/)+)`|`((?:tests|docs)/[\w/-]+)`"
    r"|(?<![\w/.-])(\.ci/\w+)"
)
PYTHON = re.compile(r"\bpython (?:-m ([\w.]+)|([\w./-]+\.py))")
OF_THE_READER = {  # what the reader makes, or another program has
    *("config.toml", "greet.sh", "NAME.sh", "iot-jobs-agent.service", "keep_newest_python.py", "install-rule.sh"),
    *("download-file.sh", "install-packages.sh", "reboot.sh", "test_it.py", "Foo.py", "my_script.sh", "handlers.py"),
    *("simulator.py", "agent/", "handlers/", "results/", "attempts/", "trash/"),
    # in the state directory
    *("attempts/NAMESPACE.JOB.NUMBER.STEP.ATTEMPT/", "jobs/NAMESPACE.JOB.NUMBER/"),
    "results/COUNT.NAMESPACE.JOB.NUMBER/STEP.ATTEMPT/",
    *("deploy.sh", "update_app.py"),
}
OF_OTHER_PROGRAMS = {"--pdb", "--platform", "--require-hashes"}
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
    assert {name for name in named - OF_THE_READER if not exists(page, name)} == set()


def test_the_commands_on_the_page_exist_and_take_their_options(page: Path) -> None:
    for shown in commands_on(text_of(page)):
        assert shown.command in known_commands(shown.program), shown
        assert shown.options - options_of(shown.program, shown.command) == set(), shown
    assert bare_options_on(text_of(page)) - every_option() - OF_OTHER_PROGRAMS == set()


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
