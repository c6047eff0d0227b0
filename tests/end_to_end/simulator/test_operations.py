"""Groups, deletions, timers and long lists with unmodified boto3, and what a connected device hears of them."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest
from tests.support.clients import boto3_client
from tests.support.turns import at_each_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulators import Connect, SimulatorProcess

    from iot_jobs_simulator.server import RunningSimulator

GROUP_ARN = "arn:aws:iot:us-east-1:123456789012:thinggroup/"
WEEK_S = 7 * 24 * 3600


def turn_clock(http_url: str, body: Any, method: str = "POST") -> Any:
    """Ask for the simulator's clock; status and JSON of the answer."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"{http_url}/_simulator/clock", data, method=method)  # noqa: S310 - our own
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - same
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.fixture
def iot(sim: RunningSimulator) -> Iterator[Any]:
    """A boto3 client for `sim`; for threads only, since `sim` runs in the test's own loop."""
    client = boto3_client("iot", sim.http_url)
    yield client
    client.close()


async def test_a_device_that_joins_a_group_hears_of_its_continuous_job(
    sim: RunningSimulator, iot: Any, connect: Connect
) -> None:
    sim.operate("CreateThing", thingName="lamp")
    device = await connect(sim, "lamp")
    await device.subscribe("notify", "notify-next")

    def operate() -> None:
        iot.create_thing_group(thingGroupName="all")
        iot.create_job(jobId="J1", targets=[GROUP_ARN + "all"], document="{}", targetSelection="CONTINUOUS")
        iot.add_thing_to_thing_group(thingName="lamp", thingGroupName="all")

    await asyncio.to_thread(operate)
    topics = [(await device.heard())[0] for _ in range(2)]
    assert topics == ["notify", "notify-next"]
    assert (await device.ask("J1/get"))["execution"]["jobId"] == "J1"
    await asyncio.to_thread(iot.remove_thing_from_thing_group, thingName="lamp", thingGroupName="all")
    assert [(await device.heard())[1].get("jobs") for _ in range(2)] == [{}, None]


async def test_a_timer_of_a_week_ends_at_a_turn_of_the_clock_and_the_device_hears_it(
    sim: RunningSimulator, connect: Connect
) -> None:
    arn = sim.operate("CreateThing", thingName="lamp")["thingArn"]
    device = await connect(sim, "lamp")
    timeout = {"inProgressTimeoutInMinutes": WEEK_S // 60}
    sim.operate("CreateJob", jobId="J1", targets=[arn], document="{}", timeoutConfig=timeout)
    await device.ask("start-next")
    await device.subscribe("notify")
    status, answer = await asyncio.to_thread(turn_clock, sim.http_url, {"advance_s": WEEK_S + 1})
    assert status == 200
    assert (await device.heard())[1]["jobs"] == {}
    assert sim.status("lamp", "J1") == "TIMED_OUT"
    _, told = await asyncio.to_thread(turn_clock, sim.http_url, None, "GET")
    assert 0 <= told["now"] - answer["now"] < 60


async def start_with_a_minute(sim: RunningSimulator) -> None:
    """Let a thing work on a job that times out after a minute."""
    arn = sim.operate("CreateThing", thingName="lamp")["thingArn"]
    sim.operate("CreateJob", jobId="J1", targets=[arn], document="{}", timeoutConfig={"inProgressTimeoutInMinutes": 1})
    await sim.wait_for_status("lamp", "J1", "QUEUED")
    client = boto3_client("iot-jobs-data", sim.http_url)
    await asyncio.to_thread(client.start_next_pending_job_execution, thingName="lamp")
    client.close()


async def test_timers_fire_by_themselves(sim: RunningSimulator) -> None:
    await start_with_a_minute(sim)
    await sim.advance_clock(59)
    assert sim.status("lamp", "J1") == "IN_PROGRESS"
    await sim.wait_for_status("lamp", "J1", "TIMED_OUT", within_s=5)


@pytest.mark.parametrize("body", [{"advance_s": -1}, {"advance_s": "1"}, {"advance_s": True}, {"advance_s": 1e300}, []])
def test_the_clock_goes_forward_only(simulator: SimulatorProcess, body: Any) -> None:
    assert turn_clock(simulator.http_url, body)[0] == 400


async def test_a_frozen_clock_goes_on_only_when_it_is_put_forward_or_let_go(sim: RunningSimulator) -> None:
    status, frozen = await asyncio.to_thread(turn_clock, sim.http_url, {"freeze": True})
    assert (status, frozen["is_frozen"]) == (200, True)
    arn = sim.operate("CreateThing", thingName="lamp")["thingArn"]
    sim.operate("CreateJob", jobId="J1", targets=[arn], document="{}")
    await sim.wait_for_status("lamp", "J1", "QUEUED")
    _, later = await asyncio.to_thread(turn_clock, sim.http_url, {"advance_s": 60})
    assert later == {"now": frozen["now"] + 60, "is_frozen": True}
    assert (await asyncio.to_thread(turn_clock, sim.http_url, None, "GET"))[1] == later
    assert sim.store.find_execution("lamp", "J1").queued_at == frozen["now"]
    _, gone_on = await asyncio.to_thread(turn_clock, sim.http_url, {"freeze": False})
    assert (await asyncio.to_thread(turn_clock, sim.http_url, None, "GET"))[1]["now"] > gone_on["now"] >= later["now"]


async def test_what_becomes_due_once_the_clock_goes_on_happens_by_itself(sim: RunningSimulator) -> None:
    sim.freeze_clock()
    await start_with_a_minute(sim)
    await sim.advance_clock(59.5)
    sim.unfreeze_clock()
    await sim.wait_for_status("lamp", "J1", "TIMED_OUT", within_s=5)


@pytest.mark.parametrize(
    ("body", "word"), [({"freeze": 1}, "freeze must be true"), ({"frezee": True}, "frezee is not a member")]
)
def test_a_clock_is_frozen_by_a_boolean_of_that_name(simulator: SimulatorProcess, body: Any, word: str) -> None:
    status, answer = turn_clock(simulator.http_url, body)
    assert (status, word in answer["message"]) == (400, True)
    assert turn_clock(simulator.http_url, None, "GET")[1]["is_frozen"] is False


async def test_the_clock_stops_before_a_year_that_no_calendar_of_aws_knows(sim: RunningSimulator, iot: Any) -> None:
    decade = {"advance_s": 10 * 365 * 86400}
    answers = [await asyncio.to_thread(turn_clock, sim.http_url, decade) for _ in range(20)]
    assert sorted({status for status, _ in answers}) == [200, 400]
    assert "not beyond the year 2199" in answers[-1][1]["message"]
    latest = max(answer["now"] for status, answer in answers if status == 200)
    _, told = await asyncio.to_thread(turn_clock, sim.http_url, None, "GET")
    assert 0 <= told["now"] - latest < 60
    arn = sim.operate("CreateThing", thingName="lamp")["thingArn"]
    start = datetime.fromtimestamp(told["now"] + 86400, UTC)
    schedule = {"startTime": f"{start:%Y-%m-%dT%H:%M}"}
    await asyncio.to_thread(lambda: iot.create_job(jobId="J1", targets=[arn], document="{}", schedulingConfig=schedule))
    await sim.advance_clock(86400)
    assert sim.status("lamp", "J1") == "QUEUED"


async def test_others_have_their_turn_while_the_clock_leaps(sim: RunningSimulator) -> None:
    group = sim.operate("CreateThingGroup", thingGroupName="all")["thingGroupArn"]
    for number in range(1000):
        sim.operate("CreateThing", thingName=f"t{number}")
        sim.operate("AddThingToThingGroup", thingName=f"t{number}", thingGroupName="all")
    start = datetime.fromtimestamp(time.time() + 3600, UTC)
    schedule = {"startTime": f"{start:%Y-%m-%dT%H:%M}"}
    sim.operate("CreateJob", jobId="J1", targets=[group], document="{}", schedulingConfig=schedule)
    seen: set[int] = set()
    await at_each_turn(sim.advance_clock(3600), lambda: seen.add(sim.store.jobs["J1"].executions.total()))
    assert len(seen - {0, 1000}) > 1
    assert sim.store.jobs["J1"].executions.total() == 1000


def test_conflicts_and_limits_are_the_typed_exceptions_of_the_service(
    simulator: SimulatorProcess, new_name: Callable[[str], str]
) -> None:
    iot, thing = simulator.iot, new_name("thing")
    arn = simulator.create_thing(thing)
    job = simulator.create_job(new_name("job"), arn, {})
    with pytest.raises(iot.exceptions.VersionConflictException) as raised:
        iot.cancel_job_execution(thingName=thing, jobId=job, expectedVersion=7)
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409
    simulator.jobs_data.start_next_pending_job_execution(thingName=thing)
    with pytest.raises(iot.exceptions.InvalidStateTransitionException):
        iot.delete_job_execution(thingName=thing, jobId=job, executionNumber=1)
    with pytest.raises(iot.exceptions.InvalidStateTransitionException):
        iot.delete_job(jobId=job)
    with pytest.raises(iot.exceptions.ResourceAlreadyExistsException):
        iot.create_thing(thingName=thing, attributePayload={"attributes": {"a": "1"}})


def test_what_has_no_answer_is_answered_with_an_empty_body(
    simulator: SimulatorProcess, new_name: Callable[[str], str]
) -> None:
    iot, thing = simulator.iot, new_name("thing")
    arn = simulator.create_thing(thing)
    job = simulator.create_job(new_name("job"), arn, {})
    execution = {"thingName": thing, "jobId": job}
    answers = [
        iot.update_job(jobId=job, description="new"),
        iot.cancel_job_execution(**execution),
        iot.delete_job_execution(**execution, executionNumber=1),
        iot.delete_job(jobId=job, force=True),
    ]
    headers = [answer["ResponseMetadata"]["HTTPHeaders"] for answer in answers]
    assert {(each["content-length"], each["content-type"].split(";")[0]) for each in headers} == {
        ("0", "application/json")
    }
    headers = iot.delete_thing(thingName=thing)["ResponseMetadata"]["HTTPHeaders"]
    assert headers["content-length"] == "2"


def test_vector_23_the_eleventh_deletion_at_a_time_is_one_too_many(
    start_simulator: Callable[..., SimulatorProcess],
) -> None:
    simulator = start_simulator("--deletion-delay-s", "60")
    arn = simulator.create_thing("lamp")
    jobs = [simulator.create_job(f"J{number}", arn, {}) for number in range(11)]
    for job in jobs[:10]:
        simulator.iot.delete_job(jobId=job, force=True)
    with pytest.raises(simulator.iot.exceptions.LimitExceededException) as raised:
        simulator.iot.delete_job(jobId=jobs[10], force=True)
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 410
    listed = simulator.iot.list_jobs(status="DELETION_IN_PROGRESS")["jobs"]
    assert {job["jobId"] for job in listed} == set(jobs[:10])
    assert simulator.iot.describe_job(jobId=jobs[0])["job"]["status"] == "DELETION_IN_PROGRESS"
    assert turn_clock(simulator.http_url, {"advance_s": 60})[0] == 200
    with pytest.raises(simulator.iot.exceptions.ResourceNotFoundException):
        simulator.iot.describe_job(jobId=jobs[0])
    simulator.iot.delete_job(jobId=jobs[10], force=True)


async def test_vector_22_the_paginator_reads_thousands_of_jobs_while_others_come_and_go(
    sim: RunningSimulator, iot: Any
) -> None:
    arn = sim.operate("CreateThing", thingName="lamp")["thingArn"]
    for number in range(3000):
        sim.operate("CreateJob", jobId=f"J{number:04}", targets=[arn], document="{}")
    paginator = iot.get_paginator("list_jobs")

    def read(**config: Any) -> Any:
        """All ids of a paginator's pages; after each page a job is created and another one deleted."""
        found = []
        for turn, page in enumerate(paginator.paginate(PaginationConfig=config)):
            found += [job["jobId"] for job in page["jobs"]]
            iot.create_job(jobId=f"new-{config['PageSize']}-{turn}", targets=[arn], document="{}")
            if turn % 3 == 0:
                iot.delete_job(jobId=f"J{turn:04}", force=True)
        return found

    def piecewise(size: int, items: int) -> Any:
        """The same by MaxItems and StartingToken, as a program does that pauses in between."""
        found: list[str] = []
        token = None
        while True:
            pages = paginator.paginate(PaginationConfig={"MaxItems": items, "PageSize": size, "StartingToken": token})
            result = pages.build_full_result()
            found += [job["jobId"] for job in result["jobs"]]
            token = result.get("NextToken")
            if token is None:
                return found

    expected = [f"J{number:04}" for number in range(2999, 60, -1)]
    at_once = await asyncio.to_thread(read, PageSize=250)
    assert [job_id for job_id in at_once if job_id in set(expected)] == expected
    assert len(at_once) == len(set(at_once))
    in_pieces = await asyncio.to_thread(piecewise, 100, 730)
    assert [job_id for job_id in in_pieces if job_id in set(expected)] == expected
    assert len(in_pieces) == len(set(in_pieces))


async def test_what_belongs_in_the_query_string_means_nothing_in_the_body(sim: RunningSimulator) -> None:
    sim.operate("CreateThing", thingName="lamp")
    sim.operate("CreateJob", jobId="J1", targets=["arn:aws:iot:us-east-1:123456789012:thing/lamp"], document="{}")
    await sim.wait_for_status("lamp", "J1", "QUEUED")

    def delete_by_body() -> int:
        scope = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/iot/aws4_request"
        request = urllib.request.Request(  # noqa: S310 - our own
            f"{sim.http_url}/jobs/J1", b'{"force": true}', {"Authorization": scope}, method="DELETE"
        )
        with pytest.raises(HTTPError) as raised:
            urllib.request.urlopen(request, timeout=10)  # noqa: S310 - same
        with raised.value:
            return raised.value.code

    assert await asyncio.to_thread(delete_by_body) == 409
    assert sim.operate("DescribeJob", jobId="J1")["job"]["status"] == "IN_PROGRESS"
