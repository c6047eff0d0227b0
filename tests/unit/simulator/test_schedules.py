"""Start, end and maintenance windows of a job (developer guide, page jobs-configurations-details). UTC throughout."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_simulator.jobs.settings import ServiceSettings

if TYPE_CHECKING:
    from conftest import Cloud

MONDAY = datetime(2026, 11, 30, 12, tzinfo=UTC)
GROUP = "arn:aws:iot:us-east-1:123456789012:thinggroup/all"
RETRY_ONCE = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}


def written(**later: float) -> str:
    return f"{MONDAY + timedelta(**later):%Y-%m-%dT%H:%M}"


def window(fields: str = "0 14 * * ? *", minutes: int = 60) -> dict[str, Any]:
    return {"startTime": f"cron({fields})", "durationInMinutes": minutes}


def windows(*each: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"startTime": written(hours=1), "maintenanceWindows": list(each or [window()])} | more


@pytest.fixture
def noon(cloud: Cloud) -> Any:
    """Monday noon; the lamp and a fan are in the group all, a radio is in none."""
    cloud.now = MONDAY.timestamp()
    for name in ("fan", "radio"):
        cloud.create_thing(name)
    cloud.create_group("all", "lamp", "fan")
    return cloud


def create(cloud: Cloud, schedule: dict[str, Any], selection: str = "CONTINUOUS", **more: Any) -> None:
    members = {"jobId": "J1", "targets": [GROUP], "document": "{}", "targetSelection": selection}
    cloud.operate("CreateJob", **members, schedulingConfig=schedule, **more)
    cloud.store.take_publications()


def at(cloud: Cloud, hour: float, day: int = 0) -> None:
    """Let time pass until an hour of Monday, or of a day after it."""
    cloud.pass_time(seconds=(MONDAY + timedelta(days=day, hours=hour - 12)).timestamp() - cloud.now)


def topics(cloud: Cloud) -> list[str]:
    return [publication.topic.removeprefix("$aws/things/") for publication in cloud.store.take_publications()]


@pytest.mark.parametrize("settings", [ServiceSettings(schedule_lead_s=0)])
def test_the_half_hour_can_be_switched_off(noon: Cloud) -> None:
    create(noon, {"startTime": written(minutes=1), "endTime": written(minutes=2)}, "SNAPSHOT")


def test_bounds_are_inclusive(noon: Cloud) -> None:
    create(noon, {"startTime": written(minutes=30), "endTime": written(hours=1)}, "SNAPSHOT")
    noon.operate("DeleteJob", jobId="J1", force=True)
    noon.pass_time(seconds=1)
    noon.now = MONDAY.timestamp()
    create(noon, {"startTime": written(days=365), "endTime": written(days=730)}, "SNAPSHOT")


class TestStart:
    def test_a_job_is_scheduled_until_it_starts(self, noon: Cloud) -> None:
        create(noon, {"startTime": written(hours=2)}, "SNAPSHOT")
        job = noon.job()
        assert (job["status"], job["isConcurrent"], noon.history()) == ("SCHEDULED", False, [])
        assert job["schedulingConfig"] == {"startTime": written(hours=2)}
        assert "scheduledJobRollouts" not in job
        assert [each["jobId"] for each in noon.operate("ListJobs", status="SCHEDULED")["jobs"]] == ["J1"]
        noon.pass_time(seconds=2 * 3600 - 1)
        assert (noon.job()["status"], topics(noon)) == ("SCHEDULED", [])
        noon.pass_time(seconds=1)
        assert (noon.job()["status"], noon.counters()) == ("IN_PROGRESS", {"Queued": 2})
        assert topics(noon) == [f"{name}/jobs/{kind}" for name in ("fan", "lamp") for kind in ("notify", "notify-next")]
        assert noon.operate("ListJobs", status="SCHEDULED")["jobs"] == []

    def test_it_is_rolled_out_at_its_rate(self, noon: Cloud) -> None:
        schedule = {"startTime": written(hours=2)}
        create(noon, schedule, "SNAPSHOT", jobExecutionsRolloutConfig={"maximumPerMinute": 1})
        noon.pass_time(minutes=120)
        assert noon.counters() == {"Queued": 1}
        noon.pass_time(minutes=1)
        assert noon.counters() == {"Queued": 2}

    def test_a_thing_that_joins_before_it_gets_its_execution_then(self, noon: Cloud) -> None:
        create(noon, {"startTime": written(hours=2)})
        noon.operate("AddThingToThingGroup", thingName="radio", thingGroupName="all")
        noon.operate("RemoveThingFromThingGroup", thingName="fan", thingGroupName="all")
        assert noon.history() == []
        noon.pass_time(minutes=120)
        assert [thing for thing, *_ in noon.history()] == ["lamp", "radio"]

    def test_a_thing_that_joins_and_leaves_before_it_gets_nothing(self, noon: Cloud) -> None:
        create(noon, {"startTime": written(hours=2)})
        for operation in ("AddThingToThingGroup", "RemoveThingFromThingGroup"):
            noon.operate(operation, thingName="radio", thingGroupName="all")
        noon.pass_time(minutes=120)
        assert [thing for thing, *_ in noon.history()] == ["fan", "lamp"]

    @pytest.mark.parametrize("end", ["CancelJob", "DeleteJob"])
    def test_a_job_that_is_canceled_or_deleted_before_never_starts(self, noon: Cloud, end: str) -> None:
        create(noon, {"startTime": written(hours=2)}, "SNAPSHOT")
        noon.operate(end, jobId="J1", force=True)
        noon.pass_time(minutes=180)
        assert topics(noon) == []

    def test_groups_can_be_associated_only_once_it_has_started(self, noon: Cloud) -> None:
        create(noon, {"startTime": written(hours=2)})
        assert noon.refused("AssociateTargetsWithJob", jobId="J1", targets=[GROUP])[0] == "InvalidRequest"

    @pytest.mark.parametrize("settings", [ServiceSettings(concurrent_jobs=2)])
    def test_a_job_that_finds_no_room_when_it_starts_is_canceled(self, noon: Cloud) -> None:
        create(noon, {"startTime": written(hours=2)}, "SNAPSHOT")
        noon.pass_time(minutes=119)
        for job_id in ("J2", "J3"):
            slow = {"jobExecutionsRolloutConfig": {"maximumPerMinute": 1}}
            noon.create_job(job_id, things=("lamp", "fan", "radio"), **slow)
        noon.pass_time(minutes=1)
        assert (noon.job()["status"], noon.history()) == ("CANCELED", [])


class TestEnd:
    def end(self, cloud: Cloud, behavior: str | None, selection: str = "SNAPSHOT", **more: Any) -> None:
        """J1 ends in an hour, when the lamp is at work on it, the fan has it queued and the radio still waits."""
        schedule = {"endTime": written(hours=1)} | ({"endBehavior": behavior} if behavior else {})
        cloud.operate("AddThingToThingGroup", thingName="radio", thingGroupName="all")
        create(cloud, schedule, selection, jobExecutionsRolloutConfig={"maximumPerMinute": 1}, **more)
        cloud.pass_time(minutes=1)
        cloud.store.jobs["J1"].next_rollout_at = None  # so that the radio waits until the end
        cloud.accepted("start-next")
        cloud.store.take_publications()

    @pytest.mark.parametrize("behavior", [None, "STOP_ROLLOUT"])
    @pytest.mark.parametrize("selection", ["SNAPSHOT", "CONTINUOUS"])
    def test_by_default_the_rollout_stops_and_what_there_is_runs_on(
        self, noon: Cloud, behavior: str | None, selection: str
    ) -> None:
        self.end(noon, behavior, selection)
        noon.pass_time(minutes=60)
        assert (noon.job()["status"], noon.counters()) == ("IN_PROGRESS", {"InProgress": 1, "Queued": 1})
        assert (noon.job()["isConcurrent"], topics(noon)) == (False, [])
        noon.accepted("J1/update", status="SUCCEEDED")
        assert noon.job()["status"] == "IN_PROGRESS"
        noon.accepted("J1/update", "fan", status="FAILED")
        assert (noon.job()["status"], noon.job()["completedAt"]) == ("COMPLETED", noon.now)

    def test_cancel_ends_what_is_queued(self, noon: Cloud) -> None:
        self.end(noon, "CANCEL", "CONTINUOUS")
        noon.pass_time(minutes=60)
        assert (noon.job()["status"], noon.counters()) == ("IN_PROGRESS", {"InProgress": 1, "Canceled": 1})
        assert topics(noon) == ["fan/jobs/notify", "fan/jobs/notify-next"]
        noon.accepted("J1/update", status="SUCCEEDED")
        assert noon.job()["status"] == "COMPLETED"

    def test_force_cancel_ends_everything(self, noon: Cloud) -> None:
        self.end(noon, "FORCE_CANCEL")
        noon.pass_time(minutes=60)
        assert (noon.job()["status"], noon.counters()) == ("COMPLETED", {"Canceled": 2})
        assert noon.job()["completedAt"] == (MONDAY + timedelta(hours=1)).timestamp()
        execution = noon.operate("DescribeJobExecution", thingName="lamp", jobId="J1")["execution"]
        assert execution["forceCanceled"] is True

    def test_after_it_nothing_is_retried(self, noon: Cloud) -> None:
        self.end(noon, "STOP_ROLLOUT", jobExecutionsRetryConfig=RETRY_ONCE)
        noon.pass_time(minutes=60)
        noon.accepted("J1/update", status="FAILED")
        assert noon.counters() == {"Failed": 1, "Queued": 1}
        noon.accepted("J1/update", "fan", status="FAILED")
        assert noon.job()["status"] == "COMPLETED"

    def test_after_it_nobody_joins_but_who_leaves_still_leaves(self, noon: Cloud) -> None:
        self.end(noon, "STOP_ROLLOUT", "CONTINUOUS")
        noon.pass_time(minutes=60)
        noon.create_thing("clock")
        noon.operate("AddThingToThingGroup", thingName="clock", thingGroupName="all")
        noon.operate("RemoveThingFromThingGroup", thingName="fan", thingGroupName="all")
        assert noon.counters() == {"InProgress": 1, "Removed": 1}

    def test_a_job_that_is_over_before_it_stays_as_it_is(self, noon: Cloud) -> None:
        create(noon, {"endTime": written(hours=1), "endBehavior": "CANCEL"}, "SNAPSHOT")
        noon.operate("CancelJob", jobId="J1", comment="enough")
        noon.pass_time(minutes=60)
        assert (noon.job()["status"], noon.job()["comment"]) == ("CANCELED", "enough")
        assert noon.job()["lastUpdatedAt"] == MONDAY.timestamp()


class TestWindows:
    def test_a_job_is_in_progress_within_its_windows_and_scheduled_outside(self, noon: Cloud) -> None:
        create(noon, windows())
        seen = []
        for day, hour in ((0, 13), (0, 14), (0, 14.99), (0, 15), (1, 13.99), (1, 14), (1, 15)):
            at(noon, hour, day)
            seen.append((day, hour, noon.job()["status"]))
        assert seen == [
            (0, 13, "SCHEDULED"),
            (0, 14, "IN_PROGRESS"),
            (0, 14.99, "IN_PROGRESS"),
            (0, 15, "SCHEDULED"),
            (1, 13.99, "SCHEDULED"),
            (1, 14, "IN_PROGRESS"),
            (1, 15, "SCHEDULED"),
        ]

    def test_the_next_seven_are_told(self, noon: Cloud) -> None:
        create(noon, windows())
        days = [f"2026-{'12' if day > 0 else '11'}-{day or 30:02}T14:00" for day in range(8)]
        assert noon.job()["scheduledJobRollouts"] == [{"startTime": day} for day in days[:7]]
        at(noon, 14)
        assert noon.job()["scheduledJobRollouts"] == [{"startTime": day} for day in days[1:]]
        noon.operate("CancelJob", jobId="J1")
        assert "scheduledJobRollouts" not in noon.job()

    def test_those_after_the_end_are_not(self, noon: Cloud) -> None:
        create(noon, windows(endTime=written(days=2, hours=2)))
        assert len(noon.job()["scheduledJobRollouts"]) == 2

    def test_those_before_the_start_are_no_windows(self, noon: Cloud) -> None:
        create(noon, windows(startTime=written(hours=2, minutes=30)))
        at(noon, 14.75)
        assert noon.job()["status"] == "SCHEDULED"
        at(noon, 14, day=1)
        assert noon.job()["status"] == "IN_PROGRESS"

    def test_nor_do_they_make_others_longer(self, noon: Cloud) -> None:
        create(noon, windows(window("30 12 * * ? *", minutes=120), window(minutes=10)))
        at(noon, 14.1)
        assert noon.job()["status"] == "IN_PROGRESS"
        at(noon, 14.2)
        assert noon.job()["status"] == "SCHEDULED"

    def test_what_is_queued_vanishes_when_a_window_closes_and_returns_with_the_next(self, noon: Cloud) -> None:
        create(noon, windows())
        at(noon, 14)
        noon.accepted("start-next", "fan")
        noon.store.take_publications()
        at(noon, 15)
        assert [payload for _, payload in noon.published()] == [
            {"timestamp": int(noon.now), "jobs": {}},
            {"timestamp": int(noon.now)},
        ]
        now = int(noon.now)
        assert noon.accepted("get") == {"inProgressJobs": [], "queuedJobs": [], "timestamp": now}
        assert noon.accepted("start-next") == noon.accepted("$next/get") == {"timestamp": now}
        assert noon.counters() == {"InProgress": 1, "Queued": 1}
        at(noon, 14, day=1)
        [(topic, listed), (next_topic, following)] = noon.published()
        assert (topic, next_topic) == ("notify", "notify-next")
        assert [entry["queuedAt"] for entry in listed["jobs"]["QUEUED"]] == [now - 3600]
        assert (following["execution"]["versionNumber"], following["execution"]["executionNumber"]) == (1, 1)

    def test_outside_a_window_a_device_may_go_on_with_what_it_has_begun(self, noon: Cloud) -> None:
        create(noon, windows())
        at(noon, 14)
        noon.accepted("start-next")
        at(noon, 16)
        assert noon.accepted("start-next")["execution"]["status"] == "IN_PROGRESS"
        noon.accepted("J1/update", status="SUCCEEDED")
        assert noon.counters() == {"Succeeded": 1, "Queued": 1}

    @pytest.mark.parametrize("status", ["IN_PROGRESS", "SUCCEEDED", "REJECTED"])
    def test_outside_a_window_a_device_may_describe_and_update_what_it_knows_by_its_id(
        self, noon: Cloud, status: str
    ) -> None:
        create(noon, windows())
        at(noon, 16)
        assert noon.accepted("J1/get")["execution"]["status"] == "QUEUED"
        noon.accepted("J1/update", status=status)
        shown = [entry["jobId"] for entry in noon.accepted("get")["inProgressJobs"]]
        assert shown == (["J1"] if status == "IN_PROGRESS" else [])

    @pytest.mark.parametrize(
        "operation", ["CancelJobExecution", "DeleteJobExecution", "CancelJob", "DeleteJob", "DeleteThing", "leave"]
    )
    def test_what_is_hidden_can_be_ended_in_every_way_and_in_silence(self, noon: Cloud, operation: str) -> None:
        create(noon, windows())
        at(noon, 16)
        noon.store.take_publications()
        match operation:
            case "DeleteJobExecution":
                noon.operate(operation, thingName="lamp", jobId="J1", executionNumber=1)
            case "CancelJob" | "DeleteJob":
                noon.operate(operation, jobId="J1", force=True)
            case "leave":
                noon.operate("RemoveThingFromThingGroup", thingName="lamp", thingGroupName="all")
            case "DeleteThing":
                noon.operate(operation, thingName="lamp")
            case _:
                noon.operate(operation, thingName="lamp", jobId="J1")
        assert topics(noon) == []
        at(noon, 14, day=1)
        assert "lamp" not in {topic.partition("/")[0] for topic in topics(noon)}

    def test_a_failure_outside_a_window_is_retried_in_the_next(self, noon: Cloud) -> None:
        create(noon, windows(), jobExecutionsRetryConfig=RETRY_ONCE)
        at(noon, 14)
        noon.accepted("start-next")
        at(noon, 16)
        noon.accepted("J1/update", status="FAILED")
        assert [entry for entry in noon.history() if entry[0] == "lamp"] == [("lamp", 1, "FAILED", 0)]
        at(noon, 14, day=1)
        assert [entry for entry in noon.history() if entry[0] == "lamp"][1:] == [("lamp", 2, "QUEUED", 1)]
        assert noon.accepted("$next/get")["execution"]["queuedAt"] == int(noon.now)

    def test_a_thing_that_joins_outside_a_window_gets_the_job_in_the_next(self, noon: Cloud) -> None:
        create(noon, windows())
        at(noon, 16)
        noon.operate("AddThingToThingGroup", thingName="radio", thingGroupName="all")
        assert len(noon.history()) == 2
        at(noon, 14, day=1)
        assert len(noon.history()) == 3

    def test_a_slow_rollout_goes_on_in_the_next_window(self, noon: Cloud) -> None:
        create(noon, windows(window(minutes=1)), jobExecutionsRolloutConfig={"maximumPerMinute": 1})
        at(noon, 15)
        assert noon.counters() == {"Queued": 1}
        at(noon, 15, day=1)
        assert noon.counters() == {"Queued": 2}

    def test_overlapping_windows_are_one_long_one(self, noon: Cloud) -> None:
        create(noon, windows(window(), window("30 14 * * ? *"), window("30 15 * * ? *", 15)))
        seen = []
        for hour in (13.9, 14, 15, 15.25, 15.5, 15.7, 15.75):
            at(noon, hour)
            seen.append(noon.job()["status"] == "IN_PROGRESS")
        assert seen == [False, True, True, True, True, True, False]
        topics_of_lamp = [topic for topic in topics(noon) if topic.startswith("lamp")]
        assert topics_of_lamp == ["lamp/jobs/notify", "lamp/jobs/notify-next"] * 2

    def test_two_windows_that_begin_together_are_told_once_and_the_longer_one_counts(self, noon: Cloud) -> None:
        create(noon, windows(window(minutes=10), window(minutes=90)))
        assert len({each["startTime"] for each in noon.job()["scheduledJobRollouts"]}) == 7
        at(noon, 15.4)
        assert noon.job()["status"] == "IN_PROGRESS"
        at(noon, 15.5)
        assert noon.job()["status"] == "SCHEDULED"

    def test_windows_that_meet_without_a_gap_never_close(self, noon: Cloud) -> None:
        create(noon, windows(window("0 * * * ? *")))
        at(noon, 20, day=3)
        assert noon.job()["status"] == "IN_PROGRESS"

    @pytest.mark.parametrize("behavior", ["STOP_ROLLOUT", "CANCEL", "FORCE_CANCEL"])
    def test_the_end_comes_outside_a_window_too(self, noon: Cloud, behavior: str) -> None:
        create(noon, windows(endTime=written(hours=5), endBehavior=behavior))
        at(noon, 16)
        at(noon, 17)
        if behavior == "STOP_ROLLOUT":  # what is queued runs on, so it has to be seen
            assert (noon.job()["status"], len(noon.accepted("get")["queuedJobs"])) == ("IN_PROGRESS", 1)
            at(noon, 20, day=2)
            assert noon.job()["status"] == "IN_PROGRESS"
        else:
            assert (noon.job()["status"], noon.counters()) == ("COMPLETED", {"Canceled": 2})

    def test_a_job_whose_windows_never_come_waits_for_its_end(self, noon: Cloud) -> None:
        create(noon, windows(window("0 0 1 1 ? 2026"), endTime=written(days=3)))
        assert "scheduledJobRollouts" not in noon.job()
        at(noon, 12, day=2)
        assert noon.job()["status"] == "SCHEDULED"
        at(noon, 12, day=3)
        assert (noon.job()["status"], noon.history()) == ("COMPLETED", [])

    def test_a_job_that_is_canceled_in_a_window_does_not_come_back(self, noon: Cloud) -> None:
        create(noon, windows())
        at(noon, 14.5)
        noon.operate("CancelJob", jobId="J1")
        noon.store.take_publications()
        at(noon, 20, day=2)
        assert (noon.job()["status"], topics(noon)) == ("CANCELED", [])
