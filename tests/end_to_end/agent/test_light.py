"""What the running agent does not load, as the kernel sees it: the libraries that are mapped into its memory."""

from pathlib import Path
from typing import Any

import pytest

from iot_jobs_agent.verdict import FILE

HEAVY = ("_pydantic_core", "/_ssl.", "/libssl", "jsonschema_rs")


def loaded(pid: int) -> set[str]:
    """Return which of the heavy libraries a process has mapped."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return {name for name in HEAVY if name in maps}


async def serve(device: Any, operator: Any, agent: Any, number: int) -> None:
    """Have it run an executable and a Python handler."""
    written = {"path": str(device.files / "note"), "content": "hello\n"}
    await operator.create(f"executable-{number}", {"operation": "plain"})
    await operator.create(f"python-{number}", {"operation": "write-file", "params": written})
    await operator.wait(f"executable-{number}", "SUCCEEDED")
    await operator.wait(f"python-{number}", "SUCCEEDED")


async def test_neither_the_first_start_nor_a_later_one_nor_jobs_load_pydantic_or_openssl(
    device: Any, start_agent: Any, operator: Any
) -> None:
    device.add_handler("plain", "#!/bin/sh\n")
    for name in ("verdict.json", "manifests.json", "checks.json"):
        (device.state / name).unlink(missing_ok=True)
    for number in range(2):
        agent = await start_agent()
        await serve(device, operator, agent, number)
        assert loaded(agent.process.pid) == set()
        assert (device.state / FILE).is_file()
        await agent.stop()


async def test_a_handler_that_comes_while_the_agent_runs_is_checked_without_loading_pydantic(
    device: Any, start_agent: Any, operator: Any
) -> None:
    device.sections["handlers"]["enabled"].append("late")
    agent = await start_agent()
    device.add_handler("late", '#!/bin/sh\n# iot-jobs-agent: describe\necho \'{"timeout_s": "soon"}\'\n')
    await operator.create("job-1", {"operation": "late"})
    record = await operator.wait("job-1", "REJECTED")
    assert "its manifest is wrong at timeout_s" in record["details"]["reason"]
    assert loaded(agent.process.pid) == set()


@pytest.mark.parametrize("damage", [b"", b"\0" * 100, None], ids=["empty", "zeroes", "removed"])
async def test_a_damaged_verdict_costs_only_time(
    device: Any, start_agent: Any, operator: Any, damage: bytes | None
) -> None:
    first = await start_agent()
    await first.stop()
    for name in ("verdict.json", "checks.json"):
        if damage is None:
            (device.state / name).unlink(missing_ok=True)
        else:
            (device.state / name).write_bytes(damage)
    agent = await start_agent()
    device.add_handler("plain", "#!/bin/sh\n")
    await operator.create("job-1", {"operation": "run-command", "params": {"command": "echo hi"}})
    await operator.wait("job-1", "SUCCEEDED")
    assert loaded(agent.process.pid) == set()
