"""The built-in reboot, in boots of our own making: a file is mounted over the kernel's boot id, for the agent alone."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.configs import aws_of, toml_of

from iot_jobs_simulator.server import RunningSimulator, running_simulator

THING = "pi-kitchen-1"
IN_BOOT = "mount --bind {boot} /proc/sys/kernel/random/boot_id && exec {python} -m iot_jobs_agent run --config {config}"
DOCUMENT = {
    "version": "1.0",
    "steps": [
        {"action": {"name": "Reboot", "type": "runHandler", "input": {"handler": "reboot.sh"}}},
        {"action": {"name": "After", "type": "runCommand", "input": {"command": "/bin/echo,up again"}}},
    ],
}


@pytest.fixture
async def sim() -> AsyncIterator[RunningSimulator]:
    async with running_simulator() as simulator:
        thing = simulator.operate("CreateThing", thingName=THING)["thingArn"]
        simulator.operate("CreateJob", jobId="job-1", targets=[thing], document=json.dumps(DOCUMENT))
        yield simulator


@pytest.fixture
def asked(tmp_path: Path, sim: RunningSimulator) -> Path:
    """A FIFO that tells when the system is asked to reboot."""
    fifo = tmp_path / "asked"
    os.mkfifo(fifo)
    (tmp_path / "reboot").write_text(f"#!/bin/sh\necho asked > {fifo}\n")
    (tmp_path / "reboot").chmod(0o755)
    tables = {
        "aws": aws_of(sim, THING),
        "agent": {"state_directory": str(tmp_path / "state"), "reboot_command": [str(tmp_path / "reboot")]},
        "handlers": {"enabled": ["reboot", "run-command"]},
        "handler.reboot": {"may_reboot": True},
        "handler.run-command": {"programs": ["/bin/echo"]},
    }
    (tmp_path / "config.toml").write_text(toml_of(tables))
    return fifo


Boot = Callable[[str], Any]


@pytest.fixture
async def boot(tmp_path: Path) -> AsyncIterator[Boot]:
    """Starts an agent in the boot of that id; the one before must be gone."""
    agents: list[asyncio.subprocess.Process] = []

    async def start(boot_id: str) -> asyncio.subprocess.Process:
        (tmp_path / boot_id).write_text(boot_id + "\n")
        script = IN_BOOT.format(boot=tmp_path / boot_id, python=sys.executable, config=tmp_path / "config.toml")
        agents.append(
            await asyncio.create_subprocess_exec(
                "unshare", "--mount", "sh", "-c", script, stderr=asyncio.subprocess.DEVNULL
            )
        )
        return agents[-1]

    yield start
    for agent in agents:
        with contextlib.suppress(ProcessLookupError):
            agent.kill()
        await agent.wait()


async def test_a_document_reboots_between_steps_and_goes_on_with_the_next(
    sim: RunningSimulator, asked: Path, boot: Boot
) -> None:
    agent = await boot("one")
    assert await asyncio.to_thread(asked.read_text) == "asked\n"
    agent.send_signal(signal.SIGKILL)
    await agent.wait()
    await boot("two")
    await sim.wait_for_status(THING, "job-1", "SUCCEEDED", within_s=20)
    execution = sim.operate("DescribeJobExecution", jobId="job-1", thingName=THING)["execution"]
    details = execution["statusDetails"]["detailsMap"]
    assert (details["steps"], details["stdout"]) == ("Reboot=SUCCEEDED, After=SUCCEEDED", "up again")
    assert not asked.is_file()


async def test_an_agent_that_comes_back_in_the_same_boot_does_not_believe_in_the_reboot(
    sim: RunningSimulator, asked: Path, boot: Boot, tmp_path: Path
) -> None:
    agent = await boot("one")
    await asyncio.to_thread(asked.read_text)
    agent.send_signal(signal.SIGKILL)
    await agent.wait()
    known = len(sim.received)
    agent = await boot("one")
    await sim.wait_until(lambda: any(t.endswith("jobs/get") for t, _ in list(sim.received)[known:]), within_s=20)
    agent.send_signal(signal.SIGTERM)
    await agent.wait()
    [known_execution] = json.loads((tmp_path / "state" / "status.json").read_text())["executions"]
    assert (known_execution["phase"], known_execution["attempt"]) == ("rebooting", 2)
    execution = sim.operate("DescribeJobExecution", jobId="job-1", thingName=THING)["execution"]
    assert execution["status"] == "IN_PROGRESS"
