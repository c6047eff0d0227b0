"""What concerns many things is done to some now and to the others later, and nobody is any the wiser."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_simulator.jobs import batches, rollout
from iot_jobs_simulator.jobs.execution import ExecutionStatus
from iot_jobs_simulator.jobs.settings import ServiceSettings

if TYPE_CHECKING:
    from conftest import Cloud

FLEET = tuple(f"t{number}" for number in range(6))
GROUP = "arn:aws:iot:us-east-1:123456789012:thinggroup/all"
RETRY_ONCE = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
HOURLY = {
    "startTime": "2026-11-30T13:00",
    "maintenanceWindows": [{"startTime": "cron(0 * * * ? *)", "durationInMinutes": 30}],
}


@pytest.fixture
def fleet(cloud: Cloud) -> Any:
    """Six things in the group all, at noon."""
    cloud.now = NOON
    for name in FLEET:
        cloud.create_thing(name)
    cloud.create_group("all", *FLEET)
    return cloud


def answer(cloud: Cloud, operation: str, **members: Any) -> Any:
    """An operator's request, after which nothing that is due is done yet."""
    return cloud.control.answer(operation, members, cloud.now)


def create(cloud: Cloud, **more: Any) -> None:
    members = {"targets": [GROUP], "document": "{}", "targetSelection": "CONTINUOUS"}
    answer(cloud, "CreateJob", jobId="J1", **members, **more)


def pass_time(cloud: Cloud, hours: float, most: int) -> None:
    """Let time pass, and do what is due to so many things only."""
    cloud.now += 3600 * hours
    rollout.advance_soon(cloud.store, cloud.now, most)


def statuses(cloud: Cloud) -> dict[str, str]:
    return {each.thing_name: str(each.status) for each in cloud.store.executions_of_job("J1")}


def job_events(cloud: Cloud) -> list[str]:
    """What was told of jobs and of executions on the topics of events since it was last asked."""
    prefix = "$aws/events/"
    topics = [publication.topic for publication in cloud.store.take_publications()]
    return [topic.removeprefix(prefix) for topic in topics if topic.startswith(prefix)]


def hidden(cloud: Cloud) -> list[str]:
    return [each.thing_name for each in cloud.store.executions_of_job("J1") if each.is_hidden]


def test_a_job_is_canceled_at_once_and_its_executions_in_turn(fleet: Cloud) -> None:
    create(fleet)
    rollout.advance(fleet.store, fleet.now)
    answer(fleet, "CancelJob", jobId="J1")
    batches.work(fleet.store, 2)
    job = answer(fleet, "DescribeJob", jobId="J1")["job"]
    assert (job["status"], job["isConcurrent"]) == ("CANCELED", True)
    assert statuses(fleet) == dict.fromkeys(FLEET[:2], "CANCELED") | dict.fromkeys(FLEET[2:], "QUEUED")
    assert rollout.next_due(fleet.store) == fleet.now
    batches.work(fleet.store, 10)
    job = answer(fleet, "DescribeJob", jobId="J1")["job"]
    assert (job["isConcurrent"], job["jobProcessDetails"]["numberOfCanceledThings"]) == (False, 6)
    assert rollout.next_due(fleet.store) is None


@pytest.mark.parametrize("request_topic", ["get", "start-next", "$next/get", "J1/get", "J1/update"])
def test_a_device_that_asks_is_served_before_its_turn(fleet: Cloud, request_topic: str) -> None:
    create(fleet)
    rollout.advance(fleet.store, fleet.now)
    answer(fleet, "CancelJob", jobId="J1")
    verdict, reply = fleet.ask(request_topic, "t5", **({"status": "FAILED"} if "update" in request_topic else {}))
    assert (verdict, reply.get("code")) in (
        ("accepted", None),
        ("rejected", "TerminalStateReached"),
        ("rejected", "InvalidStateTransition"),
    )
    assert "execution" not in reply
    assert reply.get("queuedJobs", []) == []


def test_so_is_a_thing_that_an_operator_names(fleet: Cloud) -> None:
    create(fleet)
    rollout.advance(fleet.store, fleet.now)
    answer(fleet, "CancelJob", jobId="J1")
    execution = answer(fleet, "DescribeJobExecution", thingName="t5", jobId="J1")["execution"]
    assert execution["status"] == "CANCELED"
    assert answer(fleet, "DescribeJobExecution", thingName="t0", jobId="J1")["execution"]["status"] == "CANCELED"
    assert statuses(fleet)["t4"] == "QUEUED"
    batches.work(fleet.store)
    assert statuses(fleet) == dict.fromkeys(FLEET, "CANCELED")


def test_a_cancellation_by_force_can_follow_one_that_is_still_under_way(fleet: Cloud) -> None:
    create(fleet)
    rollout.advance(fleet.store, fleet.now)
    fleet.accepted("start-next", "t3")
    answer(fleet, "CancelJob", jobId="J1")
    answer(fleet, "CancelJob", jobId="J1", force=True)
    rollout.advance(fleet.store, fleet.now)
    assert statuses(fleet) == dict.fromkeys(FLEET, "CANCELED")
    forced = [each.thing_name for each in fleet.store.executions_of_job("J1") if each.is_force_canceled]
    assert (forced, fleet.job()["isConcurrent"]) == (["t3"], False)


def test_nothing_is_queued_any_more_of_a_job_that_is_canceled_during_its_rollout(fleet: Cloud) -> None:
    create(fleet)
    rollout.advance_soon(fleet.store, fleet.now, 2)
    answer(fleet, "CancelJob", jobId="J1")
    rollout.advance(fleet.store, fleet.now)
    assert statuses(fleet) == dict.fromkeys(FLEET[:2], "CANCELED")


@pytest.mark.parametrize("operation", ["AddThingToThingGroup", "RemoveThingFromThingGroup"])
def test_a_thing_that_joins_or_leaves_during_a_rollout_has_one_execution(fleet: Cloud, operation: str) -> None:
    create(fleet)
    rollout.advance_soon(fleet.store, fleet.now, 2)
    arn = "arn:aws:iot:us-east-1:123456789012:thing/t5"
    answer(fleet, operation, thingArn=arn, thingGroupName="all")
    rollout.advance(fleet.store, fleet.now)
    assert statuses(fleet)["t5"] == ("QUEUED" if operation == "AddThingToThingGroup" else "REMOVED")
    assert [number for thing, number, *_ in fleet.history() if thing == "t5"] == [1]


def test_a_thing_that_joins_another_target_group_during_a_rollout_has_one_execution_too(fleet: Cloud) -> None:
    other = fleet.create_group("other")
    answer(fleet, "CreateJob", jobId="J1", targets=[GROUP, other], document="{}", targetSelection="CONTINUOUS")
    rollout.advance_soon(fleet.store, fleet.now, 2)
    answer(
        fleet, "AddThingToThingGroup", thingArn=f"{GROUP.partition('thinggroup')[0]}thing/t5", thingGroupName="other"
    )
    rollout.advance(fleet.store, fleet.now)
    assert [number for thing, number, *_ in fleet.history() if thing == "t5"] == [1]


def test_a_window_that_closes_during_a_rollout_keeps_the_rest_for_the_next_one(fleet: Cloud) -> None:
    create(fleet, schedulingConfig=HOURLY)
    pass_time(fleet, 1, 2)
    pass_time(fleet, 0.5, 0)
    rollout.advance(fleet.store, fleet.now)
    assert (list(statuses(fleet)), hidden(fleet)) == (["t0", "t1"], ["t0", "t1"])
    fleet.pass_time(minutes=30)
    assert (list(statuses(fleet)), hidden(fleet)) == (list(FLEET), [])


def test_a_window_that_opens_while_the_last_one_still_closes_hides_nothing_more(fleet: Cloud) -> None:
    create(fleet, schedulingConfig=HOURLY)
    fleet.pass_time(minutes=60)
    pass_time(fleet, 0.5, 2)
    assert hidden(fleet) == ["t0", "t1"]
    pass_time(fleet, 0.5, 4)
    assert hidden(fleet) == ["t0", "t1"]
    rollout.advance(fleet.store, fleet.now)
    assert hidden(fleet) == []


def test_a_window_that_closes_while_it_still_opens_hides_what_it_has_shown(fleet: Cloud) -> None:
    create(fleet, schedulingConfig=HOURLY)
    fleet.pass_time(minutes=90)
    fleet.store.take_publications()
    pass_time(fleet, 0.5, 2)
    assert hidden(fleet) == list(FLEET[2:])
    pass_time(fleet, 0.5, 100)
    assert (hidden(fleet), fleet.store.jobs["J1"].status) == (list(FLEET), "SCHEDULED")
    topics = [publication.topic for publication in fleet.store.take_publications()]
    assert {topic.split("/")[2] for topic in topics} == set(FLEET[:2])


def test_what_joins_outside_a_window_gets_its_execution_in_the_next_one_and_none_in_those_after(fleet: Cloud) -> None:
    fleet.create_group("other", parent="all")
    create(fleet, schedulingConfig=HOURLY)
    fleet.pass_time(minutes=90)
    fleet.operate("AddThingToThingGroup", thingName="lamp", thingGroupName="other")
    fleet.pass_time(minutes=30)
    fleet.accepted("start-next")
    fleet.accepted("J1/update", status="SUCCEEDED")
    assert not fleet.job()["isConcurrent"]
    fleet.pass_time(minutes=120)
    assert [each for each in fleet.history() if each[0] == "lamp"] == [("lamp", 1, "SUCCEEDED", 0)]


def test_a_time_out_does_not_wait_for_a_batch(fleet: Cloud) -> None:
    fleet.create_job("J2", things=("lamp",))
    fleet.accepted("start-next", stepTimeoutInMinutes=1)
    create(fleet)
    rollout.advance(fleet.store, fleet.now)
    answer(fleet, "CancelJob", jobId="J1")
    pass_time(fleet, 1 / 60, 1)
    assert fleet.store.find_execution("lamp", "J2").status is ExecutionStatus.TIMED_OUT
    assert statuses(fleet)["t5"] == "QUEUED"


def test_a_leap_of_the_clock_in_slices_leaves_the_same_record_as_one_without(fleet: Cloud) -> None:
    create(fleet, jobExecutionsRolloutConfig={"maximumPerMinute": 2}, schedulingConfig=HOURLY)
    fleet.now += 3 * 3600
    while rollout.advance_slice(fleet.store, fleet.now, 1):
        pass
    queued = [each.queued_at - NOON for each in fleet.store.executions_of_job("J1")]
    assert queued == [3600, 3600, 3660, 3660, 3720, 3720]


def test_a_thing_deleted_while_a_job_is_deleted_is_gone_once(fleet: Cloud) -> None:
    create(fleet)
    rollout.advance(fleet.store, fleet.now)
    answer(fleet, "DeleteJob", jobId="J1", force=True)
    answer(fleet, "DeleteThing", thingName="t5")
    fleet.pass_time(seconds=5)
    assert fleet.refused("DescribeJob", jobId="J1")[0] == "ResourceNotFound"


class TestEvents:
    """A cancellation is told when it begins and when it is over, whatever comes in between."""

    @pytest.fixture
    def watched(self, fleet: Cloud) -> Any:
        """J1 is queued for the fleet, and from now on there are events of jobs."""
        create(fleet, schedulingConfig={"endTime": "2026-11-30T13:00", "endBehavior": "CANCEL"})
        rollout.advance(fleet.store, fleet.now)
        answer(fleet, "UpdateEventConfigurations", eventConfigurations={"JOB": {"Enabled": True}})
        fleet.store.take_publications()
        return fleet

    def test_a_deletion_during_a_cancellation_keeps_no_event_back(self, watched: Cloud) -> None:
        answer(watched, "CancelJob", jobId="J1")
        batches.work(watched.store, 2)
        answer(watched, "DeleteJob", jobId="J1")
        watched.pass_time(seconds=1)
        operations = ["cancellation_in_progress", "deletion_in_progress", "canceled", "deleted"]
        assert job_events(watched) == [f"job/J1/{operation}" for operation in operations]

    def test_a_second_cancellation_by_force_does_not_tell_the_end_early_or_twice(self, watched: Cloud) -> None:
        watched.accepted("start-next", "t5")
        answer(watched, "CancelJob", jobId="J1")
        batches.work(watched.store, 2)
        answer(watched, "CancelJob", jobId="J1", force=True)
        batches.work(watched.store, 4)
        assert job_events(watched) == ["job/J1/cancellation_in_progress"] * 2
        batches.work(watched.store)
        assert (job_events(watched), statuses(watched)["t5"]) == (["job/J1/canceled"], "CANCELED")

    def test_a_second_one_after_the_first_is_over_is_told_again(self, watched: Cloud) -> None:
        watched.accepted("start-next", "t5")
        watched.operate("CancelJob", jobId="J1")
        watched.operate("CancelJob", jobId="J1", force=True)
        assert job_events(watched) == ["job/J1/cancellation_in_progress", "job/J1/canceled"] * 2

    def test_the_end_of_a_schedule_is_no_cancellation_of_the_job_though_it_is_deleted_meanwhile(
        self, watched: Cloud
    ) -> None:
        pass_time(watched, 1, 2)
        answer(watched, "DeleteJob", jobId="J1", force=True)
        watched.pass_time(seconds=1)
        assert job_events(watched) == ["job/J1/deletion_in_progress", "job/J1/deleted"]


class TestGroupDeletion:
    """A group is gone at once, and its things lose its jobs in turn."""

    def delete(self, cloud: Cloud, name: str = "all") -> None:
        answer(cloud, "DeleteThingGroup", thingGroupName=name)

    def test_its_things_are_out_of_it_at_once_and_lose_what_is_queued_in_turn(self, fleet: Cloud) -> None:
        create(fleet)
        rollout.advance(fleet.store, fleet.now)
        self.delete(fleet)
        batches.work(fleet.store, 2)
        assert statuses(fleet) == dict.fromkeys(FLEET[:2], "REMOVED") | dict.fromkeys(FLEET[2:], "QUEUED")
        assert fleet.refused("DescribeThingGroup", thingGroupName="all")[0] == "ResourceNotFound"
        assert answer(fleet, "DescribeJob", jobId="J1")["job"]["isConcurrent"]
        assert fleet.accepted("get", "t5")["queuedJobs"] == []
        assert answer(fleet, "ListThingGroupsForThing", thingName="t4") == {"thingGroups": []}
        rollout.advance(fleet.store, fleet.now)
        assert (statuses(fleet), fleet.job()["isConcurrent"]) == (dict.fromkeys(FLEET, "REMOVED"), False)

    def test_what_other_targets_or_devices_have_stays(self, fleet: Cloud) -> None:
        other = fleet.create_group("other", "t0")
        targets = [GROUP, other, f"{GROUP.partition('thinggroup')[0]}thing/t1"]
        answer(fleet, "CreateJob", jobId="J1", targets=targets, document="{}", targetSelection="CONTINUOUS")
        rollout.advance(fleet.store, fleet.now)
        fleet.accepted("start-next", "t2")
        self.delete(fleet)
        rollout.advance(fleet.store, fleet.now)
        kept = {"t0": "QUEUED", "t1": "QUEUED", "t2": "IN_PROGRESS"}
        assert statuses(fleet) == dict.fromkeys(FLEET, "REMOVED") | kept

    def test_a_slow_rollout_passes_them_over_and_goes_on_with_the_others(self, fleet: Cloud) -> None:
        other = fleet.create_group("other", "t4", "t5")
        rate = {"targets": [GROUP, other], "jobExecutionsRolloutConfig": {"maximumPerMinute": 1}}
        answer(fleet, "CreateJob", jobId="J1", document="{}", targetSelection="CONTINUOUS", **rate)
        rollout.advance(fleet.store, fleet.now)
        self.delete(fleet)
        pass_time(fleet, 1 / 60, 0)
        assert list(fleet.store.jobs["J1"].waiting_things) == ["t5"]
        rollout.advance(fleet.store, fleet.now)
        assert statuses(fleet) == {"t0": "REMOVED", "t4": "QUEUED"}
        fleet.pass_time(minutes=1)
        assert statuses(fleet)["t5"] == "QUEUED"

    def test_a_group_that_is_associated_meanwhile_brings_its_things_the_job_again(self, fleet: Cloud) -> None:
        create(fleet)
        rollout.advance(fleet.store, fleet.now)
        other = fleet.create_group("other", *FLEET)
        self.delete(fleet)
        batches.work(fleet.store, 2)
        answer(fleet, "AssociateTargetsWithJob", jobId="J1", targets=[other])
        rollout.advance(fleet.store, fleet.now)
        assert fleet.history() == [
            (name, number, status, 0) for name in FLEET for number, status in ((1, "REMOVED"), (2, "QUEUED"))
        ]

    def test_a_retry_that_comes_meanwhile_is_dropped(self, fleet: Cloud) -> None:
        create(fleet, schedulingConfig=HOURLY, jobExecutionsRetryConfig=RETRY_ONCE)
        fleet.pass_time(minutes=60)
        fleet.accepted("start-next", "t5")
        fleet.pass_time(minutes=30)
        fleet.accepted("J1/update", "t5", status="FAILED")
        self.delete(fleet)
        pass_time(fleet, 0.5, 0)
        rollout.advance(fleet.store, fleet.now)
        assert [each[1:] for each in fleet.history() if each[0] == "t5"] == [(1, "FAILED", 0)]

    @pytest.mark.parametrize("settings", [ServiceSettings(retry_delay_s=60)])
    def test_so_is_one_whose_delay_is_over_meanwhile(self, fleet: Cloud) -> None:
        create(fleet, jobExecutionsRetryConfig=RETRY_ONCE)
        rollout.advance(fleet.store, fleet.now)
        fleet.accepted("J1/update", "t5", status="FAILED")
        self.delete(fleet)
        pass_time(fleet, 1 / 60, 0)
        assert [each[1:] for each in fleet.history() if each[0] == "t5"] == [(1, "FAILED", 0)]
