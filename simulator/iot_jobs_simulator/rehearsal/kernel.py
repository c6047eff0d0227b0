"""The second engine: a seed with arrays. It knows what the rules make of a fleet, and is held against `core` by tests.

First every execution runs its course as if nothing ended the job; devices do not wait for each other, so that is one
pass for each attempt. Then the first moment at which abortConfig is met is found among the ends, and cuts the rest off.
No two things happen at the same time here: `fates` sees to that, and the core decides where it is otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from iot_jobs_simulator.jobs import rates
from iot_jobs_simulator.jobs.execution import ExecutionStatus
from iot_jobs_simulator.jobs.settings import ServiceSettings
from iot_jobs_simulator.rehearsal.arrays import FateArrays, Floats, Numbers
from iot_jobs_simulator.rehearsal.outcome import ExecutionRow, RehearsedJob
from iot_jobs_simulator.rehearsal.periods import Calendar, Period, calendar_of
from iot_jobs_simulator.rehearsal.plan import Plan

Flags = NDArray[np.bool_]
STATUSES: Final = tuple(ExecutionStatus)
CODES: Final = {status: code for code, status in enumerate(STATUSES)}
_QUEUED: Final = CODES[ExecutionStatus.QUEUED]
_IN_PROGRESS: Final = CODES[ExecutionStatus.IN_PROGRESS]
_FAILED: Final = CODES[ExecutionStatus.FAILED]
_TIMED_OUT: Final = CODES[ExecutionStatus.TIMED_OUT]
_REJECTED: Final = CODES[ExecutionStatus.REJECTED]
_CANCELED: Final = CODES[ExecutionStatus.CANCELED]
_SUCCEEDED: Final = CODES[ExecutionStatus.SUCCEEDED]
_REPORTED: Final = {str(status): code for status, code in CODES.items()}  # SILENT is not among them
_MINUTE_S: Final = 60.0
_EXACT_DECIMALS: Final = 6  # as in `jobs.abort`


@dataclass(frozen=True, slots=True)
class ExecutionColumns:
    """Executions in columns. Times are epoch seconds, infinite for never; `acts_at` is when the device takes it up.

    `statuses` are numbers in `STATUSES`: how the execution ends, or what it stays.
    """

    things: Numbers
    numbers: Numbers
    queued_at: Floats
    acts_at: Floats
    started_at: Floats
    ended_at: Floats
    statuses: Numbers

    def of(self, which: Flags) -> "ExecutionColumns":
        """Some of them."""
        return ExecutionColumns(*(getattr(self, name)[which] for name in self.__slots__))

    def canceled(self, which: Flags, at: float) -> "ExecutionColumns":
        """The same, but these were canceled at this time; what of them would have started later has not."""
        is_unstarted = which & (self.acts_at >= at)
        return replace(
            self,
            acts_at=np.where(is_unstarted, np.inf, self.acts_at),
            started_at=np.where(is_unstarted, np.inf, self.started_at),
            ended_at=np.where(which, at, self.ended_at),
            statuses=np.where(which, _CANCELED, self.statuses),
        )


@dataclass(frozen=True, slots=True)
class ArrayJob:
    """What `core.rehearse` answers, in columns; `aborted_at` is infinite unless abortConfig ended the job."""

    executions: ExecutionColumns
    aborted_at: float

    def rehearsed(self) -> RehearsedJob:
        """The same as the core says it."""
        each = self.executions
        columns = (each.things, each.numbers, each.statuses, each.queued_at, each.started_at, each.ended_at)
        rows = sorted(
            ExecutionRow(thing, number, STATUSES[status], queued_at, _moment(started_at), _moment(ended_at))
            for thing, number, status, queued_at, started_at, ended_at in zip(
                *(column.tolist() for column in columns), strict=True
            )
        )
        return RehearsedJob(tuple(rows), _moment(self.aborted_at))


def rehearse_arrays(plan: Plan, fates: FateArrays) -> ArrayJob:
    """Run the job on the fleet until nothing happens any more, or until the plan ends."""
    calendar = calendar_of(plan)
    executions = _undisturbed(plan, fates, calendar)
    aborted_at = _abort_time(plan, executions)
    if aborted_at >= calendar.job_ends_at:  # or the job had ended before
        executions = _cut_by_end(plan, executions, calendar)
        aborted_at = _abort_time(plan, executions)
    if aborted_at < np.inf:
        executions = executions.of(executions.queued_at <= aborted_at)
        is_queued = (executions.acts_at > aborted_at) & (executions.ended_at > aborted_at)
        executions = executions.canceled(is_queued, aborted_at)
    return ArrayJob(_cut_by_plan(plan, executions), aborted_at)


def _moment(at: float) -> float | None:
    return float(at) if at < np.inf else None


def _undisturbed(plan: Plan, fates: FateArrays, calendar: Calendar) -> ExecutionColumns:
    """All executions, each to its own end, as if the job never ended."""
    things, ticks = np.array(plan.things, np.int64), _ticks(plan, calendar)
    config = plan.request.rollout_config
    exponential = config.get("exponentialRate", {})
    feeds_back = "numberOfSucceededThings" in exponential.get("rateIncreaseCriteria", {})
    usual = ServiceSettings().rollout_per_minute
    counts = np.zeros(len(ticks), np.int64)
    succeeded = np.zeros(len(ticks) + 1, np.int64)  # of those before each tick
    parts: list[ExecutionColumns] = []
    given = 0
    for place in range(len(ticks)):
        if given == len(things):
            break
        rate = rates.per_minute(config, usual, notified=given, succeeded=int(succeeded[: place + 1].sum()))
        counts[place] = min(rate, len(things) - given)
        if feeds_back:
            chosen = things[given : given + counts[place]]
            parts.append(_courses(plan, fates, calendar, chosen, np.full(len(chosen), ticks[place])))
            ends = parts[-1].ended_at[parts[-1].statuses == _SUCCEEDED]
            np.add.at(succeeded, np.searchsorted(ticks, ends, side="right"), 1)
        given += int(counts[place])
    if not feeds_back:
        parts = [_courses(plan, fates, calendar, things[:given], np.repeat(ticks, counts))]
    return _joined(parts)


def _ticks(plan: Plan, calendar: Calendar) -> Floats:
    """When the rollout may go on: at each opening, and every minute from then on."""
    ticks = [np.zeros(0)]
    for opens_at, closes_at in calendar.giving:
        last = min(closes_at, plan.ends_at)
        minutes = min(int((last - opens_at) // _MINUTE_S) + 2, len(plan.things))
        each = np.cumsum(np.concatenate([[opens_at], np.full(max(0, minutes), _MINUTE_S)]))
        ticks.append(each[(each < closes_at) & (each <= plan.ends_at)])
    return np.concatenate(ticks)


def _courses(plan: Plan, fates: FateArrays, calendar: Calendar, things: Numbers, queued_at: Floats) -> ExecutionColumns:
    """The executions of things that get their first one then, retries and all."""
    statuses = np.array([_REPORTED.get(cause.status, _IN_PROGRESS) for cause in fates.causes])
    minutes = plan.request.timeout_config.get("inProgressTimeoutInMinutes", np.inf)
    online_at = plan.created_at + fates.online_after_s
    past = {_FAILED: np.zeros(len(things), np.int64), _TIMED_OUT: np.zeros(len(things), np.int64)}
    parts: list[ExecutionColumns] = []
    for number, attempt in enumerate(fates.attempts, 1):
        acts_at = _starts(calendar.starting, np.maximum(queued_at, online_at[things]), attempt.reaction_s[things])
        status = statuses[attempt.causes[things]]
        is_rejected, deadline = status == _REJECTED, acts_at + _MINUTE_S * minutes
        ended_at = np.where(status == _IN_PROGRESS, np.inf, acts_at + attempt.duration_s[things])
        ended_at = np.where(is_rejected, acts_at, ended_at)
        is_late = ~is_rejected & (ended_at >= deadline) & (deadline < np.inf)
        ended_at, status = np.where(is_late, deadline, ended_at), np.where(is_late, _TIMED_OUT, status)
        status = np.where(acts_at < np.inf, status, _QUEUED)
        started_at = np.where(is_rejected, np.inf, acts_at)
        numbers = np.full(len(things), number)
        parts.append(ExecutionColumns(things, numbers, queued_at, acts_at, started_at, ended_at, status))
        again_at = _regiven(calendar.giving, ended_at)
        is_again = _has_retry(plan.request.retry_config, past, status) & (again_at < np.inf)
        if not is_again.any():
            break
        past = {kind: (count + (status == kind))[is_again] for kind, count in past.items()}
        things, queued_at = things[is_again], again_at[is_again]
    return _joined(parts)


def _starts(periods: Sequence[Period], there_at: Floats, reaction_s: Floats) -> Floats:
    """When devices start what is theirs from then on: in a period that does not end before they have reacted."""
    opens = np.array([*(each.opens_at for each in periods), np.inf])
    closes = np.array([*(each.closes_at for each in periods), np.inf])
    starts = np.full(len(there_at), np.inf)
    left = np.flatnonzero(there_at < np.inf)
    told_at = there_at[left]
    while len(left):
        place = np.minimum(np.searchsorted(closes[:-1], told_at, side="right"), len(opens) - 1)
        told_at = np.maximum(told_at, opens[place])
        at = told_at + reaction_s[left]
        is_in_time = at < closes[place]
        starts[left[is_in_time]] = at[is_in_time]
        is_left = ~is_in_time & (told_at < np.inf)
        left, told_at = left[is_left], closes[place][is_left]
    return starts


def _regiven(periods: Sequence[Period], ended_at: Floats) -> Floats:
    """When a retry is queued after an execution that ended then."""
    opens = np.array([*(each.opens_at for each in periods), np.inf])
    closes = np.array([each.closes_at for each in periods])
    again_at: Floats = np.maximum(ended_at, opens[np.searchsorted(closes, ended_at, side="right")])
    return again_at


def _has_retry(config: Mapping[str, Any], past: Mapping[int, Numbers], status: Numbers) -> Flags:
    """As `jobs.retries.is_left`. `past` counts the earlier failures of both kinds that are retried."""
    together = past[_FAILED] + past[_TIMED_OUT]
    is_left: Flags = np.zeros(len(status), bool)
    for criterion in config.get("criteriaList", ()):
        for kind, count in past.items():
            if criterion["failureType"] in ("ALL", STATUSES[kind]):
                spent = together if criterion["failureType"] == "ALL" else count
                is_left |= (status == kind) & (spent < criterion["numberOfRetries"])
    return is_left


def _abort_time(plan: Plan, executions: ExecutionColumns) -> float:
    """When abortConfig is met, as `jobs.abort` has it, infinite if never: the first end after which it is."""
    criteria = plan.request.abort_config.get("criteriaList", ())
    ended = executions.of(executions.ended_at <= plan.ends_at) if criteria else executions
    order = np.argsort(ended.ended_at)  # those of the same time are those that the job's end canceled
    statuses = ended.statuses[order]
    executed, is_looked_at = np.arange(1, len(order) + 1), statuses != _CANCELED
    first = len(order)
    for criterion in criteria:
        kinds = [CODES[ExecutionStatus(criterion["failureType"])]] if criterion["failureType"] != "ALL" else _FAILURES
        failed = np.cumsum(np.isin(statuses, kinds))
        is_over = 100 * failed >= np.round(criterion["thresholdPercentage"] * executed, _EXACT_DECIMALS)
        met = np.flatnonzero(is_over & is_looked_at & (executed >= criterion["minNumberOfExecutedThings"]))
        first = min(first, int(met[0]) if len(met) else first)
    return float(ended.ended_at[order[first]]) if criteria and first < len(order) else np.inf


def _cut_by_end(plan: Plan, executions: ExecutionColumns, calendar: Calendar) -> ExecutionColumns:
    """What endBehavior leaves of them."""
    if calendar.behavior == "STOP_ROLLOUT" or calendar.job_ends_at > plan.ends_at:
        return executions
    is_reached = executions.acts_at >= calendar.job_ends_at
    if calendar.behavior == "FORCE_CANCEL":
        is_reached = executions.ended_at >= calendar.job_ends_at
    return executions.canceled(is_reached, calendar.job_ends_at)


def _cut_by_plan(plan: Plan, executions: ExecutionColumns) -> ExecutionColumns:
    """What has happened by the end of the plan."""
    left = executions.of(executions.queued_at <= plan.ends_at)
    is_started, has_ended = left.acts_at <= plan.ends_at, left.ended_at <= plan.ends_at
    return replace(
        left,
        started_at=np.where(is_started, left.started_at, np.inf),
        ended_at=np.where(has_ended, left.ended_at, np.inf),
        statuses=np.where(has_ended, left.statuses, np.where(is_started, _IN_PROGRESS, _QUEUED)),
    )


def _joined(parts: Sequence[ExecutionColumns]) -> ExecutionColumns:
    if len(parts) == 1:
        return parts[0]
    names = ExecutionColumns.__slots__
    if not parts:
        empty, none = np.zeros(0), np.zeros(0, np.int64)
        return ExecutionColumns(none, none, empty, empty, empty, empty, none)
    return ExecutionColumns(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


_FAILURES: Final = [_FAILED, _REJECTED, _TIMED_OUT]
