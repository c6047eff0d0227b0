"""Lists and their order, while what they list comes and goes."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_jobs_simulator import ordered as ordered_module
from iot_jobs_simulator.jobs import listing
from iot_jobs_simulator.ordered import Ordered

if TYPE_CHECKING:
    from conftest import Cloud


def ids(page: dict[str, Any]) -> list[str]:
    return [job["jobId"] for job in page["jobs"]]


@pytest.fixture
def mixed(cloud: Cloud) -> Any:
    """A second apart: J1, J2 for the group club, J2, J3 for the group house, J3 continuous, J4 for a thing."""
    club, house = cloud.create_group("club", "lamp"), cloud.create_group("house")
    thing = cloud.store.registry.find("lamp").arn
    for job_id, targets, selection in (
        ("J1", [club], "SNAPSHOT"),
        ("J2", [club, house], "SNAPSHOT"),
        ("J3", [house], "CONTINUOUS"),
        ("J4", [thing], "SNAPSHOT"),
    ):
        cloud.pass_time(seconds=1)
        cloud.operate("CreateJob", jobId=job_id, targets=targets, document="{}", targetSelection=selection)
    return cloud


class TestGroupFilter:
    def group_id(self, cloud: Cloud, name: str) -> Any:
        return cloud.operate("DescribeThingGroup", thingGroupName=name)["thingGroupId"]

    def test_jobs_of_a_group_are_found_by_its_name_and_its_id(self, mixed: Cloud) -> None:
        assert ids(mixed.operate("ListJobs", thingGroupName="club")) == ["J2", "J1"]
        assert ids(mixed.operate("ListJobs", thingGroupId=self.group_id(mixed, "house"))) == ["J3", "J2"]
        both = {"thingGroupName": "club", "thingGroupId": self.group_id(mixed, "club")}
        assert ids(mixed.operate("ListJobs", **both)) == ["J2", "J1"]
        both["thingGroupName"] = "house"
        assert mixed.operate("ListJobs", **both) == {"jobs": []}

    def test_filters_add_up(self, mixed: Cloud) -> None:
        mixed.operate("CancelJob", jobId="J2")
        house = {"thingGroupName": "house"}
        assert ids(mixed.operate("ListJobs", **house)) == ["J3", "J2"]
        assert ids(mixed.operate("ListJobs", **house, status="CANCELED")) == ["J2"]
        assert ids(mixed.operate("ListJobs", **house, targetSelection="CONTINUOUS")) == ["J3"]
        assert ids(mixed.operate("ListJobs", **house, targetSelection="SNAPSHOT", status="COMPLETED")) == []
        assert ids(mixed.operate("ListJobs", **house, namespaceId="team")) == []

    def test_summaries_name_the_group_that_was_asked_for_or_the_first_one(self, mixed: Cloud) -> None:
        club, house = self.group_id(mixed, "club"), self.group_id(mixed, "house")
        everything = {job["jobId"]: job.get("thingGroupId") for job in mixed.operate("ListJobs")["jobs"]}
        assert everything == {"J1": club, "J2": club, "J3": house, "J4": None}
        assert {job["thingGroupId"] for job in mixed.operate("ListJobs", thingGroupName="house")["jobs"]} == {house}

    def test_a_group_that_does_not_exist_is_not_found(self, mixed: Cloud) -> None:
        for name, value in (("thingGroupName", "attic"), ("thingGroupId", "0-0")):
            assert mixed.refused("ListJobs", **{name: value})[0] == "ResourceNotFound"

    def test_a_group_that_was_associated_later_counts(self, mixed: Cloud) -> None:
        club = mixed.store.registry.groups.find("club").arn
        mixed.operate("AssociateTargetsWithJob", jobId="J3", targets=[club])
        assert ids(mixed.operate("ListJobs", thingGroupName="club")) == ["J3", "J2", "J1"]


def test_a_summary_has_its_times_and_says_whether_it_is_rolled_out(mixed: Cloud) -> None:
    mixed.operate("CancelJobExecution", thingName="lamp", jobId="J4")
    summary = next(job for job in mixed.operate("ListJobs")["jobs"] if job["jobId"] == "J4")
    assert summary == {
        "jobArn": "arn:aws:iot:us-east-1:123456789012:job/J4",
        "jobId": "J4",
        "targetSelection": "SNAPSHOT",
        "status": "COMPLETED",
        "createdAt": mixed.now,
        "lastUpdatedAt": mixed.now,
        "completedAt": mixed.now,
        "isConcurrent": False,
    }


def test_jobs_of_the_same_second_come_by_id(cloud: Cloud) -> None:
    for job_id in ("b", "c", "a"):
        cloud.create_job(job_id)
    assert ids(cloud.operate("ListJobs")) == ["a", "b", "c"]


def test_a_token_that_nests_beyond_reason_is_invalid(cloud: Cloud) -> None:
    token = base64.urlsafe_b64encode(b"[" * 100_000).decode()
    assert cloud.refused("ListJobs", nextToken=token)[0] == "InvalidRequest"


@pytest.mark.parametrize("key", [["a", 1, 1], [1, 2], [1, 2, 3], [0, float("inf"), None], {"a": 1}, 5])
def test_a_token_of_another_list_is_invalid_even_if_this_one_is_empty(cloud: Cloud, key: Any) -> None:
    token = base64.urlsafe_b64encode(json.dumps(key).encode()).decode()
    assert cloud.refused("ListJobs", nextToken=token)[0] == "InvalidRequest"
    assert cloud.refused("ListThings", nextToken=token)[0] == "InvalidRequest"


def test_a_job_that_stays_is_listed_once_whatever_comes_and_goes_between_pages(cloud: Cloud) -> None:
    for number in range(40):
        cloud.pass_time(seconds=1)
        cloud.create_job(f"old-{number:02}")
    leaving = {f"old-{number:02}" for number in range(0, 40, 3)}
    seen: list[str] = []
    members: dict[str, Any] = {"maxResults": 7}
    for turn in range(20):
        page = cloud.operate("ListJobs", **members)
        seen += ids(page)
        if "nextToken" not in page:
            break
        members["nextToken"] = page["nextToken"]
        cloud.pass_time(seconds=1)
        cloud.create_job(f"new-{turn}")
        cloud.operate("DeleteJob", jobId=sorted(leaving)[turn], force=True)
    staying = [f"old-{number:02}" for number in range(39, -1, -1) if number % 3]
    assert [job_id for job_id in seen if job_id in staying] == staying


keys = st.lists(st.integers(0, 30), unique=True)


@given(keys, st.integers(1, 7), st.integers(-1, 31))
def test_pages_of_an_ordered_collection_are_the_sorted_entries(entries: list[int], size: int, start: int) -> None:
    ordered: Ordered[int] = Ordered(lambda entry: (entry,))
    for entry in entries:
        ordered.add(entry)
    assert [entry for _, entry in ordered.after((start,))] == sorted(entry for entry in entries if entry > start)
    read: list[int] = []
    token = None
    while True:
        page, token = listing.page(ordered.after, token=token, size=size, kinds=(float,))
        assert len(page) <= size
        read += page
        if token is None:
            break
    assert read == sorted(entries)


@given(keys, st.data())
def test_an_ordered_collection_forgets_what_is_taken_out(entries: list[int], data: st.DataObject) -> None:
    ordered: Ordered[int] = Ordered(lambda entry: (entry,))
    for entry in entries:
        ordered.add(entry)
    gone = data.draw(st.sets(st.sampled_from(entries))) if entries else set()
    for entry in gone:
        ordered.remove(entry)
    assert list(ordered) == sorted(set(entries) - gone)
    assert (len(ordered), ordered.first(2)) == (len(entries) - len(gone), list(ordered)[:2])


@given(st.lists(st.integers(0, 60), max_size=60), st.integers(-1, 61), st.integers(1, 12))
def test_a_collection_in_many_chunks_is_the_sorted_list_of_what_is_in_it(
    moves: list[int], key: int, count: int
) -> None:
    """Each number moves in, or out again if it is in already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordered_module, "_CHUNK", 3)
        ordered: Ordered[int] = Ordered(lambda entry: (entry,))
        known: set[int] = set()
        for entry in moves:
            if entry in known:
                ordered.remove(entry)
            else:
                ordered.add(entry)
            known ^= {entry}
            wanted = sorted(known)
            assert (list(ordered), len(ordered)) == (wanted, len(wanted))
            assert ordered.first(count) == wanted[:count]
            assert ordered.head == next(iter(wanted), None)
            assert [each for _, each in ordered.after((key,))] == [each for each in wanted if each > key]
