"""The device: the built wheel in an empty virtual environment, without the simulator extra, and how it is configured.

The development environment would mislead: packages that are only there for the simulator and the tools (rich, which
structlog imports if it can) cost the agent megabytes that no device pays.
"""

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.configs import aws_of, toml_of

from iot_jobs_simulator.server import RunningSimulator

ROOT = Path(__file__).parents[1]
FLOOR = Path(__file__).with_name("floor.py")
WITHIN_S = 30.0
TRUE_HANDLER = "just-true"


@dataclass(frozen=True)
class Environment:
    """An environment that has what a device has, and no more."""

    directory: Path

    @property
    def python(self) -> str:
        """The interpreter."""
        return str(self.directory / "bin/python")

    @property
    def agent(self) -> str:
        """The agent's command."""
        return str(self.directory / "bin/iot-jobs-agent")

    @property
    def jobctl(self) -> str:
        """The command with which scripts report."""
        return str(self.directory / "bin/jobctl")


def install(scratch: Path, source: Path = ROOT, name: str = "device") -> Environment:
    """Build the wheel of `source` and install it as `name`, byte code compiled as pip does.

    The versions of everything else are those that this checkout's pyproject.toml pins, whatever `source` is.
    """
    uv = os.environ.get("UV", "uv")
    made = Environment(scratch / name)
    wheels = scratch / f"{name}-wheel"
    for command, cwd in (
        ([uv, "build", "--quiet", "--wheel", "--out-dir", str(wheels)], source),
        ([uv, "venv", "--quiet", "--python", sys.executable, str(made.directory)], ROOT),
    ):
        subprocess.run(command, cwd=cwd, check=True)
    (wheel,) = wheels.glob("*.whl")
    install_wheel = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", made.python, str(wheel)]
    subprocess.run(install_wheel, cwd=ROOT, check=True)
    return made


def export(revision: str, to: Path) -> Path:
    """Write the files of a commit below `to`, and return the directory."""
    to.mkdir()
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, capture_output=True).stdout  # noqa: S607 - the one on PATH
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(to, filter="data")
    return to


def configure(
    directory: Path, simulator: RunningSimulator, thing: str, *, namespaces: Sequence[str] = (), max_concurrent: int = 1
) -> Path:
    """Write what the agent needs; the config's path. Each call makes a device of its own, below `directory`.

    `namespaces` are served besides the default one. Only keys that the agent has had since 2026-11-22 are written, so
    that older builds take the same file.
    """
    home = directory / thing
    handlers, files = home / "handlers", home / "files"
    for each in (home, handlers, files):
        each.mkdir(mode=0o700)
    # A link: the executable handler is the system's `true` itself, with no shell around it.
    (handlers / TRUE_HANDLER).symlink_to("/bin/true")
    agent = {"state_directory": str(home / "state"), "log_format": "json", "max_concurrent": max_concurrent}
    sections: dict[str, Any] = {
        "aws": aws_of(simulator, thing),
        "agent": agent,
        "handlers": {"enabled": [TRUE_HANDLER, "write-file"], "directories": [str(handlers)]},
        "handler.write-file": {"roots": [str(files)]},
        "namespaces": [{"id": each} for each in namespaces],
    }
    config = home / "config.toml"
    config.write_text(toml_of(sections))
    return config


@contextlib.asynccontextmanager
async def running_agent(device: Environment, config: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """`iot-jobs-agent run` as a process, until the block ends. What goes wrong meanwhile carries its last log lines."""
    file = config.with_name("agent.log")
    with file.open("ab") as log:
        process = await asyncio.create_subprocess_exec(device.agent, "run", "--config", str(config), stderr=log)
    async with _terminate_on_exit(process):
        try:
            yield process
        except Exception as error:
            error.add_note("the agent's log ends with:\n" + "\n".join(file.read_text().splitlines()[-20:]))
            raise


@contextlib.asynccontextmanager
async def running_floor(
    device: Environment, simulator: RunningSimulator, thing: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The floor as a process, connected, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        device.python, str(FLOOR), "localhost", str(simulator.mqtts_port), thing, str(simulator.certificates),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with _terminate_on_exit(process):
        assert process.stdout is not None
        async with asyncio.timeout(WITHIN_S):
            while (line := await process.stdout.readline()) != b"connected\n":
                assert line, "the floor ended before it was connected"
        yield process


@contextlib.asynccontextmanager
async def _terminate_on_exit(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(WITHIN_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
