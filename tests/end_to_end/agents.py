"""Fixtures with a real agent in them: a process with the real SDK, against the `sim` of the test's own loop."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.end_to_end.histories import Witness, reason_to_differ
from tests.support.clients import boto3_client
from tests.support.configs import aws_of, toml_of

from iot_jobs_agent.built_ins import BUILT_INS
from iot_jobs_simulator.server import RunningSimulator

THING = "pi-kitchen-1"
WAIT_S = 15


_manifests: dict[str, Any] = {}  # of the built-ins, which are the same for all devices
_checks: dict[str, bytes] = {}  # what an agent has kept of what pydantic says about them


@dataclass
class Device:
    """A device's files: configuration, handlers, state. Change `sections` before an agent is started with them."""

    directory: Path
    sections: dict[str, dict[str, Any]]
    namespaces: list[dict[str, str]] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.directory / "config.toml"

    @property
    def state(self) -> Path:
        return Path(self.sections["agent"]["state_directory"])

    @property
    def files(self) -> Path:
        return self.directory / "files"

    def add_handler(self, name: str, script: str) -> None:
        """Install an executable handler, and enable it."""
        path = Path(self.sections["handlers"]["directories"][0]) / name
        path.write_text(script)
        path.chmod(0o755)
        self.sections["handlers"]["enabled"].append(name.removesuffix(".sh"))

    def remember_manifests(self) -> None:
        """Be a device that has asked its handlers for their manifests before, if another one of this run has."""
        if _manifests:
            self.state.mkdir(mode=0o700, exist_ok=True)
            (self.state / "manifests.json").write_text(json.dumps(_manifests))
        for name, sealed in _checks.items():
            self.state.mkdir(mode=0o700, exist_ok=True)
            (self.state / name).write_bytes(sealed)
            (self.state / name).chmod(0o600)

    def learn_manifests(self) -> None:
        """Let later devices of this run know what the built-ins said."""
        with contextlib.suppress(OSError, ValueError):
            known = json.loads((self.state / "manifests.json").read_bytes())
            _manifests.update({name: known[name] for name in BUILT_INS if name in known})
            _checks["checks.json"] = (self.state / "checks.json").read_bytes()

    def write_config(self) -> Path:
        self.config.write_text(toml_of({**self.sections, "namespaces": self.namespaces}))
        return self.config


@pytest.fixture
def device(tmp_path: Path, sim: RunningSimulator) -> Device:
    """A device that knows `sim`, with a few handlers allowed."""
    return make_device(tmp_path, sim)


def make_device(directory: Path, sim: RunningSimulator, thing_name: str = THING) -> Device:
    """Make a device's files in a directory of its own."""
    for name in ("handlers", "files"):
        (directory / name).mkdir(mode=0o755)
    sections: dict[str, dict[str, Any]] = {
        "aws": aws_of(sim, thing_name) | {"request_timeout_s": 2},
        "agent": {"state_directory": str(directory / "state"), "log_format": "json", "progress_interval_s": 0.1},
        "handlers": {"enabled": ["run-command", "write-file"], "directories": [str(directory / "handlers")]},
        "handler.run-command": {"programs": ["/bin/echo", "/bin/sh"]},
        "handler.write-file": {"roots": [str(directory / "files")]},
    }
    return Device(directory, sections)


class AgentProcess:
    """A running `iot-jobs-agent run`, and what it logs."""

    def __init__(self, process: asyncio.subprocess.Process, wait_s: float) -> None:
        self.process = process
        self._wait_s = wait_s
        self.log: list[dict[str, Any]] = []
        self._heard = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": line.decode(), "level": "none"}
            async with self._heard:
                self.log.append(event)
                self._heard.notify_all()
        async with self._heard:
            self.log.append({"event": "(end of the log)"})
            self._heard.notify_all()

    async def says(self, event: str, *, times: int = 1, within_s: float = 0, **facts: Any) -> dict[str, Any]:
        """Return the `times`-th line of that event with these facts, as soon as it is logged."""
        within_s = within_s or self._wait_s

        def found() -> list[dict[str, Any]]:
            return [e for e in self.log if e["event"] == event and facts.items() <= e.items()]

        def is_decided() -> bool:
            return len(found()) >= times or self.log[-1:] == [{"event": "(end of the log)"}]

        try:
            async with asyncio.timeout(within_s), self._heard:
                await self._heard.wait_for(is_decided)
        except TimeoutError:
            pytest.fail(f"the agent did not say {event!r} {facts} in {within_s} s but: {self.told}")
        assert len(found()) >= times, f"the agent ended without saying {event!r} {facts}, but: {self.told}"
        return found()[times - 1]

    async def has_news(self, within_s: float) -> bool:
        """Wait for the next line of the log; False if none comes, or if that was the last one."""
        before = len(self.log)
        try:
            async with asyncio.timeout(within_s), self._heard:
                await self._heard.wait_for(lambda: len(self.log) > before)
        except TimeoutError:
            return False
        return self.log[-1] != {"event": "(end of the log)"}

    async def explains(self, sentence: str, *, within_s: float = 0) -> None:
        """Return as soon as a line has this in its `why` or its `hint`."""
        within_s = within_s or self._wait_s

        def is_explained() -> bool:
            return any(sentence in str(line.get(key)) for line in self.log for key in ("why", "hint"))

        try:
            async with asyncio.timeout(within_s), self._heard:
                await self._heard.wait_for(is_explained)
        except TimeoutError:
            pytest.fail(f"the agent did not say why: {sentence!r}, but: {self.told}")

    @property
    def told(self) -> str:
        return "\n".join(json.dumps(line) for line in self.log)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal; the exit status."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        async with asyncio.timeout(self._wait_s):
            status = await self.process.wait()
            await self._reader
        return status


def command(*arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run `iot-jobs-agent` and return what it printed."""
    return subprocess.run([*AGENT, *arguments], capture_output=True, text=True, timeout=55, check=False, cwd=cwd)


async def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `iot-jobs-agent` beside whatever else this loop does."""
    return await asyncio.to_thread(command, *arguments)


StartAgent = Callable[..., Any]
AGENT = (sys.executable, "-m", "iot_jobs_agent")


@pytest.fixture
async def start_agent(
    device: Device, sim: RunningSimulator, request: pytest.FixtureRequest
) -> AsyncIterator[StartAgent]:
    """Starts agents with the device's configuration, connected unless told otherwise; ends those still running.

    Then their history is compared with the record of `sim`.
    """
    device.remember_manifests()
    witness = None if reason_to_differ(request) else Witness(sim, THING, device.state)
    async with agents_on(device, witness) as start:
        yield start
    device.learn_manifests()


@contextlib.asynccontextmanager
async def agents_on(
    device: Device, witness: Witness | None = None, *, wait_s: float = WAIT_S
) -> AsyncIterator[StartAgent]:
    """Start agents of a device as often as needed; at the end none is left, nor any handler. They may take `wait_s`.

    If the test was good so far, the witness must agree with what they leave.
    """
    running: list[AgentProcess] = []

    async def start(
        *arguments: str,
        is_connected: bool = True,
        environment: dict[str, str] | None = None,
        command: Sequence[str] = AGENT,
    ) -> AgentProcess:
        process = await asyncio.create_subprocess_exec(
            *(*command, "run", "--config", str(device.write_config()), *arguments),
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONWARNINGS": "error"} | (environment or {}),
            limit=1024 * 1024,
        )
        running.append(AgentProcess(process, wait_s))
        if is_connected:
            await running[-1].says("connected")
        return running[-1]

    try:
        yield start
        if witness is not None:
            await _agree(witness, running)
    finally:
        for agent in running:
            await agent.stop(signal.SIGKILL)
        for lock in (device.state / "attempts").glob("*/lock"):
            with contextlib.suppress(ValueError, IndexError, OSError):
                os.kill(int(lock.read_text().split()[0]), signal.SIGTERM)  # the shim then stops its handler


async def _agree(witness: Witness, agents: Sequence[AgentProcess]) -> None:
    """See that the history says what the service's record says; of agents that still run, that it says it all."""
    if agents and agents[-1].process.returncode is None:
        missing = await witness.wait_until_settled(agents[-1].has_news)
        assert not missing, f"the service has an outcome of {missing}, the history has not: {agents[-1].told}"
    problems = witness.problems()
    assert not problems, f"the history and the service's record disagree: {problems}"


@pytest.fixture
async def thing(sim: RunningSimulator) -> str:
    """The device's thing, created; its ARN."""
    return sim.operate("CreateThing", thingName=THING)["thingArn"]


@pytest.fixture
def iot(sim: RunningSimulator) -> Iterator[Any]:
    """An operator's boto3 client. It blocks: `await asyncio.to_thread(iot.create_job, …)`."""
    client = boto3_client("iot", sim.http_url)
    yield client
    client.close()


@dataclass
class Operator:
    """Creates jobs for the device and reads the service's record, with boto3."""

    iot: Any
    sim: RunningSimulator
    thing: str

    async def create(self, job_id: str, document: Any, **members: Any) -> None:
        text = document if isinstance(document, str) else json.dumps(document)
        await asyncio.to_thread(self.iot.create_job, jobId=job_id, targets=[self.thing], document=text, **members)

    async def record(self, job_id: str) -> dict[str, Any]:
        """The execution as the control plane has it, details flat."""
        answer = await asyncio.to_thread(self.iot.describe_job_execution, jobId=job_id, thingName=THING)
        execution = answer["execution"]
        return {**execution, "details": execution.get("statusDetails", {}).get("detailsMap", {})}

    async def wait(self, job_id: str, status: str) -> dict[str, Any]:
        """The record once the execution has the status."""
        await self.sim.wait_for_status(THING, job_id, status, within_s=WAIT_S)
        return await self.record(job_id)

    async def cancel(self, job_id: str, *, force: bool) -> None:
        await asyncio.to_thread(self.iot.cancel_job, jobId=job_id, force=force)


@pytest.fixture
def operator(iot: Any, sim: RunningSimulator, thing: str) -> Operator:
    return Operator(iot, sim, thing)


ECHO = {"operation": "run-command", "params": {"command": "echo hi"}}


async def served_through(proxy: str, device: Device, operator: Any, start_agent: StartAgent) -> tuple[Any, Any]:
    """Let `check` and an agent use a proxy for MQTT and HTTPS, with a job for each; return the agent and the check."""
    device.namespaces = [{"id": "team-a"}]
    device.sections["aws"]["proxy"] = proxy
    checked = await run("check", "--config", str(device.write_config()))
    assert checked.returncode == 0, checked
    agent = await start_agent()
    await operator.create("job-1", ECHO)
    await operator.create("job-2", ECHO, namespaceId="team-a")
    await operator.wait("job-1", "SUCCEEDED")
    await operator.wait("job-2", "SUCCEEDED")
    return agent, checked
