"""What jobs make of groups and their members: snapshot and continuous jobs, joins, leaves and deleted things."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_simulator.jobs.settings import ServiceSettings

if TYPE_CHECKING:
    from conftest import THING_ARN, Cloud
else:
    THING_ARN = "arn:aws:iot:us-east-1:123456789012:thing/"


def create(cloud: Cloud, job_id: str, *targets: str, selection: str = "CONTINUOUS", **more: Any) -> None:
    cloud.operate("CreateJob", jobId=job_id, targets=list(targets), document="{}", targetSelection=selection, **more)


def join(cloud: Cloud, thing: str, group: str) -> None:
    cloud.operate("AddThingToThingGroup", thingName=thing, thingGroupName=group)


def leave(cloud: Cloud, thing: str, group: str) -> None:
    cloud.operate("RemoveThingFromThingGroup", thingName=thing, thingGroupName=group)


@pytest.fixture
def house(cloud: Cloud) -> Any:
    """Group house with kitchen and cellar below it; lamp in the kitchen, fan in the house, radio nowhere."""
    cloud.create_thing("fan")
    cloud.create_thing("radio")
    cloud.create_group("house", "fan")
    cloud.create_group("kitchen", "lamp", parent="house")
    cloud.create_group("cellar", parent="house")
    return cloud


def group_arn(name: str) -> str:
    return f"arn:aws:iot:us-east-1:123456789012:thinggroup/{name}"


class TestSnapshot:
    def test_members_of_child_groups_are_targets_each_thing_once(self, house: Cloud) -> None:
        create(house, "J1", group_arn("house"), group_arn("kitchen"), THING_ARN + "lamp", selection="SNAPSHOT")
        assert [thing for thing, *_ in house.history()] == ["fan", "lamp"]
        assert house.job()["targets"] == [group_arn("house"), group_arn("kitchen"), THING_ARN + "lamp"]

    def test_later_joins_and_leaves_change_nothing(self, house: Cloud) -> None:
        create(house, "J1", group_arn("house"), selection="SNAPSHOT")
        join(house, "radio", "cellar")
        leave(house, "lamp", "kitchen")
        assert house.counters() == {"Queued": 2}

    def test_a_job_for_an_empty_group_is_complete_at_once(self, house: Cloud) -> None:
        create(house, "J1", group_arn("cellar"), selection="SNAPSHOT")
        assert (house.job()["status"], house.counters()) == ("COMPLETED", {})

    @pytest.mark.parametrize("settings", [ServiceSettings(empty_snapshot_completes=False)])
    def test_or_stays_in_progress_if_a_test_wants_that(self, house: Cloud) -> None:
        create(house, "J1", group_arn("cellar"), selection="SNAPSHOT")
        assert house.job()["status"] == "IN_PROGRESS"
        create(house, "J2", group_arn("kitchen"), selection="SNAPSHOT")
        house.accepted("J2/update", status="SUCCEEDED")
        assert house.job("J2")["status"] == "COMPLETED"

    def test_a_group_that_does_not_exist_is_not_found(self, house: Cloud) -> None:
        members = {"jobId": "J1", "targets": [group_arn("attic")], "document": "{}"}
        assert house.refused("CreateJob", **members)[0] == "ResourceNotFound"


class TestContinuous:
    def test_joining_a_child_group_queues_the_jobs_of_the_parent(self, house: Cloud) -> None:
        create(house, "J1", group_arn("house"))
        house.store.take_publications()
        join(house, "radio", "cellar")
        assert [topic for topic, _ in house.published("radio")] == ["notify", "notify-next"]

    def test_joining_again_changes_nothing(self, house: Cloud) -> None:
        create(house, "J1", group_arn("house"))
        house.store.take_publications()
        join(house, "lamp", "kitchen")
        assert (house.published(), len(house.history())) == ([], 2)

    def test_a_thing_that_left_comes_back_to_a_job_it_had_done(self, house: Cloud) -> None:
        create(house, "J1", group_arn("kitchen"))
        house.accepted("J1/update", status="SUCCEEDED")
        leave(house, "lamp", "kitchen")
        assert house.counters() == {"Succeeded": 1}
        join(house, "lamp", "kitchen")
        assert house.history() == [("lamp", 1, "SUCCEEDED", 0), ("lamp", 2, "QUEUED", 0)]

    def test_leaving_while_queued_is_told_to_device_and_operator(self, house: Cloud) -> None:
        create(house, "J1", group_arn("kitchen"))
        house.published()
        leave(house, "lamp", "kitchen")
        assert [topic for topic, _ in house.published()] == ["notify", "notify-next"]
        refused = house.rejected("J1/update", status="SUCCEEDED")
        assert (refused["code"], refused["executionState"]) == (
            "InvalidStateTransition",
            {"status": "REMOVED", "versionNumber": 1},
        )
        assert house.counters() == {"Removed": 1}

    def test_what_is_in_progress_goes_on_when_the_thing_leaves(self, house: Cloud) -> None:
        create(house, "J1", group_arn("kitchen"))
        house.accepted("start-next")
        house.published()
        leave(house, "lamp", "kitchen")
        assert (house.published(), house.counters()) == ([], {"InProgress": 1})
        house.accepted("J1/update", status="SUCCEEDED")
        join(house, "lamp", "kitchen")
        assert house.history() == [("lamp", 1, "SUCCEEDED", 0), ("lamp", 2, "QUEUED", 0)]
        assert house.counters() == {"Succeeded": 1, "Queued": 1}

    def test_who_comes_back_before_the_end_gets_nothing_new_until_the_next_time(self, house: Cloud) -> None:
        create(house, "J1", group_arn("kitchen"))
        house.accepted("start-next")
        leave(house, "lamp", "kitchen")
        join(house, "lamp", "kitchen")
        house.accepted("J1/update", status="SUCCEEDED")
        assert house.history() == [("lamp", 1, "SUCCEEDED", 0)]
        leave(house, "lamp", "kitchen")
        join(house, "lamp", "kitchen")
        assert house.history() == [("lamp", 1, "SUCCEEDED", 0), ("lamp", 2, "QUEUED", 0)]

    def test_what_failed_after_the_thing_had_left_is_not_retried(self, house: Cloud) -> None:
        retries = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 2}]}
        create(house, "J1", group_arn("kitchen"), jobExecutionsRetryConfig=retries)
        house.accepted("start-next")
        leave(house, "lamp", "kitchen")
        house.accepted("J1/update", status="FAILED")
        assert house.history() == [("lamp", 1, "FAILED", 0)]

    @pytest.mark.parametrize("end", ["SUCCEEDED", "FAILED"])
    def test_who_is_done_and_joins_another_target_group_runs_the_job_again(self, house: Cloud, end: str) -> None:
        house.create_group("club")
        create(house, "J1", group_arn("kitchen"), group_arn("club"))
        house.accepted("J1/update", status=end)
        join(house, "lamp", "club")
        assert house.history() == [("lamp", 1, end, 0), ("lamp", 2, "QUEUED", 0)]
        assert house.store.executions.latest("lamp", "J1").version == 1
        join(house, "lamp", "club")
        assert len(house.history()) == 2

    @pytest.mark.parametrize("other_target", [THING_ARN + "lamp", group_arn("club")])
    def test_leaving_one_of_two_targets_changes_nothing(self, house: Cloud, other_target: str) -> None:
        house.create_group("club", "lamp")
        create(house, "J1", group_arn("kitchen"), other_target)
        leave(house, "lamp", "kitchen")
        assert house.history() == [("lamp", 1, "QUEUED", 0)]
        join(house, "lamp", "kitchen")
        assert house.history() == [("lamp", 1, "QUEUED", 0)]

    def test_leaving_what_one_is_not_in_is_no_error(self, house: Cloud) -> None:
        create(house, "J1", group_arn("house"))
        leave(house, "lamp", "cellar")
        assert house.counters() == {"Queued": 2}

    def test_a_canceled_job_takes_nobody_in_and_lets_nobody_out(self, house: Cloud) -> None:
        create(house, "J1", group_arn("house"))
        house.accepted("start-next")
        house.operate("CancelJob", jobId="J1")
        join(house, "radio", "cellar")
        leave(house, "lamp", "kitchen")
        assert house.history() == [("fan", 1, "CANCELED", 0), ("lamp", 1, "IN_PROGRESS", 0)]

    def test_deleting_a_group_is_leaving_it_for_all(self, house: Cloud) -> None:
        create(house, "J1", group_arn("house"))
        assert "child groups" in house.refused("DeleteThingGroup", thingGroupName="house")[1]
        assert house.counters() == {"Queued": 2}
        house.operate("DeleteThingGroup", thingGroupName="kitchen")
        assert house.history() == [("fan", 1, "QUEUED", 0), ("lamp", 1, "REMOVED", 0)]

    @pytest.mark.parametrize("settings", [ServiceSettings(rollout_delay_s=2)])
    def test_who_comes_and_goes_before_the_rollout_is_counted_at_the_rollout(self, house: Cloud) -> None:
        create(house, "J1", group_arn("house"))
        join(house, "radio", "cellar")
        leave(house, "lamp", "kitchen")
        house.operate("DeleteThing", thingName="fan")
        assert house.history() == []
        house.pass_time(seconds=2)
        assert house.history() == [("radio", 1, "QUEUED", 0)]

    @pytest.mark.parametrize("settings", [ServiceSettings(rollout_delay_s=2)])
    def test_a_thing_deleted_before_the_rollout_gets_nothing(self, house: Cloud) -> None:
        house.create_job("J1", things=("radio",))
        house.operate("DeleteThing", thingName="radio")
        house.pass_time(seconds=2)
        assert (house.history(), house.job()["status"]) == ([], "COMPLETED")


class TestAssociate:
    def test_members_of_the_new_group_get_the_job(self, house: Cloud) -> None:
        create(house, "J1", group_arn("kitchen"), description="d")
        house.store.take_publications()
        receipt = house.operate("AssociateTargetsWithJob", jobId="J1", targets=[group_arn("house")], comment="more")
        assert receipt == {"jobArn": "arn:aws:iot:us-east-1:123456789012:job/J1", "jobId": "J1", "description": "d"}
        assert [thing for thing, *_ in house.history()] == ["fan", "lamp"]
        assert [topic for topic, _ in house.published("fan")] == ["notify", "notify-next"]
        job = house.job()
        assert (job["targets"], job["comment"]) == ([group_arn("kitchen"), group_arn("house")], "more")
        join(house, "radio", "cellar")
        leave(house, "fan", "house")
        assert [(thing, status) for thing, _, status, _ in house.history()] == [
            ("fan", "REMOVED"),
            ("lamp", "QUEUED"),
            ("radio", "QUEUED"),
        ]

    def test_a_group_that_is_associated_already_changes_nothing(self, house: Cloud) -> None:
        create(house, "J1", group_arn("kitchen"))
        house.operate("AssociateTargetsWithJob", jobId="J1", targets=[group_arn("kitchen")] * 2)
        assert (house.job()["targets"], len(house.history())) == ([group_arn("kitchen")], 1)
        assert "comment" not in house.job()

    def test_the_groups_before_it_stay_and_the_job_says_when_it_changed(self, house: Cloud) -> None:
        create(house, "J1", group_arn("kitchen"))
        house.pass_time(seconds=5)
        house.operate("AssociateTargetsWithJob", jobId="J1", targets=[group_arn("cellar")])
        assert house.job()["lastUpdatedAt"] == house.now
        join(house, "radio", "kitchen")
        assert [thing for thing, *_ in house.history()] == ["lamp", "radio"]

    def test_a_comment_stays_until_another_is_given(self, house: Cloud) -> None:
        create(house, "J1", group_arn("kitchen"))
        house.operate("AssociateTargetsWithJob", jobId="J1", targets=[group_arn("cellar")], comment="more")
        house.operate("AssociateTargetsWithJob", jobId="J1", targets=[group_arn("house")])
        assert house.job()["comment"] == "more"

    @pytest.mark.parametrize(
        ("selection", "target", "words"),
        [
            ("SNAPSHOT", group_arn("house"), "SNAPSHOT"),
            ("CONTINUOUS", THING_ARN + "radio", "Only thing groups"),
            ("CONTINUOUS", group_arn("attic"), "not found"),
        ],
    )
    def test_only_groups_for_continuous_jobs(self, house: Cloud, selection: str, target: str, words: str) -> None:
        create(house, "J1", group_arn("kitchen"), selection=selection)
        assert words in house.refused("AssociateTargetsWithJob", jobId="J1", targets=[target])[1]

    def test_only_for_jobs_in_progress(self, house: Cloud) -> None:
        create(house, "J1", group_arn("kitchen"))
        house.operate("CancelJob", jobId="J1")
        refused = house.refused("AssociateTargetsWithJob", jobId="J1", targets=[group_arn("house")])
        assert refused[0] == "InvalidRequest"

    def test_no_more_than_a_hundred_targets_in_all(self, house: Cloud) -> None:
        groups = [house.create_group(f"g{number}") for number in range(100)]
        create(house, "J1", group_arn("kitchen"))
        house.operate("AssociateTargetsWithJob", jobId="J1", targets=groups[:99])
        refused = house.refused("AssociateTargetsWithJob", jobId="J1", targets=groups[99:])
        assert refused[0] == "LimitExceeded"

    def test_the_namespace_if_given_must_be_the_jobs(self, house: Cloud) -> None:
        create(house, "J1", group_arn("kitchen"), namespaceId="team")
        more = {"jobId": "J1", "targets": [group_arn("house")]}
        assert house.refused("AssociateTargetsWithJob", **more, namespaceId="other")[0] == "ResourceNotFound"
        house.operate("AssociateTargetsWithJob", **more, namespaceId="team")


class TestDeletedThings:
    def test_what_is_pending_is_removed_in_silence_and_counted(self, house: Cloud) -> None:
        house.create_job("J1", things=("lamp", "fan"))
        create(house, "J2", group_arn("house"))
        house.accepted("start-next")
        house.accepted("J1/update", thing="fan", status="SUCCEEDED")
        house.store.take_publications()
        house.operate("DeleteThing", thingName="lamp")
        assert house.store.take_publications() == []
        assert (house.job("J1")["status"], house.counters("J1")) == ("COMPLETED", {"Succeeded": 1, "Removed": 1})
        assert house.history("J2") == [("fan", 1, "QUEUED", 0), ("lamp", 1, "REMOVED", 0)]
        assert house.rejected("get")["code"] == "ResourceNotFound"

    def test_one_that_was_a_target_itself_comes_back_by_joining_a_group(self, house: Cloud) -> None:
        create(house, "J1", group_arn("house"), THING_ARN + "radio")
        house.operate("DeleteThing", thingName="radio")
        house.create_thing("radio")
        join(house, "radio", "house")
        assert [entry for entry in house.history() if entry[0] == "radio"] == [
            ("radio", 1, "REMOVED", 0),
            ("radio", 2, "QUEUED", 0),
        ]

    def test_one_that_is_created_again_has_its_history_and_nothing_to_do(self, house: Cloud) -> None:
        create(house, "J1", group_arn("kitchen"), THING_ARN + "radio")
        for thing in ("lamp", "radio"):
            house.operate("DeleteThing", thingName=thing)
            house.create_thing(thing)
            assert house.accepted("get", thing=thing)["queuedJobs"] == []
        join(house, "lamp", "kitchen")
        assert house.history() == [("lamp", 1, "REMOVED", 0), ("lamp", 2, "QUEUED", 0), ("radio", 1, "REMOVED", 0)]


@pytest.mark.parametrize("settings", [ServiceSettings(next_is_judged_over_namespaces=True)])
def test_a_job_of_another_namespace_can_keep_the_next_one_from_being_announced(cloud: Cloud) -> None:
    cloud.create_job("J1")
    cloud.published()
    cloud.create_job("N1", namespaceId="team")
    assert [topic for topic, _ in cloud.published()] == ["notify-namespace-team", "N1/notify-namespace-team/"]
    cloud.accepted("J1/update", status="SUCCEEDED")
    cloud.published()
    cloud.create_job("N2", namespaceId="other")
    assert "notify-next-namespace-other" not in [topic for topic, _ in cloud.published()]
