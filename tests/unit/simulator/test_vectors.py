"""The service's worked examples, told as stories of one thing, without any network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Cloud


def ids(notification: dict[str, Any]) -> dict[str, list[str]]:
    return {status: [entry["jobId"] for entry in entries] for status, entries in notification["jobs"].items()}


@pytest.fixture
def started(cloud: Cloud) -> Any:
    """J1 in progress, J2 queued, all notifications read."""
    cloud.create_job("J1")
    cloud.now += 1
    cloud.create_job("J2")
    cloud.accepted("start-next")
    cloud.published()
    return cloud


def test_vector_01_an_idle_thing_has_two_empty_lists_and_no_next_execution(cloud: Cloud) -> None:
    now = int(cloud.now)
    assert cloud.accepted("get") == {"inProgressJobs": [], "queuedJobs": [], "timestamp": now}
    assert cloud.accepted("start-next", clientToken="t-1") == {"timestamp": now, "clientToken": "t-1"}
    assert cloud.accepted("$next/get") == {"timestamp": now}
    assert cloud.published() == []


def test_vector_02_the_first_job_is_announced_in_the_list_and_as_next(cloud: Cloud) -> None:
    cloud.create_job("J1", '{"op":"x"}')
    now = int(cloud.now)
    summary = {"jobId": "J1", "queuedAt": now, "lastUpdatedAt": now, "versionNumber": 1, "executionNumber": 1}
    assert cloud.published() == [
        ("notify", {"timestamp": now, "jobs": {"QUEUED": [summary]}}),
        (
            "notify-next",
            {
                "timestamp": now,
                "execution": {**summary, "status": "QUEUED", "jobDocument": {"op": "x"}},
            },
        ),
    ]


def test_vector_03_a_second_job_behind_the_first_is_announced_in_the_list_only(cloud: Cloud) -> None:
    cloud.create_job("J1")
    cloud.published()
    cloud.create_job("J2")
    [(topic, payload)] = cloud.published()
    assert (topic, ids(payload)) == ("notify", {"QUEUED": ["J1", "J2"]})


def test_vector_04_start_next_moves_the_first_job_in_silence_and_repeats_itself(cloud: Cloud) -> None:
    cloud.create_job("J1")
    cloud.published()
    cloud.now += 60
    first = cloud.accepted("start-next")["execution"]
    assert (first["jobId"], first["status"], first["versionNumber"]) == ("J1", "IN_PROGRESS", 2)
    assert first["startedAt"] == first["lastUpdatedAt"] == first["queuedAt"] + 60
    cloud.now += 60
    again = cloud.accepted("start-next", statusDetails={"ignored": "yes"})["execution"]
    assert again == first
    assert cloud.published() == []


def test_vector_05_a_progress_update_is_accepted_in_silence_and_counts_the_version(started: Cloud) -> None:
    answer = started.accepted("J1/update", status="IN_PROGRESS", statusDetails={"progress": "50"}, clientToken="t")
    assert answer == {"timestamp": int(started.now), "clientToken": "t"}
    assert started.accepted("J1/get")["execution"]["versionNumber"] == 3
    assert started.published() == []


def test_vector_06_a_wrong_expected_version_is_answered_with_the_state_and_its_details(started: Cloud) -> None:
    started.accepted("J1/update", status="IN_PROGRESS", statusDetails={"progress": "50"})
    answer = started.rejected("J1/update", status="IN_PROGRESS", expectedVersion=2, clientToken="t")
    assert answer == {
        "code": "VersionMismatch",
        "message": "Expected version 2 but found version 3",
        "executionState": {"status": "IN_PROGRESS", "statusDetails": {"progress": "50"}, "versionNumber": 3},
        "timestamp": int(started.now),
        "clientToken": "t",
    }


def test_vector_07_the_end_of_the_first_job_is_announced_with_the_next_one(started: Cloud) -> None:
    started.accepted("J1/update", status="IN_PROGRESS")
    assert started.accepted("J1/update", status="SUCCEEDED", expectedVersion="3") == {"timestamp": int(started.now)}
    [(topic, listed), (topic_of_next, following)] = started.published()
    assert (topic, ids(listed)) == ("notify", {"QUEUED": ["J2"]})
    assert topic_of_next == "notify-next"
    assert (following["execution"]["jobId"], following["execution"]["status"]) == ("J2", "QUEUED")


def test_vector_08_what_is_over_cannot_be_updated_nor_described_by_the_device_but_by_operators(started: Cloud) -> None:
    started.accepted("J1/update", status="IN_PROGRESS")
    started.accepted("J1/update", status="SUCCEEDED")
    started.published()
    refused = started.rejected("J1/update", status="FAILED")
    assert refused["code"] == "InvalidStateTransition"
    assert refused["executionState"] == {"status": "SUCCEEDED", "versionNumber": 4}
    described = started.rejected("J1/get")
    assert described["code"] == "TerminalStateReached"
    assert "executionState" not in described
    execution = started.operate("DescribeJobExecution", thingName="lamp", jobId="J1")["execution"]
    assert (execution["status"], execution["statusDetails"]) == ("SUCCEEDED", {})


@pytest.fixture
def overtaken(cloud: Cloud) -> Any:
    """J2 and J3 queued, J3 started out of turn; what that published is still to be read."""
    cloud.create_job("J2")
    cloud.create_job("J3")
    cloud.published()
    cloud.accepted("J3/update", status="IN_PROGRESS")
    return cloud


def test_vector_09_a_job_started_out_of_turn_becomes_the_next_one(overtaken: Cloud) -> None:
    [(topic, payload)] = overtaken.published()
    assert topic == "notify-next"
    assert (payload["execution"]["jobId"], payload["execution"]["status"]) == ("J3", "IN_PROGRESS")
    assert overtaken.accepted("start-next")["execution"]["jobId"] == "J3"


def test_vector_10_a_job_rejected_behind_the_first_changes_the_list_only(overtaken: Cloud) -> None:
    overtaken.published()
    overtaken.accepted("J2/update", status="REJECTED")
    [(topic, payload)] = overtaken.published()
    assert (topic, ids(payload)) == ("notify", {"IN_PROGRESS": ["J3"]})


def test_vector_11_deleting_a_job_by_force_takes_it_from_the_device(overtaken: Cloud) -> None:
    overtaken.accepted("J2/update", status="REJECTED")
    overtaken.published()
    overtaken.operate("DeleteJob", jobId="J3", force=True)
    now = int(overtaken.now)
    assert overtaken.published() == [("notify", {"timestamp": now, "jobs": {}}), ("notify-next", {"timestamp": now})]
    assert overtaken.rejected("J3/update", status="SUCCEEDED")["code"] == "ResourceNotFound"
    assert overtaken.rejected("J3/get")["code"] == "ResourceNotFound"


def test_vector_12_cancelling_a_job_leaves_what_is_in_progress_alone(started: Cloud) -> None:
    started.operate("CancelJob", jobId="J1")
    assert started.published() == []
    assert started.operate("DescribeJob", jobId="J1")["job"]["status"] == "CANCELED"
    started.accepted("J1/update", status="SUCCEEDED")
    assert started.operate("DescribeJobExecution", thingName="lamp", jobId="J1")["execution"]["status"] == "SUCCEEDED"
    assert started.operate("DescribeJob", jobId="J1")["job"]["status"] == "CANCELED"


def test_vector_13_an_execution_in_progress_is_canceled_by_force_only(started: Cloud) -> None:
    one = {"thingName": "lamp", "jobId": "J1"}
    assert started.refused("CancelJobExecution", **one)[0] == "InvalidStateTransition"
    assert started.refused("CancelJobExecution", **one, force=True, expectedVersion=9)[0] == "VersionConflict"
    assert started.published() == []
    started.operate("CancelJobExecution", **one, force=True, expectedVersion=2, statusDetails={"why": "because"})
    [(topic, payload), (next_topic, following)] = started.published()
    assert (topic, ids(payload)) == ("notify", {"QUEUED": ["J2"]})
    assert (next_topic, following["execution"]["jobId"]) == ("notify-next", "J2")
    execution = started.operate("DescribeJobExecution", **one)["execution"]
    assert (execution["status"], execution["forceCanceled"]) == ("CANCELED", True)
    assert execution["statusDetails"] == {"detailsMap": {"why": "because"}}


def test_vector_14_a_step_timer_starts_over_but_never_outlives_the_in_progress_timer(cloud: Cloud) -> None:
    def seconds_left() -> Any:
        return cloud.accepted("J1/get")["execution"]["approximateSecondsBeforeTimedOut"]

    noon = cloud.now
    cloud.create_job("J1", timeoutConfig={"inProgressTimeoutInMinutes": 20})
    cloud.accepted("start-next")
    assert seconds_left() == 20 * 60
    cloud.pass_time(minutes=5)
    cloud.accepted("J1/update", status="IN_PROGRESS", stepTimeoutInMinutes=7)
    assert seconds_left() == 7 * 60
    cloud.pass_time(minutes=5)
    cloud.accepted("J1/update", status="IN_PROGRESS", stepTimeoutInMinutes=5)
    assert seconds_left() == 5 * 60
    cloud.pass_time(minutes=1)
    cloud.accepted("J1/update", status="IN_PROGRESS")
    assert seconds_left() == 4 * 60
    cloud.pass_time(minutes=2)
    cloud.accepted("J1/update", status="IN_PROGRESS", stepTimeoutInMinutes=9)
    assert seconds_left() == 7 * 60
    cloud.accepted("J1/update", status="IN_PROGRESS", stepTimeoutInMinutes=-1)
    assert seconds_left() == 7 * 60
    cloud.published()
    cloud.pass_time(minutes=6, seconds=59)
    assert (seconds_left(), cloud.published()) == (1, [])
    cloud.pass_time(minutes=60)
    assert [topic for topic, _ in cloud.published()] == ["notify", "notify-next"]
    execution = cloud.operate("DescribeJobExecution", thingName="lamp", jobId="J1")["execution"]
    assert (execution["status"], execution["lastUpdatedAt"]) == ("TIMED_OUT", noon + 20 * 60)
    assert "approximateSecondsBeforeTimedOut" not in execution


def test_vector_15_a_failure_is_retried_but_a_rejection_is_not(cloud: Cloud) -> None:
    retries = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 2}]}
    cloud.create_job("J1", jobExecutionsRetryConfig=retries)
    cloud.published()
    cloud.accepted("J1/update", status="FAILED")
    [(_, listed), (_, following)] = cloud.published()
    assert [entry["executionNumber"] for entry in listed["jobs"]["QUEUED"]] == [2]
    assert (following["execution"]["executionNumber"], following["execution"]["versionNumber"]) == (2, 1)
    assert cloud.history() == [("lamp", 1, "FAILED", 0), ("lamp", 2, "QUEUED", 1)]
    assert cloud.job()["status"] == "IN_PROGRESS"
    cloud.accepted("J1/update", status="REJECTED")
    assert cloud.history() == [("lamp", 1, "FAILED", 0), ("lamp", 2, "REJECTED", 1)]
    assert cloud.job()["status"] == "COMPLETED"


def test_vector_16_a_continuous_job_follows_the_things_of_its_group(cloud: Cloud) -> None:
    group = cloud.create_group("all")
    cloud.operate("CreateJob", jobId="J1", targets=[group], document="{}", targetSelection="CONTINUOUS")
    assert cloud.published() == []
    one = {"thingName": "lamp", "thingGroupName": "all"}
    cloud.operate("AddThingToThingGroup", **one)
    assert [topic for topic, _ in cloud.published()] == ["notify", "notify-next"]
    cloud.operate("RemoveThingFromThingGroup", **one)
    assert [payload for _, payload in cloud.published()] == [
        {"timestamp": int(cloud.now), "jobs": {}},
        {"timestamp": int(cloud.now)},
    ]
    cloud.operate("AddThingToThingGroup", **one)
    assert [topic for topic, _ in cloud.published()] == ["notify", "notify-next"]
    assert cloud.history() == [("lamp", 1, "REMOVED", 0), ("lamp", 2, "QUEUED", 0)]
    cloud.accepted("J1/update", status="SUCCEEDED")
    assert cloud.job()["status"] == "IN_PROGRESS"


def test_vector_17_a_snapshot_job_is_complete_when_both_things_are_done(cloud: Cloud) -> None:
    cloud.create_thing("fan")
    cloud.create_job("J1", things=("lamp", "fan"))
    cloud.accepted("J1/update", status="SUCCEEDED")
    assert (cloud.job()["status"], cloud.counters()) == ("IN_PROGRESS", {"Succeeded": 1, "Queued": 1})
    cloud.pass_time(seconds=5)
    cloud.accepted("J1/update", thing="fan", status="FAILED")
    job = cloud.job()
    assert (job["status"], job["completedAt"], job["lastUpdatedAt"]) == ("COMPLETED", cloud.now, cloud.now)
    assert cloud.counters() == {"Succeeded": 1, "Failed": 1}


def test_vector_22_a_token_gives_the_same_page_again_and_the_last_page_has_none(cloud: Cloud) -> None:
    for number in range(5):
        cloud.create_job(f"J{number}")
    first = cloud.operate("ListJobs", maxResults=3)
    second = cloud.operate("ListJobs", maxResults=3, nextToken=first["nextToken"])
    assert [job["jobId"] for job in first["jobs"] + second["jobs"]] == ["J0", "J1", "J2", "J3", "J4"]
    assert "nextToken" not in second
    assert cloud.operate("ListJobs", maxResults=3, nextToken=first["nextToken"]) == second


def test_vector_23_no_more_than_ten_jobs_are_deleted_at_a_time(cloud: Cloud) -> None:
    for number in range(11):
        cloud.create_job(f"J{number}")
        cloud.operate("CancelJob", jobId=f"J{number}")
    for number in range(10):
        cloud.operate("DeleteJob", jobId=f"J{number}")
    assert cloud.refused("DeleteJob", jobId="J10")[0] == "LimitExceeded"
    assert len(cloud.operate("ListJobs", status="DELETION_IN_PROGRESS")["jobs"]) == 10
    cloud.pass_time(seconds=1)
    cloud.operate("DeleteJob", jobId="J10")
    assert cloud.refused("DescribeJob", jobId="J0") == ("ResourceNotFound", "Job J0 does not exist")


@pytest.mark.parametrize(
    "details",
    [
        {"log": "two\nlines"},
        {"log": ""},
        {"log": "x" * 1025},
        {f"key-{number}": "x" for number in range(11)},
        {"count": 3},
        {"log": "zero\u200bwidth"},
        {"": "x"},
        {"no spaces": "x"},
        {"k" * 129: "x"},
        ["list"],
        "text",
    ],
)
def test_vector_24_status_details_out_of_bounds_are_refused_and_change_nothing(started: Cloud, details: Any) -> None:
    before = started.accepted("J1/get")["execution"]
    assert started.rejected("J1/update", status="IN_PROGRESS", statusDetails=details)["code"] == "InvalidRequest"
    assert started.rejected("start-next", statusDetails=details)["code"] == "InvalidRequest"
    assert started.accepted("J1/get")["execution"] == before


@pytest.mark.parametrize(
    "payload",
    [b"[1,2]", b"{bad", b'"text"', b"\xff\xfe", b"null", b'{"a":NaN}', b"\xef\xbb\xbf{}", b"[" * 100_000, b"9" * 5000],
    ids=lambda payload: payload[:8],
)
@pytest.mark.parametrize(
    "request_topic", ["get", "start-next", "J1/get", "J1/update", "$next/get", "J1/namespace-n/get"]
)
def test_vector_25_a_payload_that_is_not_a_json_object_is_refused_on_the_operations_topic(
    started: Cloud, request_topic: str, payload: bytes
) -> None:
    verdict, answer = started.send(f"$aws/things/lamp/jobs/{request_topic}", payload)
    assert (verdict, answer["code"]) == ("rejected", "InvalidJson")
    assert set(answer) == {"code", "message", "timestamp"}


def test_vector_28_the_document_is_an_object_over_mqtt_and_a_string_over_http(cloud: Cloud) -> None:
    text = '{ "op": "x", "huge": 1e400 , "twice": 1, "twice": 2 }'
    cloud.create_job("J1", text)
    assert cloud.accepted("J1/get")["execution"]["jobDocument"] == {"op": "x", "huge": float("inf"), "twice": 2}
    over_http = cloud.data.answer_http("DescribeJobExecution", {"thingName": "lamp", "jobId": "J1"}, {}, cloud.now)
    assert over_http["execution"]["jobDocument"] == text
    assert cloud.operate("GetJobDocument", jobId="J1") == {"document": text}
