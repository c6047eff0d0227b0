"""Devices over HTTP with their certificate, and bytes on the HTTP ports that are not requests."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import urllib.request
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulators import SimulatorProcess


def tls(simulator: SimulatorProcess, *, shows_certificate: bool = True) -> Any:
    context = ssl.create_default_context(cafile=simulator.certificates / "ca.pem")
    if shows_certificate:
        context.load_cert_chain(simulator.certificates / "client.pem", simulator.certificates / "client.key")
    return context


@pytest.fixture
def call(simulator: SimulatorProcess) -> Any:
    """Sends a request as a device; status and JSON of the answer."""

    def send(method: str, path: str, body: Any = None, name: str = "127.0.0.1") -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"https://{name}:{simulator.https_port}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, context=tls(simulator), timeout=10) as answer:  # noqa: S310 - https
                return answer.status, json.load(answer)
        except HTTPError as error:
            with error:
                return error.code, {"type": error.headers["x-amzn-ErrorType"], **json.load(error)}

    return send


@pytest.fixture
def thing(simulator: SimulatorProcess, new_name: Callable[[str], str]) -> Any:
    name = new_name("thing")
    return name, simulator.create_thing(name)


def test_a_device_with_a_certificate_works_off_a_job(
    simulator: SimulatorProcess, call: Callable[..., Any], thing: tuple[str, str], new_name: Callable[[str], str]
) -> None:
    name, arn = thing
    job_id = simulator.create_job(new_name("job"), arn, {"op": "x"})
    status, listed = call("GET", f"/things/{name}/jobs", name="localhost")
    assert (status, [entry["jobId"] for entry in listed["queuedJobs"]]) == (200, [job_id])
    _, started = call("PUT", f"/things/{name}/jobs/$next", {})
    assert started["execution"]["jobDocument"] == '{"op": "x"}'
    _, described = call("GET", f"/things/{name}/jobs/{job_id}?includeJobDocument=false&executionNumber=1")
    assert "jobDocument" not in described["execution"]
    assert call("POST", f"/things/{name}/jobs/{job_id}", {"status": "SUCCEEDED"}) == (200, {})
    assert call("GET", f"/things/{name}/jobs/{job_id}")[0] == 410
    assert call("GET", f"/things/{name}/jobs/%24next") == (200, {})


def test_namespaces_are_apart_over_http_but_a_job_is_found_by_its_id(
    simulator: SimulatorProcess, call: Callable[..., Any], thing: tuple[str, str], new_name: Callable[[str], str]
) -> None:
    name, arn = thing
    job_id = simulator.create_job(new_name("job"), arn, {}, namespaceId="team")
    assert call("GET", f"/things/{name}/jobs")[1]["queuedJobs"] == []
    listed = call("GET", f"/things/{name}/jobs?namespaceId=team")[1]
    assert [entry["jobId"] for entry in listed["queuedJobs"]] == [job_id]
    assert call("PUT", f"/things/{name}/jobs/$next") == (200, {})
    assert call("PUT", f"/things/{name}/jobs/$next?namespaceId=team")[1]["execution"]["jobId"] == job_id
    assert call("GET", f"/things/{name}/jobs/{job_id}")[1]["execution"]["status"] == "IN_PROGRESS"
    assert call("POST", f"/things/{name}/jobs/{job_id}", {"status": "SUCCEEDED"}) == (200, {})
    assert call("GET", f"/things/{name}/jobs?namespaceId=a%20b")[0] == 400


def test_a_wrong_version_shows_the_state_in_the_body(
    simulator: SimulatorProcess, call: Callable[..., Any], thing: tuple[str, str], new_name: Callable[[str], str]
) -> None:
    name, arn = thing
    job_id = simulator.create_job(new_name("job"), arn, {})
    assert call("POST", f"/things/{name}/jobs/{job_id}", {"status": "FAILED", "expectedVersion": 7}) == (
        409,
        {
            "type": "InvalidStateTransitionException",
            "message": "Expected version 7 but found version 1",
            "executionState": {"status": "QUEUED", "versionNumber": 1},
        },
    )


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/things/{}/jobs/j", {}),
        ("POST", "/things/{}/jobs/j", [1]),
        ("POST", "/things/{}/jobs/$next", {"status": "SUCCEEDED"}),
        ("GET", "/things/{}/jobs/j?executionNumber=one", None),
        ("GET", "/things/{}/jobs/j?includeJobDocument=perhaps", None),
        ("GET", "/things/{}/jobs/a%2Fb", None),
        ("GET", "/things/a%20b/jobs", None),
        ("POST", "/command-executions", {"targetArn": "a", "commandArn": "b"}),
    ],
)
def test_bad_requests_are_refused(
    call: Callable[..., Any], thing: tuple[str, str], method: str, path: str, body: Any
) -> None:
    status, answer = call(method, path.format(thing[0]), body)
    assert (status, answer["type"]) == (400, "InvalidRequestException")


def test_the_control_plane_is_not_on_the_devices_port(call: Callable[..., Any], thing: tuple[str, str]) -> None:
    assert call("GET", "/jobs") == (404, {"type": "UnknownOperationException", "message": "No operation has GET /jobs"})
    assert call("POST", f"/things/{thing[0]}", {})[0] == 404


def test_a_client_without_certificate_is_not_served(simulator: SimulatorProcess) -> None:
    connection = http.client.HTTPSConnection(
        "localhost", simulator.https_port, context=tls(simulator, shows_certificate=False), timeout=10
    )
    with closing(connection), pytest.raises((ssl.SSLError, ConnectionError)):  # noqa: PT012 - either may be the first
        connection.request("GET", "/things/t/jobs")
        connection.getresponse()


def test_an_unsigned_request_is_refused_on_the_signed_port(simulator: SimulatorProcess) -> None:
    with pytest.raises(HTTPError) as raised:
        urllib.request.urlopen(f"{simulator.http_url}/jobs", timeout=10)  # noqa: S310 - it is the simulator's
    with raised.value as error:
        assert (error.code, json.load(error)["message"]) == (403, "Missing Authentication Token")


@pytest.mark.parametrize("garbage", [b"\x00" * 100, b"GET\r\n\r\n", b"GET /%zz HTTP/9.9\r\n\r\n", b"\x16\x03\x01" * 50])
def test_garbage_on_the_http_ports_does_not_stop_the_simulator(
    simulator: SimulatorProcess, call: Callable[..., Any], thing: tuple[str, str], garbage: bytes
) -> None:
    for port in (int(simulator.http_url.rsplit(":", 1)[1]), simulator.https_port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with closing(connection):
            connection.connect()
            connection.sock.sendall(garbage)
            connection.sock.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                connection.sock.recv(1000)
    assert call("GET", f"/things/{thing[0]}/jobs")[0] == 200
    assert simulator.iot.describe_thing(thingName=thing[0])["thingName"] == thing[0]
