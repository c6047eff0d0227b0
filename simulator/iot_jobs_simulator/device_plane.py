"""The data plane: requests of devices, from MQTT topics and from HTTP, to the rules in `jobs.device` and back.

Owns what differs between the two: envelope, leniency, and the document as an object or as a string (developer guide,
pages jobs-mqtt-api and jobs-http-device-api). Does no I/O.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from iot_jobs_simulator import payloads, topics
from iot_jobs_simulator.jobs import batches, device, views
from iot_jobs_simulator.jobs.execution import ExecutionStatus, JobExecution
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.model import ServiceApi
from iot_jobs_simulator.payloads import Verbatim
from iot_jobs_simulator.refusals import Code, Refused, invalid

# Does what a request asks for, or something else in its place; None if nobody is to be answered.
Perform: TypeAlias = Callable[[Callable[[], Json]], Json | None]

OPERATIONS: Final = frozenset(
    {"GetPendingJobExecutions", "StartNextPendingJobExecution", "DescribeJobExecution", "UpdateJobExecution"}
)
_FLAGS: Final = ("includeJobDocument", "includeJobExecutionState")
# The API reference gives these a namespaceId in the query string, the model that botocore carries does not.
_NAMESPACED_OVER_HTTP: Final = frozenset({"GetPendingJobExecutions", "StartNextPendingJobExecution"})


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to an MQTT request, for the client that asked and nobody else."""

    topic: str
    payload: Json


class DevicePlane:
    """The four operations, over either protocol."""

    def __init__(self, store: JobStore, api: ServiceApi, control_api: ServiceApi) -> None:
        self._store = store
        self._api = api
        self._control_api = control_api

    def answer_mqtt(
        self, request: topics.DeviceRequest, topic: str, payload: bytes, now: float, perform: Perform
    ) -> Reply | None:
        """The reply to a message on the request topic, on `accepted` or `rejected`; None if nobody is answered."""
        envelope: Json = {"timestamp": int(now)}
        members: Json = {}
        problem: Refused | None = None
        try:
            members = payloads.decode_object(payload)
        except Refused as refusal:
            problem = refusal
        if isinstance(members.get("clientToken"), str):
            envelope["clientToken"] = members["clientToken"]

        def operate() -> Json:
            if problem is not None:
                raise problem
            return self._perform_mqtt(request, members, now)

        try:
            answer = perform(operate)
        except Refused as refusal:
            answer = {"code": refusal.code, "message": refusal.message, **refusal.members}
            return Reply(f"{topic}/rejected", answer | envelope)
        return Reply(f"{topic}/accepted", answer | envelope) if answer is not None else None

    def answer_http(self, operation: str, members: Mapping[str, Any], query: Mapping[str, str], now: float) -> Json:
        """The body of the answer to an HTTP request; raises Refused."""
        if operation not in OPERATIONS:
            raise invalid(f"{operation} is not supported by this simulator")
        checked = self._api.check(operation, members)
        namespace: str | None = None
        if operation in _NAMESPACED_OVER_HTTP:
            namespace = query.get("namespaceId", "")
            if "namespaceId" in query:
                self._check_namespace(namespace)
        return self._perform(operation, checked, namespace, now, str)

    def _perform_mqtt(self, request: topics.DeviceRequest, members: Json, now: float) -> Json:
        if request.operation is None:
            raise Refused(Code.INVALID_TOPIC, "No operation of AWS IoT Jobs has this topic")
        if request.namespace:
            self._check_namespace(request.namespace)
        if not isinstance(members.get("clientToken"), str | None):
            raise invalid("clientToken must be a string")
        named = {"thingName": request.thing_name, "jobId": request.job_id}
        checked = self._api.check(request.operation, {**_lenient(members), **named})
        return self._perform(request.operation, checked, request.namespace, now, Verbatim)

    def _perform(
        self,
        operation: str,
        members: Json,
        namespace: str | None,
        now: float,
        form: Callable[[str], str | Verbatim],
    ) -> Json:
        thing_name = members["thingName"]
        batches.serve(self._store, thing_name)
        match operation:
            case "GetPendingJobExecutions":
                lists = views.by_status(device.get_pending(self._store, thing_name, namespace or ""))
                return {
                    "inProgressJobs": lists[ExecutionStatus.IN_PROGRESS],
                    "queuedJobs": lists[ExecutionStatus.QUEUED],
                }
            case "StartNextPendingJobExecution":
                execution = device.start_next(
                    self._store,
                    thing_name,
                    namespace or "",
                    now,
                    status_details=members.get("statusDetails"),
                    step_timeout_minutes=members.get("stepTimeoutInMinutes"),
                )
                return self._shown(execution, form, now)
            case "DescribeJobExecution":
                execution = device.describe(
                    self._store, thing_name, members["jobId"], members.get("executionNumber"), namespace=namespace
                )
                return self._shown(execution, form if members.get("includeJobDocument", True) else None, now)
            case _:
                return self._update(members, namespace, now, form)

    def _update(self, members: Json, namespace: str | None, now: float, form: Callable[[str], str | Verbatim]) -> Json:
        change = device.Update(
            status=ExecutionStatus(members["status"]),
            status_details=members.get("statusDetails"),
            expected_version=members.get("expectedVersion"),
            execution_number=members.get("executionNumber"),
            step_timeout_minutes=members.get("stepTimeoutInMinutes"),
        )
        execution = device.update(self._store, members["thingName"], members["jobId"], change, now, namespace=namespace)
        answer: Json = {}
        if members.get("includeJobExecutionState"):
            answer["executionState"] = views.execution_state(execution)
        if members.get("includeJobDocument"):
            answer["jobDocument"] = form(self._store.document(execution))
        return answer

    def _shown(self, execution: JobExecution | None, form: Callable[[str], str | Verbatim] | None, now: float) -> Json:
        """An answer without `execution` says that nothing is pending."""
        if execution is None:
            return {}
        document = form(self._store.document(execution)) if form else None
        return {"execution": views.device_execution(execution, document, now)}

    def _check_namespace(self, namespace: str) -> None:
        self._control_api.check_shape("NamespaceId", namespace, "namespaceId")


def _lenient(members: Json) -> Json:
    """What AWS takes over MQTT beside the model's types: the version as a string; flags as strings."""
    lenient = dict(members)
    version = lenient.get("expectedVersion")
    if isinstance(version, str) and re.fullmatch(r"[0-9]{1,19}", version):
        lenient["expectedVersion"] = int(version)
    for flag in _FLAGS:
        if lenient.get(flag) in ("true", "false"):
            lenient[flag] = lenient[flag] == "true"
    return lenient
