"""What the service keeps in mind to do later, and forgets once there is nothing left to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_simulator.jobs.agenda import SWEEP_AFTER

if TYPE_CHECKING:
    from conftest import Cloud

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
MANY = 5 * SWEEP_AFTER
WINDOWS = [{"startTime": "cron(0 * * * ? *)", "durationInMinutes": 30}]


def written(**later: float) -> str:
    return f"{NOON + timedelta(**later):%Y-%m-%dT%H:%M}"


@pytest.fixture
def noon(cloud: Cloud) -> Any:
    """Noon, and the lamp is in the group all."""
    cloud.now = NOON.timestamp()
    cloud.create_group("all", "lamp")
    return cloud


@pytest.mark.parametrize("ending", ["CancelJob", "DeleteJob"])
def test_jobs_that_are_over_leave_no_starts_and_ends_of_theirs_behind(noon: Cloud, ending: str) -> None:
    schedule = {"startTime": written(days=300), "endTime": written(days=600)}
    for number in range(MANY):
        noon.create_job(f"J{number}", schedulingConfig=schedule)
        noon.operate(ending, jobId=f"J{number}", force=True)
        noon.pass_time(seconds=1)
    assert len(noon.store.agenda) <= 2 * SWEEP_AFTER


def test_executions_that_ended_or_were_deleted_leave_no_timers_of_theirs_behind(noon: Cloud) -> None:
    for number in range(MANY):
        noon.create_job(f"J{number}", timeoutConfig={"inProgressTimeoutInMinutes": 10080})
        noon.accepted("start-next")
        if number % 2:
            noon.accepted(f"J{number}/update", status="SUCCEEDED")
        else:
            noon.operate("DeleteJobExecution", jobId=f"J{number}", thingName="lamp", executionNumber=1, force=True)
    assert len(noon.store.agenda) <= 2 * SWEEP_AFTER


def test_what_is_still_to_be_done_is_done_however_much_was_forgotten_meanwhile(noon: Cloud) -> None:
    group = "arn:aws:iot:us-east-1:123456789012:thinggroup/all"
    members = {"targets": [group], "document": "{}", "targetSelection": "CONTINUOUS"}
    windows = {"startTime": written(hours=1), "endTime": written(hours=5), "maintenanceWindows": WINDOWS}
    noon.operate("CreateJob", jobId="kept", **members, schedulingConfig=windows | {"endBehavior": "CANCEL"})
    noon.create_job("timed", timeoutConfig={"inProgressTimeoutInMinutes": 10080})
    noon.accepted("start-next", stepTimeoutInMinutes=90)
    noon.accepted("timed/update", status="IN_PROGRESS", stepTimeoutInMinutes=-1)
    test_jobs_that_are_over_leave_no_starts_and_ends_of_theirs_behind(noon, "DeleteJob")
    noon.pass_time(minutes=60)
    assert noon.job("kept")["status"] == "IN_PROGRESS"
    noon.pass_time(minutes=30)
    assert noon.job("kept")["status"] == "SCHEDULED"
    noon.accepted("timed/update", status="IN_PROGRESS", stepTimeoutInMinutes=60)
    noon.pass_time(minutes=240)
    assert (noon.counters("kept"), noon.counters("timed")) == ({"Canceled": 1}, {"TimedOut": 1})
