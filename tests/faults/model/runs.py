"""The model: the real core, with the service, the disk, processes, the network and power around it on virtual time.

`--replay TEXT` tells the story of one life, as a violation printed it. Its parts: `lives` (what happens),
`world`, `daemon`, `network`, `service`, `attempts` (to whom), `oracle` (what must
hold), `controls` (broken cores that must be seen), `machine` (Hypothesis).
"""

import gc
import os
import traceback
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

from tests.faults.harness import Options, Report
from tests.faults.model.controls import CONTROLS, WITH, broken
from tests.faults.model.lives import KINDS, Life, lived
from tests.faults.model.machine import searched
from tests.faults.model.oracle import Violation

LIVES, LIVES_FULL = 5_000, 200_000
EXAMPLES, EXAMPLES_FULL = 200, 5_000
CONTROL_LIVES = 3_000
CHUNK = 100
SHOWN = 10


def run(options: Options) -> Report:
    """Live many lives, or one; see that broken cores are caught."""
    if options.replay:
        return _replayed(Life.parse(options.replay))
    lives = LIVES_FULL if options.is_full else LIVES
    first = options.seed * LIVES_FULL
    chunks = range(first, first + lives, CHUNK)
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), get_context("fork"), _at_first) as pool:
        examples = pool.submit(searched, options.seed, EXAMPLES_FULL if options.is_full else EXAMPLES)
        controls = {name: pool.submit(_caught, name, first) for name in CONTROLS}
        results = [pool.submit(_lived, chunk, CHUNK) for chunk in chunks]
        counts, violations = _gathered(results)
        made_up, shrunk = examples.result()
        caught = {f"{name}: {future.result() or 'nothing'}": bool(future.result()) for name, future in controls.items()}
    counts["Hypothesis examples"] = made_up
    if shrunk:
        violations.append(f"N4-T1, by Hypothesis, --seed {options.seed}:\n{shrunk}")
    return Report(counts, tuple(violations), caught)


def _at_first() -> None:
    """Let garbage wait, which costs more than the rest."""
    gc.disable()


def _gathered(results: list["Future[tuple[Counter[str], list[str]]]"]) -> tuple[Counter[str], list[str]]:
    counts: Counter[str] = Counter()
    violations: list[str] = []
    for result in results:
        more, wrong = result.result()
        counts += more
        violations += wrong
    return counts, violations[:SHOWN] + ([f"and {len(violations) - SHOWN} more"] if len(violations) > SHOWN else [])


def _lived(first: int, count: int) -> tuple[Counter[str], list[str]]:
    counts: Counter[str] = Counter()
    violations = []
    gc.collect()
    for seed in range(first, first + count):
        life = Life(seed)
        counts["lives"] += 1
        try:
            world = lived(life)
        except Exception as error:  # noqa: BLE001 - whatever breaks is what is looked for
            life = _smallest(life, _name(error))
            violations.append(f"N4-T1 {_wrong(life)} --replay {life}")
        else:
            counts["events"] += world.events
            counts["boots"] += world.boot
            counts["starts of the agent"] += world.starts
            counts["attempts"] += sum(len(each) for each in world.oracle.ledger.values())
            counts["outcomes told"] += len(world.oracle.told)
            counts["phases read back"] += world.oracle.round_trips
            counts["lives with units"] += world.has_units
            counts["starts refused"] += world.oracle.refusals
    return counts, violations


def _smallest(life: Life, name: str) -> Life:
    """Leave out every kind of fault without which it goes wrong in the same way."""
    for kind in KINDS:
        smaller = Life(life.seed, (*life.without, kind))
        if _wrong(smaller).startswith(name):
            life = smaller
    return life


def _wrong(life: Life) -> str:
    try:
        lived(life)
    except Exception as error:  # noqa: BLE001 - as above
        return f"{_name(error)} {error}"[:600]
    return ""


def _name(error: Exception) -> str:
    return error.invariant if isinstance(error, Violation) else type(error).__name__


def _caught(name: str, first: int) -> str:
    """Return what gave a broken core away, or nothing."""
    with broken(name):
        for seed in range(first, first + CONTROL_LIVES):
            try:
                lived(Life(seed), always=WITH.get(name, ()))
            except Violation as violation:
                return f"{violation.invariant} in life {seed - first + 1}"
    return ""


def _replayed(life: Life) -> Report:
    _at_first()
    story: list[str] = []
    violations = []
    try:
        lived(life, story)
    except Exception as error:  # noqa: BLE001 - as above
        if not isinstance(error, Violation):
            traceback.print_exc()
        violations.append(f"N4-T1 {_name(error)} {error} --replay {life}")
    print("\n".join(story))
    return Report({"life": 1}, tuple(violations), {"(a replay proves nothing more)": True})
