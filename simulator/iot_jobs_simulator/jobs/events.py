"""Events of jobs and executions on `$aws/events/…`, once they are switched on (developer guide, events-jobs). Pure.

Owns their topics, payloads and the switches. Times inside an event are milliseconds, its own `timestamp` is seconds.
"""

import uuid
from collections.abc import Mapping
from typing import Any, Final

from iot_jobs_simulator.jobs.execution import ExecutionStatus, JobExecution
from iot_jobs_simulator.jobs.job import Job
from iot_jobs_simulator.jobs.notifications import Publication
from iot_jobs_simulator.jobs.views import Json, moment
from iot_jobs_simulator.names import arn
from iot_jobs_simulator.refusals import invalid

OF_JOBS: Final = "JOB"
OF_EXECUTIONS: Final = "JOB_EXECUTION"
TYPES: Final = (
    "THING",
    "THING_GROUP",
    "THING_TYPE",
    "THING_GROUP_MEMBERSHIP",
    "THING_GROUP_HIERARCHY",
    "THING_TYPE_ASSOCIATION",
    OF_JOBS,
    OF_EXECUTIONS,
    "POLICY",
    "CERTIFICATE",
    "CA_CERTIFICATE",
)
_COUNTED: Final = {
    "numberOfCanceledThings": ExecutionStatus.CANCELED,
    "numberOfRejectedThings": ExecutionStatus.REJECTED,
    "numberOfFailedThings": ExecutionStatus.FAILED,
    "numberOfRemovedThings": ExecutionStatus.REMOVED,
    "numberOfSucceededThings": ExecutionStatus.SUCCEEDED,
}


class EventSwitches:
    """Which events are published; none at first."""

    def __init__(self) -> None:
        self._on: set[str] = set()
        self._created_at: float | None = None
        self._modified_at: float | None = None

    def is_on(self, kind: str) -> bool:
        """Whether events of this type are published."""
        return kind in self._on

    def change(self, configurations: Mapping[str, Mapping[str, Any]], now: float) -> None:
        """Switch some types on or off and leave the others as they are; those that are not of Jobs stay off."""
        wanted = {kind: bool(each.get("Enabled")) for kind, each in configurations.items()}
        for kind, is_wanted in wanted.items():
            if is_wanted and kind not in (OF_JOBS, OF_EXECUTIONS):
                raise invalid(f"Events of type {kind} are not supported by this simulator")
        self._on = {kind for kind in TYPES if wanted.get(kind, kind in self._on)}
        self._created_at = self._created_at if self._created_at is not None else now
        self._modified_at = now

    def described(self) -> Json:
        """The answer to DescribeEventConfigurations: every type, and when they were changed if they ever were."""
        answer: Json = {"eventConfigurations": {kind: {"Enabled": self.is_on(kind)} for kind in TYPES}}
        times = {"creationDate": self._created_at, "lastModifiedDate": self._modified_at}
        return answer | {name: moment(at) for name, at in times.items() if at is not None}


def of_job(job: Job, operation: str, now: float) -> Publication:
    """A job was `completed`, `canceled` or `deleted`, or one of the latter two has begun.

    What is in progress and DELETED are statuses of events only.
    """
    payload = _envelope(OF_JOBS, operation, job.job_id, now) | {
        "status": operation.upper(),
        "targetSelection": job.request.target_selection,
        "targets": list(job.request.targets),
        "createdAt": _ms(job.created_at),
        "lastUpdatedAt": _ms(job.last_updated_at),
    }
    if job.request.description is not None:
        payload["description"] = job.request.description
    if job.completed_at is not None and operation == "completed":
        payload["completedAt"] = _ms(job.completed_at)
        payload["jobProcessDetails"] = {name: job.executions[status] for name, status in _COUNTED.items()}
    elif job.comment is not None and operation != "canceled":
        payload["comment"] = job.comment
    return Publication(f"$aws/events/job/{job.job_id}/{operation}", payload)


def of_execution(execution: JobExecution, status: str, now: float) -> Publication:
    """An execution became terminal, however that came about, or was `DELETED`. Its number is not told."""
    operation = status.lower()
    payload = _envelope(OF_EXECUTIONS, operation, execution.job_id, now) | {
        "thingArn": arn(f"thing/{execution.thing_name}"),
        "status": status,
    }
    if execution.status_details:
        payload["statusDetails"] = dict(execution.status_details)
    return Publication(f"$aws/events/jobExecution/{execution.job_id}/{operation}", payload)


def _envelope(kind: str, operation: str, job_id: str, now: float) -> Json:
    names = {"eventType": kind, "eventId": str(uuid.uuid4()), "operation": operation, "jobId": job_id}
    return {**names, "timestamp": int(now)}


def _ms(at: float) -> int:
    return round(1000 * at)
