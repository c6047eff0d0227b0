"""The control plane: operators' requests by operation name. Checks them, finds the operation, does no I/O.

What this simulator cannot do is refused by name, never dropped: a job with an abort rule that is not watched would lie.
"""

from collections.abc import Mapping
from typing import Any, Final

from iot_jobs_simulator.jobs import batches
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.model import ServiceApi
from iot_jobs_simulator.operations import events, executions, groups, jobs, tags, templates, things
from iot_jobs_simulator.operations.operation import Operation, check_supported
from iot_jobs_simulator.refusals import Code, Refused, invalid

_OPERATIONS: Final[Mapping[str, Operation]] = {
    **jobs.OPERATIONS,
    **executions.OPERATIONS,
    **things.OPERATIONS,
    **groups.OPERATIONS,
    **tags.OPERATIONS,
    **templates.OPERATIONS,
    **events.OPERATIONS,
}
_DESCRIBE_ENDPOINT: Final = "DescribeEndpoint"

# The members that each operation takes notice of.
SUPPORTED: Final[Mapping[str, frozenset[str]]] = {
    _DESCRIBE_ENDPOINT: frozenset({"endpointType"}),
    **{name: operation.members for name, operation in _OPERATIONS.items()},
}


class ControlPlane:
    """The operations of the service `iot` that Jobs needs. `endpoints` maps an endpoint type to host and port."""

    def __init__(self, store: JobStore, api: ServiceApi, endpoints: Mapping[str, str]) -> None:
        self._store = store
        self._api = api
        self._endpoints = endpoints

    def answer(self, operation: str, members: Mapping[str, Any], now: float) -> Json:
        """The body of the answer; raises Refused."""
        if operation not in SUPPORTED:
            raise invalid(f"{operation} is not supported by this simulator")
        checked = self._api.check(operation, members)
        check_supported(operation, SUPPORTED[operation], checked)
        if operation == _DESCRIBE_ENDPOINT:
            return self._describe_endpoint(checked)
        if "thingName" in checked:
            batches.serve(self._store, checked["thingName"])
        try:
            return _OPERATIONS[operation].perform(self._store, checked, now)
        except Refused as refusal:
            if refusal.code != Code.INVALID_JOB_DOCUMENT:
                raise
            raise self._invalid_document(refusal.message) from None

    def _invalid_document(self, message: str) -> Refused:
        """The developer guide names an exception for it that the service model does not have."""
        if self._store.settings.invalid_documents_have_their_own_exception:
            return Refused("InvalidJobDocumentException", message, status=400)
        return invalid(message)

    def _describe_endpoint(self, members: Json) -> Json:
        kind = members.get("endpointType", "iot:Data")
        if kind == "iot:Jobs":  # docs/decisions.md, captures of 2026
            raise invalid(
                "IoT Jobs and Commands APIs are now available through iot:Data-ATS endpoints instead of iot:Jobs"
                " endpoints. Please use iot:Data-ATS."
            )
        if kind not in self._endpoints:
            raise invalid(f"Endpoint type {kind} is not supported by this simulator")
        return {"endpointAddress": self._endpoints[kind]}
