"""The simulator's own endpoints, and faults as boto3 meets them."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.request
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import botocore.exceptions
import pytest

from iot_jobs_simulator.server import running_simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from simulators import SimulatorProcess


@pytest.fixture
def control(simulator: SimulatorProcess) -> Iterator[Callable[..., Any]]:
    """Calls an endpoint of the simulator: method, name, JSON. All faults are cleared afterwards."""

    def send(method: str, name: str, body: Any = None, **headers: str) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        url = f"{simulator.http_url}{name if name.startswith('/') else '/_simulator/' + name}"
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - it is the simulator's
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - same
                return answer.status, json.load(answer)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)

    yield send
    send("DELETE", "faults")


@pytest.fixture
def thing(simulator: SimulatorProcess, new_name: Callable[[str], str]) -> str:
    name = new_name("thing")
    simulator.create_thing(name)
    return name


def test_faults_are_added_listed_and_cleared(control: Callable[..., Any]) -> None:
    _, added = control("POST", "faults", {"kind": "lose", "what": "reply", "times": 2})
    control("POST", "faults", {"kind": "throttle", "listener": "control"})
    _, listed = control("GET", "faults")
    assert listed["faults"][-2] == added | {"kind": "lose", "what": "reply", "times": 2, "seen": 0, "done": 0}
    assert control("DELETE", f"faults/{added['number']}") == (200, {})
    assert [fault["kind"] for fault in control("GET", "faults")[1]["faults"]] == ["throttle"]
    assert control("DELETE", "faults") == (200, {})
    assert control("GET", "faults") == (200, {"faults": []})


@pytest.mark.parametrize(
    ("method", "name", "body"),
    [
        ("POST", "faults", {"kind": "gremlin"}),
        ("POST", "faults", [1]),
        ("DELETE", "faults/one", None),
        ("POST", "broker", {"action": "dance"}),
        ("POST", "broker", {"action": "stop", "keep_sessions": "no"}),
        ("POST", "publish", {"topic": 1}),
    ],
)
def test_what_is_wrong_is_refused_in_a_sentence(control: Callable[..., Any], method: str, name: str, body: Any) -> None:
    status, answer = control(method, name, body)
    assert status == 400
    assert answer["message"]


@pytest.mark.parametrize(("method", "name"), [("GET", "nothing"), ("PATCH", "faults"), ("GET", "objects/b/nothing")])
def test_what_is_not_there_is_not_found(control: Callable[..., Any], method: str, name: str) -> None:
    assert control(method, name)[0] == 404


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "reject", "code": "ResourceNotFound"}, ("ResourceNotFoundException", 404)),
        ({"kind": "reject", "code": "ServiceUnavailableException"}, ("ServiceUnavailableException", 503)),
        ({"kind": "reject", "code": "InternalError"}, ("InternalFailureException", 500)),
        ({"kind": "reject", "code": "Teapot", "status": 418}, ("Teapot", 418)),
        ({"kind": "throttle", "per_second": 0}, ("ThrottlingException", 400)),
        ({"kind": "crash"}, ("InternalFailureException", 500)),
    ],
)
def test_operators_get_the_chosen_error(
    simulator: SimulatorProcess, control: Callable[..., Any], thing: str, fault: Any, expected: tuple[str, int]
) -> None:
    control("POST", "faults", fault | {"operation": "DescribeThing", "thing": thing})
    client = simulator.iot
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        client.describe_thing(thingName=thing)
    response = raised.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == expected
    control("DELETE", "faults")
    assert client.describe_thing(thingName=thing)["thingName"] == thing


@pytest.mark.parametrize("kind", ["lose", "silence"])
def test_boto3_hears_nothing_and_asks_again(
    simulator: SimulatorProcess, control: Callable[..., Any], thing: str, kind: str
) -> None:
    control("POST", "faults", {"kind": kind, "thing": thing, "listener": "http", "times": 1})
    assert simulator.jobs_data.get_pending_job_executions(thingName=thing)["queuedJobs"] == []
    assert control("GET", "faults")[1]["faults"][0]["done"] == 1


def test_answers_over_http_can_be_delayed_altered_and_emptied(
    simulator: SimulatorProcess, control: Callable[..., Any], thing: str, new_name: Callable[[str], str]
) -> None:
    arn = simulator.iot.describe_thing(thingName=thing)["thingArn"]
    simulator.create_job(new_name("job"), arn, {})
    pending = simulator.jobs_data.get_pending_job_executions
    control("POST", "faults", {"kind": "delay", "delay_ms": 1, "thing": thing, "times": 1})
    assert len(pending(thingName=thing)["queuedJobs"]) == 1
    control("POST", "faults", {"kind": "alter", "members": {"queuedJobs": []}, "thing": thing, "times": 1})
    assert pending(thingName=thing)["queuedJobs"] == []
    control("POST", "faults", {"kind": "empty-next", "thing": thing, "times": 1})
    describe = simulator.jobs_data.describe_job_execution
    assert "execution" not in describe(thingName=thing, jobId="$next")
    assert describe(thingName=thing, jobId="$next")["execution"]["thingName"] == thing


def test_the_broker_stops_and_starts_and_publishes_on_demand(
    simulator: SimulatorProcess, control: Callable[..., Any]
) -> None:
    assert control("POST", "broker", {"action": "stop"}) == (200, {})
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", simulator.mqtt_port))
    assert control("POST", "broker", {"action": "start"}) == (200, {})
    assert control("POST", "broker", {"action": "restart", "keep_sessions": False}) == (200, {})
    assert control("POST", "publish", {"topic": "a", "payload": {"b": 1}}) == (200, {})
    with closing(socket.create_connection(("127.0.0.1", simulator.mqtt_port))):
        pass


def test_objects_are_put_got_and_deleted(control: Callable[..., Any]) -> None:
    assert control("PUT", "objects/bucket/a%20key", {"x": 1}) == (200, {})
    assert control("GET", "objects/bucket/a%20key") == (200, {"x": 1})
    assert control("DELETE", "objects/bucket/a%20key") == (200, {})
    assert control("GET", "objects/bucket/a%20key")[0] == 404


@pytest.mark.parametrize("host", ["data.jobs.iot.us-east-1.amazonaws.com", "abc.jobs.iot.eu-west-1.amazonaws.com"])
def test_an_unsigned_request_to_a_host_of_the_data_plane_is_served(
    control: Callable[..., Any], thing: str, host: str
) -> None:
    status, answer = control("GET", f"/things/{thing}/jobs", Host=host)
    assert (status, answer) == (200, {"inProgressJobs": [], "queuedJobs": []})
    assert control("GET", f"/things/{thing}/jobs", Host="iot.us-east-1.amazonaws.com")[0] == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-origin", "Host": "rebound.example:8080"},
        {"Origin": "http://rebound.example:8080", "Host": "rebound.example:8080"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
def test_field_g12_no_page_in_a_browser_controls_the_simulator(
    control: Callable[..., Any], headers: dict[str, str]
) -> None:
    for method, name, body in (
        ("POST", "faults", {"kind": "crash"}),
        ("POST", "broker", {"action": "stop"}),
        ("POST", "clock", {"advance_s": 1000}),
        ("PUT", "objects/bucket/key", {}),
        ("GET", "faults", None),
    ):
        status, answer = control(method, name, body, **headers)
        assert (status, "a browser may not control" in answer["message"]) == (403, True)
    assert control("GET", "faults", **{"Sec-Fetch-Site": "none"}) == (200, {"faults": []})


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"POST /_simulator/clock HTTP/1.1\r\nHost: x\r\n",
        b"POST /_simulator/clock HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
        b"PUT /_simulator/objects/b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
        b"GET /things/lamp/jobs HTTP/1.1\r\nHost: data.jobs.iot.x\r\nContent-Length: 9\r\n\r\n{",
        b"GET /_simulator/clock HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["nothing", "half a head", "half a body", "half an object", "half a request", "a whole request"],
)
async def test_field_g12_a_connection_that_stops_in_the_middle_is_closed(
    monkeypatch: pytest.MonkeyPatch, certificates_of_run: Path, begun: bytes
) -> None:
    monkeypatch.setattr("iot_jobs_simulator.http.s3.SILENCE_S", 0.2)
    async with running_simulator(certificates=certificates_of_run) as sim:
        port = int(sim.http_url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begun)
        said = await asyncio.wait_for(reader.read(), 10)
        assert said[:12] in {b"", b"HTTP/1.1 408" if b"Content-Length" in begun else b"HTTP/1.1 200"}
        writer.close()
