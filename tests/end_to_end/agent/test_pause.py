"""The maintenance lock: `pause`, `resume`, `pause --wait`, across restarts of the agent."""

import asyncio
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def command(device: Any) -> Any:
    """Runs a command of ours on the device: exit status and output."""

    async def run(*words: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "iot_jobs_agent", *words, "--config", str(device.write_config())),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    return run


@pytest.fixture
def gate(device: Any) -> Path:
    """A FIFO that the handler `gated` waits for."""
    path: Path = device.directory / "gate"
    os.mkfifo(path)
    device.add_handler("gated", f"#!/bin/sh\nread -r line < {path}\n")
    return path


def open_gate(gate: Path) -> None:
    with gate.open("w") as opened:
        opened.write("opened\n")


async def test_a_pause_takes_nothing_new_lets_go_on_what_runs_and_survives_a_restart(
    device: Any, start_agent: Any, operator: Any, command: Any, gate: Path
) -> None:
    agent = await start_agent()
    await operator.create("job-1", {"operation": "gated"})
    await agent.says("started")
    assert await command("pause") == (0, "paused: no new executions are taken until `iot-jobs-agent resume`\n")
    await agent.says("paused")
    await operator.create("job-2", {"operation": "run-command", "params": {"command": ["/bin/echo"]}})
    await agent.stop()
    agent = await start_agent()
    await agent.says("started", execution="job-1")
    waiting = asyncio.create_task(command("pause", "--wait"))
    await asyncio.to_thread(open_gate, gate)
    status, output = await waiting
    assert (status, output.splitlines()[-1]) == (0, "paused: nothing is under way")
    assert (await operator.record("job-1"))["status"] == "SUCCEEDED"
    assert (await operator.record("job-2"))["status"] == "QUEUED"
    _, shown = await command("status")
    assert "paused     takes no new executions" in shown
    assert await command("resume") == (0, "resumed\n")
    await operator.wait("job-2", "SUCCEEDED")
    await agent.stop()
    await command("pause")
    _, shown = await command("status")
    assert "paused     takes no new executions" in shown


async def test_a_wait_that_takes_too_long_says_for_what(
    start_agent: Any, operator: Any, command: Any, gate: Path
) -> None:
    agent = await start_agent()
    await operator.create("job-1", {"operation": "gated"})
    await agent.says("started")
    status, output = await command("pause", "--wait", "--timeout", "1")
    assert (status, output.splitlines()[-1]) == (1, "paused, but after 1 s still under way: job-1 (running)")


async def test_a_wait_for_a_degraded_agent_says_what_it_waits_for(device: Any, start_agent: Any, command: Any) -> None:
    (device.state / "journal.sqlite").mkdir(parents=True)
    agent = await start_agent()
    await agent.says("degraded: the state directory cannot be used")
    status, output = await command("pause", "--wait", "--timeout", "3")
    assert (status, "the agent, which is degraded: " in output.splitlines()[-1]) == (1, True)


async def test_without_an_agent_the_wait_does_not_pretend(command: Any, device: Any) -> None:
    status, output = await command("pause")
    assert (status, "has the agent run here" in output) == (73, True)
    device.state.mkdir()
    assert await command("resume") == (0, "it was not paused\n")
    status, output = await command("pause", "--wait")
    assert (status, "cannot be seen" in output) == (1, True)


async def test_a_pause_follows_no_link_and_writes_into_nothing_of_others(command: Any, device: Any) -> None:
    device.state.mkdir()
    victim, fake = device.directory / "victim", device.state / "wake"
    victim.write_text("untouched")
    fake.symlink_to(victim)
    (device.state / "paused").symlink_to(device.directory / "made")
    status, _ = await command("pause")
    fake.unlink()
    fake.write_text("")
    await command("pause")
    assert (status, victim.read_text(), fake.read_text()) == (0, "untouched", "")
    assert not (device.directory / "made").exists()
    assert stat.S_ISLNK((device.state / "paused").lstat().st_mode)
