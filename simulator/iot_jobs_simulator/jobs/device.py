"""What a device may do: the four operations of the data plane (developer guide, page jobs-mqtt-api).

Arguments have the right types and shapes already; every rule that needs the state is here. `namespace` is `""` for the
default one, and None for HTTP, which addresses by job id alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from iot_jobs_simulator.jobs import lifecycle
from iot_jobs_simulator.jobs.execution import (
    CANCEL_STEP_TIMER,
    EARLY_ENDS,
    SERVICE_ONLY,
    TIMEOUT_MINUTES,
    ExecutionStatus,
    JobExecution,
    check_details,
)
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.jobs.views import Pending, execution_state
from iot_jobs_simulator.refusals import Code, Refused, invalid

NEXT: Final = "$next"


@dataclass(frozen=True, slots=True)
class Update:
    """The members of an UpdateJobExecution request that change something or must match."""

    status: ExecutionStatus
    status_details: Mapping[str, str] | None = None
    expected_version: int | None = None
    execution_number: int | None = None
    step_timeout_minutes: int | None = None


def get_pending(store: JobStore, thing_name: str, namespace: str) -> Pending:
    """GetPendingJobExecutions."""
    store.registry.find(thing_name)
    return store.pending_list(thing_name, namespace)


def start_next(
    store: JobStore,
    thing_name: str,
    namespace: str,
    now: float,
    *,
    status_details: Mapping[str, str] | None = None,
    step_timeout_minutes: int | None = None,
) -> JobExecution | None:
    """StartNextPendingJobExecution: an execution that is IN_PROGRESS already is returned as it is, details ignored."""
    check_details(status_details)
    _check_step_timeout(step_timeout_minutes)
    first = _next(store, thing_name, namespace)
    if first is None:
        return None
    if first.status is ExecutionStatus.QUEUED:
        with store.changing(thing_name, namespace, now):
            store.move(first, ExecutionStatus.IN_PROGRESS, now)
        if status_details is not None:
            first.status_details = dict(status_details)
    first.set_step_timeout(step_timeout_minutes, now)
    store.watch(first)
    return first


def describe(
    store: JobStore, thing_name: str, job_id: str, number: int | None, *, namespace: str | None
) -> JobExecution | None:
    """DescribeJobExecution; None is the answer to `$next` when nothing is pending, which is not a refusal."""
    if job_id == NEXT:
        return _next(store, thing_name, namespace or "")
    execution = store.find_execution(thing_name, job_id, number, namespace=namespace)
    if not execution.status.is_pending:
        raise Refused(
            Code.TERMINAL_STATE_REACHED, f"Execution of job {job_id} on thing {thing_name} is {execution.status}"
        )
    return execution


def update(
    store: JobStore, thing_name: str, job_id: str, change: Update, now: float, *, namespace: str | None
) -> JobExecution:
    """UpdateJobExecution: contents, execution, number, version, transition are checked in this order, then applied."""
    _check_update(change)
    execution = store.find_execution(thing_name, job_id, change.execution_number, namespace=namespace)
    if change.status in SERVICE_ONLY:
        raise Refused(
            Code.INVALID_STATE_TRANSITION,
            f"The status of job execution cannot be changed to be {change.status}",
        )
    if change.expected_version not in (None, execution.version):
        raise Refused(
            Code.VERSION_MISMATCH,
            f"Expected version {change.expected_version} but found version {execution.version}",
            {"executionState": execution_state(execution)},
        )
    if store.settings.terminal_update_is_terminal_state_reached and not execution.status.is_pending:
        raise Refused(Code.TERMINAL_STATE_REACHED, f"Execution of job {job_id} is {execution.status}")
    if not _may_move(store, execution, change.status):
        raise Refused(
            Code.INVALID_STATE_TRANSITION,
            f"Job execution status cannot be changed from {execution.status} to {change.status}",
            {"executionState": execution_state(execution)},
        )
    with store.changing(thing_name, execution.namespace, now):
        execution.set_step_timeout(change.step_timeout_minutes, now)
        if change.status_details is not None:
            execution.status_details = dict(change.status_details)
        lifecycle.move(store, execution, change.status, now)
    lifecycle.conclude(store, store.jobs[job_id], now)
    return execution


def _next(store: JobStore, thing_name: str, namespace: str) -> JobExecution | None:
    """What has something pending exists; to look it up as well would take the time of one more cache miss."""
    head = store.next_pending(thing_name, namespace)
    if head is None:
        store.registry.find(thing_name)
    return head


def _may_move(store: JobStore, execution: JobExecution, status: ExecutionStatus) -> bool:
    """REJECTED straight from QUEUED is documented; SUCCEEDED and FAILED are drawn behind IN_PROGRESS only."""
    is_early_end = execution.status is ExecutionStatus.QUEUED and status in EARLY_ENDS
    return execution.can_be_moved_by_device_to(status) and (store.settings.queued_may_end or not is_early_end)


def _check_update(change: Update) -> None:
    check_details(change.status_details)
    _check_step_timeout(change.step_timeout_minutes)


def _check_step_timeout(minutes: int | None) -> None:
    if minutes is not None and minutes != CANCEL_STEP_TIMER and minutes not in TIMEOUT_MINUTES:
        bounds = f"{TIMEOUT_MINUTES[0]} to {TIMEOUT_MINUTES[-1]}"
        raise invalid(f"stepTimeoutInMinutes is {minutes}, allowed are {bounds}, and -1 to cancel the timer")
