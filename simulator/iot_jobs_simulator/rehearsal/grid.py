"""Rates against thresholds: how fast a good build gets through, and how many devices a bad one harms. Pure."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.rehearsal.fleet import Fleet
from iot_jobs_simulator.rehearsal.plan import PlanError
from iot_jobs_simulator.rehearsal.summary import Summary, aligned, count, duration, in_words


@dataclass(frozen=True, slots=True)
class Cell:
    """One rate and one threshold, with what good and bad builds make of them."""

    rate_per_minute: int
    threshold_percent: float
    good: Summary
    bad: Summary


def cells(
    members: Json,
    fleet: Fleet,
    rates: Sequence[int],
    thresholds: Sequence[float],
    rehearse: Callable[[Json, Fleet], Summary],
) -> Iterator[Cell]:
    """Every rate with every threshold; PlanError if the job or the fleet leaves nothing to vary."""
    if not members.get("abortConfig"):
        raise PlanError("--grid needs an abortConfig in the job, whose thresholdPercentage it varies")
    good, bad = with_build(fleet, is_bad=False), with_build(fleet, is_bad=True)
    for rate in rates:
        for threshold in thresholds:
            varied = _varied(members, rate, threshold)
            yield Cell(rate, threshold, rehearse(varied, good), rehearse(varied, bad))


def with_build(fleet: Fleet, *, is_bad: bool) -> Fleet:
    """The fleet with a build that is bad, or good, in every seed; PlanError if the fleet file does not describe one."""
    if fleet.bad_build is None:
        raise PlanError("the fleet file has no [bad_build]; add one with its share, to tell what harm a bad build does")
    bad = fleet.bad_build.model_copy(update={"probability": float(is_bad)})
    return fleet.model_copy(update={"bad_build": bad})


def grid_table(found: Sequence[Cell]) -> str:
    """The cells as lines: rate, threshold, speed, false alarms, harm."""
    rows: list[tuple[str, ...]] = [("rate", "threshold", "good: 90 % updated", "good: aborted", "bad: harmed")]
    for cell in found:
        false_alarms = f"{cell.good.aborted_seeds} of {cell.good.seeds} seeds"
        harmed = in_words(cell.bad.harmed, count) if cell.bad.harmed else "-"
        speed = in_words(cell.good.done(90), duration)
        rows.append((f"{cell.rate_per_minute}/min", f"{cell.threshold_percent:g} %", speed, false_alarms, harmed))
    return "\n".join(aligned(rows))


def _varied(members: Json, rate: int, threshold: float) -> Json:
    varied: dict[str, Any] = copy.deepcopy(dict(members))
    varied.setdefault("jobExecutionsRolloutConfig", {})["maximumPerMinute"] = rate
    for criterion in varied["abortConfig"].get("criteriaList", ()):
        criterion["thresholdPercentage"] = threshold
    return varied
