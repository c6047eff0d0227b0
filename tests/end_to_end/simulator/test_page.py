"""The simulator's page as a server gives it: files, headers, who is let in, rows, messages, the stream."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import socket
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from http.client import HTTPMessage
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest
from aiohttp import ClientSession, web
from tests.support.turns import at_each_turn

from iot_jobs_simulator.changes import Changes
from iot_jobs_simulator.http.page import MAX_STREAMS, LiveStream
from iot_jobs_simulator.objects import ObjectPlace
from iot_jobs_simulator.server import running_simulator

if TYPE_CHECKING:
    from pathlib import Path

    from simulators import Connect, SimulatorProcess

    from iot_jobs_simulator.server import RunningSimulator

Ask = Callable[..., tuple[int, HTTPMessage, str]]
SIGNATURE = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/iot/aws4_request, SignedHeaders=host, Signature=0"


def ask_at(http_url: str, path: str, method: str = "GET", body: Any = None, **headers: str) -> Any:
    data = json.dumps(body).encode() if body is not None else None
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(http_url + path, data, headers, method=method)  # noqa: S310 - it is the simulator's
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - same
            return answer.status, answer.headers, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


@pytest.fixture
def ask(simulator: SimulatorProcess) -> Ask:
    """Asks for a path: method, JSON, headers; status, headers and text of the answer."""
    return lambda *arguments, **more: ask_at(simulator.http_url, *arguments, **more)


def test_the_page_is_one_document_with_a_script_and_a_style_of_its_own(ask: Ask) -> None:
    status, headers, text = ask("/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    named = set(re.findall(r'(?:src|href)="([^#"]+)"', text))
    assert {f"/_simulator/page/{name}" for name in ("main.js", "page.css", "icon.svg")} == named
    found, wanted = set[str](), {"main.js", "page.css", "icon.svg"}
    while wanted - found:
        name = (wanted - found).pop()
        status, headers, text = ask(f"/_simulator/page/{name}")
        kind = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}[name.rpartition(".")[2]]
        assert (status, headers.get_content_type()) == (200, kind), name
        found.add(name)
        wanted |= set(re.findall(r'from "\./([a-z]+\.js)"', text))
    assert len(found) > 8


def test_no_script_can_put_text_into_the_page_as_html(ask: Ask) -> None:
    _, _, main = ask("/_simulator/page/main.js")
    for name in ("main.js", *set(re.findall(r'from "\./([a-z]+\.js)"', main))):
        _, _, text = ask(f"/_simulator/page/{name}")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|https?://(?!www\.w3)", text
        )


@pytest.mark.parametrize("path", ["/", "/_simulator/page/main.js", "/_simulator/page/rows/jobs"])
def test_a_policy_lets_the_page_load_nothing_from_elsewhere_and_be_in_no_frame(ask: Ask, path: str) -> None:
    status, headers, _ = ask(path)
    policy = dict(each.strip().split(" ", 1) for each in headers["Content-Security-Policy"].split(";"))
    assert status == 200
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


CHANGES = [
    ("/_simulator/clock", "POST", {"advance_s": 0}),
    ("/_simulator/faults", "POST", {"kind": "crash", "operation": "Never"}),
    ("/_simulator/publish", "POST", {"topic": "t", "payload": 1}),
    ("/_simulator/objects/bucket/key", "PUT", {}),
    ("/things/page-own", "POST", {}),
    ("/things/page-own/jobs/$next", "PUT", {}),
    ("/_simulator/objects/bucket/key", "DELETE", None),
]
UNSIGNED = "data.jobs.iot.evil.example"


@pytest.mark.parametrize(("path", "method", "body"), CHANGES)
def test_what_changes_something_is_done_for_the_own_page_and_for_no_other(
    simulator: SimulatorProcess, ask: Ask, path: str, method: str, body: Any
) -> None:
    signed = {"Authorization": SIGNATURE} if "$next" not in path else {}
    rebound = "evil.example:8080" if signed else UNSIGNED
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": rebound, "Origin": f"http://{rebound}", "Sec-Fetch-Site": "same-origin"},
        {"Host": rebound, "Origin": f"http://{rebound}"},
    ):
        status, answer, text = ask(path, method, body, **signed, **headers)
        assert (status, answer["x-amzn-ErrorType"]) == (403, "ForbiddenException"), headers
        assert "may not control" in json.loads(text)["message"]
    own = {"Origin": simulator.http_url, "Sec-Fetch-Site": "same-origin"}
    status, _, text = ask(path, method, body, **signed, **own)
    assert status == 200 or "MissingAuthentication" in text or signed == {}, text
    if path.endswith("faults"):
        assert ask(f"{path}/{json.loads(text)['number']}", "DELETE")[0] == 200


def test_what_the_page_reads_is_for_no_other_page_and_under_no_other_name(ask: Ask) -> None:
    for path in ("/_simulator/page/rows/jobs", "/_simulator/page/live", "/_simulator/page/main.js", "/"):
        status, _, text = ask(path, Host="rebound.example:8080")
        assert (status, "another site may own it" in text) == (403, True)
    for path in ("/_simulator/page/rows/jobs", "/_simulator/page/live"):
        assert ask(path, Sec_Fetch_Site="cross-site")[0] == 403
    assert ask("/", Sec_Fetch_Site="cross-site")[0] == 200  # a link to it, which anybody may have


def test_what_the_page_reads_says_what_is_wrong_with_a_request(ask: Ask) -> None:
    for path, status, words in (
        ("rows/widgets", 400, "There is no list of widgets"),
        ("history?job=none", 400, "Job none does not exist"),
        ("messages?thing=lamp", 400, "Name the thing and the job"),
        ("nothing", 404, "The simulator has no GET /_simulator/page/nothing"),
        ("../page.py", 404, "The simulator has no GET"),
        ("..%2fhistory.py", 404, "The simulator has no GET"),
    ):
        found, _, text = ask(f"/_simulator/page/{path}")
        assert (found, words in json.loads(text)["message"]) == (status, True), text


async def test_what_a_device_uploads_is_never_a_document_of_the_pages_origin(sim: RunningSimulator) -> None:
    sim.objects.put("bucket", "key.html", b"<script>alert(1)</script>")
    presigned = sim.objects.presign("GET", ObjectPlace("bucket", "key.html"), sim._service.now(), 60)
    for path in ("/_simulator/objects/bucket/key.html", presigned):
        status, headers, _ = await asyncio.to_thread(ask_at, sim.http_url, path)
        assert (status, headers["X-Content-Type-Options"]) == (200, "nosniff")
        assert headers.get_content_type().endswith("/octet-stream")


async def read(sim: RunningSimulator, path: str) -> Any:
    status, _, text = await asyncio.to_thread(ask_at, sim.http_url, f"/_simulator/page/{path}")
    assert status == 200, text
    return json.loads(text)


async def test_an_execution_has_its_messages_with_what_answered_them(sim: RunningSimulator, connect: Connect) -> None:
    arn = sim.operate("CreateThing", thingName="lamp")["thingArn"]
    device = await connect(sim, "lamp", is_secure=False)
    await device.subscribe("notify-next", "start-next/accepted", "+/update/accepted")
    sim.operate("CreateJob", jobId="J1", targets=[arn], document='{"op": "<b>x</b>"}')
    assert (await device.heard())[0] == "notify-next"
    await device.ask("start-next", statusDetails={"step": "1"})
    await device.ask("J1/update", status="IN_PROGRESS", statusDetails={"step": "2"})
    over_http = await asyncio.to_thread(
        ask_at, sim.http_url, "/things/lamp/jobs/J1", "POST", {"status": "BOGUS"}, Host="data.jobs.iot.x"
    )
    assert over_http[0] == 400
    found = await read(sim, "messages?thing=lamp&job=J1")
    assert [(row["status"], row["executionNumber"]) for row in found["executions"]] == [("IN_PROGRESS", 1)]
    notified, started, updated, refused = found["messages"]
    assert (notified["topic"], notified["client"]) == ("$aws/things/lamp/jobs/notify-next", "")
    assert json.loads(notified["payload"])["execution"]["jobDocument"] == {"op": "<b>x</b>"}
    assert (started["client"], json.loads(started["payload"])) == ("lamp", {"statusDetails": {"step": "1"}})
    assert json.loads(started["answers"][0]["payload"])["execution"]["jobId"] == "J1"
    assert updated["answers"][0]["topic"] == "$aws/things/lamp/jobs/J1/update/accepted"
    assert (refused["client"], refused["topic"]) == ("HTTP", "POST /things/lamp/jobs/J1")
    assert (refused["answers"][0]["topic"], "BOGUS" in refused["answers"][0]["payload"]) == ("400", True)


async def test_a_message_that_a_fault_swallows_is_shown_as_not_answered(
    sim: RunningSimulator, connect: Connect
) -> None:
    arn = sim.operate("CreateThing", thingName="lamp")["thingArn"]
    device = await connect(sim, "lamp", is_secure=False)
    sim.operate("CreateJob", jobId="J1", targets=[arn], document="{}")
    await sim.wait_for_status("lamp", "J1", "QUEUED")
    await device.subscribe("J1/get/accepted")
    for fault in ({"kind": "silence", "times": 1}, {"kind": "lose", "what": "reply", "times": 1}):
        sim.faults.add({**fault, "operation": "DescribeJobExecution"})
        await device.send("J1/get", b"{}")
    await device.ask("J1/get")
    _, *asked = (await read(sim, "messages?thing=lamp&job=J1"))["messages"]
    assert [len(each["answers"]) for each in asked] == [0, 0, 1]


async def test_a_history_is_there_with_the_job_as_it_is_now(sim: RunningSimulator) -> None:
    arn = sim.operate("CreateThing", thingName="lamp")["thingArn"]
    sim.operate("CreateJob", jobId="J1", targets=[arn], document="{}")
    await sim.wait_for_status("lamp", "J1", "QUEUED")
    await sim.advance_clock(3600)
    found = await read(sim, "history?job=J1")
    assert found["job"]["executions"] == {"QUEUED": 1}
    assert found["executions"]["QUEUED"][-1] == 1
    assert found["end"] - found["begin"] >= 3600


async def test_the_stream_tells_of_changes_but_not_of_each(sim: RunningSimulator) -> None:
    async with ClientSession() as session, session.get(f"{sim.http_url}/_simulator/page/live") as response:
        assert response.content_type == "text/event-stream"
        events = _events(response.content)
        assert (await anext(events))["things"] == 0
        for number in range(200):
            sim.operate("CreateThing", thingName=f"t{number}")
        assert (await anext(events))["things"] == 200  # one event for all of them
        sim.operate("CreateThing", thingName="late")
        event = await anext(events)
        assert (event["things"], event["jobs"], event["groups"]) == (201, 0, 0)
        assert event["now"] == pytest.approx(sim._service.now(), abs=60)


async def test_the_simulator_ends_while_the_page_is_open(certificates_of_run: Path) -> None:
    async with ClientSession() as session, asyncio.timeout(10):
        async with running_simulator(certificates=certificates_of_run) as sim:
            response = await session.get(f"{sim.http_url}/_simulator/page/live")
            await response.content.readline()
            ending_at = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - ending_at < 4  # before the stream would have spoken again
        response.close()


async def test_reading_is_no_change_to_tell_of(sim: RunningSimulator) -> None:
    arn = sim.operate("CreateThing", thingName="lamp")["thingArn"]
    sim.operate("CreateJob", jobId="J1", targets=[arn], document="{}")
    await sim.wait_for_status("lamp", "J1", "QUEUED")
    before = sim._changes.count
    for path in ("rows/jobs", "rows/executions?job=J1", "history?job=J1", "messages?thing=lamp&job=J1"):
        await read(sim, path)
    assert sim._changes.count == before


async def _events(content: Any) -> AsyncIterator[Any]:
    while line := await asyncio.wait_for(content.readline(), 10):
        if line.strip():
            yield json.loads(line.removeprefix(b"data: "))


@asynccontextmanager
async def serving(stream: LiveStream) -> AsyncIterator[int]:
    """A stream on a port of its own."""
    runner = web.ServerRunner(web.Server(stream.answer), handle_signals=False, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    stream.stop()
    await runner.cleanup()


async def test_however_often_something_changes_a_reader_is_told_at_intervals() -> None:
    changes, told, loop = Changes(), list[float](), asyncio.get_running_loop()

    def describe() -> dict[str, int]:
        told.append(loop.time())
        return {"number": len(told)}

    stream = LiveStream(changes, describe, interval_s=0.05)
    async with serving(stream) as port, ClientSession() as session:
        response = await session.get(f"http://127.0.0.1:{port}/")
        events = _events(response.content)

        async def five() -> None:
            while (await anext(events))["number"] < 5:
                pass

        await at_each_turn(five(), changes.announce)
        response.close()
    assert min(later - earlier for earlier, later in itertools.pairwise(told)) >= 0.049


async def test_a_reader_that_does_not_read_is_dropped_and_keeps_nobody_waiting() -> None:
    changes = Changes()
    stream = LiveStream(changes, lambda: {"much": "x" * 60_000}, interval_s=0, patience_s=0.3)
    async with serving(stream) as port:
        with closing(socket.create_connection(("127.0.0.1", port))) as deaf:
            deaf.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/") as response:
                events, most = _events(response.content), 0
                async with asyncio.timeout(20):
                    while most < 2 or stream.open > 1:  # both, and then one of them
                        changes.announce()
                        await anext(events)
                        most = max(most, stream.open)


async def test_there_are_only_so_many_streams() -> None:
    stream = LiveStream(Changes(), lambda: {"now": 1})
    async with serving(stream) as port, ClientSession() as session:
        url = f"http://127.0.0.1:{port}/"
        opened = [await session.get(url) for _ in range(MAX_STREAMS)]
        async with session.get(url) as refused:
            assert (refused.status, await refused.json()) == (
                503,
                {"message": f"{MAX_STREAMS} pages are open already; close one"},
            )
        for response in opened:
            assert response.status == 200
            response.close()
