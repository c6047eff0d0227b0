"""Packages, really built, installed into an environment that has only our wheel, and run there."""

import json
import os
import re
import subprocess
import textwrap
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from iot_jobs_agent.commands.new_handler import _ways as ways

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.timeout(120)  # the first one builds and installs


def run(*words: str | Path, cwd: Path, params: Any = None, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        list(map(str, words)),
        input=json.dumps(params),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
    )


@dataclass
class Environment:
    """A virtual environment with our wheel in it, and what builds and installs more."""

    directory: Path

    @property
    def bin(self) -> Path:
        return self.directory / "venv" / "bin"

    def run(self, program: str, *words: str | Path, **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run a program of the environment, which is first on the PATH."""
        options = {"cwd": self.directory, "PATH": f"{self.bin}:{os.environ['PATH']}"} | options
        return run(self.bin / program, *words, **options)

    def uv(self, *words: str | Path) -> None:
        done = run(os.environ.get("UV", "uv"), *words, cwd=self.directory)
        assert done.returncode == 0, done.stderr

    def build(self, project: Path) -> Path:
        """Build a project; its wheel."""
        dist = self.directory / "dist" / project.name
        self.uv("build", "-q", "--wheel", "--out-dir", dist, project)
        (wheel,) = dist.glob("*.whl")
        return wheel

    def install(self, *packages: str | Path) -> None:
        self.uv("pip", "install", "-q", "--python", self.bin / "python", "-c", self.directory / "pins.txt", *packages)

    def config(self, *enabled: str) -> Path:
        path = self.directory / "config.toml"
        path.write_text(f"[handlers]\nenabled = {json.dumps(enabled)}\n[agent]\nstate_directory = '{self.directory}'\n")
        return path


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    made = Environment(tmp_path_factory.mktemp("environment"))
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    (made.directory / "pins.txt").write_text("\n".join(pins))
    made.uv("venv", "-q", made.directory / "venv")
    ours = made.build(ROOT)
    sample = made.build(ROOT / "tests" / "sample_handler")
    made.install(f"{ours}[simulator]", "pytest", "ruff", sample)
    return made


def test_a_package_that_is_installed_is_known_and_not_enabled(environment: Environment) -> None:
    done = environment.run("iot-jobs-agent", "handlers", "--json", "--config", environment.config("write-file"))
    (sample,) = [each for each in json.loads(done.stdout) if each["name"] == "sample-count"]
    assert (sample["enabled"], sample["source"], sample["version"]) == (False, "package sample-handler", "2.3.4")
    assert (sample["params"], sample["unavailable"]) == (None, "")


def test_a_package_that_is_enabled_is_listed_with_its_params(environment: Environment) -> None:
    done = environment.run("iot-jobs-agent", "handlers", "--config", environment.config("sample-count"))
    assert re.search(r"^sample-count +yes +2\.3\.4 +package sample-handler$", done.stdout, re.MULTILINE)
    assert "    Count words.\n    text: string, required, whose words are counted\n" in done.stdout


def test_a_package_is_tried_by_its_name(environment: Environment) -> None:
    done = environment.run("iot-jobs-agent", "try", "sample-count", "-", "--json", params={"text": "one two"})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["details"] == {"words": "2"}


def test_a_new_handler_in_python_passes_its_own_tests_and_lint(environment: Environment) -> None:
    project = environment.directory / "4-steps"
    done = environment.run("iot-jobs-agent", "new-handler", "4-steps")
    assert done.returncode == 0, done.stderr
    environment.install("--no-deps", environment.build(project))
    tested = environment.run("python", "-m", "pytest", "-q", "-W", "error", cwd=project)
    assert (tested.returncode, "3 passed" in tested.stdout) == (0, True), tested.stdout
    for lint in (("check", "."), ("format", "--check", ".")):
        linted = environment.run("ruff", *lint, "--no-cache", cwd=project)
        assert linted.returncode == 0, linted.stdout
    tried = environment.run("iot-jobs-agent", "try", "handler_4_steps:HANDLER", "-", cwd=project, params={"text": "x"})
    assert tried.returncode == 0, tried.stdout


def run_with_uv(project: Path) -> "subprocess.CompletedProcess[str]":
    """Run what the README of a new handler says."""
    assert "To test it: `uv run pytest` and `uv run ruff check .`\n" in (project / "README.md").read_text()
    outside = {key: value for key, value in os.environ.items() if key not in {"VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT"}}
    words = [outside.get("UV", "uv"), "run", "-q", "pytest"]
    return subprocess.run(words, capture_output=True, text=True, timeout=110, check=False, cwd=project, env=outside)


def test_field_g3_a_new_handler_from_an_installation_is_tested_as_its_readme_says(environment: Environment) -> None:
    project = environment.directory / "from-wheel"
    assert environment.run("iot-jobs-agent", "new-handler", "from-wheel").returncode == 0
    tested = run_with_uv(project)
    assert (tested.returncode, "3 passed" in tested.stdout) == (0, True), tested


def test_field_g3_a_new_handler_from_a_checkout_is_tested_as_its_readme_says(author: Any) -> None:
    assert author.run("new-handler", "from-checkout").returncode == 0
    tested = run_with_uv(author.directory / "from-checkout")
    assert (tested.returncode, "3 passed" in tested.stdout) == (0, True), tested


def test_field_g3_where_a_new_handler_finds_the_agent_is_where_it_was_installed_from(tmp_path: Path) -> None:
    wheel = tmp_path / "an agent.whl"
    wheel.touch()
    found = {
        name: ways(json.dumps(record))["@SOURCE@"].partition("iot-jobs-agent = ")[2].strip()
        for name, record in {
            "editable": {"url": tmp_path.as_uri(), "dir_info": {"editable": True}},
            "wheel": {"url": wheel.as_uri(), "archive_info": {}},
            "git": {"url": "https://git.example/a", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}},
            "url": {"url": "https://files.example/a.whl", "archive_info": {}},
            "gone": {"url": (tmp_path / "gone.whl").as_uri(), "archive_info": {}},
        }.items()
    }
    assert found == {
        "editable": f'{{ path = "{tmp_path}", editable = true }}',
        "wheel": f'{{ path = "{wheel}" }}',
        "git": '{ git = "https://git.example/a", rev = "c0ffee" }',
        "url": '{ url = "https://files.example/a.whl" }',
        "gone": "",
    }
    assert ways(None) == {"@SOURCE@": "", "@TEST@": "`uv run pytest` and `uv run ruff check .`"}
    gone = ways(json.dumps({"url": (tmp_path / "gone.whl").as_uri()}))
    assert "pip install pytest ruff -e ." in gone["@TEST@"]


def test_a_new_handler_in_shell_passes_its_own_tests_and_lint(environment: Environment) -> None:
    project = environment.directory / "deep" / "er"
    done = environment.run("iot-jobs-agent", "new-handler", "say-it", "--language", "shell", project)
    assert done.returncode == 0, done.stderr
    tested = run("sh", "test.sh", cwd=project, PATH=f"{environment.bin}:{os.environ['PATH']}")
    assert (tested.returncode, tested.stdout.splitlines()[-1]) == (0, "say-it: all is well"), tested
    listed = environment.run("iot-jobs-agent", "try", "./say-it", "params.json", cwd=project)
    assert "detail    length = 5" in listed.stdout


NEIGHBOURS = {  # what an author's own project may be made of: names that are no business of ours
    "agent/__init__.py": "WHO = 'the author'\n",
    "agent/errors.py": "WHO = 'the author'\n",
    "handlers.py": "from agent import WHO\n",
    "simulator.py": "raise SystemExit('not asked for')\n",
    "greet": "#!/bin/sh\nread -r params\necho greet\n",
    "test_it.py": textwrap.dedent("""\
        from pathlib import Path

        import agent.errors
        import handlers


        def test_ours_are_ours():
            assert (handlers.WHO, agent.errors.WHO) == ("the author", "the author")
            assert Path(agent.__file__).parent == Path(__file__).parent / "agent"


        def test_the_handler_runs_under_the_agent(jobs_agent):
            record = jobs_agent(Path("greet")).run({"operation": "greet"})
            assert (record.status, record.details["stdout"]) == ("SUCCEEDED", "greet")
    """),
}


def test_a_project_with_modules_named_like_our_wings_runs_beside_us(environment: Environment) -> None:
    project = environment.directory / "neighbours"
    for name, text in NEIGHBOURS.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    tested = environment.run("python", "-m", "pytest", "-q", "-W", "error", cwd=project)
    assert (tested.returncode, "2 passed" in tested.stdout) == (0, True), tested.stdout


@pytest.mark.parametrize(
    ("name", "why"),
    [("_up", "'_up' cannot be the name of a handler; use such a name as "), ("write-file", "write-file is built in")],
)
def test_a_name_that_cannot_be_a_new_handlers_is_wrong_usage(author: Any, capfd: Any, name: str, why: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        author.run("new-handler", name)
    assert why in capfd.readouterr().err
    assert list(author.directory.iterdir()) == []


@pytest.mark.parametrize(
    ("directory", "why"), [(".", "has something in it"), ("/proc/x", "/proc/x: cannot be written")]
)
def test_a_directory_that_cannot_take_a_new_handler_is_told(author: Any, directory: str, why: str) -> None:
    author.write("there", "")
    done = author.run("new-handler", "x", directory)
    assert (done.returncode, why in done.stderr) == (1, True)
    assert [path.name for path in author.directory.iterdir()] == ["there"]
