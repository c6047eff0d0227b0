"""The cases in which something else than a system call is hit: a shim, a unit's first process, systemd, its bus.

shim:MOMENT     the shim alone is killed; see MOMENTS
first:MOMENT    the same with the first process of the handler's unit
both:MOMENT     the same with both at once
queue:MOMENT    the start of the unit waits in systemd's queue; see QUEUED
bus:MOMENT      the bus is restarted; see BUS
refused:WORD    systemd refuses the first starts, for that reason; with `-but-done`, it starts the unit all the same
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

from tests.faults.kill.checks import LIVE_S, check_told
from tests.faults.kill.own_units import REFUSALS, TIMES
from tests.faults.kill.world import Agent, World
from tests.support.buses import end

MOMENTS = {
    "with-agent": "the agent is alive",
    "after-restart": "the agent was killed before, and a second one is alive",
    "without-agent": "the agent was killed before, and the next one is started after",
    "at-once": "the agent is killed at the same moment",
}
QUEUED = {
    "shim": "the shim is killed, and the start has to be taken back",
    "agent": "the agent is killed, and the next one waits for it",
    "agent-and-shim": "both are killed, and the next agent has to take it back",
}
BUS = {
    "at-start": "it is away when the handler is to start",
    "at-work": "while the handler runs",
    "at-sweep": "it is away when the shim is killed, and comes back while the agent ends the unit",
}
CALLED_S = 60.0
OF_ONE_JOB = ("shim", "first", "both", "queue", "bus")


async def _kill(world: World, moment: str, *roles: str) -> None:
    agent = await world.start()
    (job,) = world.jobs
    pids = await _up(world, job)
    if moment in {"after-restart", "without-agent"}:
        await agent.end()
    if moment == "after-restart":
        agent = await world.start()
        await agent.has_begun()
    for role in roles:
        os.kill(pids[role], signal.SIGKILL)
    if moment == "at-once":
        await agent.end()
    await _idle(world, agent, f"a {' and a '.join(roles)} was killed")


async def _up(world: World, job: str) -> dict[str, int]:
    """Wait until the handler and its double fork are up: the pids of their shim and, in a unit, its first process."""

    def words() -> list[str]:
        said = [update.get("statusDetails", {}).get("progress", "") for update in world.told(job)]
        return [each for each in said if each.startswith("up ")]

    await world.until(lambda: bool(words()))
    return {"shim": _shim(world, job), "first": int(words()[0].split()[1])}


def _shim(world: World, job: str) -> int:
    """Return the pid in the lock of the job's attempt."""
    [lock] = world.device.state.glob(f"attempts/.{job}.1.0.1/lock")
    return int(lock.read_text().split()[0])


async def _idle(world: World, agent: Agent, since: str) -> None:
    if await agent.ended(LIVE_S) is None:
        world.seen.append(f"L not idle {LIVE_S:.0f} s after {since}")
        await agent.end()


async def _queue(world: World, moment: str) -> None:
    """What is killed while the start waits has to be ended before the start comes, for as long as that takes."""
    assert world.own is not None
    systemd = world.own.systemd
    systemd.behave(is_queued=True)
    agent = await world.start()
    (job,) = world.jobs
    await systemd.called("StartUnit", within_s=CALLED_S)
    await systemd.called("ListUnitsByNames", len(systemd.calls("ListUnitsByNames")) + 2, CALLED_S)  # its shim waits
    shim = _shim(world, job)
    if "agent" in moment:
        await agent.end()
    if "shim" in moment:
        os.kill(shim, signal.SIGKILL)
    if "agent" in moment:
        agent = await world.start()
        await agent.has_begun()
    if moment == "agent":
        systemd.behave()
        os.kill((await _up(world, job))["first"], signal.SIGKILL)  # the handler has no end of its own
    await _idle(world, agent, "a start waited in systemd's queue")
    systemd.behave()


async def _bus(world: World, moment: str) -> None:
    assert world.own is not None
    systemd = world.own.systemd
    (job,) = world.jobs
    if moment == "at-start":
        await world.own.start()
        _end_bus(world)
    agent = await world.start()
    if moment == "at-start":
        await world.until(lambda: len(world.told(job)) > 1)  # it is claimed once more, since it could not start
        await asyncio.to_thread(systemd.start_bus)
    pids = await _up(world, job)
    if moment == "at-work":
        await asyncio.to_thread(systemd.restart_bus)
    if moment == "at-sweep":
        _end_bus(world)
    os.kill(pids["shim" if moment == "at-sweep" else "first"], signal.SIGKILL)
    if moment == "at-sweep":
        await asyncio.to_thread(systemd.start_bus)
    await _idle(world, agent, "the bus was restarted")


def _end_bus(world: World) -> None:
    assert world.own is not None
    assert world.own.systemd.daemon is not None
    end(world.own.systemd.daemon)


async def _refuse(world: World, word: str) -> None:
    assert world.own is not None
    name = word.removesuffix("-but-done")
    systemd = world.own.systemd
    systemd.behave(first={"StartUnit": [REFUSALS[name]] * TIMES}, is_done=name != word)
    agent = await world.start()
    await _idle(world, agent, "systemd refused")
    check_told(world)
    for job in world.jobs:
        if not world.ledger("end", job):
            world.seen.append(f"L {job} never came to its end, though systemd only refused for a while")


PERFORMED: dict[str, Callable[[World, str], Awaitable[None]]] = {
    "shim": lambda world, moment: _kill(world, moment, "shim"),
    "first": lambda world, moment: _kill(world, moment, "first"),
    "both": lambda world, moment: _kill(world, moment, "shim", "first"),
    "queue": _queue,
    "bus": _bus,
    "refused": _refuse,
}
WORDS = {
    "first": tuple(MOMENTS),
    "both": tuple(MOMENTS),
    "queue": tuple(QUEUED),
    "bus": tuple(BUS),
    "refused": (*REFUSALS, "no-reply-but-done", "too-much-but-done"),
}
