"""Which cases there are, and in which order: one of each kind, then again, so that a sample of any length is spread."""

import random
from collections import defaultdict
from collections.abc import Collection
from itertools import zip_longest

from tests.faults.kill.cases import MOMENTS
from tests.faults.kill.points import BAD_DISK, FULL_DISK, KILLS, NAMES, PROCESSES, SYNCS, TALK, WRITES, Point

COMBINED = 40  # of the many pairs and triples, and of hangs, which are kills that come late


def plan(found: list[Point], of_files: list[Point], seed: int) -> list[str]:
    """Return the texts of all cases (cases.py), in an order of the seed; errors are for calls about files only."""
    chance = random.Random(seed)

    def rows(word: str, role: str, kinds: Collection[str], points: list[Point]) -> list[str]:
        """Return a case for each such point, in turn one of each kind."""
        by_kind = defaultdict(list)
        for point in chance.sample(points, len(points)):
            if point.role == role and point.kind in kinds:
                by_kind[point.kind].append(f"{word}:{point}")
        return _in_turn(list(by_kind.values()))

    roles = ("agent", "shim")
    kills = {role: [str(point) for point in found if point.role == role and point.kind in KILLS] for role in roles}
    every = [point for points in kills.values() for point in points]
    families = [rows("kill", role, kinds, found) for role in roles for kinds in (WRITES, NAMES, TALK, PROCESSES)]
    for word, kinds in (("ENOSPC", FULL_DISK), ("ENOSPC-on", FULL_DISK), ("EIO", BAD_DISK), ("EIO-on", BAD_DISK)):
        families.append(_in_turn([rows(word, role, kinds, of_files) for role in roles]))
    families.append(_in_turn([rows("slow", role, SYNCS, of_files) for role in roles]))
    early = kills["agent"][: len(kills["agent"]) // 2]  # recovery is short
    triples = [(chance.choice(every), *chance.sample(early, 2)) for _ in range(COMBINED)]
    families.append([f"kill:{','.join(triple)}" for triple in triples])
    families.append([f"kill:{'+'.join(map(chance.choice, kills.values()))}" for _ in range(COMBINED)])
    families.append([f"hang:{point}" for point in chance.sample(kills["agent"], COMBINED)])
    families.append([f"shim:{moment}" for moment in MOMENTS])
    return _in_turn(chance.sample(families, len(families)))


def group(text: str) -> str:
    """Return the name under which a case is counted."""
    word, _, rest = text.partition(":")
    if word != "kill":
        return {"slow": "slow syncs", "shim": "shims killed alone", "hang": "hangs"}.get(word, f"{word} errors")
    if "," in rest:
        return "triples of kills"
    return "pairs of kills" if "+" in rest else f"{rest.partition(':')[0]} kills"


def _in_turn(rows: list[list[str]]) -> list[str]:
    return [each for column in zip_longest(*rows) for each in column if each]
