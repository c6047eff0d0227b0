"""Events about jobs and executions, in order, for every cause (developer guide, page events-jobs)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_simulator import payloads
from iot_jobs_simulator.jobs import events

if TYPE_CHECKING:
    from conftest import Cloud

ON = {"JOB": {"Enabled": True}, "JOB_EXECUTION": {"Enabled": True}}


@pytest.fixture
def watched(cloud: Cloud) -> Any:
    """J1 for the lamp and a fan, both queued, notifications read; from now on there are events."""
    cloud.create_thing("fan")
    cloud.create_group("all", "lamp", "fan")
    cloud.create_job("J1", things=("lamp", "fan"), description="words")
    cloud.operate("UpdateEventConfigurations", eventConfigurations=ON)
    cloud.store.take_publications()
    return cloud


def told(cloud: Cloud) -> list[str]:
    """The topics of what was published since it was last asked, without what they begin with."""
    prefixes = ("$aws/things/", "$aws/events/")
    topics = [publication.topic for publication in cloud.store.take_publications()]
    return [topic.removeprefix(prefixes[0]).removeprefix(prefixes[1]) for topic in topics]


def only_events(cloud: Cloud) -> list[str]:
    return [topic for topic in told(cloud) if topic.startswith("job")]


def payload(cloud: Cloud, topic: str) -> Any:
    [found] = [each.payload for each in cloud.store.take_publications() if each.topic == f"$aws/events/{topic}"]
    return json.loads(payloads.encode(found))


class TestSwitches:
    def test_nothing_is_on_at_first(self, cloud: Cloud) -> None:
        answer = cloud.operate("DescribeEventConfigurations")
        assert answer == {"eventConfigurations": {kind: {"Enabled": False} for kind in events.TYPES}}
        cloud.create_job("J1")
        cloud.published()
        cloud.accepted("J1/update", status="SUCCEEDED")
        assert told(cloud) == ["lamp/jobs/notify", "lamp/jobs/notify-next"]

    def test_each_is_changed_alone_and_the_times_are_told(self, cloud: Cloud) -> None:
        begun = cloud.now
        cloud.operate("UpdateEventConfigurations", eventConfigurations={"JOB": {"Enabled": True}})
        cloud.pass_time(seconds=5)
        assert (
            cloud.operate("UpdateEventConfigurations", eventConfigurations={"JOB_EXECUTION": {"Enabled": True}}) == {}
        )
        answer = cloud.operate("DescribeEventConfigurations")
        assert {kind for kind, each in answer["eventConfigurations"].items() if each["Enabled"]} == set(ON)
        assert (answer["creationDate"], answer["lastModifiedDate"]) == (begun, cloud.now)
        cloud.operate("UpdateEventConfigurations", eventConfigurations={"JOB": {"Enabled": False}, "THING": {}})
        cloud.create_job("J1")
        cloud.published()
        cloud.accepted("J1/update", status="SUCCEEDED")
        assert only_events(cloud) == ["jobExecution/J1/succeeded"]

    def test_no_change_is_a_change(self, cloud: Cloud) -> None:
        assert cloud.operate("UpdateEventConfigurations") == {}
        assert cloud.operate("DescribeEventConfigurations")["creationDate"] == cloud.now

    @pytest.mark.parametrize(
        ("configurations", "words"),
        [
            ({"THING": {"Enabled": True}}, "Events of type THING are not supported by this simulator"),
            ({"JOBS": {"Enabled": True}}, "Member must satisfy enum value set: [THING, THING_GROUP"),
            ({"JOB": {"Enabled": "yes"}}, "Member must be of type boolean"),
        ],
    )
    def test_others_are_refused_and_nothing_changes(
        self, cloud: Cloud, configurations: dict[str, Any], words: str
    ) -> None:
        code, message = cloud.refused("UpdateEventConfigurations", eventConfigurations=ON | configurations)
        assert (code, words in message) == ("InvalidRequest", True), message
        assert not cloud.store.event_switches.is_on("JOB_EXECUTION")


def test_vector_27_a_cancellation_is_told_when_it_begins_and_when_it_is_over(watched: Cloud) -> None:
    watched.operate("CancelJob", jobId="J1", comment="enough")
    assert told(watched) == [
        "job/J1/cancellation_in_progress",
        "fan/jobs/notify",
        "fan/jobs/notify-next",
        "jobExecution/J1/canceled",
        "lamp/jobs/notify",
        "lamp/jobs/notify-next",
        "jobExecution/J1/canceled",
        "job/J1/canceled",
    ]


def test_a_deletion_is_told_when_it_begins_and_when_it_is_over(watched: Cloud) -> None:
    watched.operate("DeleteJob", jobId="J1", force=True)
    assert only_events(watched) == ["job/J1/deletion_in_progress", *["jobExecution/J1/deleted"] * 2]
    watched.pass_time(seconds=1)
    assert only_events(watched) == ["job/J1/deleted"]


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "REJECTED"])
def test_the_end_that_a_device_reports_is_told_after_its_notifications(watched: Cloud, status: str) -> None:
    watched.accepted("start-next")
    watched.accepted("J1/update", status="IN_PROGRESS", statusDetails={"a": "1"})
    assert told(watched) == []
    watched.accepted("J1/update", status=status)
    assert told(watched) == ["lamp/jobs/notify", "lamp/jobs/notify-next", f"jobExecution/J1/{status.lower()}"]


def test_a_completion_is_told_after_the_last_execution(watched: Cloud) -> None:
    watched.accepted("J1/update", status="SUCCEEDED")
    watched.accepted("J1/update", "fan", status="FAILED")
    assert only_events(watched) == ["jobExecution/J1/succeeded", "jobExecution/J1/failed", "job/J1/completed"]


class TestCauses:
    def test_a_time_out(self, watched: Cloud) -> None:
        watched.accepted("start-next", stepTimeoutInMinutes=1)
        watched.pass_time(minutes=1)
        assert only_events(watched) == ["jobExecution/J1/timed_out"]

    def test_an_attempt_that_is_retried(self, watched: Cloud) -> None:
        retries = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}
        watched.create_job("J2", jobExecutionsRetryConfig=retries)
        watched.store.take_publications()
        watched.accepted("J2/update", status="FAILED")
        watched.accepted("J2/update", status="FAILED")
        assert only_events(watched) == ["jobExecution/J2/failed", "jobExecution/J2/failed", "job/J2/completed"]

    def test_an_abort(self, watched: Cloud) -> None:
        rule = {"failureType": "ALL", "action": "CANCEL", "thresholdPercentage": 1, "minNumberOfExecutedThings": 1}
        watched.operate("UpdateJob", jobId="J1", abortConfig={"criteriaList": [rule]})
        watched.accepted("J1/update", status="FAILED")
        assert only_events(watched) == [
            "jobExecution/J1/failed",
            "job/J1/cancellation_in_progress",
            "jobExecution/J1/canceled",
            "job/J1/canceled",
        ]

    def test_a_thing_that_leaves_and_one_that_is_deleted_in_silence(self, watched: Cloud) -> None:
        group = "arn:aws:iot:us-east-1:123456789012:thinggroup/all"
        more = {"targets": [group], "document": "{}", "targetSelection": "CONTINUOUS"}
        watched.operate("CreateJob", jobId="J2", **more)
        watched.store.take_publications()
        watched.operate("RemoveThingFromThingGroup", thingName="lamp", thingGroupName="all")
        assert told(watched) == ["lamp/jobs/notify", "jobExecution/J2/removed"]
        watched.operate("DeleteThing", thingName="lamp")
        assert told(watched) == ["jobExecution/J1/removed"]

    def test_an_execution_that_an_operator_cancels_or_deletes(self, watched: Cloud) -> None:
        watched.operate("CancelJobExecution", thingName="lamp", jobId="J1")
        watched.operate("DeleteJobExecution", thingName="fan", jobId="J1", executionNumber=1)
        assert only_events(watched) == ["jobExecution/J1/canceled", "jobExecution/J1/deleted", "job/J1/completed"]

    @pytest.mark.parametrize("behavior", ["CANCEL", "FORCE_CANCEL"])
    def test_the_end_of_a_job_by_its_schedule(self, watched: Cloud, behavior: str) -> None:
        watched.now = 1_700_000_040.0  # a whole minute
        schedule = {"endTime": "2023-11-14T23:14", "endBehavior": behavior}
        watched.create_job("J2", schedulingConfig=schedule)
        watched.store.take_publications()
        watched.pass_time(minutes=60)
        assert only_events(watched) == ["jobExecution/J2/canceled", "job/J2/completed"]

    def test_what_begins_is_no_event(self, watched: Cloud) -> None:
        watched.create_job("J2")
        watched.accepted("start-next")
        assert only_events(watched) == []


class TestPayloads:
    def test_of_a_completed_job(self, watched: Cloud) -> None:
        created_ms = round(1000 * watched.now)
        watched.accepted("J1/update", status="REJECTED")
        watched.pass_time(seconds=1.5)
        watched.accepted("J1/update", "fan", status="SUCCEEDED")
        event = payload(watched, "job/J1/completed")
        assert len(event.pop("eventId")) == 36
        assert event == {
            "eventType": "JOB",
            "timestamp": int(watched.now),
            "operation": "completed",
            "jobId": "J1",
            "status": "COMPLETED",
            "targetSelection": "SNAPSHOT",
            "targets": watched.job()["targets"],
            "description": "words",
            "createdAt": created_ms,
            "lastUpdatedAt": created_ms + 1500,
            "completedAt": created_ms + 1500,
            "jobProcessDetails": {
                "numberOfCanceledThings": 0,
                "numberOfRejectedThings": 1,
                "numberOfFailedThings": 0,
                "numberOfRemovedThings": 0,
                "numberOfSucceededThings": 1,
            },
        }

    @pytest.mark.parametrize(
        ("operation", "topic", "status", "has_comment"),
        [
            ("CancelJob", "cancellation_in_progress", "CANCELLATION_IN_PROGRESS", True),
            ("CancelJob", "canceled", "CANCELED", False),
            ("DeleteJob", "deletion_in_progress", "DELETION_IN_PROGRESS", True),
            ("DeleteJob", "deleted", "DELETED", True),
        ],
    )
    def test_of_a_job_that_is_ended(
        self, watched: Cloud, operation: str, topic: str, status: str, has_comment: bool
    ) -> None:
        watched.store.jobs["J1"].comment = "enough"
        watched.operate(operation, jobId="J1", force=True)
        watched.pass_time(seconds=1)
        event = payload(watched, f"job/J1/{topic}")
        assert (event["status"], event["operation"], "comment" in event) == (status, topic, has_comment)
        assert "completedAt" not in event

    def test_of_an_execution(self, watched: Cloud) -> None:
        watched.accepted("J1/update", status="FAILED", statusDetails={"why": "because"})
        event = payload(watched, "jobExecution/J1/failed")
        assert len(event.pop("eventId")) == 36
        assert event == {
            "eventType": "JOB_EXECUTION",
            "timestamp": int(watched.now),
            "operation": "failed",
            "jobId": "J1",
            "thingArn": "arn:aws:iot:us-east-1:123456789012:thing/lamp",
            "status": "FAILED",
            "statusDetails": {"why": "because"},
        }

    def test_of_an_execution_without_details(self, watched: Cloud) -> None:
        watched.operate("DeleteJobExecution", thingName="lamp", jobId="J1", executionNumber=1)
        event = payload(watched, "jobExecution/J1/deleted")
        assert (event["status"], "statusDetails" in event) == ("DELETED", False)
