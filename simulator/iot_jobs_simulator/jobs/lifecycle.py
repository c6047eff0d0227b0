"""What follows when an execution changes: its retry, and the completion of its job (page iot-jobs-lifecycle)."""

from iot_jobs_simulator.jobs import retries
from iot_jobs_simulator.jobs.agenda import Retry
from iot_jobs_simulator.jobs.execution import ExecutionStatus, JobExecution
from iot_jobs_simulator.jobs.job import Job, JobStatus
from iot_jobs_simulator.jobs.store import JobStore


def move(store: JobStore, execution: JobExecution, status: ExecutionStatus, now: float) -> None:
    """Move a pending execution, and queue its retry if there is one left. Call inside `changing`, then `settle`."""
    store.move(execution, status, now)
    job = store.jobs[execution.job_id]
    if job.status is not JobStatus.IN_PROGRESS or (
        job.is_continuous and not store.is_target(job, execution.thing_name)
    ):
        return
    if not retries.is_left(job.request.retry_config, execution.retries, status):
        return
    if store.settings.retry_delay_s > 0:
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
    """Queue the retry that had to wait, unless something has ended the waiting meanwhile."""
    job = store.jobs.get(failed.job_id)
    if job is not None and job.retrying_things.get(failed.thing_name) is failed:
        del job.retrying_things[failed.thing_name]
        if not retries.is_left(job.request.retry_config, failed.retries, failed.status):
            settle(store, job, now)  # retries were switched off meanwhile
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
    settle(store, store.jobs[execution.job_id], now)


def settle(store: JobStore, job: Job, now: float) -> None:
    """A snapshot job is COMPLETED once rolled out and all its executions are terminal, however they ended."""
    if job.status is not JobStatus.IN_PROGRESS or job.is_continuous or job.has_open_ends:
        return
    if job.executions.total() > 0 or store.settings.empty_snapshot_completes:
        store.set_status(job, JobStatus.COMPLETED, now)
        job.completed_at = now
