"""What the service does by itself when its time has come: giving the things of a new job their executions.

The shell asks `next_due` when to call `advance`; timers and retries belong here too.
"""

from simulator.jobs.store import JobStore


def next_due(store: JobStore) -> float | None:
    """When `advance` has something to do next, in seconds since the epoch."""
    return min((due_at for due_at, _ in store.rollouts), default=None)


def advance(store: JobStore, now: float) -> None:
    """Do all that is due. Rolling out is asynchronous on AWS too: CreateJob returns before any execution exists."""
    due = [job_id for due_at, job_id in store.rollouts if due_at <= now]
    store.rollouts = [entry for entry in store.rollouts if entry[0] > now]
    for job_id in due:
        _roll_out(store, job_id, now)


def _roll_out(store: JobStore, job_id: str, now: float) -> None:
    job = store.jobs[job_id]
    for thing_name in job.waiting_things:
        with store.changing(thing_name, job.request.namespace, now):
            store.queue(job, thing_name, now)
    if job.waiting_things:
        job.waiting_things = []
        job.last_updated_at = now
