"""When a job is open: from when until when its things get executions, and may start what is QUEUED. Pure.

A period holds its beginning and not its end: at the end, the service closes the job before any device can act.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from iot_jobs_simulator.jobs import schedule
from iot_jobs_simulator.rehearsal.plan import Plan


class Period(NamedTuple):
    """Epoch seconds; `closes_at` may be infinite."""

    opens_at: float
    closes_at: float


class Calendar(NamedTuple):
    """`giving` is when executions are queued, at the rollout's rate or as retries; `starting` when they can start.

    `job_ends_at` is the endTime, infinite without one. Those that are in no period of `starting` are hidden.
    """

    giving: tuple[Period, ...]
    starting: tuple[Period, ...]
    job_ends_at: float
    behavior: str


def calendar_of(plan: Plan) -> Calendar:
    """The periods of a job up to the plan's end, as `jobs.scheduling` opens and closes it."""
    config = plan.request.scheduling_config
    end = schedule.end_time(config)
    ends_at = math.inf if end is None else end
    behavior = config.get("endBehavior", "STOP_ROLLOUT")
    opened = tuple(each for each in _opened(plan) if each.opens_at < ends_at)
    giving = tuple(Period(each.opens_at, min(each.closes_at, ends_at)) for each in opened)
    if end is None or behavior != "STOP_ROLLOUT":
        return Calendar(giving, giving, ends_at, behavior)
    if giving and giving[-1].closes_at == ends_at:  # it is open when it ends, and nothing is hidden any more
        return Calendar(giving, (*giving[:-1], Period(giving[-1].opens_at, math.inf)), ends_at, behavior)
    return Calendar(giving, (*giving, Period(ends_at, math.inf)), ends_at, behavior)


def _opened(plan: Plan) -> Iterator[Period]:
    config = plan.request.scheduling_config
    start = schedule.start_time(config)
    at: float | None = plan.created_at if start is None else start
    if not config.get("maintenanceWindows"):
        yield Period(at or 0.0, math.inf)
        return
    while at is not None and (at := schedule.next_opening(config, at)) is not None and at <= plan.ends_at:
        until = schedule.open_until(config, at)
        while until <= plan.ends_at and (later := schedule.open_until(config, until)) > until:
            until = later
        yield Period(at, until)
        at = until
