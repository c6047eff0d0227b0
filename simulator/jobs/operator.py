"""What an operator may do with jobs: the rules of the control plane (API reference, AWS IoT; page manage-job-cli).

Arguments have the right types and shapes already. Lists and their pages are in `listing`.
"""

import json
from typing import Any

from simulator.jobs.execution import TIMEOUT_MINUTES, ExecutionStatus
from simulator.jobs.job import MAX_TARGETS, Job, JobRequest, JobStatus
from simulator.jobs.store import JobStore
from simulator.refusals import Code, Refused, invalid
from simulator.registry import arn


def create(store: JobStore, request: JobRequest, now: float) -> Job:
    """CreateJob. Executions come with the rollout; a job id in use is refused whatever the other job's status."""
    _check(request)
    if request.job_id in store.jobs:
        raise Refused(
            Code.RESOURCE_ALREADY_EXISTS,
            f"Job {request.job_id} already exists",
            {"resourceId": request.job_id, "resourceArn": store.jobs[request.job_id].arn},
        )
    things = [store.registry.find_by_arn(target).name for target in request.targets]
    job = Job(
        request=request,
        arn=arn(f"job/{request.job_id}"),
        created_at=now,
        last_updated_at=now,
        waiting_things=list(dict.fromkeys(things)),
    )
    store.jobs[request.job_id] = job
    store.rollouts.append((now + store.settings.rollout_delay_s, request.job_id))
    return job


def cancel(
    store: JobStore, job_id: str, now: float, *, force: bool, reason_code: str | None, comment: str | None
) -> Job:
    """CancelJob: QUEUED executions are canceled, IN_PROGRESS ones by force only, terminal ones stay."""
    job = store.find_job(job_id)
    reach = {ExecutionStatus.QUEUED} | ({ExecutionStatus.IN_PROGRESS} if force else set())
    executions = [execution for execution in store.executions_of_job(job_id) if execution.status in reach]
    is_second_by_force = job.status is JobStatus.CANCELED and bool(executions)
    if job.status not in {JobStatus.IN_PROGRESS, JobStatus.SCHEDULED} and not is_second_by_force:
        raise invalid(f"Job {job_id} is {job.status} and cannot be canceled")
    job.status = JobStatus.CANCELED
    job.is_force_canceled = force
    job.reason_code, job.comment = reason_code, comment
    job.last_updated_at = now
    job.waiting_things = []
    for execution in executions:
        store.cancel(execution, now, is_forced=force)
    return job


def json_value(text: str) -> Any:
    """The value of a JSON text, or ValueError. NaN and Infinity are no JSON, nor is what nests beyond reason."""
    try:
        return json.loads(text, parse_constant=_no_json)
    except RecursionError:
        raise ValueError("nests too deeply") from None


def _no_json(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _check(request: JobRequest) -> None:
    if len(request.targets) > MAX_TARGETS:
        raise invalid(f"The job has {len(request.targets)} targets, at most {MAX_TARGETS} are allowed")
    try:
        json_value(request.document)
    except ValueError as error:
        raise invalid(f"The job document is not valid JSON: {error}") from None
    minutes = request.timeout_config.get("inProgressTimeoutInMinutes")
    if minutes is not None and minutes not in TIMEOUT_MINUTES:
        bounds = f"{TIMEOUT_MINUTES[0]} to {TIMEOUT_MINUTES[-1]}"
        raise invalid(f"inProgressTimeoutInMinutes is {minutes}, allowed are {bounds}")
