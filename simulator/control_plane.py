"""The control plane: operators' requests by operation name, to the rules in `jobs.operator` and back. Does no I/O.

What this simulator cannot do is refused by name, never dropped: a job with an abort rule that is not watched would lie.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from simulator import placeholders
from simulator.jobs import listing, operator, views
from simulator.jobs.job import JobRequest, TargetSelection
from simulator.jobs.store import JobStore
from simulator.jobs.views import Json
from simulator.model import ServiceApi
from simulator.refusals import invalid, not_found

_PLACEHOLDER: Final = "${aws:iot:"

# The members that each operation takes notice of.
SUPPORTED: Final[Mapping[str, frozenset[str]]] = {
    operation: frozenset(members.split())
    for operation, members in {
        "CreateThing": "thingName attributePayload",
        "DescribeThing": "thingName",
        "DescribeEndpoint": "endpointType",
        "CreateJob": "jobId targets document description targetSelection presignedUrlConfig timeoutConfig tags"
        " namespaceId",
        "DescribeJob": "jobId beforeSubstitution",
        "GetJobDocument": "jobId beforeSubstitution",
        "CancelJob": "jobId reasonCode comment force",
        "ListJobs": "status targetSelection maxResults nextToken thingGroupName thingGroupId namespaceId",
        "ListJobExecutionsForJob": "jobId status maxResults nextToken",
        "ListJobExecutionsForThing": "thingName jobId status maxResults nextToken namespaceId",
        "DescribeJobExecution": "thingName jobId executionNumber",
    }.items()
}


class ControlPlane:
    """The operations of the service `iot` that Jobs needs. `endpoints` maps an endpoint type to host and port."""

    def __init__(self, store: JobStore, api: ServiceApi, endpoints: Mapping[str, str]) -> None:
        self._store = store
        self._api = api
        self._endpoints = endpoints
        self._operations: Mapping[str, Callable[[Json, float], Json]] = {
            "CreateThing": self._create_thing,
            "DescribeThing": self._describe_thing,
            "DescribeEndpoint": self._describe_endpoint,
            "CreateJob": self._create_job,
            "DescribeJob": self._describe_job,
            "GetJobDocument": self._get_job_document,
            "CancelJob": self._cancel_job,
            "ListJobs": self._list_jobs,
            "ListJobExecutionsForJob": self._list_job_executions_for_job,
            "ListJobExecutionsForThing": self._list_job_executions_for_thing,
            "DescribeJobExecution": self._describe_job_execution,
        }

    def answer(self, operation: str, members: Mapping[str, Any], now: float) -> Json:
        """The body of the answer; raises Refused."""
        if operation not in self._operations:
            raise invalid(f"{operation} is not supported by this simulator")
        checked = self._api.check(operation, members)
        for name, value in checked.items():
            if name not in SUPPORTED[operation] and value not in ({}, []):
                raise invalid(f"{name} of {operation} is not supported by this simulator")
        return self._operations[operation](checked, now)

    def _create_thing(self, members: Json, _now: float) -> Json:
        attributes = members.get("attributePayload", {}).get("attributes", {})
        thing = self._store.registry.create(members["thingName"], attributes)
        return {"thingName": thing.name, "thingArn": thing.arn, "thingId": thing.thing_id}

    def _describe_thing(self, members: Json, _now: float) -> Json:
        thing = self._store.registry.find(members["thingName"])
        return {
            "defaultClientId": thing.name,
            "thingName": thing.name,
            "thingId": thing.thing_id,
            "thingArn": thing.arn,
            "attributes": dict(thing.attributes),
            "version": 1,
        }

    def _describe_endpoint(self, members: Json, _now: float) -> Json:
        kind = members.get("endpointType", "iot:Data")
        if kind not in self._endpoints:
            raise invalid(f"Endpoint type {kind} is not supported by this simulator")
        return {"endpointAddress": self._endpoints[kind]}

    def _create_job(self, members: Json, now: float) -> Json:
        job = operator.create(self._store, _job_request(members), now)
        return views.job_receipt(job)

    def _describe_job(self, members: Json, _now: float) -> Json:
        job = self._store.find_job(members["jobId"])
        executions = list(self._store.executions_of_job(job.job_id))
        return {"job": views.job_description(job, executions)}

    def _get_job_document(self, members: Json, _now: float) -> Json:
        return {"document": self._store.find_job(members["jobId"]).request.document}

    def _cancel_job(self, members: Json, now: float) -> Json:
        job = operator.cancel(
            self._store,
            members["jobId"],
            now,
            force=members.get("force", False),
            reason_code=members.get("reasonCode"),
            comment=members.get("comment"),
        )
        return views.job_receipt(job)

    def _list_jobs(self, members: Json, _now: float) -> Json:
        for group in ("thingGroupName", "thingGroupId"):
            if group in members:
                raise not_found(f"Thing group {members[group]} not found")
        jobs, key = listing.jobs(
            self._store,
            namespace=members.get("namespaceId", ""),
            status=members.get("status"),
            target_selection=members.get("targetSelection"),
        )
        shown, token = listing.page(jobs, key, token=members.get("nextToken"), size=members.get("maxResults"))
        return _page({"jobs": [views.job_summary(job) for job in shown]}, token)

    def _list_job_executions_for_job(self, members: Json, _now: float) -> Json:
        executions, key = listing.executions_of_job(self._store, members["jobId"], status=members.get("status"))
        shown, token = listing.page(executions, key, token=members.get("nextToken"), size=members.get("maxResults"))
        summaries = [
            {
                "thingArn": self._store.registry.find(execution.thing_name).arn,
                "jobExecutionSummary": views.control_summary(execution),
            }
            for execution in shown
        ]
        return _page({"executionSummaries": summaries}, token)

    def _list_job_executions_for_thing(self, members: Json, _now: float) -> Json:
        executions, key = listing.executions_of_thing(
            self._store,
            members["thingName"],
            namespace=members.get("namespaceId", ""),
            status=members.get("status"),
            job_id=members.get("jobId"),
        )
        shown, token = listing.page(executions, key, token=members.get("nextToken"), size=members.get("maxResults"))
        summaries = [
            {"jobId": execution.job_id, "jobExecutionSummary": views.control_summary(execution)} for execution in shown
        ]
        return _page({"executionSummaries": summaries}, token)

    def _describe_job_execution(self, members: Json, _now: float) -> Json:
        execution = self._store.find_execution(members["thingName"], members["jobId"], members.get("executionNumber"))
        return {"execution": views.control_execution(execution)}


def _job_request(members: Json) -> JobRequest:
    if "document" not in members:
        raise invalid("A job needs a document")
    if _PLACEHOLDER in placeholders.check(members["document"], members.get("presignedUrlConfig", {})):
        raise invalid(f"Placeholders ({_PLACEHOLDER}...}}) in job documents are not supported by this simulator")
    selection = TargetSelection(members.get("targetSelection", TargetSelection.SNAPSHOT))
    if selection is not TargetSelection.SNAPSHOT:
        raise invalid(f"targetSelection {selection} is not supported by this simulator")
    for target in members["targets"]:
        if ":thinggroup/" in target:
            raise invalid(f"Thing groups as targets are not supported by this simulator: {target}")
    return JobRequest(
        job_id=members["jobId"],
        targets=tuple(members["targets"]),
        document=members["document"],
        namespace=members.get("namespaceId", ""),
        description=members.get("description"),
        presigned_url_config=members.get("presignedUrlConfig", {}),
        timeout_config=members.get("timeoutConfig", {}),
        tags=tuple(members.get("tags", ())),
        target_selection=selection,
    )


def _page(body: Json, token: str | None) -> Json:
    return body if token is None else body | {"nextToken": token}
