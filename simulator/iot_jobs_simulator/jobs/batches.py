"""What the service does to many things of a job, in slices, so that nobody has to wait for all of it.

A thing that asks for itself is served first (`serve`): nobody sees a state that the rest of the batch will overtake.
"""

from typing import Final, assert_never

from iot_jobs_simulator.jobs import lifecycle
from iot_jobs_simulator.jobs.agenda import Batch, Deed, EndDeletion
from iot_jobs_simulator.jobs.execution import ExecutionStatus
from iot_jobs_simulator.jobs.job import Job, JobStatus
from iot_jobs_simulator.jobs.store import JobStore

_CANCELLATIONS: Final = frozenset({Deed.CANCEL, Deed.CANCEL_BY_FORCE})


def work(store: JobStore, most: int | None = None) -> None:
    """Go on with the batches, the first one first: for so many things, or until none is left."""
    while store.batches and (most is None or most > 0):
        batch = store.batches[0]
        if batch:
            _do(store, batch, batch.take_next())
            most = None if most is None else most - 1
        if not batch:
            store.batches.popleft()
            _finish(store, batch)


def serve(store: JobStore, thing_name: str) -> None:
    """Do to one thing all that is still to be done to it."""
    for batch in store.batches:
        if batch.take(thing_name):
            _do(store, batch, thing_name)


def serve_departures(store: JobStore, job: Job) -> None:
    """Take the job back from all things that are to lose it, before others, or the same ones again, become targets."""
    for batch in [each for each in store.batches if each.job is job and each.deed is Deed.WITHDRAW]:
        for thing_name in batch.things_left():
            serve(store, thing_name)


def _do(store: JobStore, batch: Batch, thing_name: str) -> None:
    job, now = batch.job, batch.at
    match batch.deed:
        case Deed.QUEUE:
            _queue(store, job, thing_name, now)
        case Deed.RESUME:
            _resume(store, job, thing_name, now)
        case Deed.HIDE:
            _hide(store, job, thing_name, now)
        case Deed.CANCEL | Deed.CANCEL_BY_FORCE:
            _cancel(store, job, thing_name, now, by_force=batch.deed is Deed.CANCEL_BY_FORCE)
        case Deed.WITHDRAW:
            if not store.is_target(job, thing_name):
                lifecycle.withdraw(store, job, thing_name, now)
        case Deed.DELETE:
            with store.changing(thing_name, job.request.namespace, now):
                for execution in list(store.executions.latest_first(thing_name, job.job_id))[::-1]:
                    store.remove(execution, now)
        case _:
            assert_never(batch.deed)


def _queue(store: JobStore, job: Job, thing_name: str, now: float) -> None:
    """Give a thing its execution; if the job has closed meanwhile, when it opens again."""
    if job.is_open and store.registry.exists(thing_name):
        with store.changing(thing_name, job.request.namespace, now):
            store.queue(job, thing_name, now)
    elif job.status is JobStatus.SCHEDULED:
        job.joined_things[thing_name] = None


def _resume(store: JobStore, job: Job, thing_name: str, now: float) -> None:
    """Give a thing back what the job's closing took from it, or what it has missed since."""
    latest = store.executions.latest(thing_name, job.job_id)
    if latest is not None and latest.is_hidden and (job.is_open or job.has_ended):
        with store.changing(thing_name, job.request.namespace, now):
            store.reveal(latest)
    elif thing_name in job.retrying_things:
        lifecycle.retry(store, job.retrying_things[thing_name], now)
    elif thing_name in job.joined_things:
        del job.joined_things[thing_name]
        _queue(store, job, thing_name, now)


def _hide(store: JobStore, job: Job, thing_name: str, now: float) -> None:
    latest = store.executions.latest(thing_name, job.job_id)
    is_queued = latest is not None and latest.status is ExecutionStatus.QUEUED and not latest.is_hidden
    if latest is not None and is_queued and job.status is JobStatus.SCHEDULED:
        with store.changing(thing_name, job.request.namespace, now):
            store.hide(latest)


def _cancel(store: JobStore, job: Job, thing_name: str, now: float, *, by_force: bool) -> None:
    latest = store.executions.latest(thing_name, job.job_id)
    if latest is not None and lifecycle.is_in_reach(latest, by_force=by_force):
        lifecycle.end(store, latest, ExecutionStatus.CANCELED, now, is_forced=by_force)


def _finish(store: JobStore, batch: Batch) -> None:
    job = batch.job
    job.batches -= 1
    if batch.deed is Deed.QUEUE and job.is_active:
        job.last_updated_at = max(job.last_updated_at, batch.at)
    is_to_go_on = any(each.job is job and each.deed in _CANCELLATIONS for each in store.batches)
    if job.is_being_canceled and not is_to_go_on:
        job.is_being_canceled = False
        store.publish_event(job, "canceled", batch.at)
    if batch.deed is Deed.DELETE:
        store.agenda.add(batch.at + store.settings.deletion_delay_s, EndDeletion(job))
    lifecycle.settle(store, job, batch.at)
