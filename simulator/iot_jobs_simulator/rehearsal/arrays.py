"""Fates as arrays: the very numbers that `fates` draws, and a hundred thousand of them in milliseconds. Needs numpy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iot_jobs_simulator.rehearsal.fates import (
    JITTER,
    Cause,
    Fates,
    GroupSeed,
    Quantity,
    bounds,
    causes_of,
    group_seeds,
    is_build_bad,
    key,
    of_attempt,
)
from iot_jobs_simulator.rehearsal.fleet import Fleet
from iot_jobs_simulator.rehearsal.spread import Spread

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AttemptArrays:
    """As `fates.Attempts`."""

    reaction_s: Floats
    causes: Numbers
    duration_s: Floats


@dataclass(frozen=True, slots=True)
class FateArrays:
    """As `fates.Fates`."""

    online_after_s: Floats
    attempts: Sequence[AttemptArrays]
    causes: tuple[Cause, ...]
    is_build_bad: bool


def as_arrays(fates: Fates) -> FateArrays:
    """The same fates."""
    attempts = [
        AttemptArrays(np.array(each.reaction_s, float), np.array(each.causes, int), np.array(each.duration_s, float))
        for each in fates.attempts
    ]
    return FateArrays(np.array(fates.online_after_s, float), attempts, fates.causes, fates.is_build_bad)


def draw_arrays(fleet: Fleet, seed: int, attempts: int) -> FateArrays:
    """Draw the fates of a seed, for so many attempts of each device."""
    is_bad = is_build_bad(fleet, seed)
    causes = causes_of(fleet)
    online: list[Floats] = []
    parts: list[list[AttemptArrays]] = [[] for _ in range(attempts)]
    for each in group_seeds(fleet, seed):
        online.append(_online(each))
        fixed = _persistent(fleet, each, bad=len(causes) - 1 if is_bad else 0)
        for attempt, part in enumerate(parts):
            part.append(_attempt(each, attempt, fixed))
    return FateArrays(np.concatenate(online), [_joined(part) for part in parts], causes, is_bad)


def _joined(parts: list[AttemptArrays]) -> AttemptArrays:
    return AttemptArrays(
        np.concatenate([each.reaction_s for each in parts]),
        np.concatenate([each.causes for each in parts]),
        np.concatenate([each.duration_s for each in parts]),
    )


def _stream(seed: int, group: int, quantity: int, count: int) -> Floats:
    return np.random.RandomState(key(seed, group, quantity)).random_sample(count)


def _at(spread: Spread, chances: Floats) -> Floats:
    part = np.searchsorted(spread.shares, chances, side="right") - 1
    shares, values, slopes = (np.array(each) for each in (spread.shares, spread.values, spread.slopes))
    result: Floats = values[part] + (chances - shares[part]) * slopes[part]
    return result


def _online(each: GroupSeed) -> Floats:
    never = each.group.never_online_share
    online = np.zeros(each.group.size)
    chances = _stream(each.seed, each.number, Quantity.OFFLINE, each.group.size)
    if each.group.offline:
        moments = _stream(each.seed, each.number, Quantity.BACK, each.group.size)
        is_away = (never <= chances) & (chances < never + each.group.offline.share)
        online = np.where(is_away, _at(each.group.offline.back_after_h.times(3600), moments), online)
    online[chances < never] = np.inf
    if (sites := each.group.sites) is None:
        return online
    count = -(-each.group.size // sites.size)
    is_dark = _stream(each.seed, each.number, Quantity.SITE, count) < sites.offline_share
    back = _at(sites.back_after_h.times(3600), _stream(each.seed, each.number, Quantity.SITE_BACK, count))
    dark = np.where(is_dark, back, 0.0)
    result: Floats = np.maximum(online, np.repeat(dark, sites.size)[: each.group.size])
    return result


def _persistent(fleet: Fleet, each: GroupSeed, *, bad: int) -> Numbers:
    ends, numbers = bounds(each.group.failures, each.first, persist=True)
    found = _chosen(
        ends,
        numbers,
        _stream(each.seed, each.number, Quantity.PERSISTENT, each.group.size) if ends else each.group.size,
    )
    if bad and fleet.bad_build is not None:
        hits = _stream(each.seed, each.number, Quantity.BAD_BUILD, each.group.size)
        found = np.where(hits < fleet.bad_build.share, bad, found)
    return found


def _attempt(each: GroupSeed, attempt: int, fixed: Numbers) -> AttemptArrays:
    ends, numbers = bounds(each.group.failures, each.first, persist=False)
    reactions = _stream(each.seed, each.number, of_attempt(Quantity.REACTION, attempt), each.group.size)
    causes = _chosen(
        ends,
        numbers,
        _stream(each.seed, each.number, of_attempt(Quantity.CAUSE, attempt), each.group.size)
        if ends
        else each.group.size,
    )
    durations = _stream(each.seed, each.number, of_attempt(Quantity.DURATION, attempt), each.group.size)
    return AttemptArrays(
        _at(each.group.reaction_s, reactions) + reactions * JITTER,
        np.where(fixed > 0, fixed, causes),
        _at(each.group.duration_min.times(60), durations),
    )


def _chosen(ends: tuple[float, ...], numbers: tuple[int, ...], chances: Floats | int) -> Numbers:
    """The causes that these random numbers mean; as many successes where there is no cause."""
    if isinstance(chances, int):
        return np.zeros(chances, np.int64)
    return np.array(numbers)[np.searchsorted(ends, chances, side="right")]
