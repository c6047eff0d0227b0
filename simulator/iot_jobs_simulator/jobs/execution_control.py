"""What an operator may do with single executions: CancelJobExecution and DeleteJobExecution (API reference)."""

from collections.abc import Mapping

from iot_jobs_simulator.jobs import lifecycle
from iot_jobs_simulator.jobs.execution import ExecutionStatus, check_details
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.refusals import Code, Refused, check_version


def cancel(
    store: JobStore,
    thing_name: str,
    job_id: str,
    now: float,
    *,
    force: bool,
    expected_version: int | None,
    status_details: Mapping[str, str] | None,
) -> None:
    """CancelJobExecution: the latest execution; IN_PROGRESS by force only, terminal never."""
    check_details(status_details)
    execution = store.find_execution(thing_name, job_id)
    check_version(f"Execution of job {job_id} on thing {thing_name}", execution.version, expected_version)
    is_reached = execution.status is ExecutionStatus.QUEUED or (force and execution.status.is_pending)
    if not is_reached:
        raise Refused(
            Code.INVALID_STATE_TRANSITION,
            f"Execution of job {job_id} on thing {thing_name} is {execution.status} and cannot be canceled",
        )
    if status_details is not None:
        execution.status_details = dict(status_details)
    lifecycle.end(store, execution, ExecutionStatus.CANCELED, now, is_forced=force)
    lifecycle.conclude(store, store.jobs[job_id], now)


def delete(
    store: JobStore, thing_name: str, job_id: str, number: int, now: float, *, force: bool, namespace: str
) -> None:
    """DeleteJobExecution: IN_PROGRESS by force only. The guide allows QUEUED without, the API text does not."""
    execution = store.find_execution(thing_name, job_id, number, namespace=namespace)
    if execution.status is ExecutionStatus.IN_PROGRESS and not force:
        raise Refused(
            Code.INVALID_STATE_TRANSITION,
            f"Execution {number} of job {job_id} on thing {thing_name} is IN_PROGRESS and cannot be deleted",
        )
    job = store.jobs[job_id]
    if job.retrying_things.get(thing_name) is execution:
        del job.retrying_things[thing_name]
    with store.changing(thing_name, execution.namespace, now):
        store.remove(execution, now)
    lifecycle.settle(store, job, now)
