"""The JSON in which jobs and executions are shown. Optional members are left out, with one exception.

Device plane times are whole seconds; control plane times have milliseconds (developer guide, page jobs-mqtt-api;
API reference, DateType, and the times in the examples of the AWS CLI).
"""

from typing import Any, TypeAlias

from iot_jobs_simulator.jobs.execution import ExecutionStatus, JobExecution
from iot_jobs_simulator.jobs.job import Job
from iot_jobs_simulator.jobs.template import JobTemplate
from iot_jobs_simulator.names import arn
from iot_jobs_simulator.payloads import Verbatim

Pending: TypeAlias = tuple[JobExecution, ...]
Json: TypeAlias = dict[str, Any]


def moment(at: float) -> float:
    """A time of the control plane, to the millisecond."""
    return round(at, 3)


def device_summary(execution: JobExecution) -> Json:
    """An entry of notify and GetPending: the status is the list's name, not a member."""
    summary: Json = {"jobId": execution.job_id, "queuedAt": int(execution.queued_at)}
    if execution.started_at is not None:
        summary["startedAt"] = int(execution.started_at)
    summary["lastUpdatedAt"] = int(execution.last_updated_at)
    summary["versionNumber"] = execution.version
    summary["executionNumber"] = execution.number
    return summary


def by_status(pending: Pending) -> dict[ExecutionStatus, list[Json]]:
    """The two lists of a pending list."""
    lists: dict[ExecutionStatus, list[Json]] = {ExecutionStatus.IN_PROGRESS: [], ExecutionStatus.QUEUED: []}
    for execution in pending:
        lists[execution.status].append(device_summary(execution))
    return lists


def device_execution(execution: JobExecution, document: str | Verbatim | None, now: float) -> Json:
    """The execution as a device sees it when it asks, with the document if one is given."""
    return {"thingName": execution.thing_name} | next_execution(execution, document, now)


def next_execution(execution: JobExecution, document: str | Verbatim | None, now: float) -> Json:
    """The execution as notify-next tells it: without the name of the thing, which its topic has."""
    view: Json = {"jobId": execution.job_id, "status": execution.status}
    if execution.status_details is not None:
        view["statusDetails"] = dict(execution.status_details)
    view |= device_summary(execution) | _seconds_left(execution, now)
    if document is not None:
        view["jobDocument"] = document
    return view


def execution_state(execution: JobExecution) -> Json:
    """The `executionState` of update replies and of two kinds of refusal."""
    state: Json = {"status": execution.status}
    if execution.status_details is not None:
        state["statusDetails"] = dict(execution.status_details)
    state["versionNumber"] = execution.version
    return state


def control_execution(execution: JobExecution, now: float) -> Json:
    """The execution as an operator sees it (API reference, JobExecution of the control plane)."""
    details = execution.status_details
    view: Json = {
        "jobId": execution.job_id,
        "status": execution.status,
        "forceCanceled": execution.is_force_canceled,
        "statusDetails": {"detailsMap": dict(details)} if details is not None else {},
        "thingArn": arn(f"thing/{execution.thing_name}"),
        "queuedAt": moment(execution.queued_at),
        "lastUpdatedAt": moment(execution.last_updated_at),
        "executionNumber": execution.number,
        "versionNumber": execution.version,
    }
    if execution.started_at is not None:
        view["startedAt"] = moment(execution.started_at)
    return view | _seconds_left(execution, now)


def control_summary(execution: JobExecution) -> Json:
    """The `jobExecutionSummary` of the two lists of executions."""
    summary: Json = {
        "status": execution.status,
        "queuedAt": moment(execution.queued_at),
        "lastUpdatedAt": moment(execution.last_updated_at),
        "executionNumber": execution.number,
        "retryAttempt": len(execution.retries),
    }
    if execution.started_at is not None:
        summary["startedAt"] = moment(execution.started_at)
    return summary


def job_summary(job: Job, group_id: str | None = None) -> Json:
    """An entry of ListJobs. A job for several groups shows the one that was asked for, or else its first."""
    summary: Json = {
        "jobArn": job.arn,
        "jobId": job.job_id,
        "targetSelection": job.request.target_selection,
        "status": job.status,
        "createdAt": moment(job.created_at),
        "lastUpdatedAt": moment(job.last_updated_at),
        "isConcurrent": job.is_concurrent,
    }
    if job.completed_at is not None:
        summary["completedAt"] = moment(job.completed_at)
    if job.group_ids:
        summary["thingGroupId"] = group_id or job.group_ids[0]
    return summary


def job_description(job: Job) -> Json:
    """The `job` of DescribeJob."""
    request = job.request
    optional = {
        "description": request.description,
        "comment": job.comment,
        "reasonCode": job.reason_code,
        "namespaceId": request.namespace or None,
        "abortConfig": dict(request.abort_config) or None,
        "jobExecutionsRetryConfig": dict(request.retry_config) or None,
        "jobTemplateArn": request.template_arn,
        "documentParameters": dict(request.document_parameters) or None,
        "destinationPackageVersions": list(request.destination_package_versions) or None,
    }
    summary = job_summary(job)
    summary.pop("thingGroupId", None)
    return {
        **summary,
        **{name: value for name, value in optional.items() if value is not None},
        "targets": list(request.targets),
        "forceCanceled": job.is_force_canceled,
        "presignedUrlConfig": dict(request.presigned_url_config),
        "jobExecutionsRolloutConfig": dict(request.rollout_config),
        "timeoutConfig": dict(request.timeout_config),
        "schedulingConfig": dict(request.scheduling_config),
        "jobProcessDetails": _process_details(job),
    }


def template_summary(template: JobTemplate) -> Json:
    """An entry of ListJobTemplates."""
    return {
        "jobTemplateArn": template.arn,
        "jobTemplateId": template.template_id,
        "description": template.members["description"],
        "createdAt": moment(template.created_at),
    }


def template_description(template: JobTemplate) -> Json:
    """The answer of DescribeJobTemplate: every member, null if it is not set (docs/decisions.md, captures of 2026)."""
    members = template.members
    rollout = {"maximumPerMinute": None, "exponentialRate": None} | members.get("jobExecutionsRolloutConfig", {})
    if rollout["exponentialRate"] is not None:
        factor = float(rollout["exponentialRate"]["incrementFactor"])
        rollout["exponentialRate"] = rollout["exponentialRate"] | {"incrementFactor": factor}
    abort = members.get("abortConfig")
    if abort is not None:
        criteria = abort["criteriaList"]
        abort = {
            "criteriaList": [{**each, "thresholdPercentage": float(each["thresholdPercentage"])} for each in criteria]
        }
    return template_summary(template) | {
        "documentSource": members.get("documentSource"),
        "document": members.get("document"),
        "presignedUrlConfig": {"roleArn": None, "expiresInSec": None} | members.get("presignedUrlConfig", {}),
        "jobExecutionsRolloutConfig": rollout,
        "abortConfig": abort,
        "timeoutConfig": {"inProgressTimeoutInMinutes": None} | members.get("timeoutConfig", {}),
        "jobExecutionsRetryConfig": members.get("jobExecutionsRetryConfig"),
        "maintenanceWindows": members.get("maintenanceWindows"),
        "destinationPackageVersions": members.get("destinationPackageVersions"),
    }


def job_receipt(job: Job) -> Json:
    """The answer to CreateJob and CancelJob."""
    receipt: Json = {"jobArn": job.arn, "jobId": job.job_id}
    if job.request.description is not None:
        receipt["description"] = job.request.description
    return receipt


def _process_details(job: Job) -> Json:
    """Eight counters, of executions in spite of their names; the targets while some things still wait for theirs.

    Afterwards they are null, not absent (docs/decisions.md, captures of 2026).
    """
    counters = {
        "numberOfCanceledThings": ExecutionStatus.CANCELED,
        "numberOfSucceededThings": ExecutionStatus.SUCCEEDED,
        "numberOfFailedThings": ExecutionStatus.FAILED,
        "numberOfRejectedThings": ExecutionStatus.REJECTED,
        "numberOfQueuedThings": ExecutionStatus.QUEUED,
        "numberOfInProgressThings": ExecutionStatus.IN_PROGRESS,
        "numberOfRemovedThings": ExecutionStatus.REMOVED,
        "numberOfTimedOutThings": ExecutionStatus.TIMED_OUT,
    }
    details: Json = {name: job.executions[status] for name, status in counters.items()}
    details["processingTargets"] = list(job.request.targets) if job.waiting_things else None
    return details


def _seconds_left(execution: JobExecution, now: float) -> Json:
    """Until the earlier of its timers ends it; nothing without a timer."""
    deadline = execution.deadline
    return {} if deadline is None else {"approximateSecondsBeforeTimedOut": max(0, round(deadline - now))}
