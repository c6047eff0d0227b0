"""How fast a job is rolled out (developer guide, page jobs-configurations-details; quotas). Time is set by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_simulator.jobs import rates
from iot_jobs_simulator.jobs.settings import ServiceSettings

if TYPE_CHECKING:
    from conftest import THING_ARN, Cloud
else:
    THING_ARN = "arn:aws:iot:us-east-1:123456789012:thing/"

FLEET = tuple(f"t{number:02}" for number in range(12))


def exponential(base: int = 1, factor: float = 2, **criteria: int) -> dict[str, Any]:
    rate = {"baseRatePerMinute": base, "incrementFactor": factor, "rateIncreaseCriteria": criteria}
    return {"exponentialRate": rate}


@pytest.fixture
def fleet(cloud: Cloud) -> Any:
    """Twelve things, all in the group all, and one in no group, `late`."""
    for name in (*FLEET, "late"):
        cloud.create_thing(name)
    cloud.create_group("all", *FLEET)
    return cloud


def group_arn(name: str = "all") -> str:
    return f"arn:aws:iot:us-east-1:123456789012:thinggroup/{name}"


def create(cloud: Cloud, rollout: dict[str, Any] | None = None, **more: Any) -> None:
    rollout_config = {"jobExecutionsRolloutConfig": rollout} if rollout is not None else {}
    members = {"targets": [group_arn()], "document": "{}"} | rollout_config | more
    cloud.operate("CreateJob", **{"jobId": "J1"} | members)


def notified(cloud: Cloud, job_id: str = "J1") -> int:
    return len(cloud.history(job_id))


class TestRate:
    # The guide's own example: 50 a minute, doubled with each 1,000.
    @pytest.mark.parametrize(
        ("count", "rate"), [(0, 50), (999, 50), (1000, 100), (1999, 100), (2000, 200), (3000, 400), (4000, 800)]
    )
    @pytest.mark.parametrize("criterion", ["numberOfNotifiedThings", "numberOfSucceededThings"])
    def test_it_rises_with_each_thousand_notified_or_succeeded(self, criterion: str, count: int, rate: int) -> None:
        config = exponential(50, 2, **{criterion: 1000})
        notified, succeeded = (count, 0) if criterion == "numberOfNotifiedThings" else (0, count)
        assert rates.per_minute(config, 1000, notified=notified, succeeded=succeeded) == rate

    def test_whichever_of_two_criteria_is_met_first_counts(self) -> None:
        config = exponential(10, 3, numberOfNotifiedThings=100, numberOfSucceededThings=5)
        assert rates.per_minute(config, 1000, notified=99, succeeded=4) == 10
        assert rates.per_minute(config, 1000, notified=100, succeeded=4) == 30
        assert rates.per_minute(config, 1000, notified=99, succeeded=10) == 90

    @pytest.mark.parametrize(
        ("config", "rate"),
        [
            ({}, 1000),
            ({"maximumPerMinute": 7}, 7),
            (exponential(50, 2, numberOfNotifiedThings=1), 1000),
            ({"maximumPerMinute": 120} | exponential(50, 2, numberOfNotifiedThings=1000), 120),
            ({"maximumPerMinute": 20} | exponential(50, 2, numberOfNotifiedThings=1000), 20),
            (exponential(1, 1.1, numberOfNotifiedThings=1000), 1),
            (exponential(10, 1.1, numberOfNotifiedThings=1000), 12),
        ],
    )
    def test_the_maximum_is_the_ceiling_and_a_part_of_a_thing_is_none(self, config: dict[str, Any], rate: int) -> None:
        assert rates.per_minute(config, 1000, notified=2500, succeeded=0) == rate

    def test_a_great_number_of_increases_takes_no_time(self) -> None:
        assert rates.per_minute(exponential(1, 5, numberOfNotifiedThings=1), 1000, notified=10**9, succeeded=0) == 1000


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"maximumPerMinute": 0}, "'jobExecutionsRolloutConfig.maximumPerMinute' failed to satisfy constraint"),
        ({"maximumPerMinute": 1001}, "maximumPerMinute is 1001, at most 1000 is allowed"),
        ({"exponentialRate": {}}, "'jobExecutionsRolloutConfig.exponentialRate.baseRatePerMinute'"),
        (exponential(0, numberOfNotifiedThings=1), "Member must have value greater than or equal to 1"),
        (exponential(1001, numberOfNotifiedThings=1), "Member must have value less than or equal to 1000"),
        (exponential(1, 1, numberOfNotifiedThings=1), "Member must have value greater than or equal to 1.1"),
        (exponential(1, 5.1, numberOfNotifiedThings=1), "Member must have value less than or equal to 5"),
        (exponential(1, 1.55, numberOfNotifiedThings=1), "at most one digit after the decimal point"),
        (exponential(1, 1.5, numberOfNotifiedThings=0), "numberOfNotifiedThings' failed to satisfy constraint"),
        (exponential(1, 1.5, numberOfSucceededThings=0), "numberOfSucceededThings' failed to satisfy constraint"),
        (exponential(), "rateIncreaseCriteria needs"),
        ({"maximumPerMinute": "5"}, "Member must be of type integer"),
    ],
)
@pytest.mark.parametrize("operation", ["CreateJob", "UpdateJob"])
def test_a_configuration_out_of_bounds_is_refused(
    fleet: Cloud, operation: str, config: dict[str, Any], words: str
) -> None:
    members: dict[str, Any] = {"targets": [group_arn()], "document": "{}"}
    if operation == "UpdateJob":
        create(fleet)
        members = {}
    code, message = fleet.refused(operation, jobId="J1", **members, jobExecutionsRolloutConfig=config)
    assert (code, words in message) == ("InvalidRequest", True), message


class TestConstantRate:
    def test_each_minute_so_many_things_are_notified(self, fleet: Cloud) -> None:
        create(fleet, {"maximumPerMinute": 5})
        job = fleet.job()
        assert (notified(fleet), job["isConcurrent"], job["status"]) == (5, True, "IN_PROGRESS")
        assert job["jobExecutionsRolloutConfig"] == {"maximumPerMinute": 5}
        assert job["jobProcessDetails"]["processingTargets"] == [group_arn()]
        fleet.pass_time(seconds=59)
        assert notified(fleet) == 5
        fleet.pass_time(seconds=1)
        assert notified(fleet) == 10
        fleet.pass_time(minutes=1)
        assert (notified(fleet), fleet.job()["isConcurrent"]) == (12, False)
        assert fleet.job()["jobProcessDetails"]["processingTargets"] is None

    def test_each_execution_is_queued_at_its_own_time_after_a_leap_of_the_clock(self, fleet: Cloud) -> None:
        start = fleet.now
        create(fleet, {"maximumPerMinute": 5})
        fleet.pass_time(minutes=60)
        queued = [execution.queued_at - start for execution in fleet.store.executions_of_job("J1")]
        assert queued == [0] * 5 + [60] * 5 + [120] * 2
        assert fleet.job()["lastUpdatedAt"] == start + 120

    def test_the_rollout_of_a_job_that_says_nothing_has_awss_own_rate(self, fleet: Cloud) -> None:
        assert fleet.store.settings.rollout_per_minute == rates.MAX_PER_MINUTE == 1000

    @pytest.mark.parametrize("settings", [ServiceSettings(rollout_per_minute=4)])
    def test_which_can_be_another_one(self, fleet: Cloud) -> None:
        create(fleet)
        assert (notified(fleet), fleet.job()["jobExecutionsRolloutConfig"]) == (4, {})

    @pytest.mark.parametrize("settings", [ServiceSettings(rollout_is_spread=True)])
    def test_a_minutes_executions_can_be_spread_over_it(self, fleet: Cloud) -> None:
        create(fleet, {"maximumPerMinute": 5})
        counts = []
        for _ in range(6):
            counts.append(notified(fleet))
            fleet.pass_time(seconds=12)
        assert counts == [1, 2, 3, 4, 5, 6]

    def test_a_job_is_complete_only_after_its_rollout(self, fleet: Cloud) -> None:
        create(fleet, {"maximumPerMinute": 11})
        for name in FLEET[:11]:
            fleet.accepted("J1/update", name, status="SUCCEEDED")
        assert fleet.job()["status"] == "IN_PROGRESS"
        fleet.pass_time(minutes=1)
        fleet.accepted("J1/update", FLEET[11], status="SUCCEEDED")
        assert fleet.job()["status"] == "COMPLETED"

    @pytest.mark.parametrize("end", ["CancelJob", "DeleteJob"])
    def test_canceling_or_deleting_a_job_ends_its_rollout(self, fleet: Cloud, end: str) -> None:
        create(fleet, {"maximumPerMinute": 5})
        fleet.operate(end, jobId="J1", force=True)
        assert fleet.job()["isConcurrent"] is False
        fleet.store.take_publications()
        fleet.pass_time(minutes=5)
        assert fleet.store.take_publications() == []


class TestExponentialRate:
    def test_it_rises_by_what_was_notified(self, fleet: Cloud) -> None:
        create(fleet, exponential(1, 2, numberOfNotifiedThings=3))
        counts = []
        for _ in range(7):
            counts.append(notified(fleet))
            fleet.pass_time(minutes=1)
        assert counts == [1, 2, 3, 5, 7, 11, 12]

    def test_it_rises_by_what_succeeded(self, fleet: Cloud) -> None:
        create(fleet, exponential(1, 4, numberOfSucceededThings=2))
        fleet.pass_time(minutes=2)
        assert notified(fleet) == 3
        for name in FLEET[:2]:
            fleet.accepted("J1/update", name, status="SUCCEEDED")
        fleet.pass_time(minutes=1)
        assert notified(fleet) == 7

    def test_another_rate_counts_from_the_next_minute(self, fleet: Cloud) -> None:
        create(fleet, {"maximumPerMinute": 1})
        fleet.operate("UpdateJob", jobId="J1", jobExecutionsRolloutConfig={"maximumPerMinute": 8})
        assert fleet.job()["jobExecutionsRolloutConfig"] == {"maximumPerMinute": 8}
        assert notified(fleet) == 1
        fleet.pass_time(minutes=1)
        assert notified(fleet) == 9

    def test_a_rate_that_rises_can_come_in_place_of_one_that_does_not(self, fleet: Cloud) -> None:
        """What was notified before counts: two things, two increases, and four after that."""
        create(fleet, {"maximumPerMinute": 2})
        fleet.operate("UpdateJob", jobId="J1", jobExecutionsRolloutConfig=exponential(numberOfNotifiedThings=1))
        fleet.pass_time(minutes=1)
        assert notified(fleet) == 2 + 4
        fleet.operate("UpdateJob", jobId="J1", jobExecutionsRolloutConfig=exponential(numberOfSucceededThings=1))
        fleet.pass_time(minutes=1)
        assert notified(fleet) == 2 + 4 + 1


class TestJoiningASlowRollout:
    @pytest.fixture
    def slow(self, fleet: Cloud) -> Any:
        """A continuous job for the group all, of which one thing a minute is notified."""
        create(fleet, {"maximumPerMinute": 1}, targetSelection="CONTINUOUS")
        fleet.store.take_publications()
        return fleet

    def join(self, cloud: Cloud, thing: str) -> None:
        cloud.operate("AddThingToThingGroup", thingName=thing, thingGroupName="all")

    def test_a_thing_that_joins_does_not_wait(self, slow: Cloud) -> None:
        self.join(slow, "late")
        assert [topic for topic, _ in slow.published("late")] == ["notify", "notify-next"]
        assert [thing for thing, *_ in slow.history()] == ["late", "t00"]
        slow.pass_time(minutes=1)
        assert [thing for thing, *_ in slow.history()] == ["late", "t00", "t01"]

    def test_one_that_waits_leaves_and_comes_back_has_joined(self, slow: Cloud) -> None:
        slow.operate("RemoveThingFromThingGroup", thingName="t09", thingGroupName="all")
        self.join(slow, "t09")
        assert [thing for thing, *_ in slow.history()] == ["t00", "t09"]
        slow.pass_time(minutes=20)
        assert notified(slow) == 12

    def test_one_that_waits_and_joins_another_target_group_goes_on_waiting(self, slow: Cloud) -> None:
        other = slow.create_group("other")
        slow.operate("AssociateTargetsWithJob", jobId="J1", targets=[other])
        slow.operate("AddThingToThingGroup", thingName="t09", thingGroupName="other")
        assert [thing for thing, *_ in slow.history()] == ["t00"]

    def test_members_of_a_group_that_is_associated_do_not_wait(self, slow: Cloud) -> None:
        other = slow.create_group("other", "late", "t09")
        slow.operate("AssociateTargetsWithJob", jobId="J1", targets=[other])
        assert [thing for thing, *_ in slow.history()] == ["late", "t00"]

    @pytest.mark.parametrize("settings", [ServiceSettings(rollout_delay_s=2)])
    def test_unless_the_job_is_canceled_before_they_are_admitted(self, fleet: Cloud) -> None:
        create(fleet, targetSelection="CONTINUOUS")
        fleet.pass_time(seconds=2)
        for name in ("other", "third"):
            group = fleet.create_group(name, "late") if name == "other" else fleet.create_group(name)
            fleet.operate("AssociateTargetsWithJob", jobId="J1", targets=[group])
        assert fleet.job()["isConcurrent"] is True
        fleet.operate("CancelJob", jobId="J1")
        fleet.pass_time(seconds=2)
        assert "late" not in [thing for thing, *_ in fleet.history()]


class TestQuotas:
    @pytest.mark.parametrize("settings", [ServiceSettings(concurrent_jobs=2)])
    def test_no_more_jobs_are_rolled_out_at_a_time(self, fleet: Cloud) -> None:
        slow = {"maximumPerMinute": 6}
        create(fleet, slow, jobId="J1")
        create(fleet, slow, jobId="J2")
        more = {"jobId": "J3", "targets": [THING_ARN + "late"], "document": "{}"}
        assert fleet.refused("CreateJob", **more) == ("LimitExceeded", "2 jobs are concurrent, no more may be")
        fleet.pass_time(minutes=1)
        fleet.operate("CreateJob", **more)

    @pytest.mark.parametrize("settings", [ServiceSettings(active_jobs=2)])
    def test_no_more_jobs_are_active_at_a_time(self, fleet: Cloud) -> None:
        fleet.create_job("J1")
        fleet.create_job("J2", namespaceId="team")
        more = {"jobId": "J3", "targets": [THING_ARN + "late"], "document": "{}"}
        assert fleet.refused("CreateJob", **more) == ("LimitExceeded", "2 jobs are active, no more may be")
        fleet.accepted("J1/update", status="SUCCEEDED")
        fleet.operate("CreateJob", **more)
