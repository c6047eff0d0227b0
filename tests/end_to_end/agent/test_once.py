"""`run --once` in trouble: it ends, in time if it is given one, and its exit status says what is left."""

import os
import sys
from typing import Any

from tests.end_to_end.agents import AGENT

from iot_jobs_agent.state import directory as state_directory

ECHO = {"operation": "run-command", "params": {"command": "echo hi"}}
UNAVAILABLE = 69
IGNORING = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"


async def test_without_a_service_it_gives_up_in_time(start_agent: Any, sim: Any) -> None:
    await sim.stop_broker()
    agent = await start_agent("--once", "--timeout", "1", is_connected=False)
    assert await agent.ended() == UNAVAILABLE
    assert (await agent.says("not everything is done"))["why"] == "not connected, 0 executions under way"


async def test_stopped_before_it_reached_the_service_it_claims_no_success(start_agent: Any, sim: Any) -> None:
    await sim.stop_broker()
    agent = await start_agent("--once", is_connected=False)
    await agent.says("cannot connect, trying again")
    assert await agent.stop() == UNAVAILABLE


async def test_what_takes_too_long_is_left_under_way_and_named(device: Any, start_agent: Any, operator: Any) -> None:
    os.mkfifo(device.directory / "gate")
    device.add_handler("gated", f"#!/bin/sh\nread -r line < {device.directory}/gate\n")
    await operator.create("endless", {"operation": "gated"})
    agent = await start_agent("--once", "--timeout", "5")
    assert await agent.ended() == 1
    assert (await agent.says("not everything is done"))["left"] == ["endless"]
    assert (await operator.record("endless"))["status"] == "IN_PROGRESS"


async def test_a_paused_agent_takes_nothing_on_and_claims_no_success(
    device: Any, start_agent: Any, operator: Any
) -> None:
    await operator.create("waiting", ECHO)
    device.state.mkdir(exist_ok=True)
    state_directory.set_paused(device.state, is_paused=True)
    agent = await start_agent("--once")
    assert await agent.ended() == 1
    said = await agent.says("not everything is done", left=["waiting"])
    assert said["why"].startswith("paused")


async def test_what_other_agents_work_on_keeps_it_from_nothing(
    start_agent: Any, operator: Any, connect: Any, sim: Any
) -> None:
    await operator.create("theirs", ECHO)
    other = await connect(sim, "pi-kitchen-1", client_id="other-agent")
    await other.ask("theirs/update", status="IN_PROGRESS", statusDetails={"agent": "someone"})
    agent = await start_agent("--once")
    assert await agent.ended() == 0
    assert (await operator.record("theirs"))["status"] == "IN_PROGRESS"


async def test_it_starts_also_where_the_ends_of_children_are_ignored(start_agent: Any, operator: Any) -> None:
    await operator.create("job-1", ECHO)
    agent = await start_agent("--once", command=(sys.executable, "-c", IGNORING, *AGENT))
    assert await agent.ended() == 0
    assert (await operator.record("job-1"))["status"] == "SUCCEEDED"
