"""A plan over many seeds, with either engine, on as many processors as there are."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from enum import StrEnum
from functools import partial
from itertools import repeat
from typing import Final

from iot_jobs_simulator.model import ServiceApi
from iot_jobs_simulator.rehearsal import core
from iot_jobs_simulator.rehearsal.answers import Answer, answer
from iot_jobs_simulator.rehearsal.fates import draw
from iot_jobs_simulator.rehearsal.plan import Plan

WORTH_A_PROCESS: Final = 2_000_000  # devices in all seeds together; a process takes half a second to start


class Engine(StrEnum):
    """Who computes: the service's rules themselves, or arrays, which need numpy."""

    CORE = "core"
    ARRAYS = "arrays"


def answers_of(plan: Plan, seeds: Sequence[int], engine: Engine, on_done: Callable[[], None]) -> list[Answer]:
    """The answer of each seed, in order. `on_done` is called after each. ModuleNotFoundError without numpy."""
    run = partial(_with_core, plan, ServiceApi("iot")) if engine is Engine.CORE else partial(_with_arrays, plan)
    found = []
    for each in _over(run, plan, seeds, engine):
        found.append(each)
        on_done()
    return found


def _over(run: Callable[[int], Answer], plan: Plan, seeds: Sequence[int], engine: Engine) -> Iterator[Answer]:
    processes = min(os.cpu_count() or 1, len(seeds))
    if engine is Engine.CORE or processes == 1 or plan.fleet.size * len(seeds) < WORTH_A_PROCESS:
        yield from map(run, seeds)
        return
    # Not forked: whoever calls this may have threads, and numpy has some.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_with_arrays, repeat(plan), seeds, chunksize=1)


def _with_core(plan: Plan, api: ServiceApi, seed: int) -> Answer:
    fates = draw(plan.fleet, seed, plan.attempts)
    return answer(plan, fates, core.rehearse(plan, fates, api))


def _with_arrays(plan: Plan, seed: int) -> Answer:
    from iot_jobs_simulator.rehearsal.array_answers import array_answer  # noqa: PLC0415 - needs the extra
    from iot_jobs_simulator.rehearsal.arrays import draw_arrays  # noqa: PLC0415 - same
    from iot_jobs_simulator.rehearsal.kernel import rehearse_arrays  # noqa: PLC0415 - same

    fates = draw_arrays(plan.fleet, seed, plan.attempts)
    return array_answer(plan, fates, rehearse_arrays(plan, fates))
