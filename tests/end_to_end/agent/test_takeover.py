"""An upgrade: this version takes over the state directory of an earlier build, with an execution in each phase.

`build_2026_11_22.tar.xz` was written by that build itself (journal of schema 2, attempt directories of its shim), less
its FIFOs and the files that name paths. Its handler had ended and left a process behind while no agent ran.
"""

import asyncio
import json
import tarfile
from pathlib import Path
from typing import Any

from agents import THING

STATE = Path(__file__).with_name("build_2026_11_22.tar.xz")
AGENT_ID = "0123456789abcdef"
PLAIN = {"operation": "greet"}
STEPS = {
    "version": "1.0",
    "steps": [
        {"action": {"name": name, "type": "runHandler", "input": {"handler": "greet"}}} for name in ("first", "second")
    ],
}
ENDS = {  # what becomes of each, by the phase that it was in: its status, and why its handler was started, if it was
    "claiming": ("SUCCEEDED", "run first 0 1"),
    "preparing": ("SUCCEEDED", "first 1 1"),
    "running": ("SUCCEEDED", ""),
    "waiting": ("SUCCEEDED", "run retry 0 2"),
    "rebooting": ("SUCCEEDED", "resume reboot 0 2"),
    "stopping": ("CANCELED", ""),
    "reporting": ("FAILED", ""),
}


async def test_an_execution_in_each_phase_comes_to_its_end(
    device: Any, start_agent: Any, operator: Any, connect: Any, sim: Any
) -> None:
    with tarfile.open(STATE) as archive:
        archive.extractall(device.state, filter="data")
    ledger = device.directory / "ledger"
    device.add_handler("greet", f'#!/bin/sh\necho "$JOB_ID $1 $JOB_REASON $JOB_STEP $JOB_ATTEMPT" >> {ledger}\n')
    earlier = await connect(sim, THING, client_id="earlier-build")
    for name in ENDS:
        await operator.create(name, STEPS if name == "preparing" else PLAIN)
        await earlier.ask(f"{name}/update", status="IN_PROGRESS", statusDetails={"agent": AGENT_ID})
    await operator.cancel("stopping", force=True)
    agent = await start_agent()
    for name, (status, _) in ENDS.items():
        await operator.wait(name, status)
        await agent.says("settled", execution=name)
    started = sorted(line.split(" ", 1) for line in ledger.read_text().splitlines())
    assert {name: " ".join(words.split()) for name, words in started} == {n: s for n, (_, s) in ENDS.items() if s}
    assert (await operator.record("running"))["details"]["result"].endswith("1 process left behind and killed")
    history = await _history(device)
    assert {name: history[name]["status"] for name in ENDS} == {name: status for name, (status, _) in ENDS.items()}
    assert {name: history[name]["code"] for name in ("settled", "unstartable", "reporting")} == {
        "settled": "",
        "unstartable": "cannot-start",
        "reporting": "processes-left",
    }


async def _history(device: Any) -> dict[str, dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        "iot-jobs-agent", "jobs", "--json", "--config", str(device.config), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return {entry["job_id"]: entry for entry in json.loads(output)}
