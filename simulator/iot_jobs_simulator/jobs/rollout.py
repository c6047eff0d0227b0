"""What the service does by itself when its time has come: rollouts, time-outs, retries, windows, ends of jobs.

The shell asks `next_due` when to call `advance`. Each task happens at the time it was due, however late it is done, so
that a clock that jumps by a week leaves the same record as one that went through it.
"""

from typing import assert_never

from iot_jobs_simulator.jobs import batches, lifecycle, scheduling
from iot_jobs_simulator.jobs.agenda import (
    Admit,
    CloseWindow,
    EndDeletion,
    EndJob,
    OpenWindow,
    Retry,
    Rollout,
    Start,
    Task,
    TimeOut,
)
from iot_jobs_simulator.jobs.store import JobStore


def next_due(store: JobStore) -> float | None:
    """When `advance` has something to do next, in seconds since the epoch."""
    return store.batches[0].at if store.batches else store.agenda.next_due


def advance(store: JobStore, now: float) -> None:
    """Do all that is due, and what that makes due."""
    while advance_slice(store, now, None):
        pass


def advance_soon(store: JobStore, now: float, most: int) -> None:
    """Do all that is due, but what concerns many things only for so many; `next_due` has passed if any are left.

    What is due for one thing, such as a time-out, does not wait for what is due for many.
    """
    while (due := store.agenda.take_due(now)) is not None:
        _perform(store, *due)
    batches.work(store, most)


def advance_slice(store: JobStore, now: float, most: int | None) -> bool:
    """Do what is due first, if that is a batch for so many things only; False if nothing is due any more."""
    if store.batches:
        batches.work(store, most)
        return True
    due = store.agenda.take_due(now)
    if due is not None:
        _perform(store, *due)
    return due is not None


def _perform(store: JobStore, at: float, task: Task) -> None:
    match task:
        case Start(job):
            scheduling.start(store, job, at)
        case Rollout(job):
            scheduling.roll_out(store, job, at)
        case Admit(job):
            scheduling.admit(store, job, at)
        case OpenWindow(job):
            scheduling.open_window(store, job, at)
        case CloseWindow(job):
            scheduling.close_window(store, job, at)
        case EndJob(job):
            scheduling.end_job(store, job, at)
        case TimeOut(execution, deadline):
            lifecycle.time_out(store, execution, deadline, at)
        case Retry(failed):
            lifecycle.retry(store, failed, at)
        case EndDeletion(job):
            store.deletions.discard(job.job_id)
            store.remove_job(job)
            store.publish_event(job, "deleted", at)
        case _:
            assert_never(task)
