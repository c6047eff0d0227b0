"""Operations on job executions."""

from collections.abc import Mapping
from typing import Final

from iot_jobs_simulator.jobs import execution_control, listing, views
from iot_jobs_simulator.jobs.execution import JobExecution
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.names import arn
from iot_jobs_simulator.operations.operation import Operation, listed, operation


def _describe(store: JobStore, members: Json, now: float) -> Json:
    execution = store.find_execution(members["thingName"], members["jobId"], members.get("executionNumber"))
    return {"execution": views.control_execution(execution, now)}


def _cancel(store: JobStore, members: Json, now: float) -> Json:
    execution_control.cancel(
        store,
        members["thingName"],
        members["jobId"],
        now,
        force=members.get("force", False),
        expected_version=members.get("expectedVersion"),
        status_details=members.get("statusDetails"),
    )
    return {}


def _delete(store: JobStore, members: Json, now: float) -> Json:
    execution_control.delete(
        store,
        members["thingName"],
        members["jobId"],
        members["executionNumber"],
        now,
        force=members.get("force", False),
        namespace=members.get("namespaceId", ""),
    )
    return {}


def _list_for_job(store: JobStore, members: Json, _now: float) -> Json:
    def view(execution: JobExecution) -> Json:
        return {
            "thingArn": arn(f"thing/{execution.thing_name}"),
            "jobExecutionSummary": views.control_summary(execution),
        }

    return listed(
        members,
        "executionSummaries",
        lambda key: listing.executions_of_job(store, members["jobId"], key, status=members.get("status")),
        view,
        (str, float),
    )


def _list_for_thing(store: JobStore, members: Json, _now: float) -> Json:
    def view(execution: JobExecution) -> Json:
        return {"jobId": execution.job_id, "jobExecutionSummary": views.control_summary(execution)}

    return listed(
        members,
        "executionSummaries",
        lambda key: listing.executions_of_thing(
            store,
            members["thingName"],
            key,
            namespace=members.get("namespaceId", ""),
            status=members.get("status"),
            job_id=members.get("jobId"),
        ),
        view,
        (float,),
    )


OPERATIONS: Final[Mapping[str, Operation]] = {
    "DescribeJobExecution": operation("thingName jobId executionNumber", _describe),
    "CancelJobExecution": operation("thingName jobId force expectedVersion statusDetails", _cancel),
    "DeleteJobExecution": operation("thingName jobId executionNumber force namespaceId", _delete),
    "ListJobExecutionsForJob": operation("jobId status maxResults nextToken", _list_for_job),
    "ListJobExecutionsForThing": operation("thingName jobId status maxResults nextToken namespaceId", _list_for_thing),
}
