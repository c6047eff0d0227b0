"""Presigned URLs in job documents, and the objects behind them."""

from __future__ import annotations

import json
import urllib.request
from asyncio import to_thread
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest

from iot_jobs_simulator.objects import Denied, ObjectPlace, Objects
from iot_jobs_simulator.refusals import Refused

if TYPE_CHECKING:
    from simulators import Connect, SimulatorProcess

    from iot_jobs_simulator.server import RunningSimulator

THING_ARN = "arn:aws:iot:us-east-1:123456789012:thing/lamp"
ROLE = {"roleArn": "arn:aws:iam::123456789012:role/presign"}
SOURCE = "https://s3.us-east-1.amazonaws.com/firmware/v1/image%20a.bin"


def document(kind: str, url: str) -> str:
    return json.dumps({"url": "${aws:iot:s3-presigned-url" + kind + ":" + url + "}"})


async def call(method: str, url: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, Any]:
    """Status, body and headers of the answer."""

    def send() -> tuple[int, bytes, Any]:
        request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310 - it is the simulator's
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - same
                return answer.status, answer.read(), answer.headers
        except HTTPError as error:
            with error:
                return error.code, error.read(), error.headers

    return await to_thread(send)


@pytest.fixture
async def url_of(sim: RunningSimulator, connect: Connect) -> Any:
    """Creates a job with one placeholder; a function that has its document delivered, for the URL in it."""
    sim.operate("CreateThing", thingName="lamp")
    device = await connect(sim, "lamp")

    async def create(text: str) -> Any:
        sim.operate("CreateJob", jobId="J1", targets=[THING_ARN], document=text, presignedUrlConfig=ROLE)
        await sim.wait_for_status("lamp", "J1", "QUEUED")

        async def deliver() -> str:
            return (await device.ask("J1/get"))["execution"]["jobDocument"]["url"]

        return deliver

    return create


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("", "https://s3.us-east-1.amazonaws.com/firmware/v1/image.bin"),
        ("", "https://s3.amazonaws.com/firmware/v1/image.bin"),
        ("", "s3://firmware/v1/image.bin"),
        ("-v1", "https://firmware.s3.us-east-1.amazonaws.com/v1/image.bin"),
        ("-v1", "https://firmware.s3-eu-west-1.amazonaws.com/v1/image.bin"),
        ("", "https://s3.dualstack.ap-southeast-2.amazonaws.com/firmware/v1/image.bin"),
        ("", "https://firmware.s3.cn-north-1.amazonaws.com.cn/v1/image.bin"),
        ("-v2", "https%3A%2F%2Fs3.us-east-1.amazonaws.com%2Ffirmware%2Fv1%2Fimage.bin%3FversionId%3D7"),
    ],
)
async def test_a_download_works_and_each_delivery_has_its_own_url(
    sim: RunningSimulator, url_of: Any, kind: str, url: str
) -> None:
    deliver = await url_of(document(kind, url))
    first, second = await deliver(), await deliver()
    assert first != second
    assert (await call("GET", first))[0] == 404
    await call("PUT", f"{sim.http_url}/_simulator/objects/firmware/v1/image.bin", b"0123456789")
    for each in (first, second):
        status, body, headers = await call("GET", each)
        assert (status, body, headers["Accept-Ranges"]) == (200, b"0123456789", "bytes")


@pytest.mark.parametrize(
    ("wanted", "status", "content"),
    [
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=5-99", 206, b"56789"),
        ("bytes=10-", 416, None),
        ("bytes=4-2", 416, None),
        ("bytes=-", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
    ],
)
async def test_ranges_resume_a_download(
    sim: RunningSimulator, url_of: Any, wanted: str, status: int, content: bytes | None
) -> None:
    sim.objects.put("firmware", "v1/image a.bin", b"0123456789")
    deliver = await url_of(document("", SOURCE))
    answer = await call("GET", await deliver(), Range=wanted)
    assert answer[0] == status
    assert content in (None, answer[1])
    if status == 206:
        assert answer[2]["Content-Range"].endswith("/10")


async def test_an_upload_works_with_a_key_that_names_the_execution(sim: RunningSimulator, url_of: Any) -> None:
    key = "logs/${thingName}/${jobId}-${executionNumber}.gz"
    deliver = await url_of(document("-upload", f"https://s3.us-east-1.amazonaws.com/bucket/{key}"))
    url = await deliver()
    assert (await call("GET", url))[0] == 403
    assert (await call("PUT", url, b"log"))[0] == 200
    assert sim.objects.get("bucket", "logs/lamp/J1-1.gz") == b"log"
    assert (await call("GET", f"{sim.http_url}/_simulator/objects/bucket/logs/lamp/J1-1.gz"))[1] == b"log"


async def test_an_upload_without_a_place_gets_one(sim: RunningSimulator, url_of: Any) -> None:
    deliver = await url_of('{"url":"${aws:iot:s3-presigned-url-upload}"}')
    assert (await call("PUT", await deliver(), b"x"))[0] == 200
    assert sim.objects.get("uploads", "J1/lamp/1") == b"x"


@pytest.mark.parametrize(("old", "new"), [("image", "other"), ("Expires=3600", "Expires=9999"), ("&X-Amz-Sig", "&X")])
async def test_an_altered_url_is_denied_as_s3_does(sim: RunningSimulator, url_of: Any, old: str, new: str) -> None:
    sim.objects.put("firmware", "v1/image a.bin", b"x")
    url = await (await url_of(document("", SOURCE)))()
    status, body, headers = await call("GET", url.replace(old, new))
    assert (status, headers["Content-Type"].split(";")[0]) == (403, "application/xml")
    assert b"<Code>SignatureDoesNotMatch</Code>" in body or b"<Code>AccessDenied</Code>" in body


def test_a_url_expires() -> None:
    objects = Objects()
    place = ObjectPlace("bucket", "key")
    query = dict(pair.split("=") for pair in objects.presign("GET", place, 1_700_000_000, 60).split("?")[1].split("&"))
    decoded = {name: value.replace("%2F", "/") for name, value in query.items()}
    objects.check("GET", place, decoded, 1_700_000_060)
    with pytest.raises(Denied, match="expired"):
        objects.check("GET", place, decoded, 1_700_000_061)


async def test_the_document_is_shown_to_operators_as_it_was_written(sim: RunningSimulator, url_of: Any) -> None:
    text = document("", SOURCE)
    await url_of(text)
    assert sim.operate("GetJobDocument", jobId="J1")["document"] == text


@pytest.mark.parametrize(
    ("text", "config"),
    [
        (document("", SOURCE), {}),
        (document("", "ftp://x/y"), ROLE),
        (document("", "https://example.com/bucket/key"), ROLE),
        (document("", "https://s3.example.com/bucket/key"), ROLE),
        (document("-v1", "https://bucket.s3.evil.amazonaws.com/key"), ROLE),
        (document("-v2", "https%3A%2F%2Fs3.amazonaws.com.example.com%2Fbucket%2Fkey"), ROLE),
        (document("-upload", "https://bucket.s3-website.us-east-1.amazonaws.com/key"), ROLE),
        (document("-upload", "ftp://s3.us-east-1.amazonaws.com/bucket/key"), ROLE),
        (document("", "https://s3.amazonaws.com/bucket"), ROLE),
        (document("", "https://s3.amazonaws.com/bucket/${thingName}"), ROLE),
        (document("-upload", "https://s3.amazonaws.com/bucket/${color}"), ROLE),
        (document("-upload", "https://s3.amazonaws.com/b/${jobId}${jobId}${jobId}"), ROLE),
        (document("-upload", "https://s3.amazonaws.com/${jobId}/key"), ROLE),
        ('{"url":"${aws:iot:s3-presigned-url:https://s3.amazonaws.com/b/k"}', ROLE),
    ],
)
def test_placeholders_that_cannot_be_replaced_are_refused(sim: RunningSimulator, text: str, config: Any) -> None:
    sim.operate("CreateThing", thingName="lamp")
    with pytest.raises(Refused) as raised:
        sim.operate("CreateJob", jobId="J1", targets=[THING_ARN], document=text, presignedUrlConfig=config)
    assert raised.value.code == "InvalidRequest"


async def test_a_job_keeps_a_role_for_its_placeholders(sim: RunningSimulator) -> None:
    sim.operate("CreateThing", thingName="lamp")
    sim.operate("CreateJob", jobId="J1", targets=[THING_ARN], document=document("", SOURCE), presignedUrlConfig=ROLE)
    with pytest.raises(Refused, match="role ARN"):
        sim.operate("UpdateJob", jobId="J1", presignedUrlConfig={"expiresInSec": 60})
    sim.operate("UpdateJob", jobId="J1", presignedUrlConfig={**ROLE, "expiresInSec": 60})
    sim.operate("UpdateJob", jobId="J1", description="d")


def test_a_document_in_s3_is_read_once_and_named_afterwards(simulator: SimulatorProcess, new_name: Any) -> None:
    thing, job = new_name("lamp"), new_name("job")
    arn = simulator.create_thing(thing)
    store = f"{simulator.http_url}/_simulator/objects/documents/{job}.json"
    source = f"https://s3.us-east-1.amazonaws.com/documents/{job}.json"
    create = {"jobId": job, "targets": [arn], "documentSource": source}
    with pytest.raises(simulator.iot.exceptions.InvalidRequestException, match="does not exist"):
        simulator.iot.create_job(**create)
    put(store, b'{"operation":  "greet"}')
    simulator.iot.create_job(**create)
    put(store, b'{"operation": "changed"}')
    assert simulator.iot.get_job_document(jobId=job)["document"] == '{"operation":  "greet"}'
    assert simulator.iot.describe_job(jobId=job)["documentSource"] == source


@pytest.mark.parametrize("content", [b"\xff", b"no json", b'"' + b"x" * 32768 + b'"'], ids=["utf-8", "json", "size"])
def test_a_document_in_s3_that_is_none_is_refused(simulator: SimulatorProcess, new_name: Any, content: bytes) -> None:
    thing, job = new_name("lamp"), new_name("job")
    arn = simulator.create_thing(thing)
    put(f"{simulator.http_url}/_simulator/objects/documents/{job}", content)
    for source in (f"https://documents.s3.us-east-1.amazonaws.com/{job}", "nonsense"):
        with pytest.raises(simulator.iot.exceptions.InvalidRequestException):
            simulator.iot.create_job(jobId=job, targets=[arn], documentSource=source)


def put(url: str, content: bytes) -> None:
    """Put an object behind a simulator's presigned URLs."""
    request = urllib.request.Request(url, data=content, method="PUT")  # noqa: S310 - the simulator's own address
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
        assert answer.status == 200


@pytest.mark.parametrize("where", ["X-Amz-Date=", "X-Amz-Expires=", "&X-Amz-SignedHeaders=", "&X-Amz-Security-Token="])
async def test_field_g12_a_line_feed_in_a_url_neither_fails_nor_forges(
    sim: RunningSimulator, url_of: Any, where: str
) -> None:
    """Two members that are joined by a line feed used to have the signature of both."""
    sim.objects.put("firmware", "v1/image a.bin", b"content")
    url = await (await url_of(document("", SOURCE)))()
    assert (await call("GET", url))[0] == 200
    joined = url.replace(where, where.replace("&", "%0A") if where[0] == "&" else f"{where}%0A")
    for changed in (joined, url.replace("image", "image%0A"), f"{url}%0A", f"{url}&X-Amz-Date=1", f"{url}%ED%A0%80"):
        status, body, _ = await call("GET", changed)
        assert (status, body[:5]) == (403, b"<?xml"), changed
