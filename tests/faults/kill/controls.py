"""Worlds that are known to be bad, one or more for each invariant: what does not catch them proves nothing."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.faults.kill.cases import members_of, perform
from tests.faults.kill.checks import check, check_told, check_watch, settle
from tests.faults.kill.own_unit_cases import CALLED_S
from tests.faults.kill.own_units import TIMES
from tests.faults.kill.points import Hit, Point
from tests.faults.kill.world import LEDGER, World

from iot_jobs_simulator.faults.faults import Reject

DISCARD = Point("agent", "unlink", "state/attempts/.a-@.1.0.1/spec.json", 1)  # the handler is over, nothing is reported
CLAIMED = Point("agent", "mkdir", "state/jobs/.a-@.1", 1)  # and nothing started

WRITES_LATER = """
from iot_jobs_agent.state.journal import Journal
write = Journal.write
Journal.write = lambda self, effects: print(self.thread.submit(write, self, effects), file=sys.stderr)
"""

STALLS_ONCE = """
import select
from iot_jobs_agent import daemon
from iot_jobs_agent.core.events import Described
decide, stalled = daemon.decide, []
def slow(state, event, now):
    if isinstance(event, Described) and not stalled:
        stalled.append(select.select([], [], [], 3.0))
    return decide(state, event, now)
daemon.decide = slow
"""

ENDS_NO_UNIT = """
from iot_jobs_agent.attempts import units
units.end = lambda unit: True
"""

UNDOES_NOTHING = """
from iot_jobs_agent.attempts.launch import Launch
Launch.undo = lambda self, watch: None
"""

BELIEVES_NO_REFUSAL = """
from iot_jobs_agent.attempts.launch import Launch
Launch.take_back = lambda self, watch: ""
"""

NEVER_WAITS = """
unit.Unit.is_gone = lambda self: self.has_ended
unit.Unit.sweep = lambda self: (0, 0)
"""

DENIES = """
from iot_jobs_agent.shim.supervisor import Supervisor
run = Supervisor.run
Supervisor.run = lambda self: run(self) and {"ending": "never-started", "reason": "it says"}
"""

LEAVES_ONE = LEDGER + "(trap '' TERM; exec setsid tail -f /dev/null > /dev/null 2>&1 3>&- &)\n"


def units(**members: Any) -> dict[str, Any]:
    """Return the members of a world in which handlers have units of their own."""
    return {"launcher": "units"} | members


def refused(**members: Any) -> dict[str, Any]:
    """Return those of a world in which systemd refuses to start them at first."""
    return members_of("refused/untouched:") | members


@dataclass(frozen=True)
class Control:
    """`act` makes the world bad; then `letter` must be among what was seen."""

    name: str
    letter: str
    act: Callable[[World], Awaitable[object]]
    members: Mapping[str, Any] = field(default_factory=dict)  # of its world

    async def is_caught(self, world: World) -> bool:
        """Perform it, and tell whether the checks saw it."""
        try:
            await self.act(world)
        except (TimeoutError, LookupError) as error:
            print(f"  {self.name}: could not be carried out: {error!r}")
            return False
        return any(each.startswith(f"{self.letter} ") for each in world.seen)


async def _killed(world: World, point: Point) -> None:
    agent = await world.start(Hit(point))
    if await agent.ended(60) != -signal.SIGKILL:
        raise LookupError(f"{point} was never reached")


async def _lose_attempts(world: World) -> None:
    await _killed(world, DISCARD)
    shutil.rmtree(world.device.state / "attempts")
    await settle(world)


async def _tell_two_ends(world: World) -> None:
    await _killed(world, DISCARD)
    job = world.jobs[0]
    number = world.sim.faults.add(
        Reject(operation="UpdateJobExecution", thing=world.name, job=job, code="InternalError")
    )
    agent = await world.start()
    await world.until(lambda: any(each["status"] == "SUCCEEDED" for each in world.told(job)))
    await agent.end()
    world.sim.faults.clear(number)
    _lose_journal(world)
    await settle(world)


async def _forget_what_was_told(world: World) -> None:
    await _killed(world, DISCARD)
    _lose_journal(world)
    check_told(world)


async def _forget_history(world: World) -> None:
    agent = await world.start()
    await agent.ended(60)
    _lose_journal(world)
    check(world)


async def _leave_a_process(world: World) -> None:
    left = await asyncio.create_subprocess_exec("tail", "-f", "/dev/null", env=os.environ | {"JOB_ID": world.jobs[0]})
    await settle(world)
    with contextlib.suppress(ProcessLookupError):
        left.kill()
    await left.wait()


async def _become_another(world: World) -> None:
    await _killed(world, CLAIMED)
    _lose_journal(world)
    (world.device.state / "agent-id").unlink()
    await settle(world)


async def _break_config(world: World) -> None:
    world.device.config.write_text("nonsense")
    await settle(world)


async def _stall(world: World) -> None:
    agent = await world.start()
    await agent.ended(60)
    check_watch(world, agent)


async def _lose_queued(world: World) -> None:
    await perform(world, "units/queue:shim")


async def _start_thrice(world: World) -> None:
    """Let the agent start what it takes for never started; at the third time, the second is over."""
    assert world.own is not None
    agent = await world.start()
    await world.own.systemd.called("StartUnit", 3, CALLED_S)
    await agent.end()
    check(world)


async def _claim_again(world: World) -> None:
    """Let the agent try more often than systemd refuses, or come to an end."""
    job = world.jobs[0]
    agent = await world.start()
    await world.until(lambda: world.is_over(job) or len(world.told(job)) > 2 * TIMES)
    await agent.end()
    check(world)


async def _act_too_early(world: World) -> None:
    await perform(world, "slow:agent:fdatasync:state/journal.sqlite-wal:4")  # the claim's


def _lose_journal(world: World) -> None:
    for path in world.device.state.glob("journal.sqlite*"):
        path.unlink()


CONTROLS = (
    Control("O: a handler that does its work twice", "O", settle, {"script": LEDGER + "note start\n"}),
    Control("O: attempt directories lost between kill and restart", "O", _lose_attempts),
    Control("T: journal lost after an end was told", "T", _tell_two_ends),
    Control("S: a handler that exits with 0 before its end", "S", settle, {"script": LEDGER.replace("note end\n", "")}),
    Control("D: journal lost after a claim", "D", _forget_what_was_told),
    Control("D: an agent that acts before its journal is written", "D", _act_too_early, {"defect": WRITES_LATER}),
    Control("D: history lost", "D", _forget_history),
    Control("P: a process of the attempt that nobody ended", "P", _leave_a_process),
    Control("L: journal and agent id lost after a claim", "L", _become_another),
    Control("R: a configuration that cannot be read", "R", _break_config),
    Control("W: three seconds of the loop's own thread", "W", _stall, {"defect": STALLS_ONCE}),
    Control("P: a sweep that does not end the unit", "P", _lose_queued, units(defect=ENDS_NO_UNIT, names=("a",))),
    Control("P: a result before the unit is over", "P", settle, units(shim_defect=NEVER_WAITS, script=LEAVES_ONE)),
    Control(
        "O: a handler that ran, told as never started", "O", _start_thrice, units(shim_defect=DENIES, names=("a",))
    ),
    Control(
        "L: a refused start that is not taken back", "L", _claim_again, refused(defect=UNDOES_NOTHING, names=("a",))
    ),
    Control("L: a refused start that counts as interrupted", "L", settle, refused(defect=BELIEVES_NO_REFUSAL)),
)
