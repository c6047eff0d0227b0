"""The real agent, shim, handler and simulator, killed or failed at one system call after the other (C1 C3 C6 D1 D2 D6).

One untouched run tells which calls there are, in each kind of world: handlers without units, with units, and with units
that systemd refuses to start at first. A case hits one of them, in a world of its own, starts the agent again,
waits until all is settled and checks the invariants. `--full` tries all; otherwise a seeded sample goes round the kinds
of cases until its time is up.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.faults.harness import Options, Report
from tests.faults.kill import cases
from tests.faults.kill.checks import LIVE_S, check
from tests.faults.kill.controls import CONTROLS, Control
from tests.faults.kill.own_unit_cases import PERFORMED
from tests.faults.kill.plan import Found, group, in_turns, plan
from tests.faults.kill.points import calls, listing, points
from tests.faults.kill.world import World

from iot_jobs_simulator.server import RunningSimulator, running_simulator

SAMPLE_S = 60.0  # no case of a sample begins later; those under way are finished
AT_ONCE = 3


class Loop:
    """One run of the harness: worlds around one simulator, and what became of them."""

    def __init__(self, options: Options, sim: RunningSimulator) -> None:
        self._options = options
        self._sim = sim
        self._worlds = 0
        self._hits = 0
        self._out_of_reach = 0
        self._ready_s: list[float] = []
        self._tried: Counter[str] = Counter()
        self._violations: list[str] = []
        self._controls: dict[str, bool] = {}
        self._until = time.monotonic() + (float("inf") if options.is_full else SAMPLE_S)

    async def run(self) -> Report:
        """Run the controls and the cases, or the one case that is to be replayed."""
        if self._options.replay:
            await self._try(self._options.replay)
            return Report({"case hit": self._hits}, tuple(self._violations), {"the fault was there": self._hits > 0})
        found = await asyncio.gather(*(self._dry_run(kind) for kind in ("", "units", "refused")))
        texts = plan(found, self._options.seed)
        todo = iter(in_turns(CONTROLS, 1, texts, 1))
        async with asyncio.TaskGroup() as workers:
            for _ in range(AT_ONCE):
                workers.create_task(self._work(todo))
        there_are = Counter(map(group, texts))
        counts = {f"of {count:,} {name}": self._tried[name] for name, count in there_are.items()}
        counts |= {"cases hit": self._hits, "calls out of reach": self._out_of_reach}
        counts["ms to READY at worst"] = round(1000 * max(self._ready_s, default=0))
        return Report(counts, tuple(self._violations), self._controls)

    def _world(self, **members: Any) -> World:
        self._worlds += 1
        return World(self._sim, self._options.scratch, self._worlds, **members)

    async def _dry_run(self, kind: str) -> Found:
        """Let one run in a kind of world complete untouched: its points, and those that are about files."""
        text = f"{kind}/untouched:" if kind else "untouched:"
        world = self._world(**cases.members_of(text))
        agent = await world.start(tracing=listing())
        await agent.ended(LIVE_S)
        check(world)
        self._violations += [f"C1 {each} --replay {text}" for each in world.seen]
        logs = {log: log.read_text() for log in world.directory.glob("trace.0.shim.*")}
        shims = [log for log, said in logs.items() if f".a-{world.name}." in said]
        refused = [log for log in shims if "never-started" in logs[log]]
        found = Found(kind, [], [])
        for role, log in (
            ("agent", world.directory / "trace.0.agent"),
            ("shim", (refused if kind == "refused" else shims)[0]),
        ):
            made = [*calls(log, world.directory, world.name)]
            more, out_of_reach = points(role, made)
            found.points.extend(more)
            self._out_of_reach += out_of_reach
            found.of_files.extend(points(role, made, is_by_path=True)[0])
        await world.close()
        return found

    async def _work(self, todo: Iterator[Control | str]) -> None:
        for each in todo:
            if isinstance(each, Control):
                world = self._world(**each.members)
                self._controls[each.name] = await each.is_caught(world)
                await world.close()
            elif time.monotonic() < self._until:
                await self._try(each)

    async def _try(self, text: str) -> None:
        world = self._world(**cases.members_of(text))
        started = time.monotonic()
        try:
            await cases.perform(world, text)
        except Exception as error:  # noqa: BLE001 - a case that cannot be carried out is told, and the others go on
            world.seen.append(f"? the case could not be carried out: {error!r}")
        self._tried[group(text)] += 1
        self._hits += cases.parts_of(text)[1] in PERFORMED or world.was_hit()
        last = world.agents[-1]  # nothing slowed it down
        self._ready_s += [last.ready_at - last.started_at] if last.ready_at is not None else []
        seen = dict.fromkeys(world.seen)
        self._violations += [f"{cases.fault_of(text)} {each} --replay {text}" for each in seen]
        if self._options.replay or seen:
            print(f"  {text}: {'hit' if world.was_hit() else 'not hit'}, {time.monotonic() - started:.1f} s, {[*seen]}")
            print(world.story(), flush=True)
        await world.close()


def run(options: Options) -> Report:
    """Run the harness."""

    async def within() -> Report:
        async with running_simulator(certificates=options.scratch / "certificates") as sim:
            return await Loop(options, sim).run()

    return asyncio.run(within())
