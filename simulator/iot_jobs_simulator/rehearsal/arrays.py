"""Fates as arrays: the very numbers that `fates` draws, and a hundred thousand of them in milliseconds. Needs numpy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iot_jobs_simulator.rehearsal.fates import (
    JITTER,
    Cause,
    Fates,
    Quantity,
    bounds,
    causes_of,
    first_causes,
    is_build_bad,
    key,
    of_attempt,
)
from iot_jobs_simulator.rehearsal.fleet import Fleet, Group
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
    causes, firsts = causes_of(fleet), first_causes(fleet)
    online: list[Floats] = []
    parts: list[list[AttemptArrays]] = [[] for _ in range(attempts)]
    for number, group in enumerate(fleet.groups.values()):
        online.append(_online(group, seed, number))
        fixed = _persistent(fleet, group, seed, number, firsts[number], bad=len(causes) - 1 if is_bad else 0)
        for attempt, part in enumerate(parts):
            part.append(_attempt(group, seed, number, attempt, firsts[number], fixed))
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


def _online(group: Group, seed: int, number: int) -> Floats:
    never = group.never_online_share
    online = np.zeros(group.size)
    chances = _stream(seed, number, Quantity.OFFLINE, group.size)
    if group.offline:
        moments = _stream(seed, number, Quantity.BACK, group.size)
        is_away = (never <= chances) & (chances < never + group.offline.share)
        online = np.where(is_away, _at(group.offline.back_after_h.times(3600), moments), online)
    online[chances < never] = np.inf
    if (sites := group.sites) is None:
        return online
    count = -(-group.size // sites.size)
    is_dark = _stream(seed, number, Quantity.SITE, count) < sites.offline_share
    back = _at(sites.back_after_h.times(3600), _stream(seed, number, Quantity.SITE_BACK, count))
    dark = np.where(is_dark, back, 0.0)
    result: Floats = np.maximum(online, np.repeat(dark, sites.size)[: group.size])
    return result


def _persistent(fleet: Fleet, group: Group, seed: int, number: int, first: int, *, bad: int) -> Numbers:
    ends, numbers = bounds(group.failures, first, persist=True)
    found = _chosen(ends, numbers, _stream(seed, number, Quantity.PERSISTENT, group.size) if ends else group.size)
    if bad and fleet.bad_build is not None:
        hits = _stream(seed, number, Quantity.BAD_BUILD, group.size)
        found = np.where(hits < fleet.bad_build.share, bad, found)
    return found


def _attempt(group: Group, seed: int, number: int, attempt: int, first: int, fixed: Numbers) -> AttemptArrays:
    ends, numbers = bounds(group.failures, first, persist=False)
    reactions = _stream(seed, number, of_attempt(Quantity.REACTION, attempt), group.size)
    causes = _chosen(
        ends,
        numbers,
        _stream(seed, number, of_attempt(Quantity.CAUSE, attempt), group.size) if ends else group.size,
    )
    durations = _stream(seed, number, of_attempt(Quantity.DURATION, attempt), group.size)
    return AttemptArrays(
        _at(group.reaction_s, reactions) + reactions * JITTER,
        np.where(fixed > 0, fixed, causes),
        _at(group.duration_min.times(60), durations),
    )


def _chosen(ends: tuple[float, ...], numbers: tuple[int, ...], chances: Floats | int) -> Numbers:
    """The causes that these random numbers mean; as many successes where there is no cause."""
    if isinstance(chances, int):
        return np.zeros(chances, np.int64)
    return np.array(numbers)[np.searchsorted(ends, chances, side="right")]
