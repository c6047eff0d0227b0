"""The cases by their texts, as they are printed and replayed: what is done to a world, and what is checked.

kill:POINT[,POINT…]     an agent is killed there, or each shim; the next agent at the next point; then one runs on
hang:POINT              the agent is stopped there (SIGSTOP), until its service manager misses it and kills it
ENOSPC:POINT, EIO:POINT one call fails; with `-on`, as in ENOSPC-on:POINT, all from there on, until a restart
slow:POINT              the call takes three seconds, and the watchdog must not notice
shim:MOMENT             the shim alone is killed, its handler and a double fork alive; see MOMENTS

With `units/` before them, handlers have units of their own; with `refused/`, systemd refuses to start them at first.
Then there are (own_unit_cases.py) first:MOMENT, both:MOMENT, queue:MOMENT, bus:MOMENT, and refused:WORD.
"""

import asyncio
import signal
import time
from typing import Any

from tests.faults.kill import own_unit_cases
from tests.faults.kill.checks import LIVE_S, check_ready, check_told, check_watch, settle, watch_told
from tests.faults.kill.own_units import REFUSALS, TIMES
from tests.faults.kill.points import Hit, Point, point_of
from tests.faults.kill.world import WATCHDOG_S, World

SLOW = "delay_enter=3000000"
START_S = 8.0  # for which a service manager waits until it is ready
PATIENCE_S = 3.0  # once it has begun, for a disk that stays bad: then the agent is stopped, and the disk repaired

DAEMON = """#!/bin/sh
echo "start $JOB_ID $JOB_EXECUTION_NUMBER $JOB_STEP $JOB_ATTEMPT" >> LEDGER && sync LEDGER
(setsid tail -f /dev/null > /dev/null 2>&1 3>&- &)  # with our pipe as its output it would end with the shim
echo "{\\"message\\": \\"up $PPID\\"}" >&3
exec tail -f /dev/null
"""


def parts_of(text: str) -> tuple[str, str, str]:
    """Return in which kind of world the case is ("" for handlers without units), its word, and the rest."""
    kind, _, case = text.partition("/") if text.startswith(("units/", "refused/")) else ("", "", text)
    word, _, rest = case.partition(":")
    return kind, word, rest


def fault_of(text: str) -> str:
    """Return the id of the fault that a case is about."""
    _, word, rest = parts_of(text)
    if word == "kill":
        return "C3" if "," in rest else "C1"
    faults = {"ENOSPC": "D1", "EIO": "D2", "slow": "D6", "hang": "C4", "untouched": "C1"}
    faults |= dict.fromkeys(("shim", "first", "both"), "C6") | dict.fromkeys(("queue", "bus", "refused"), "C8")
    return faults[word.removesuffix("-on")]


def members_of(text: str) -> dict[str, Any]:
    """Return what the case's world must be made with."""
    kind, word, _ = parts_of(text)
    members: dict[str, Any] = {"launcher": "units"} if kind else {}
    if kind == "refused":
        members["refusals"] = [REFUSALS["destructive"]] * TIMES
    if word in own_unit_cases.OF_ONE_JOB:
        members |= {"script": DAEMON, "names": ("a",)}
    return members


async def perform(world: World, text: str) -> None:
    """Do what the text says, and gather in `world.seen` what was violated."""
    _, word, rest = parts_of(text)
    if perform_own := own_unit_cases.PERFORMED.get(word):
        await perform_own(world, rest)
    elif word == "kill":
        for points in rest.split(","):
            await _kill(world, [Hit(point_of(each)) for each in points.split("+")])
    elif word == "hang":
        await _hang(world, Hit(point_of(rest), "signal=STOP"))
    elif word == "untouched":
        check_watch(world, await settle(world))
    elif word == "slow":
        await _slow_down(world, point_of(rest))
    else:
        await _spoil(world, Hit(point_of(rest), f"error={word.removesuffix('-on')}", is_for_good=word.endswith("-on")))
    await settle(world)


async def _kill(world: World, hits: list[Hit]) -> None:
    """Points that are not reached are a run that completes."""
    agent = await world.start(*hits)
    if await agent.ended(LIVE_S) is None:
        world.seen.append(f"L neither killed nor idle after {LIVE_S:.0f} s")
        await agent.end()
    check_told(world)


async def _hang(world: World, hit: Hit) -> None:
    """Do what systemd does with a service that no longer says it is alive."""
    agent = await world.start(hit)
    until, missed_s = agent.started_at + LIVE_S, WATCHDOG_S
    while missed_s > 0 and time.monotonic() < until and await agent.ended(missed_s) is None:
        missed_s = agent.last_word_at + (WATCHDOG_S if agent.ready_at else START_S) - time.monotonic()
    await agent.end()
    check_told(world)


async def _spoil(world: World, hit: Hit) -> None:
    """After a single error the agent either ends, for its service manager to start it again, or gets there itself."""
    agent = await world.start(hit)
    await agent.has_begun()
    if await agent.ended(PATIENCE_S if hit.is_for_good else LIVE_S) is None:
        if not hit.is_for_good:
            world.seen.append(f"L neither ended nor idle {LIVE_S:.0f} s after one error")
        await agent.end(signal.SIGTERM)
    check_told(world)


async def _slow_down(world: World, point: Point) -> None:
    agent = await world.start(Hit(point, SLOW))
    watch = asyncio.create_task(watch_told(world))
    if await agent.ended(LIVE_S) is None:
        world.seen.append(f"L not idle after {LIVE_S:.0f} s on a slow disk")
        await agent.end()
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    check_ready(world, agent)
    check_watch(world, agent)
