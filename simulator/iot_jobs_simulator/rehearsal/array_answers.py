"""What the kernel's executions say: as `answers.answer`, with arrays. Needs numpy."""

import numpy as np

from iot_jobs_simulator.jobs.execution import ExecutionStatus
from iot_jobs_simulator.rehearsal.answers import Answer, Ending, answer_of, places
from iot_jobs_simulator.rehearsal.arrays import FateArrays, Numbers
from iot_jobs_simulator.rehearsal.kernel import CODES, STATUSES, ArrayJob
from iot_jobs_simulator.rehearsal.plan import Plan


def array_answer(plan: Plan, fates: FateArrays, job: ArrayJob) -> Answer:
    """What the executions say."""
    each = job.executions
    updated = np.sort(each.ended_at[each.statuses == CODES[ExecutionStatus.SUCCEEDED]])
    causes = _causes(fates, each.things, each.numbers)
    is_taken_up = (each.started_at < np.inf) | (each.statuses == CODES[ExecutionStatus.REJECTED])
    is_reached = np.zeros(len(fates.online_after_s), bool)
    is_reached[each.things[is_taken_up]] = True
    is_harmed = np.zeros(len(fates.online_after_s), bool)
    is_harmed[each.things[is_taken_up & (causes == len(fates.causes) - 1)]] = True
    return answer_of(
        plan,
        fates.causes,
        _endings(plan, fates, job, causes),
        done_at=[float(updated[place]) if place < len(updated) else None for place in places(len(plan.things))],
        reached=int(is_reached.sum()),
        harmed=int(is_harmed.sum()),
        is_build_bad=fates.is_build_bad,
        aborted_at=job.aborted_at if job.aborted_at < np.inf else None,
    )


def _causes(fates: FateArrays, things: Numbers, numbers: Numbers) -> Numbers:
    causes = np.zeros(len(things), np.int64)
    for number, attempt in enumerate(fates.attempts, 1):
        which = numbers == number
        if not which.any():
            break
        causes[which] = attempt.causes[things[which]]
    return causes


def _endings(plan: Plan, fates: FateArrays, job: ArrayJob, causes: Numbers) -> dict[Ending, int]:
    """The targets by the last execution of each: those of an attempt come after those of the one before it."""
    last = np.full(len(fates.online_after_s), -1)
    order = np.argsort(job.executions.numbers, kind="stable")
    last[job.executions.things[order]] = order
    mine = last[np.array(plan.things, np.int64)]
    is_there = mine >= 0
    statuses = np.where(is_there, job.executions.statuses[mine] if len(causes) else 0, len(STATUSES))
    of_cause = np.where(is_there, causes[mine] if len(causes) else 0, 0)
    is_away = fates.online_after_s[np.array(plan.things, np.int64)] == np.inf
    coded = (statuses * len(fates.causes) + of_cause) * 2 + is_away
    return {
        Ending(
            STATUSES[code // 2 // len(fates.causes)] if code // 2 // len(fates.causes) < len(STATUSES) else None,
            code // 2 % len(fates.causes),
            bool(code % 2),
        ): count
        for code, count in enumerate(np.bincount(coded).tolist())
        if count
    }
