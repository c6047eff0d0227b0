"""The matrix of faults for `check` and `run`: what a row of it is, and how both commands are held to it.

The rows are tables in tests/end_to_end/agent/test_check_*.py, one file for each kind.
"""

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
from agents import AGENT, AgentProcess, Device
from tests.support.listeners import Talk, listening, say_nothing, server_context

from iot_jobs_simulator.server import RunningSimulator

LONGEST_S = 15  # what a person may have to wait for `check`
BUSY_MACHINE_S = 45  # what a test waits, since other tests run beside it
CONFIG_ERROR = 78


@dataclass
class Bench:
    """A device that works, and the means to spoil it. `names` are what a row's sentence may refer to."""

    device: Device
    sim: RunningSimulator
    stack: contextlib.ExitStack
    names: dict[str, Any] = field(default_factory=dict)
    text: str = ""  # in place of the configuration
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def aws(self) -> dict[str, Any]:
        return self.device.sections["aws"]

    @property
    def authority(self) -> trustme.CA:
        """Of the simulator, which the device trusts, and which has issued the device's certificate."""
        files = self.sim.certificates
        return trustme.CA.from_pem((files / "ca.pem").read_bytes(), (files / "ca.key").read_bytes())

    def file(self, key: str) -> Path:
        return Path(self.aws[key])

    def own_files(self) -> None:
        """Give the device copies of its credentials, to be spoilt."""
        for key, name in {"certificate": "client.pem", "private_key": "client.key", "root_ca": "ca.pem"}.items():
            path = self.device.directory / name
            path.write_bytes((self.sim.certificates / name).read_bytes())
            path.chmod(0o600)
            self.aws[key] = self.names[key] = str(path)

    def listen(self, talk: Talk = say_nothing, context: ssl.SSLContext | None = None) -> int:
        """Let a listener of its own be the MQTT endpoint; the port."""
        port = self.stack.enter_context(listening(talk, context))
        self.aws["port"] = self.names["port"] = port
        return port

    def serve_tls(self, talk: Talk = say_nothing, **how: Any) -> None:
        """Let a TLS server be the MQTT endpoint, which is as AWS IoT's but for `how`."""
        right = {"clients": self.authority, "newest": ssl.TLSVersion.TLSv1_3}
        self.listen(talk, server_context(self.authority, **(right | how)))

    def write_config(self) -> str:
        path = self.device.write_config()
        if self.text:
            path.write_text(self.text)
        return str(path)


@dataclass(frozen=True)
class Row:
    """A fault. `said` is the sentence or the part of it that names what is wrong and the fix."""

    name: str
    make: Callable[[Bench], object]
    said: str
    status: int = 1  # of `check`; with 78, `run` ends with it too
    is_met_by_run: bool = True


def rows(table: Sequence[Row], *, by_run: bool = False) -> pytest.MarkDecorator:
    """Make a test case of each row, or of each that `run` meets too."""
    chosen = [row for row in table if row.is_met_by_run or not by_run]
    return pytest.mark.parametrize("row", chosen, ids=[row.name.replace(" ", "-") for row in chosen])


@contextlib.contextmanager
def bench_of(device: Device, sim: RunningSimulator) -> Iterator[Bench]:
    """Make a bench whose device gives up soon."""
    device.sections["aws"] |= {"connect_timeout_s": 4, "request_timeout_s": 2}
    with contextlib.ExitStack() as stack:
        bench = Bench(device, sim, stack, {"directory": device.directory, "port": sim.mqtts_port})
        bench.own_files()
        yield bench
        for task in bench.tasks:
            task.cancel()


async def said_by_check(bench: Bench, row: Row, *options: str) -> str:
    """Run `check` on the row's fault, and hold it to what is asked of every row; the first thing that it found."""
    row.make(bench)
    done = await _command("check", "--config", bench.write_config(), *options)
    assert "Traceback" not in done.stdout + done.stderr
    assert (done.returncode, done.stderr) == (row.status, ""), done
    found = [line.removeprefix("wrong  ") for line in done.stdout.splitlines() if line.startswith("wrong  ")]
    assert all(line.endswith((".", "?")) and "\t" not in line for line in found), done
    assert row.said.format(**bench.names) in found[0], done
    return found[0]


async def said_by_run(bench: Bench, row: Row, start_agent: Any) -> None:
    """Run the agent on the row's fault: it says the same sentence in its log, or ends with it and 78."""
    row.make(bench)
    said = row.said.format(**bench.names)
    if row.status == CONFIG_ERROR:
        done = await _command("run", "--config", bench.write_config())
        assert (done.returncode, done.stderr.count("\n")) == (CONFIG_ERROR, 1), done
        assert said in done.stderr
        return
    agent: AgentProcess = await start_agent(is_connected=False)
    await agent.explains(said, within_s=BUSY_MACHINE_S)
    assert await agent.stop() == 0
    assert "Traceback" not in agent.told, agent.told


async def _command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command. That `check` ends in time is its own limit's work, which has tests of its own."""
    return await asyncio.to_thread(
        subprocess.run, [*AGENT, *arguments], capture_output=True, text=True, timeout=BUSY_MACHINE_S, check=False
    )
