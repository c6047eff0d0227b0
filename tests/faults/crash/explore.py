"""The crash explorer: real code is recorded, power is cut after every operation, and real code recovers.

Every state that the weakest reading of POSIX allows (model.py) is laid out in memory, at most once, and opened by
the agent's own journal, attempts and core (recovery.py), which goes on from there (aftermath.py); what was
promised before the cut must be kept (promises.py).
"""

import asyncio
import itertools
import multiprocessing
import random
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.crash.model import Choice, Disk, PowerCut
from tests.faults.crash.promises import Knowledge
from tests.faults.crash.promises import violations as broken
from tests.faults.crash.recovery import Found, after_a_power_cut, lay_out, recovered, recovered_store
from tests.faults.crash.scenarios import IN_UNITS, KNOWN_BAD, REAL, STORES, WITH_ATTEMPTS
from tests.faults.crash.trace import Operation, parsed, record
from tests.faults.harness import Options, Report

FAULT = "C2"
PROCESSES = 2
OPERATIONS_A_TASK = 32
STATES_A_MOMENT, WITH_ATTEMPTS_A_MOMENT = 100, 10  # in the short form: a seeded sample where there are more
DICE, DICE_WITH_ATTEMPTS, DICE_FULL = 200, 4, 1000  # random states beside them; those with attempts cost more
STATES_A_MOMENT_KNOWN_BAD = 40
SHOWN = 20
MEMORY = Path("/dev/shm")

_recordings: dict[str, list[Operation]] = {}  # inherited by the worker processes


@dataclass(frozen=True)
class Task:
    """Power cuts in one stretch of a recording."""

    scenario: str
    first: int
    last: int
    seed: int
    is_full: bool


@dataclass
class Explored:
    """What came of a task."""

    scenario: str
    states: int = 0
    failed: int = 0
    disks: set[bytes] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)


def run(options: Options) -> Report:
    """Record every scenario, cut power everywhere, and report."""
    if options.replay:
        return _replayed(options)
    with ThreadPoolExecutor(PROCESSES) as threads:
        places = [options.scratch / str(place) for place, _ in enumerate(REAL | KNOWN_BAD)]
        _recordings.update(zip(REAL | KNOWN_BAD, threads.map(_recorded, REAL | KNOWN_BAD, places), strict=True))
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        explored = list(pool.imap_unordered(_explored, _tasks(options)))
    real = [each for each in explored if each.scenario in REAL]
    violations = [text for each in real for text in each.violations]
    if violations:
        violations = [f"{text}@{_kept(options)}" for text in violations]
    bad = {name: [each for each in explored if each.scenario == name] for name in KNOWN_BAD}
    counts = {
        "power-cut states": sum(each.states for each in real),
        "different disks recovered": sum(len(_disks(name, real)) for name in REAL),
        "operations": sum(not operation.is_void for name in REAL for operation in _recordings[name]),
        "states with a violation": sum(each.failed for each in real),
    }
    controls = {
        f"{name} ({sum(e.failed for e in of):,} of {sum(e.states for e in of):,} states)": any(e.failed for e in of)
        for name, of in bad.items()
    }
    return Report(counts, tuple(violations[:SHOWN]), controls)


def _disks(name: str, explored: list[Explored]) -> set[bytes]:
    return set().union(*(each.disks for each in explored if each.scenario == name))


def _recorded(name: str, directory: Path) -> list[Operation]:
    root = directory / "disk"
    root.mkdir(parents=True)
    command = [sys.executable, "-m", "tests.faults.crash.scenarios", name, str(root)]
    operations = record(command, root, directory / "strace.log")
    _check_recording(name, operations, root)
    return operations


def _check_recording(name: str, operations: list[Operation], root: Path) -> None:
    """See that the model, after all that was recorded, holds what the real disk holds, to the byte."""
    disk = Disk()
    for index, operation in enumerate(operations):
        disk.apply(index, operation)
    kept = {path: content for path, content in disk.tree().items() if not path.endswith("-shm")}
    real = {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else "directory" if path.is_dir() else "fifo"
        for path in root.rglob("*")
        if not path.name.endswith("-shm")
    }
    different = {path for path in kept | real if kept.get(path) != real.get(path)}
    if different:
        raise RuntimeError(f"{name}: the recording misses something of {', '.join(sorted(different))}")


def _tasks(options: Options) -> Iterator[Task]:
    for name in (*REAL, *KNOWN_BAD):
        for first in range(0, len(_recordings[name]), OPERATIONS_A_TASK):
            yield Task(name, first, first + OPERATIONS_A_TASK, options.seed, options.is_full)


def _explored(task: Task) -> Explored:
    result = Explored(task.scenario)
    with tempfile.TemporaryDirectory(prefix="iot-jobs-crash-", dir=MEMORY) as scratch, after_a_power_cut():
        asyncio.run(_explore(task, Path(scratch) / "disk", result))
    return result


async def _explore(task: Task, root: Path, result: Explored) -> None:
    known_disks: dict[bytes, Found] = {}
    digests: dict[tuple[object, ...], bytes] = {}
    verdicts: dict[tuple[bytes, int], list[str]] = {}
    era = 0  # promises since the last of which nothing new was promised
    for index, known, cut, is_new in _moments(task.scenario, task.first, task.last):
        era += is_new
        for names, data in _chosen(cut, task, index):
            result.states += 1
            key = (cut.version, names.chosen, data.chosen, data.torn, data.cut)
            digest = digests.get(key)
            if digest is None:
                tree, digest = cut.tree(names, data)
                digests[key] = digest
                if digest not in known_disks:
                    known_disks[digest] = await _found(task.scenario, tree, root)
            if (digest, era) not in verdicts:
                seen = list(broken(known, known_disks[digest], task.scenario in WITH_ATTEMPTS))
                verdicts[digest, era] = seen
                replay = f"{task.scenario}:{index}:{names.label}:{data.label}"
                shown = seen if len(result.violations) < SHOWN else []
                result.violations += [f"{FAULT} {text[:600]} --replay {replay}" for text in shown]
            result.failed += bool(verdicts[digest, era])
    result.disks = set(known_disks)


async def _found(scenario: str, tree: dict[str, bytes | str], root: Path) -> Found:
    lay_out(tree, root)
    if scenario in STORES:
        return recovered_store(root)
    return await recovered(root, scenario in WITH_ATTEMPTS, scenario in IN_UNITS)


def _moments(scenario: str, first: int, last: int) -> Iterator[tuple[int, Knowledge, PowerCut, bool]]:
    """Go through the recording; yield the moments between `first` and `last`, and whether more was promised by then."""
    disk = Disk()
    known = Knowledge("" if scenario in STORES else Knowledge().certain)
    settled = [index for index, operation in enumerate(_recordings[scenario]) if operation.mark.get("settled")]
    first = max([first, *settled])  # what was done before was only to set the scene
    for index, operation in enumerate(_recordings[scenario]):
        if index >= last:
            break
        if operation.mark.get("settled"):
            disk.settle()
        is_done = disk.apply(index, operation)
        known.take(operation)
        if is_done and index >= first:
            is_new = bool(operation.mark) or operation.path.endswith("/events.jsonl")
            yield index, known, PowerCut(disk), is_new or index == first


def _chosen(cut: PowerCut, task: Task, index: int) -> list[tuple[Choice, Choice]]:
    """Return the states to look at: in the short form a sample of the axes and of what lies between them."""
    dice = random.Random(f"{task.seed} {task.scenario} {index}")
    if task.is_full and task.scenario in REAL:
        return [*cut.all_choices(), *cut.random_choices(dice, DICE_FULL)]
    some, limit = list(cut.choices()), STATES_A_MOMENT_KNOWN_BAD
    if task.scenario in REAL:
        limit = WITH_ATTEMPTS_A_MOMENT if task.scenario in WITH_ATTEMPTS else STATES_A_MOMENT
    if len(some) > limit:
        some = dice.sample(some, limit)
    if task.scenario in KNOWN_BAD:
        return some
    return [*some, *cut.random_choices(dice, DICE_WITH_ATTEMPTS if task.scenario in WITH_ATTEMPTS else DICE)]


def _kept(options: Options) -> Path:
    """Keep the recordings for a replay: another run would not do the same to the byte."""
    kept = Path(tempfile.gettempdir()) / f"iot-jobs-crash-recordings-{options.seed}"
    for place, name in enumerate(REAL | KNOWN_BAD):
        (kept / name).mkdir(parents=True, exist_ok=True)
        source = options.scratch / str(place)
        (kept / name / "strace.log").write_text((source / "strace.log").read_text())
        (kept / name / "root").write_text(str(source / "disk"))
    return kept


def _replayed(options: Options) -> Report:
    """Cut power once: SCENARIO:OPERATION:NAMES:DATA@RECORDINGS, as a violation says it."""
    text, _, kept = options.replay.rpartition("@")
    scenario, index, names_label, data_label = text.rsplit(":", 3)
    directory = Path(kept) / scenario
    with (directory / "strace.log").open() as log:
        _recordings[scenario] = parsed(log, Path((directory / "root").read_text()))
    ((_, known, cut, _),) = _moments(scenario, int(index), int(index) + 1)
    names, data = cut.choice(names_label, data_label)
    for operation in itertools.islice(_recordings[scenario], max(0, int(index) - 30), int(index) + 1):
        if not operation.is_void:
            print(f"  {str(operation)[:200]}")
    print("  power cut; not yet sure on the disk:")
    for what, choice in ((cut.names, names), (cut.data, data)):
        for place, change in enumerate(what):
            fate = "torn" if place == choice.torn else "there" if place in choice.chosen else "lost"
            print(f"    {fate}: {str(_recordings[scenario][change.made_at])[:160]}")
    root = options.scratch / "disk"
    tree, _ = cut.tree(names, data)
    with after_a_power_cut():
        found = asyncio.run(_found(scenario, tree, root))
    seen = [f"{FAULT} {text} --replay {options.replay}" for text in broken(known, found, scenario in WITH_ATTEMPTS)]
    is_real = scenario in REAL
    return Report({"power-cut states": 1}, tuple(seen) if is_real else (), {scenario: is_real or bool(seen)})
