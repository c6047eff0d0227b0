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
                "execution": {**summary, "thingName": "lamp", "status": "QUEUED", "jobDocument": {"op": "x"}},
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


def test_vector_12_cancelling_a_job_leaves_what_is_in_progress_alone(started: Cloud) -> None:
    started.operate("CancelJob", jobId="J1")
    assert started.published() == []
    assert started.operate("DescribeJob", jobId="J1")["job"]["status"] == "CANCELED"
    started.accepted("J1/update", status="SUCCEEDED")
    assert started.operate("DescribeJobExecution", thingName="lamp", jobId="J1")["execution"]["status"] == "SUCCEEDED"
    assert started.operate("DescribeJob", jobId="J1")["job"]["status"] == "CANCELED"


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
def test_vector_25_a_payload_that_is_no_json_object_is_refused_on_the_operations_topic(
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
