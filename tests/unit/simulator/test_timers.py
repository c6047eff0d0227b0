"""In-progress and step timers (developer guide, page jobs-configurations-details). Time is set by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_simulator.jobs import rollout
from iot_jobs_simulator.jobs.settings import ServiceSettings

if TYPE_CHECKING:
    from conftest import Cloud

WEEK_MINUTES = 7 * 24 * 60


def status(cloud: Cloud, job_id: str = "J1") -> str:
    return str(cloud.operate("DescribeJobExecution", thingName="lamp", jobId=job_id)["execution"]["status"])


def seconds_left(cloud: Cloud) -> Any:
    return cloud.accepted("$next/get")["execution"].get("approximateSecondsBeforeTimedOut")


def test_no_timer_runs_while_an_execution_is_queued(cloud: Cloud) -> None:
    cloud.create_job("J1", timeoutConfig={"inProgressTimeoutInMinutes": 1})
    cloud.pass_time(minutes=WEEK_MINUTES)
    assert (status(cloud), seconds_left(cloud)) == ("QUEUED", None)


def test_an_in_progress_timer_of_a_week_is_not_extended_by_progress(cloud: Cloud) -> None:
    cloud.create_job("J1", timeoutConfig={"inProgressTimeoutInMinutes": WEEK_MINUTES})
    cloud.accepted("start-next")
    cloud.pass_time(minutes=WEEK_MINUTES - 1)
    cloud.accepted("J1/update", status="IN_PROGRESS")
    cloud.accepted("start-next")
    assert seconds_left(cloud) == 60
    cloud.pass_time(minutes=1)
    assert status(cloud) == "TIMED_OUT"
    assert cloud.job()["status"] == "COMPLETED"


def test_both_planes_tell_the_time_that_is_left(cloud: Cloud) -> None:
    cloud.create_job("J1")
    cloud.create_job("J2")
    cloud.accepted("J2/update", status="IN_PROGRESS", stepTimeoutInMinutes=2)
    [_, (_, following)] = cloud.published()[-2:]
    assert following["execution"]["approximateSecondsBeforeTimedOut"] == 120
    cloud.pass_time(seconds=30.4)
    operators = cloud.operate("DescribeJobExecution", thingName="lamp", jobId="J2")["execution"]
    assert operators["approximateSecondsBeforeTimedOut"] == seconds_left(cloud) == 90


def test_a_step_timer_ends_an_execution_without_in_progress_timer(cloud: Cloud) -> None:
    cloud.create_job("J1")
    cloud.accepted("start-next", stepTimeoutInMinutes=5)
    assert seconds_left(cloud) == 300
    cloud.pass_time(minutes=5)
    assert status(cloud) == "TIMED_OUT"
    refused = cloud.ask("J1/update", status="SUCCEEDED")[1]
    assert (refused["code"], refused["executionState"]["status"]) == ("InvalidStateTransition", "TIMED_OUT")


def test_start_next_restarts_the_step_timer_of_what_is_in_progress(cloud: Cloud) -> None:
    cloud.create_job("J1")
    cloud.accepted("start-next", stepTimeoutInMinutes=5)
    cloud.pass_time(minutes=4)
    assert cloud.accepted("start-next", stepTimeoutInMinutes=5)["execution"]["versionNumber"] == 2
    cloud.pass_time(minutes=4)
    assert seconds_left(cloud) == 60
    cloud.accepted("start-next", stepTimeoutInMinutes=-1)
    cloud.pass_time(minutes=WEEK_MINUTES)
    assert status(cloud) == "IN_PROGRESS"


def test_timers_end_with_the_execution(cloud: Cloud) -> None:
    cloud.create_job("J1", timeoutConfig={"inProgressTimeoutInMinutes": 5})
    cloud.accepted("start-next", stepTimeoutInMinutes=1)
    cloud.accepted("J1/update", status="FAILED")
    cloud.published()
    cloud.pass_time(minutes=10)
    assert (status(cloud), cloud.published()) == ("FAILED", [])


def test_timers_end_when_the_execution_is_deleted(cloud: Cloud) -> None:
    cloud.create_job("J1", timeoutConfig={"inProgressTimeoutInMinutes": 5})
    cloud.accepted("start-next")
    cloud.operate("DeleteJob", jobId="J1", force=True)
    cloud.published()
    cloud.pass_time(minutes=10)
    assert cloud.published() == []


def test_a_timer_set_shorter_and_longer_again_counts_as_last_set(cloud: Cloud) -> None:
    cloud.create_job("J1")
    for minutes in (9, 5, 7, 3, 8):
        cloud.accepted("start-next", stepTimeoutInMinutes=minutes)
    cloud.pass_time(minutes=7)
    assert status(cloud) == "IN_PROGRESS"
    cloud.pass_time(minutes=1)
    assert status(cloud) == "TIMED_OUT"


def test_an_execution_is_looked_at_no_more_often_than_its_timers_were_shortened(cloud: Cloud) -> None:
    cloud.create_job("J1")
    for minutes in (9, 5, 7, 3, 30):
        cloud.accepted("start-next", stepTimeoutInMinutes=minutes)
    assert len(cloud.store.agenda) == 3
    cloud.pass_time(minutes=10)
    assert (len(cloud.store.agenda), rollout.next_due(cloud.store)) == (1, cloud.now + 20 * 60)


@pytest.mark.parametrize("settings", [ServiceSettings(timeout_lag_s=60)])
def test_a_time_out_may_come_late(cloud: Cloud) -> None:
    cloud.create_job("J1")
    cloud.accepted("start-next", stepTimeoutInMinutes=1)
    cloud.pass_time(seconds=119)
    assert (status(cloud), seconds_left(cloud)) == ("IN_PROGRESS", 0)
    cloud.pass_time(seconds=1)
    assert status(cloud) == "TIMED_OUT"


def test_what_came_due_in_a_leap_of_the_clock_happened_at_its_own_time(cloud: Cloud) -> None:
    start = cloud.now
    retries = {"criteriaList": [{"failureType": "TIMED_OUT", "numberOfRetries": 1}]}
    timeout = {"inProgressTimeoutInMinutes": 3}
    cloud.create_job("J1", jobExecutionsRetryConfig=retries, timeoutConfig=timeout)
    cloud.create_job("J2", timeoutConfig={"inProgressTimeoutInMinutes": 2})
    cloud.accepted("J1/update", status="IN_PROGRESS")
    cloud.accepted("J2/update", status="IN_PROGRESS")
    cloud.published()
    cloud.pass_time(minutes=60)
    assert [payload["timestamp"] - int(start) for topic, payload in cloud.published() if topic == "notify"] == [
        120,
        180,
    ]
    assert cloud.accepted("$next/get")["execution"]["queuedAt"] == int(start) + 180
    assert cloud.history() == [("lamp", 1, "TIMED_OUT", 0), ("lamp", 2, "QUEUED", 1)]


class TestChangingTheTimeout:
    def test_it_counts_for_executions_that_have_not_started(self, cloud: Cloud) -> None:
        cloud.create_thing("fan")
        cloud.create_job("J1", things=("lamp", "fan"), timeoutConfig={"inProgressTimeoutInMinutes": 5})
        cloud.accepted("start-next")
        cloud.operate("UpdateJob", jobId="J1", timeoutConfig={"inProgressTimeoutInMinutes": 50})
        assert cloud.job()["timeoutConfig"] == {"inProgressTimeoutInMinutes": 50}
        assert seconds_left(cloud) == 300
        assert cloud.accepted("start-next", thing="fan")["execution"]["approximateSecondsBeforeTimedOut"] == 3000

    @pytest.mark.parametrize("minutes", [0, -1, 10081])
    def test_it_has_bounds(self, cloud: Cloud, minutes: int) -> None:
        cloud.create_job("J1")
        code, message = cloud.refused("UpdateJob", jobId="J1", timeoutConfig={"inProgressTimeoutInMinutes": minutes})
        assert (code, str(minutes) in message) == ("InvalidRequest", True)
