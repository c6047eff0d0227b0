"""What the service does by itself when its time has come: rollouts, time-outs, delayed retries, ends of deletions.

The shell asks `next_due` when to call `advance`. Each task happens at the time it was due, however late it is done, so
that a clock that jumps by a week leaves the same record as one that went through it.
"""

from typing import assert_never

from iot_jobs_simulator.jobs import lifecycle
from iot_jobs_simulator.jobs.agenda import EndDeletion, Retry, Rollout, Task, TimeOut
from iot_jobs_simulator.jobs.job import Job, JobStatus
from iot_jobs_simulator.jobs.store import JobStore


def next_due(store: JobStore) -> float | None:
    """When `advance` has something to do next, in seconds since the epoch."""
    return store.agenda.next_due


def advance(store: JobStore, now: float) -> None:
    """Do all that is due, and what that makes due."""
    while (due := store.agenda.take_due(now)) is not None:
        _perform(store, *due)


def _perform(store: JobStore, at: float, task: Task) -> None:
    match task:
        case Rollout(job):
            _roll_out(store, job, at)
        case TimeOut(execution, deadline):
            lifecycle.time_out(store, execution, deadline, at)
        case Retry(failed):
            lifecycle.retry(store, failed, at)
        case EndDeletion(job):
            store.deletions.discard(job.job_id)
            store.remove_job(job)
        case _:
            assert_never(task)


def _roll_out(store: JobStore, job: Job, now: float) -> None:
    """Give all waiting things their executions. Asynchronous on AWS too: CreateJob returns before any exists."""
    if job.status is not JobStatus.IN_PROGRESS:
        return
    waiting, job.waiting_things = job.waiting_things, {}
    for thing_name in waiting:
        if store.registry.exists(thing_name):
            with store.changing(thing_name, job.request.namespace, now):
                store.queue(job, thing_name, now)
    if waiting:
        job.last_updated_at = now
    lifecycle.settle(store, job, now)
