"""What the page reads: rows by their position, and the course of a rollout. Time is set by hand."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_jobs_simulator.jobs.execution import ExecutionStatus
from iot_jobs_simulator.ordered import Ordered
from iot_jobs_simulator.page.history import POINTS, history_of
from iot_jobs_simulator.page.rows import rows, totals
from iot_jobs_simulator.refusals import Refused

if TYPE_CHECKING:
    from conftest import Cloud


def look(cloud: Cloud, kind: str, **query: str) -> dict[str, Any]:
    return json.loads(json.dumps(rows(cloud.store, kind, query)))


def history(cloud: Cloud, job_id: str = "J1") -> dict[str, Any]:
    *slices, found = history_of(cloud.store, cloud.store.find_job(job_id), cloud.now)
    assert set(slices) <= {None}
    assert found is not None
    return found


@pytest.fixture
def fleet(cloud: Cloud) -> Cloud:
    """A group of five things, and two jobs for them."""
    names = [f"t{number}" for number in range(5)]
    for name in names:
        cloud.operate("CreateThing", thingName=name, attributePayload={"attributes": {"model": "pi"}})
    cloud.create_group("all", *names)
    for job_id in ("J0", "J1"):
        cloud.create_job(job_id, things=tuple(names))
        cloud.pass_time(seconds=1)
    return cloud


@given(st.integers(0, 2600), st.integers(0, 60), st.integers(0, 60))
def test_entries_are_found_by_their_position_in_any_chunk(size: int, begin: int, count: int) -> None:
    ordered: Ordered[int] = Ordered(lambda number: (number,))
    for number in range(size):
        ordered.add(number)
    for first in (begin, 480 + begin, 980 + begin, size - begin):
        first = max(0, first)  # noqa: PLW2901 - none is before the first
        assert list(ordered.between(first, first + count)) == list(range(size))[first : first + count]


def test_jobs_are_shown_newest_first_with_the_counts_of_their_executions(fleet: Cloud) -> None:
    fleet.accepted("start-next", "t1")
    found = look(fleet, "jobs")
    assert [(row["jobId"], row["executions"]) for row in found["rows"]] == [
        ("J1", {"QUEUED": 5}),
        ("J0", {"QUEUED": 4, "IN_PROGRESS": 1}),
    ]
    assert (found["total"], found["first"]) == (2, 0)
    assert [row["jobId"] for row in look(fleet, "jobs", first="1", count="1")["rows"]] == ["J0"]


def test_things_that_wait_for_a_rollout_are_counted(fleet: Cloud) -> None:
    fleet.create_job(
        "slow", things=tuple(f"t{number}" for number in range(5)), jobExecutionsRolloutConfig={"maximumPerMinute": 2}
    )
    fleet.pass_time(seconds=1)
    slow = look(fleet, "jobs")["rows"][0]
    assert (slow["executions"], slow["waiting"]) == ({"QUEUED": 2}, 3)


def test_things_and_groups_are_shown_by_name(fleet: Cloud) -> None:
    things = look(fleet, "things", first="4", count="10")
    assert things["total"] == 6  # with lamp
    assert things["rows"][0] == {
        "thingName": "t3",
        "thingArn": "arn:aws:iot:us-east-1:123456789012:thing/t3",
        "attributes": {"model": "pi"},
        "thingGroups": ["all"],
        "executions": 2,
    }
    fleet.create_group("some", parent="all")
    groups = look(fleet, "groups")["rows"]
    assert [(row["thingGroupName"], row["parentGroupName"], row["things"]) for row in groups] == [
        ("all", "", 5),
        ("some", "all", 0),
    ]
    assert totals(fleet.store) == {"jobs": 2, "things": 6, "groups": 2}


def test_executions_are_those_of_a_job_or_of_a_thing_and_of_a_status(fleet: Cloud) -> None:
    fleet.accepted("start-next", "t1")
    of_job = look(fleet, "executions", job="J0", first="1", count="2")
    assert (of_job["total"], [row["thingName"] for row in of_job["rows"]]) == (5, ["t1", "t2"])
    assert of_job["rows"][0]["status"] == "IN_PROGRESS"
    of_thing = look(fleet, "executions", thing="t1")
    assert [(row["jobId"], row["status"]) for row in of_thing["rows"]] == [("J1", "QUEUED"), ("J0", "IN_PROGRESS")]
    queued = look(fleet, "executions", job="J0", status="QUEUED", first="1", count="2")
    assert (queued["total"], [row["thingName"] for row in queued["rows"]]) == (4, ["t2", "t3"])
    assert look(fleet, "executions", thing="t1", status="QUEUED")["total"] == 1
    assert look(fleet, "executions", job="J0", status="FAILED") == {"total": 0, "first": 0, "rows": []}


@pytest.mark.parametrize(
    ("kind", "query", "words"),
    [
        ("widgets", {}, "There is no list of widgets; there are jobs, things, groups, executions"),
        ("jobs", {"first": "-1"}, "first must be a whole number from 0 to 1000000000"),
        ("jobs", {"count": "501"}, "count must be a whole number from 0 to 500"),
        ("jobs", {"count": "٣"}, "count must be"),
        ("jobs", {"count": "9" * 5000}, "count must be"),
        ("executions", {}, "Name either a job or a thing"),
        ("executions", {"job": "J1", "thing": "t1"}, "Name either a job or a thing"),
        ("executions", {"job": "J1", "status": "LATE"}, "status must be one of QUEUED"),
        ("executions", {"job": "none"}, "Job none does not exist"),
        ("executions", {"thing": "none"}, "Thing none not found"),
    ],
)
def test_what_is_wrong_with_a_request_for_rows_is_said(
    fleet: Cloud, kind: str, query: dict[str, str], words: str
) -> None:
    with pytest.raises(Refused) as raised:
        rows(fleet.store, kind, query)
    assert words in raised.value.message


def test_a_history_has_the_counts_of_every_moment(fleet: Cloud) -> None:
    began_at = fleet.store.find_job("J1").created_at
    counted: dict[int, dict[str, int]] = {}

    def count() -> None:
        counted[round(fleet.now - began_at)] = Counter(str(each.status) for each in fleet.store.executions_of_job("J1"))

    def wait(seconds: float) -> None:
        fleet.pass_time(seconds=seconds - 0.5)
        count()
        fleet.pass_time(seconds=0.5)

    fleet.pass_time(seconds=0.5)  # what happens, happens at half seconds
    wait(9)
    for thing, status in (("t0", "SUCCEEDED"), ("t1", "FAILED"), ("t2", "REJECTED")):
        if status != "REJECTED":
            fleet.accepted("J1/update", thing, status="IN_PROGRESS")
        wait(10)
        fleet.accepted("J1/update", thing, status=status)
        wait(10)
    fleet.operate("CancelJob", jobId="J1", force=True)
    wait(20)
    fleet.now = began_at + POINTS - 1
    fleet.store.find_job("J1").last_updated_at = fleet.now  # so that there is a point for each second
    found = history(fleet)["executions"]
    for second, wanted in counted.items():
        assert {status: numbers[second] for status, numbers in found.items() if numbers[second]} == wanted, second
    assert {status: numbers[-1] for status, numbers in found.items() if numbers[-1]} == {
        "SUCCEEDED": 1,
        "FAILED": 1,
        "REJECTED": 1,
        "CANCELED": 2,
    }


def test_a_history_goes_on_while_the_job_does_and_ends_with_its_last_execution(fleet: Cloud) -> None:
    fleet.accepted("J1/update", "t0", status="IN_PROGRESS")
    fleet.pass_time(minutes=10)
    assert history(fleet)["end"] == pytest.approx(fleet.now, abs=0.002)
    fleet.operate("CancelJob", jobId="J1")
    fleet.pass_time(minutes=10)
    fleet.accepted("J1/update", "t0", status="SUCCEEDED")
    ended_at = fleet.now
    fleet.pass_time(minutes=60)
    found = history(fleet)
    assert found["end"] == pytest.approx(ended_at, abs=0.002)
    assert (found["executions"]["SUCCEEDED"][-2:], found["executions"]["IN_PROGRESS"][-2:]) == ([0, 1], [1, 0])


def test_a_job_without_executions_has_an_empty_history(cloud: Cloud) -> None:
    cloud.create_thing()
    cloud.operate("CreateJob", jobId="J1", targets=[cloud.create_group("none")], document="{}")
    assert history(cloud)["executions"] == {}


def test_a_history_is_made_in_slices_between_which_executions_may_go(cloud: Cloud) -> None:
    names = [f"t{number:04}" for number in range(1200)]
    for name in names:
        cloud.create_thing(name)
    cloud.operate("CreateJob", jobId="J1", targets=[cloud.create_group("all", *names)], document="{}")
    cloud.pass_time(minutes=2)
    steps = history_of(cloud.store, cloud.store.find_job("J1"), cloud.now)
    assert next(steps) is None
    cloud.operate("DeleteJob", jobId="J1", force=True)
    cloud.pass_time(minutes=2)
    *slices, found = steps
    assert (slices, found is not None and found["executions"][ExecutionStatus.QUEUED][-1]) == ([], 250)
