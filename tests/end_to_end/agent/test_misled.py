"""Faults of a device's surroundings that look like something else: the log says what to look at."""

from pathlib import Path
from typing import Any

from agents import THING, agents_on, make_device
from tests.end_to_end.histories import Witness

from iot_jobs_simulator.faults.faults import Lose

JOBS = "$aws/things/pi-kitchen-1/jobs"
ECHO = {"operation": "run-command", "params": {"command": "echo hi"}}


async def test_field_f4_requests_that_stay_unanswered_name_the_receive_permission(
    device: Any, sim: Any, operator: Any, start_agent: Any
) -> None:
    sim.faults.add(Lose(what="reply", listener="mqtt"))
    device.sections["aws"]["request_timeout_s"] = 0.5
    await operator.create("job-1", ECHO)
    agent = await start_agent()
    line = await agent.says("requests stay unanswered on a connection that works")
    assert line["hint"].endswith(f"; let the certificate's policy allow iot:Receive on {JOBS}/*")
    assert line["topic"].startswith(JOBS)
    sim.faults.clear()
    await operator.wait("job-1", "SUCCEEDED")
    assert await agent.stop() == 0
    said = [each for each in agent.log if each["event"].startswith("requests stay unanswered")]
    assert len(said) == 1


async def test_field_f5_two_devices_with_one_client_id_are_asked_about(
    device: Any, sim: Any, thing: str, tmp_path: Path, start_agent: Any
) -> None:
    (tmp_path / "other").mkdir()
    agent = await start_agent()
    other = make_device(tmp_path / "other", sim)
    async with agents_on(other, Witness(sim, THING, other.state)) as start_other:
        await start_other()
        first = await agent.says("connection lost")
        third = await agent.says("connection lost", times=3)
    assert "hint" not in first
    assert third["hint"].startswith("aws.client_id: another client seems to connect as pi-kitchen-1, and AWS IoT ends")
    assert await agent.stop() == 0


async def test_field_f5_a_broker_that_restarts_once_is_not_mistaken_for_another_client(
    device: Any, sim: Any, thing: str, start_agent: Any
) -> None:
    agent = await start_agent()
    await sim.restart_broker()
    assert "hint" not in await agent.says("connection lost")
