"""What will happen to each device, drawn before a rehearsal begins, so that two plans can meet the same fates. Pure.

A draw has a stream of random numbers of its own for each seed, group and quantity: a change to one group or one
quantity leaves all others as they were. The streams are those of the Mersenne Twister, seeded by `init_by_array`, which
numpy's RandomState has too: `arrays` draws the very same numbers.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from iot_jobs_simulator.rehearsal.fleet import Failure, Fleet, Group

MAX_SEED: Final = 2**32 - 1
# Up to a millisecond more, so that devices whose quantities are all the same never act at the same time.
JITTER: Final = 1 / 1024
_PER_GROUP: Final = 64
_PER_ATTEMPT: Final = 3


class Quantity(IntEnum):
    """What a stream is for. Those of an attempt follow, three for each."""

    OFFLINE = 1
    BACK = 2
    SITE = 3
    SITE_BACK = 4
    PERSISTENT = 5
    BAD_BUILD = 6
    REACTION = 7
    CAUSE = 8
    DURATION = 9


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an attempt ends as it does. `status` is what the device reports, or SILENT."""

    name: str
    status: str


WELL: Final = Cause("", "SUCCEEDED")


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts of one number, one of each device: seconds, and numbers of causes."""

    reaction_s: list[float]
    causes: list[int]
    duration_s: list[float]


@dataclass(frozen=True, slots=True)
class Fates:
    """The fates of all devices for one seed. `online_after_s` is 0 for those that are there, infinite for never.

    `causes[0]` is success, and the last one the bad build, which is in this seed if `is_build_bad`.
    """

    online_after_s: Sequence[float]
    attempts: Sequence[Attempts]
    causes: tuple[Cause, ...]
    is_build_bad: bool


def key(seed: int, group: int, quantity: int) -> tuple[int, int]:
    """What a stream is seeded with: two words of 32 bits, the second one not 0. Group -1 is the whole fleet."""
    return seed, (group + 1) * _PER_GROUP + quantity


def of_attempt(quantity: Quantity, attempt: int) -> int:
    """The stream of a quantity for one of the attempts, which count from 0."""
    return quantity + _PER_ATTEMPT * attempt


class GroupSeed(NamedTuple):
    """A group in one seed. `number` is its place in the file, from 0 on, and `first` its first failure's number."""

    group: Group
    number: int
    first: int
    seed: int


def group_seeds(fleet: Fleet, seed: int) -> Iterator[GroupSeed]:
    """Each group in the seed, in the order of the file."""
    first = 1
    for number, group in enumerate(fleet.groups.values()):
        yield GroupSeed(group, number, first, seed)
        first += len(group.failures)


def causes_of(fleet: Fleet) -> tuple[Cause, ...]:
    """All causes that the fleet knows; a failure's number is its place in the file, from 1 on."""
    failures = [Cause(each.cause, each.status) for group in fleet.groups.values() for each in group.failures]
    bad = fleet.bad_build
    return (WELL, *failures, Cause(bad.cause, bad.status) if bad else Cause("bad build", "FAILED"))


def bounds(failures: Sequence[Failure], first: int, *, persist: bool) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Up to which random number each of these causes goes, and their numbers; the last number is success."""
    ends: list[float] = []
    numbers: list[int] = []
    for number, failure in enumerate(failures, first):
        if failure.persists == persist:
            ends.append((ends[-1] if ends else 0.0) + failure.share)
            numbers.append(number)
    return tuple(ends), (*numbers, 0)


def is_build_bad(fleet: Fleet, seed: int) -> bool:
    """Whether this seed has the bad build."""
    return fleet.bad_build is not None and _stream(seed, -1, Quantity.BAD_BUILD, 1)[0] < fleet.bad_build.probability


def draw(fleet: Fleet, seed: int, attempts: int) -> Fates:
    """Draw the fates of a seed, for so many attempts of each device."""
    is_bad = is_build_bad(fleet, seed)
    causes = causes_of(fleet)
    online: list[float] = []
    columns = [Attempts([], [], []) for _ in range(attempts)]
    for each in group_seeds(fleet, seed):
        online += _online(each)
        fixed = _persistent(fleet, each, bad=len(causes) - 1 if is_bad else 0)
        for attempt, column in enumerate(columns):
            _add_attempt(column, each, attempt, fixed)
    return Fates(online, columns, causes, is_bad)


def _stream(seed: int, group: int, quantity: int, count: int) -> list[float]:
    low, high = key(seed, group, quantity)
    numbers = random.Random(low + (high << 32))  # noqa: S311 - a rehearsal is to be repeatable
    return [numbers.random() for _ in range(count)]


def _online(each: GroupSeed) -> list[float]:
    never = each.group.never_online_share
    away = never + (each.group.offline.share if each.group.offline else 0)
    back = each.group.offline.back_after_h.times(3600) if each.group.offline else None
    chances = _stream(each.seed, each.number, Quantity.OFFLINE, each.group.size)
    moments = _stream(each.seed, each.number, Quantity.BACK, each.group.size) if back else []
    online = [math.inf if chance < never else 0.0 for chance in chances]
    if back:
        online = [
            back.at(moment) if never <= chance < away else at
            for at, chance, moment in zip(online, chances, moments, strict=True)
        ]
    if (sites := each.group.sites) is None:
        return online
    count, back = -(-each.group.size // sites.size), sites.back_after_h.times(3600)
    dark = [
        back.at(moment) if chance < sites.offline_share else 0.0
        for chance, moment in zip(
            _stream(each.seed, each.number, Quantity.SITE, count),
            _stream(each.seed, each.number, Quantity.SITE_BACK, count),
            strict=True,
        )
    ]
    return [max(at, dark[place // sites.size]) for place, at in enumerate(online)]


def _persistent(fleet: Fleet, each: GroupSeed, *, bad: int) -> list[int]:
    """The cause that each device meets at every attempt; 0 for none."""
    ends, numbers = bounds(each.group.failures, each.first, persist=True)
    found = [
        _chosen(ends, numbers, chance)
        for chance in _stream(each.seed, each.number, Quantity.PERSISTENT, each.group.size)
    ]
    if bad and fleet.bad_build is not None:
        share = fleet.bad_build.share
        hits = _stream(each.seed, each.number, Quantity.BAD_BUILD, each.group.size)
        found = [bad if hit < share else cause for cause, hit in zip(found, hits, strict=True)]
    return found


def _add_attempt(column: Attempts, each: GroupSeed, attempt: int, fixed: list[int]) -> None:
    ends, numbers = bounds(each.group.failures, each.first, persist=False)
    reactions = _stream(each.seed, each.number, of_attempt(Quantity.REACTION, attempt), each.group.size)
    chances = _stream(each.seed, each.number, of_attempt(Quantity.CAUSE, attempt), each.group.size)
    durations = _stream(each.seed, each.number, of_attempt(Quantity.DURATION, attempt), each.group.size)
    minutes = each.group.duration_min.times(60)
    column.reaction_s.extend(each.group.reaction_s.at(chance) + chance * JITTER for chance in reactions)
    column.causes.extend(
        always or _chosen(ends, numbers, chance) for always, chance in zip(fixed, chances, strict=True)
    )
    column.duration_s.extend(minutes.at(chance) for chance in durations)


def _chosen(ends: tuple[float, ...], numbers: tuple[int, ...], chance: float) -> int:
    return next((number for end, number in zip(ends, numbers, strict=False) if chance < end), 0)
