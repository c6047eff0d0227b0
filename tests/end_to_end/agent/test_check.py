"""`check` connects, subscribes and asks as the agent does, and each thing that can go wrong has its own sentence."""

from typing import Any

import trustme
from agents import run

from iot_jobs_simulator.faults.faults import Reject


async def wrong(device: Any) -> list[str]:
    """What `check` finds wrong; there must be something, or its exit status would be another."""
    checked = await run("check", "--config", str(device.write_config()))
    assert checked.stderr == ""
    found = [line.removeprefix("wrong  ") for line in checked.stdout.splitlines() if line.startswith("wrong  ")]
    assert checked.returncode == (1 if found else 0), checked
    assert all(line.endswith(".") for line in found)
    return found


async def test_field_f3_pending_names_a_wrong_root_ca(device: Any, thing: str) -> None:
    root_ca = device.directory / "other-ca.pem"
    trustme.CA().cert_pem.write_to_path(root_ca)
    device.sections["aws"] |= {"root_ca": str(root_ca), "request_timeout_s": 1}
    answer = await run("pending", "--config", str(device.write_config()))
    assert answer.returncode == 69
    assert f"aws.root_ca: {root_ca} is not the authority of localhost port" in answer.stderr


async def test_field_f3_the_https_statement_is_needed_for_further_namespaces_only(
    device: Any, sim: Any, thing: str
) -> None:
    sim.faults.add(Reject(operation="GetPendingJobExecutions", code="Forbidden", status=403, listener="http"))
    checked = await run("check", "--config", str(device.write_config()))
    assert (checked.returncode, "which only `pending` would need" in checked.stdout) == (0, True), checked
    device.namespaces = [{"id": "team-a"}]
    [line] = await wrong(device)
    assert "iotjobsdata:GetPendingJobExecutions" in line


async def test_field_f3_a_running_agent_keeps_its_connection(
    device: Any, sim: Any, thing: str, start_agent: Any
) -> None:
    agent = await start_agent()
    while (await run("status", "--config", str(device.config))).returncode:
        pass  # the status is written half a second after the connection
    checked = await run("check", "--config", str(device.config))
    assert (checked.returncode, "the agent runs and is connected" in checked.stdout) == (0, True), checked
    assert await agent.stop() == 0
    assert not [line for line in agent.log if line["event"] == "connection lost"]
