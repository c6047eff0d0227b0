"""The service without any network: requests go in as topics and payloads or operation names, time is set by hand."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.device_plane import perform_mqtt

from iot_jobs_simulator import payloads
from iot_jobs_simulator.control_plane import ControlPlane
from iot_jobs_simulator.device_plane import DevicePlane
from iot_jobs_simulator.jobs import batches, rollout
from iot_jobs_simulator.jobs.settings import ServiceSettings
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.model import ServiceApi
from iot_jobs_simulator.refusals import Refused

THING_ARN = "arn:aws:iot:us-east-1:123456789012:thing/"


class Cloud:
    """Both planes over one store. `published` takes what became due since it was last asked."""

    def __init__(self, iot: ServiceApi, data: ServiceApi, settings: ServiceSettings) -> None:
        self.now = 1_700_000_000.25
        self.store = JobStore(settings=settings)
        self.control = ControlPlane(self.store, iot, {"iot:Data": "localhost:1"})
        self.data = DevicePlane(self.store, data, iot)

    def operate(self, operation: str, **members: Any) -> dict[str, Any]:
        """An operator's request, as boto3 spells it; due rollouts happen after it."""
        answer = self.control.answer(operation, members, self.now)
        rollout.advance(self.store, self.now)
        return json.loads(payloads.encode(answer))

    def pass_time(self, *, minutes: float = 0, seconds: float = 0) -> None:
        """Let time go by; what is due happens meanwhile."""
        self.now += 60 * minutes + seconds
        rollout.advance(self.store, self.now)

    def create_group(self, name: str, *things: str, parent: str | None = None) -> str:
        """A thing group with things in it; its ARN."""
        members = {"parentGroupName": parent} if parent else {}
        created = self.operate("CreateThingGroup", thingGroupName=name, **members)
        for thing in things:
            self.operate("AddThingToThingGroup", thingGroupName=name, thingName=thing)
        return str(created["thingGroupArn"])

    def refused(self, operation: str, **members: Any) -> tuple[str, str]:
        """Code and message of a request of an operator that is refused."""
        with pytest.raises(Refused) as raised:
            self.operate(operation, **members)
        return str(raised.value.code), raised.value.message

    def job(self, job_id: str = "J1") -> dict[str, Any]:
        """DescribeJob."""
        return dict(self.operate("DescribeJob", jobId=job_id)["job"])

    def counters(self, job_id: str = "J1") -> dict[str, int]:
        """The counters of a job that are not 0, by status."""
        names = {"numberOf": "", "Things": ""}
        details = self.job(job_id)["jobProcessDetails"]
        counters = {name: count for name, count in details.items() if name.startswith("numberOf") and count}
        for word, nothing in names.items():
            counters = {name.replace(word, nothing): count for name, count in counters.items()}
        return counters

    def history(self, job_id: str = "J1") -> list[tuple[str, int, str, int]]:
        """ListJobExecutionsForJob: thing, execution number, status, retry attempt."""
        entries = self.operate("ListJobExecutionsForJob", jobId=job_id)["executionSummaries"]
        return [
            (
                entry["thingArn"].rpartition("/")[2],
                entry["jobExecutionSummary"]["executionNumber"],
                entry["jobExecutionSummary"]["status"],
                entry["jobExecutionSummary"]["retryAttempt"],
            )
            for entry in entries
        ]

    def create_thing(self, name: str = "lamp") -> None:
        self.operate("CreateThing", thingName=name)

    def create_job(
        self, job_id: str, document: str = '{"op":"x"}', things: tuple[str, ...] = ("lamp",), **more: Any
    ) -> None:
        self.operate(
            "CreateJob", jobId=job_id, targets=[THING_ARN + name for name in things], document=document, **more
        )

    def send(self, topic: str, payload: bytes) -> tuple[str, dict[str, Any]]:
        """A device's message; the reply's topic, less that of the request, and payload. Batches are done after it."""
        reply = perform_mqtt(self.data, topic, payload, self.now)
        batches.work(self.store)
        assert reply is not None
        return reply.topic.removeprefix(topic + "/"), json.loads(payloads.encode(reply.payload))

    def ask(self, request: str, thing: str = "lamp", **members: Any) -> tuple[str, dict[str, Any]]:
        return self.send(f"$aws/things/{thing}/jobs/{request}", json.dumps(members).encode())

    def accepted(self, request: str, thing: str = "lamp", **members: Any) -> dict[str, Any]:
        verdict, answer = self.ask(request, thing, **members)
        assert verdict == "accepted", answer
        return answer

    def rejected(self, request: str, thing: str = "lamp", **members: Any) -> dict[str, Any]:
        verdict, answer = self.ask(request, thing, **members)
        assert verdict == "rejected", answer
        assert self.published() == []
        return answer

    def published(self, thing: str = "lamp") -> list[tuple[str, dict[str, Any]]]:
        """Notifications due since the last call, each as the end of its topic and its payload."""
        return [
            (
                publication.topic.removeprefix(f"$aws/things/{thing}/jobs/"),
                json.loads(payloads.encode(publication.payload)),
            )
            for publication in self.store.take_publications()
        ]


@pytest.fixture(scope="session")
def iot() -> ServiceApi:
    return ServiceApi("iot")


@pytest.fixture(scope="session")
def data() -> ServiceApi:
    return ServiceApi("iot-jobs-data")


@pytest.fixture(scope="session")
def new_cloud(iot: ServiceApi, data: ServiceApi) -> Callable[[ServiceSettings], Cloud]:
    """Makes clouds without any thing, as many as a test needs."""
    return lambda settings: Cloud(iot, data, settings)


@pytest.fixture
def settings() -> ServiceSettings:
    return ServiceSettings()


@pytest.fixture
def cloud(iot: ServiceApi, data: ServiceApi, settings: ServiceSettings) -> Cloud:
    """A cloud with one thing, `lamp`, that has nothing to do."""
    cloud = Cloud(iot, data, settings)
    cloud.create_thing()
    return cloud
