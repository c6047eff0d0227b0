"""An upgrade: this version takes over the state directory of an earlier build, with an execution in each phase.

`build_2026_11_22.tar.xz` was written by that build itself (journal of schema 2, attempt directories of its shim), less
its FIFOs and the files that name paths. Its handler had ended and left a process behind while no agent ran.

`live_2026_11_22.tar.xz` has what the first one lacks: `spec.json` and `manifests.json`, written by that build too, and
the code of its shim, which needs only the standard library. The test puts its own paths into `spec.json`, makes the
FIFOs again, and starts that shim as that build did, so the attempt is alive when this version's agent finds it. The
fingerprint in `manifests.json` is of a file on the device of then, so the handler is asked again.
"""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import THING

STATE = Path(__file__).with_name("build_2026_11_22.tar.xz")
LIVE = Path(__file__).with_name("live_2026_11_22.tar.xz")
BOOT = "import sys; sys.path.append(sys.argv[1]); from agent.shim.supervisor import main; sys.exit(main(sys.argv[2]))"
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


def unpack(file: Path, directory: Path) -> None:
    """Unpack one of our own archives, also with a Python before 3.11.4, which knows no filters."""
    with tarfile.open(file) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(directory)  # noqa: S202 - our own


@pytest.mark.history_differs("what it remembers is of an earlier build, which this test's service has never met")
async def test_an_execution_in_each_phase_comes_to_its_end(
    device: Any, start_agent: Any, operator: Any, connect: Any, sim: Any
) -> None:
    unpack(STATE, device.state)
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


@pytest.fixture
def earlier_shim(device: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """Unpack the state directory with the live attempt, and start the earlier build's shim of it."""
    unpack(LIVE, device.directory)
    os.mkfifo(device.directory / "gate")
    ledger = f'echo "$JOB_ID $1" >> {device.directory}/ledger'
    up = """echo '{"progress": 50, "message": "up"}' >&3"""
    device.add_handler("waits", f'#!/bin/sh\n{ledger}\n{up}\nread -r word < {device.directory}/gate\necho "$word"\n')
    attempt = device.state / "attempts" / ".live.1.0.1"
    spec = (attempt / "spec.json").read_text()
    spec = spec.replace("/earlier/state", str(device.state)).replace("/earlier", str(device.directory))
    # Another test has an attempt from this archive, too, and an agent ends whatever has its attempt's token.
    spec = spec.replace(json.loads(spec)["token"], secrets.token_hex(16))
    (attempt / "spec.json").write_text(spec)
    os.mkfifo(attempt / "control", 0o600)
    shim = [sys.executable, "-I", "-S", "-c", BOOT, str(device.directory / "shim-of-then"), str(attempt)]
    with subprocess.Popen(shim, cwd="/", env={"LC_ALL": "C.UTF-8"}, start_new_session=True) as process:
        yield process
        process.terminate()


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_an_attempt_that_an_earlier_builds_shim_supervises_is_found_alive_and_comes_to_its_end(
    earlier_shim: "subprocess.Popen[bytes]",
    device: Any,
    start_agent: Any,
    operator: Any,
    connect: Any,
    *,
    sim: Any,
    is_cancelled: bool,
) -> None:
    gate = await asyncio.to_thread(os.open, device.directory / "gate", os.O_WRONLY)  # returns once the handler reads
    earlier = await connect(sim, THING, client_id="earlier-build")
    await operator.create("live", {"operation": "waits"})
    await earlier.ask("live/update", status="IN_PROGRESS", statusDetails={"agent": AGENT_ID})
    agent = await start_agent()
    await sim.wait_until(lambda: "up" in str(sim.store.find_execution(THING, "live").status_details), within_s=15)
    if is_cancelled:
        await operator.cancel("live", force=True)
    else:
        os.write(gate, b"opened\n")
    record = await operator.wait("live", "CANCELED" if is_cancelled else "SUCCEEDED")
    await agent.says("settled", execution="live")
    os.close(gate)
    assert await asyncio.to_thread(earlier_shim.wait, 15) == 0
    assert (device.directory / "ledger").read_text() == "live run\n"
    assert is_cancelled or record["details"]["stdout"] == "opened"
    manifests = json.loads((device.state / "manifests.json").read_text())
    assert manifests["waits"]["fingerprint"].startswith(f"{device.directory}/handlers/waits|")


async def _history(device: Any) -> dict[str, dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        "iot-jobs-agent", "jobs", "--json", "--config", str(device.config), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return {entry["job_id"]: entry for entry in json.loads(output)}
