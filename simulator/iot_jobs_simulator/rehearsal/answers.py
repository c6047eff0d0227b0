"""What a release manager asks of a rehearsal: when it is done, what it harms, and what never finishes and why. Pure.

`answer` reads it off the core's executions; `array_answers` does the same for the kernel's.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from iot_jobs_simulator.jobs.execution import ExecutionStatus
from iot_jobs_simulator.rehearsal.fates import Cause, Fates
from iot_jobs_simulator.rehearsal.fleet import SILENT
from iot_jobs_simulator.rehearsal.outcome import RehearsedJob
from iot_jobs_simulator.rehearsal.plan import Plan

MILESTONES: Final = (50, 90, 99, 100)  # percent of all targets
PERCENTS: Final = range(1, 101)
UPDATED: Final = "updated"


class Ending(NamedTuple):
    """How things ended that are alike: status of the last execution (None without one), cause, whether ever online."""

    status: ExecutionStatus | None
    cause: int
    is_never_online: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What one seed says. Times are seconds since the job was created; None stands for never.

    `done_after_s` has the time at which each percent of the targets was updated. `reached` things have taken up an
    execution, `harmed` ones have met the bad build. `endings` counts the targets by what became of them.
    """

    things: int
    done_after_s: tuple[float | None, ...]
    reached: int
    harmed: int
    is_build_bad: bool
    aborted_after_s: float | None
    endings: Mapping[str, int]

    def done(self, percent: int) -> float | None:
        """When so many percent of the targets were updated."""
        return self.done_after_s[percent - 1]


def answer(plan: Plan, fates: Fates, job: RehearsedJob) -> Answer:
    """What the core's executions say."""
    last = {row.thing: row for row in job.rows}
    updated = sorted(
        row.ended_at for row in job.rows if row.status is ExecutionStatus.SUCCEEDED and row.ended_at is not None
    )
    taken_up = [row for row in job.rows if row.started_at is not None or row.status is ExecutionStatus.REJECTED]
    bad = len(fates.causes) - 1
    endings: Counter[Ending] = Counter()
    for thing in plan.things:
        row = last.get(thing)
        cause = fates.attempts[row.number - 1].causes[thing] if row else 0
        endings[Ending(row.status if row else None, cause, fates.online_after_s[thing] == math.inf)] += 1
    return answer_of(
        plan,
        fates.causes,
        endings,
        done_at=[updated[place] if place < len(updated) else None for place in places(len(plan.things))],
        reached=len({row.thing for row in taken_up}),
        harmed=len({row.thing for row in taken_up if fates.attempts[row.number - 1].causes[row.thing] == bad}),
        is_build_bad=fates.is_build_bad,
        aborted_at=job.aborted_at,
    )


def answer_of(
    plan: Plan,
    causes: Sequence[Cause],
    endings: Mapping[Ending, int],
    *,
    done_at: Sequence[float | None],
    reached: int,
    harmed: int,
    is_build_bad: bool,
    aborted_at: float | None,
) -> Answer:
    """The answer of either engine, from its figures."""
    named: Counter[str] = Counter()
    for ending, count in endings.items():
        named[_in_words(ending, causes, is_aborted=aborted_at is not None)] += count
    return Answer(
        things=len(plan.things),
        done_after_s=tuple(None if at is None else at - plan.created_at for at in done_at),
        reached=reached,
        harmed=harmed,
        is_build_bad=is_build_bad,
        aborted_after_s=None if aborted_at is None else aborted_at - plan.created_at,
        endings=dict(named.most_common()),
    )


def places(things: int) -> list[int]:
    """Which of the updated things, in order of time, makes each percent full."""
    return [-(-things * percent // 100) - 1 for percent in PERCENTS]


@dataclass(frozen=True, slots=True)
class Interval:
    """What so many seeds say of a quantity: the middle, and where 90 % of them lie. None is never, or more than all."""

    low: float | None
    middle: float | None
    high: float | None


def interval(values: Iterable[float | None]) -> Interval:
    """The 5th, the 50th and the 95th percentile, each a value that a seed has; never comes last."""
    ordered = sorted(math.inf if value is None else value for value in values)
    found = [ordered[max(0, math.ceil(share * len(ordered)) - 1)] for share in (0.05, 0.5, 0.95)]
    return Interval(*(value if value < math.inf else None for value in found))


def _in_words(ending: Ending, causes: Sequence[Cause], *, is_aborted: bool) -> str:
    cause = causes[ending.cause]
    match ending.status:
        case ExecutionStatus.SUCCEEDED:
            return UPDATED
        case ExecutionStatus.FAILED | ExecutionStatus.REJECTED:
            return f"{ending.status}: {cause.name}"
        case ExecutionStatus.TIMED_OUT:
            return f"TIMED_OUT: {cause.name}" if cause.status == SILENT else "TIMED_OUT: took too long"
        case ExecutionStatus.IN_PROGRESS:
            return f"IN_PROGRESS: {cause.name}" if cause.status == SILENT else "IN_PROGRESS: not over yet"
        case _ if ending.is_never_online:
            return f"{ending.status or 'no execution'}: never online"
        case ExecutionStatus.CANCELED:
            return "CANCELED: " + ("the job was aborted" if is_aborted else "the job's endTime")
        case ExecutionStatus.QUEUED:
            return "QUEUED: away, or outside of the windows"
        case _:
            return "no execution: " + ("the job was aborted" if is_aborted else "the rollout did not get so far")
