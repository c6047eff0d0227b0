"""What happens where two things meet: a late association, a request during a leap of the clock, a retry that waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.turns import at_each_turn

from iot_jobs_simulator.changes import Changes
from iot_jobs_simulator.clock import Clock
from iot_jobs_simulator.jobs.settings import ServiceSettings
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.refusals import Refused
from iot_jobs_simulator.service import Service

if TYPE_CHECKING:
    from conftest import Cloud

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
GROUP = "arn:aws:iot:us-east-1:123456789012:thinggroup/"
RETRY_ONCE = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}


def written(**later: float) -> str:
    return f"{NOON + timedelta(**later):%Y-%m-%dT%H:%M}"


class NoonClock(Clock):
    """Noon, and what it was put forward."""

    def now(self) -> float:
        return NOON.timestamp() + self._ahead_s


@pytest.fixture
def three(cloud: Cloud) -> Cloud:
    """Noon; the things a and b are in groups of their own, c in none."""
    cloud.now = NOON.timestamp()
    for name in ("a", "b", "c"):
        cloud.create_thing(name)
    cloud.create_group("one", "a")
    cloud.create_group("two", "b")
    return cloud


def create(cloud: Cloud, *groups: str, **members: Any) -> None:
    targets = [f"{GROUP}{name}" for name in groups or ("one",)]
    cloud.operate("CreateJob", **{"jobId": "J1", "targets": targets, "document": "{}"} | members)


def associate(cloud: Cloud) -> None:
    cloud.operate("AssociateTargetsWithJob", jobId="J1", targets=[f"{GROUP}two"])


def test_a_job_whose_end_time_has_come_takes_no_more_targets_and_completes(three: Cloud) -> None:
    create(three, targetSelection="CONTINUOUS", schedulingConfig={"endTime": written(hours=1)})
    three.accepted("start-next", "a")
    three.pass_time(minutes=61)
    with pytest.raises(Refused):
        associate(three)
    three.accepted("J1/update", "a", status="SUCCEEDED")
    assert three.job()["status"] == "COMPLETED"


@pytest.mark.parametrize("settings", [ServiceSettings(retry_delay_s=600)])
def test_a_retry_waits_for_its_delay_whatever_joins_meanwhile(three: Cloud) -> None:
    create(three, targetSelection="CONTINUOUS", jobExecutionsRetryConfig=RETRY_ONCE)
    three.accepted("J1/update", "a", status="FAILED")
    three.pass_time(seconds=1)
    associate(three)
    assert [each for each in three.history() if each[0] == "a"] == [("a", 1, "FAILED", 0)]
    three.pass_time(minutes=10)
    assert len([each for each in three.history() if each[0] == "a"]) == 2


@pytest.mark.parametrize("settings", [ServiceSettings(retry_delay_s=600)])
def test_a_thing_that_joins_another_target_group_has_the_job_instead_of_its_retry(three: Cloud) -> None:
    create(three, "one", "two", targetSelection="CONTINUOUS", jobExecutionsRetryConfig=RETRY_ONCE)
    three.accepted("J1/update", "a", status="FAILED")
    three.operate("AddThingToThingGroup", thingName="a", thingGroupName="two")
    three.pass_time(minutes=11)
    assert [each for each in three.history() if each[0] == "a"] == [("a", 1, "FAILED", 0), ("a", 2, "QUEUED", 0)]


def test_a_threshold_is_met_exactly_though_floating_point_is_not_exact(three: Cloud) -> None:
    criterion = {"failureType": "FAILED", "action": "CANCEL", "thresholdPercentage": 64.4}
    create(three, abortConfig={"criteriaList": [criterion | {"minNumberOfExecutedThings": 250}]}, targets=_crowd(three))
    for number in range(250):
        three.accepted("J1/update", f"t{number}", status="SUCCEEDED" if number < 89 else "FAILED")
    assert three.job()["reasonCode"] == "ABORT_CRITERIA_MET"


def _crowd(cloud: Cloud) -> list[str]:
    names = [f"t{number}" for number in range(251)]
    for name in names:
        cloud.create_thing(name)
    cloud.create_group("crowd", *names)
    return [f"{GROUP}crowd"]


def test_an_execution_that_is_removed_counts_for_the_abort(three: Cloud) -> None:
    criterion = {"failureType": "FAILED", "action": "CANCEL", "thresholdPercentage": 50}
    config = {"criteriaList": [criterion | {"minNumberOfExecutedThings": 2}]}
    things = ["arn:aws:iot:us-east-1:123456789012:thing/" + name for name in ("a", "b", "c")]
    create(three, abortConfig=config, targets=things)
    three.accepted("J1/update", "a", status="FAILED")
    three.operate("DeleteThing", thingName="b")
    assert three.job()["status"] == "CANCELED"


@pytest.mark.parametrize(
    "given", [[{"startTime": "nonsense", "durationInMinutes": 5}], [{"startTime": "cron(0 1 * * ? *)"}] * 21]
)
def test_windows_that_no_job_could_have_are_refused_in_a_template_too(
    three: Cloud, given: list[dict[str, Any]]
) -> None:
    windows = [{"durationInMinutes": 5} | each for each in given]
    with pytest.raises(Refused, match=r"maintenanceWindows has 21|nonsense"):
        three.operate(
            "CreateJobTemplate", jobTemplateId="T", description="d", document="{}", maintenanceWindows=windows
        )
    schedule = {"startTime": written(hours=1), "maintenanceWindows": windows}
    with pytest.raises(Refused):
        create(three, targetSelection="CONTINUOUS", schedulingConfig=schedule)


def crowded(*, things: int) -> Service:
    """A service with a group of so many things, more than are served in one slice."""
    service = Service(
        JobStore(),
        clock=NoonClock(),
        changes=Changes(),
        endpoints={},
        publish=lambda _: None,
        on_thing_created=lambda _: None,
    )
    service.answer_operator("CreateThingGroup", {"thingGroupName": "one"})
    for number in range(things):
        service.answer_operator("CreateThing", {"thingName": f"t{number}"})
        service.answer_operator("AddThingToThingGroup", {"thingName": f"t{number}", "thingGroupName": "one"})
    return service


@pytest.mark.parametrize("is_asked", [False, True])
async def test_a_leap_of_the_clock_leaves_the_same_record_whether_somebody_asks_meanwhile(is_asked: bool) -> None:
    service = crowded(things=900)
    schedule = {"startTime": written(hours=1), "endTime": written(hours=2)}
    job = {"jobId": "J1", "targets": [f"{GROUP}one"], "document": "{}", "schedulingConfig": schedule}
    service.answer_operator("CreateJob", job)
    leap = service.advance_clock(3 * 3600)
    await (at_each_turn(leap, lambda: service.answer_operator("ListJobs", {})) if is_asked else leap)
    service.stop()
    assert service.store.jobs["J1"].executions.total() == 900


async def test_while_a_cancellation_is_in_slices_a_second_one_needs_force() -> None:
    service = crowded(things=900)
    service.answer_operator("CreateJob", {"jobId": "J1", "targets": [f"{GROUP}one"], "document": "{}"})
    await service.advance_clock(1)
    service.answer_operator("CancelJob", {"jobId": "J1", "force": True})
    with pytest.raises(Refused):
        service.answer_operator("CancelJob", {"jobId": "J1"})
    service.stop()
    assert service.store.jobs["J1"].is_force_canceled
