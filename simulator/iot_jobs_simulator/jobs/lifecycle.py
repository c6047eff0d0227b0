"""What follows when an execution changes: its retry, its job's end or its abortion (page iot-jobs-lifecycle)."""

from collections import Counter
from collections.abc import Set as AbstractSet

from iot_jobs_simulator.jobs import abort, retries
from iot_jobs_simulator.jobs.agenda import Deed, Retry
from iot_jobs_simulator.jobs.execution import ExecutionStatus, JobExecution
from iot_jobs_simulator.jobs.job import Job, JobStatus
from iot_jobs_simulator.jobs.store import JobStore


def move(store: JobStore, execution: JobExecution, status: ExecutionStatus, now: float) -> None:
    """Move a pending execution, and queue its retry if there is one left. Call inside `changing`, then `conclude`.

    Outside the job's maintenance windows the retry waits for the next one.
    """
    store.move(execution, status, now)
    job = store.jobs[execution.job_id]
    if not job.is_active or job.has_ended or not store.is_kept(job, execution.thing_name):
        return
    if not retries.is_left(job.request.retry_config, execution.retries, status):
        return
    execution.was_retried = True
    job.retried[status] += 1
    if store.settings.retry_delay_s > 0 or not job.is_open:
        job.retrying_things[execution.thing_name] = execution
        store.agenda.add(now + store.settings.retry_delay_s, Retry(execution))
    else:
        store.queue(job, execution.thing_name, now, retries=(*execution.retries, status))


def end(
    store: JobStore,
    execution: JobExecution,
    status: ExecutionStatus,
    now: float,
    *,
    is_forced: bool = False,
    is_silent: bool = False,
) -> None:
    """End a pending execution as the service does: CANCELED, TIMED_OUT or REMOVED. The job is not settled."""
    with store.changing(execution.thing_name, execution.namespace, now, is_silent=is_silent):
        move(store, execution, status, now)
        execution.is_force_canceled = is_forced


def retry(store: JobStore, failed: JobExecution, now: float) -> None:
    """Queue the retry that had to wait, unless something has ended the waiting meanwhile; a closed job lets it wait."""
    job = store.jobs.get(failed.job_id)
    if now < failed.last_updated_at + store.settings.retry_delay_s:
        return  # its own entry in the agenda comes
    if job is not None and job.is_open and job.retrying_things.get(failed.thing_name) is failed:
        del job.retrying_things[failed.thing_name]
        is_left = retries.is_left(job.request.retry_config, failed.retries, failed.status)
        if not is_left or not store.is_kept(job, failed.thing_name):
            settle(store, job, now)  # retries were switched off meanwhile, or the thing's group is being deleted
            return
        with store.changing(failed.thing_name, failed.namespace, now):
            store.queue(job, failed.thing_name, now, retries=(*failed.retries, failed.status))


def time_out(store: JobStore, execution: JobExecution, deadline: float, now: float) -> None:
    """End an execution if this is its deadline; look again later if it has moved."""
    if execution.watched_from != deadline:
        return  # another entry of the agenda looks, and earlier
    execution.watched_from = None
    if execution.deadline != deadline:
        store.watch(execution)
        return
    end(store, execution, ExecutionStatus.TIMED_OUT, now)
    conclude(store, store.jobs[execution.job_id], now)


def withdraw(
    store: JobStore,
    job: Job,
    thing_name: str,
    now: float,
    *,
    reach: AbstractSet[ExecutionStatus] = frozenset({ExecutionStatus.QUEUED}),
    is_silent: bool = False,
) -> None:
    """Take a job back from a thing that is no target of it any more: REMOVED is what is in reach, nothing follows it.

    What is IN_PROGRESS goes on, and the device may end it (docs/decisions.md, captures of 2026).
    """
    job.waiting_things.pop(thing_name, None)
    job.joined_things.pop(thing_name, None)
    job.retrying_things.pop(thing_name, None)
    latest = store.executions.latest(thing_name, job.job_id)
    if latest is not None and latest.status in reach:
        end(store, latest, ExecutionStatus.REMOVED, now, is_silent=is_silent)
        conclude(store, job, now)
    else:
        settle(store, job, now)


def conclude(store: JobStore, job: Job, now: float) -> None:
    """After an execution ended: abort its job if too many have failed, or see whether it is complete."""
    if job.is_active and job.request.abort_config:
        counted = Counter(job.executions)
        if not store.settings.abort_counts_retried:
            counted.subtract(job.retried)
        reason = abort.reason(job.request.abort_config, counted)
        if reason is not None:
            job.reason_code, job.comment = abort.REASON_CODE, reason
            call_off(store, job, now, by_force=False)
            return
    settle(store, job, now)


def settle(store: JobStore, job: Job, now: float) -> None:
    """A job is COMPLETED once all its executions are terminal, however they ended, and no more are to come.

    For a SNAPSHOT job that is after its rollout, for a CONTINUOUS one after its endTime.
    """
    if job.status is not JobStatus.IN_PROGRESS or job.has_open_ends or not (job.has_ended or not job.is_continuous):
        return
    if job.has_ended or job.executions.total() > 0 or store.settings.empty_snapshot_completes:
        store.set_status(job, JobStatus.COMPLETED, now)
        job.completed_at = now
        store.publish_event(job, "completed", now)


def call_off(store: JobStore, job: Job, now: float, *, by_force: bool) -> None:
    """Make a job CANCELED at once, and its executions in a batch: QUEUED ones, by force those in progress too."""
    job.call_off()
    store.set_status(job, JobStatus.CANCELED, now)
    job.is_being_canceled, job.is_force_canceled = True, by_force
    store.publish_event(job, "cancellation_in_progress", now)
    cancel_executions(store, job, now, by_force=by_force)


def cancel_executions(store: JobStore, job: Job, now: float, *, by_force: bool) -> None:
    """Cancel what is QUEUED of a job, by force what is IN_PROGRESS too, in a batch."""
    deed = Deed.CANCEL_BY_FORCE if by_force else Deed.CANCEL
    store.start_batch(job, deed, things_in_reach(store, job, by_force=by_force), now)


def things_in_reach(store: JobStore, job: Job, *, by_force: bool) -> list[str]:
    """The things whose execution of the job a cancellation ends."""
    return [each.thing_name for each in store.executions_of_job(job.job_id) if is_in_reach(each, by_force=by_force)]


def is_in_reach(execution: JobExecution, *, by_force: bool) -> bool:
    """Whether a cancellation ends the execution."""
    return execution.status is ExecutionStatus.QUEUED or (by_force and execution.status.is_pending)
