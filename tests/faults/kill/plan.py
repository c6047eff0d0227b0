"""Which cases there are, and in which order: one of each kind, then again, so that a sample of any length is spread."""

import random
from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import zip_longest
from typing import NamedTuple, TypeVar

from tests.faults.kill.cases import parts_of
from tests.faults.kill.own_unit_cases import MOMENTS, WORDS
from tests.faults.kill.points import BAD_DISK, FULL_DISK, KILLS, NAMES, PROCESSES, SYNCS, TALK, WRITES, Point

T = TypeVar("T")
U = TypeVar("U")
OF_KIND = {"": "", "units": " of units", "refused": " of units refused at first"}
COMBINED = 40  # of the many pairs and triples, and of hangs, which are kills that come late


class Found(NamedTuple):
    """What an untouched run in one kind of world ("" for handlers without units) has: its points, those about files."""

    kind: str
    points: list[Point]
    of_files: list[Point]


def plan(found: Sequence[Found], seed: int) -> list[str]:
    """Return the texts of all cases (cases.py), in an order of the seed: in a sample, a third are about units."""
    plain, units, refused = (_cases(each, random.Random(f"{seed} {each.kind}")) for each in found)
    return in_turns(plain, 2, in_turns(units, 2, refused, 1), 1)


def _cases(found: Found, chance: random.Random) -> list[str]:
    """Return the cases in one kind of world; errors are for calls about files only."""

    def rows(word: str, role: str, kinds: Collection[str], points: list[Point]) -> list[str]:
        """Return a case for each such point, in turn one of each kind."""
        by_kind = defaultdict(list)
        for point in chance.sample(points, len(points)):
            if point.role == role and point.kind in kinds:
                by_kind[point.kind].append(f"{word}:{point}")
        return _in_turn(list(by_kind.values()))

    roles = ("agent", "shim")
    kills = {
        role: [str(point) for point in found.points if point.role == role and point.kind in KILLS] for role in roles
    }
    every = [point for points in kills.values() for point in points]
    families = [rows("kill", role, kinds, found.points) for role in roles for kinds in (WRITES, NAMES, TALK, PROCESSES)]
    early = kills["agent"][: len(kills["agent"]) // 2]  # recovery is short
    triples = [(chance.choice(every), *chance.sample(early, 2)) for _ in range(COMBINED)]
    families.append([f"kill:{','.join(triple)}" for triple in triples])
    families.append([f"kill:{'+'.join(map(chance.choice, kills.values()))}" for _ in range(COMBINED)])
    if found.kind != "refused":
        for word, kinds in (("ENOSPC", FULL_DISK), ("ENOSPC-on", FULL_DISK), ("EIO", BAD_DISK), ("EIO-on", BAD_DISK)):
            families.append(_in_turn([rows(word, role, kinds, found.of_files) for role in roles]))
        families.append(_in_turn([rows("slow", role, SYNCS, found.of_files) for role in roles]))
        families.append([f"hang:{point}" for point in chance.sample(kills["agent"], COMBINED)])
        families.append([f"shim:{moment}" for moment in MOMENTS])
    if found.kind == "units":
        families += [[f"{word}:{each}" for each in chance.sample(of, len(of))] for word, of in WORDS.items()]
    texts = _in_turn(chance.sample(families, len(families)))
    return [f"{found.kind}/{text}" for text in texts] if found.kind else texts


def group(text: str) -> str:
    """Return the name under which a case is counted."""
    kind, word, rest = parts_of(text)
    names = {"slow": "slow syncs", "shim": "shims killed alone", "hang": "hangs", "refused": "refusals for a while"}
    names |= {"first": "first processes killed", "both": "shims killed with them", "queue": "queued starts"}
    names |= {"bus": "restarts of the bus"}
    if word != "kill":
        name = names.get(word, f"{word} errors")
    elif "," in rest:
        name = "triples of kills"
    else:
        name = "pairs of kills" if "+" in rest else f"{rest.partition(':')[0]} kills"
    return f"{name}{OF_KIND[kind]}"


def _in_turn(rows: list[list[str]]) -> list[str]:
    return [each for column in zip_longest(*rows) for each in column if each]


def in_turns(some: Sequence[T], many: int, others: Sequence[U], few: int) -> list[T | U]:
    """Return all of both, in turn so many of the one and so many of the other."""
    mixed: list[T | U] = []
    for turn in range(max(len(some), len(others))):
        mixed += some[turn * many : (turn + 1) * many]
        mixed += others[turn * few : (turn + 1) * few]
    return mixed
