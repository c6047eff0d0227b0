"""What an author has: the commands, run as people run them, and a directory to write handlers in."""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import structlog

from iot_jobs_agent.__main__ import main


class Author:
    """A directory of handlers, and the command line in it: in this process, which saves starting Python each time."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._monkeypatch = monkeypatch
        self._capfd = capfd
        monkeypatch.chdir(directory)

    def write(self, name: str, text: str, *, mode: int = 0o755) -> Path:
        path = self.directory / name
        path.parent.mkdir(mode=0o755, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def run(self, *arguments: str | Path, params: Any = None) -> "subprocess.CompletedProcess[str]":
        """Run a command; `params` become its standard input, as JSON."""
        words = list(map(str, arguments))
        self._monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(params).encode())))
        self._capfd.readouterr()
        try:
            status = main(words)
        finally:
            structlog.reset_defaults()
        return subprocess.CompletedProcess(words, status, *self._capfd.readouterr())

    def attempt(self, handler: str | Path, params: Any, *arguments: str | Path) -> dict[str, Any]:
        """Try a handler; the outcome as JSON has it."""
        done = self.run("try", handler, "-", "--json", *arguments, params=params)
        assert done.stdout, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if told["status"] == "SUCCEEDED" else 1)
        return told

    def problems(self, handler: str | Path, params: Any, *arguments: str | Path) -> dict[str, str]:
        """Let a handler conform; its problems, by case."""
        done = self.run("try", handler, "-", "--conform", "--json", *arguments, params=params)
        assert done.stdout, done.stderr
        problems = {each["case"]: each["problem"] for each in json.loads(done.stdout) if each["problem"]}
        assert done.returncode == (1 if problems else 0)
        return problems


@pytest.fixture
def author(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Author:
    return Author(tmp_path, monkeypatch, capfd)


@pytest.fixture
def start(author: Author) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts a command, and ends it if it still runs."""
    running: list[subprocess.Popen[str]] = []

    def started(*arguments: str | Path) -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "iot_jobs_agent", *map(str, arguments)], stdout=pipe, stderr=pipe, text=True
            )
        )
        return running[-1]

    yield started
    for process in running:
        with process, suppress(ProcessLookupError):
            process.kill()
