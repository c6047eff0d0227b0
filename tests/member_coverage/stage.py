"""A service with a bit of everything in it, and one request to it after which everything that can be read is read."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any, Final

from tests.member_coverage.examples import ARN, GROUP, LAMP
from tests.member_coverage.model import CONTROL, DEVICE, given, service_model

from iot_jobs_simulator import payloads
from iot_jobs_simulator.control_plane import ControlPlane
from iot_jobs_simulator.device_plane import DevicePlane
from iot_jobs_simulator.jobs import rollout
from iot_jobs_simulator.jobs.settings import ServiceSettings
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.model import ServiceApi
from iot_jobs_simulator.objects import Objects
from iot_jobs_simulator.placeholders import PresignedDocuments
from iot_jobs_simulator.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

START: Final = 1_700_000_000.25
PAGED: Final = frozenset({"ListJobs", "ListJobExecutionsForJob", "ListJobExecutionsForThing", "ListJobTemplates"}) | {
    "ListManagedJobTemplates"
}
# Not those of the examples, which are to be found only after they were sent.
DETAILS: Final = {"before": "detail"}
RETRIES: Final = {"criteriaList": [{"failureType": "TIMED_OUT", "numberOfRetries": 1}]}
TIMEOUT: Final = {"inProgressTimeoutInMinutes": 5}
PACKAGE: Final = ARN + "package/before/version/1"

# What answers show: operation, the request's members, name and JSON of the member.
Leaves = set[tuple[str, str, str, str]]


@functools.cache
def service_api(service: str) -> ServiceApi:
    """Requests checked against a model; nothing changes it."""
    return ServiceApi(service)


class Stage:
    """`seen` are the members that answers had so far: service, operation, path."""

    def __init__(self) -> None:
        self.now = START
        self.models = {name: service_model(name) for name in (CONTROL, DEVICE)}
        objects = Objects()
        objects.put("documents", "example.json", b'{"op": "of the source"}')
        documents = PresignedDocuments(objects, "http://localhost", lambda: self.now)
        self.store = JobStore(settings=ServiceSettings(), documents=documents)
        iot = service_api(CONTROL)
        self._control = ControlPlane(self.store, iot, {"iot:Data": "localhost:1"})
        self._device = DevicePlane(self.store, service_api(DEVICE), iot)
        self.seen: set[tuple[str, str, str]] = set()
        self._set_up()

    def ask(self, service: str, operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """One request, members that are null left out; raises Refused."""
        known = {name: value for name, value in members.items() if value is not None}
        if service == CONTROL:
            answer = self._control.answer(operation, known, self.now)
        else:
            answer = self._device.answer_http(operation, known, {}, self.now)
        rollout.advance(self.store, self.now)
        decoded: dict[str, Any] = json.loads(payloads.encode(answer))
        output = self.models[service].operation_model(operation).output_shape
        self.seen |= {(service, operation, path) for path, _ in given(output, decoded)}
        return decoded

    def read_all(self) -> Leaves:
        """Every value that any answer shows, with its operation and its own name."""
        found: Leaves = set()
        for service, operation, members in self._readers():
            try:
                answer = self.ask(service, operation, members)
            except Refused:
                continue
            asked = json.dumps(members)
            found |= {(operation, asked, name, value) for name, value in _leaves("", answer)}
        return found

    def token(self, operation: str, members: Mapping[str, Any]) -> str | None:
        """The token of the second page of a list, if it has one."""
        token: str | None = self.ask(CONTROL, operation, {**members, "maxResults": 1}).get("nextToken")
        return token

    def _set_up(self) -> None:
        for name in ("lamp", "fan"):
            self.ask(CONTROL, "CreateThing", {"thingName": name})
        for name in ("all", "more"):
            self.ask(CONTROL, "CreateThingGroup", {"thingGroupName": name})
        self.ask(CONTROL, "AddThingToThingGroup", {"thingGroupName": "all", "thingName": "fan"})
        template = {"description": "kept template", "document": '{"op": "of the template"}'}
        for template_id in ("kept", "other"):
            self.now += 1
            self.ask(CONTROL, "CreateJobTemplate", {"jobTemplateId": template_id, **template})
        self._create("plain", description="first", jobExecutionsRetryConfig=RETRIES, timeoutConfig=TIMEOUT)
        self._create("slow", jobExecutionsRetryConfig=RETRIES, timeoutConfig=TIMEOUT)
        self._create("done", destinationPackageVersions=[PACKAGE])
        self._create("team", namespaceId="team")
        follows = {"targets": [GROUP], "targetSelection": "CONTINUOUS", "description": "follows"}
        self._create("follower", **follows)
        self._create("follower-of-team", **follows, namespaceId="team")
        done = {"thingName": "lamp", "jobId": "done"}
        self.ask(DEVICE, "UpdateJobExecution", {**done, "status": "IN_PROGRESS", "statusDetails": DETAILS})
        self.ask(DEVICE, "UpdateJobExecution", {**done, "status": "SUCCEEDED"})

    def _create(self, job_id: str, **members: Any) -> None:
        self.now += 1
        targets = [LAMP, ARN + "thing/fan"] if job_id == "plain" else [LAMP]
        job = {"jobId": job_id, "targets": targets, "document": '{"op": "x"}'}
        self.ask(CONTROL, "CreateJob", job | members)

    def _readers(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        yield CONTROL, "DescribeEventConfigurations", {}
        yield CONTROL, "ListJobTemplates", {}
        for template_id in ("kept", "probe"):
            yield CONTROL, "DescribeJobTemplate", {"jobTemplateId": template_id}
            yield CONTROL, "ListTagsForResource", {"resourceArn": f"{ARN}jobtemplate/{template_id}"}
        for namespace in ("", "team", "example-namespace"):
            yield CONTROL, "ListJobs", {"namespaceId": namespace or None}
        for thing in ("lamp", "fan"):
            yield CONTROL, "ListJobExecutionsForThing", {"thingName": thing}
            yield DEVICE, "GetPendingJobExecutions", {"thingName": thing}
        for job_id in list(self.store.jobs):
            yield CONTROL, "DescribeJob", {"jobId": job_id}
            yield CONTROL, "GetJobDocument", {"jobId": job_id}
            yield CONTROL, "ListTagsForResource", {"resourceArn": f"{ARN}job/{job_id}"}
            yield CONTROL, "ListJobExecutionsForJob", {"jobId": job_id}
            for service in (CONTROL, DEVICE):
                yield service, "DescribeJobExecution", {"thingName": "lamp", "jobId": job_id}


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """What a value consists of, as name and JSON; lists of words count as a whole, and so do maps of words."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    yield name, json.dumps(value, sort_keys=True)
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _leaves(key, member)
    else:
        for entry in inner:
            yield from _leaves(name, entry)
