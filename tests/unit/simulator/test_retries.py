"""Retries of executions that failed (developer guide, page jobs-configurations-details)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_simulator.jobs import retries
from iot_jobs_simulator.jobs.execution import ExecutionStatus
from iot_jobs_simulator.jobs.settings import ServiceSettings

if TYPE_CHECKING:
    from conftest import Cloud

FAILED, TIMED_OUT = ExecutionStatus.FAILED, ExecutionStatus.TIMED_OUT
FIVE_MINUTES = {"inProgressTimeoutInMinutes": 5}


def config(**numbers: int) -> dict[str, Any]:
    return {"criteriaList": [{"failureType": kind, "numberOfRetries": number} for kind, number in numbers.items()]}


@pytest.mark.parametrize(
    ("criteria", "past", "failure", "is_left"),
    [
        ({}, (), FAILED, False),
        ({"FAILED": 1}, (), FAILED, True),
        ({"FAILED": 1}, (FAILED,), FAILED, False),
        ({"FAILED": 1}, (TIMED_OUT,), FAILED, True),
        ({"FAILED": 1}, (), TIMED_OUT, False),
        ({"FAILED": 0}, (), FAILED, False),
        ({"ALL": 2}, (FAILED,), TIMED_OUT, True),
        ({"ALL": 2}, (FAILED, TIMED_OUT), FAILED, False),
        ({"FAILED": 1, "TIMED_OUT": 2}, (FAILED, TIMED_OUT), TIMED_OUT, True),
        ({"ALL": 9}, (), ExecutionStatus.REJECTED, False),
        ({"ALL": 9}, (), ExecutionStatus.CANCELED, False),
        ({"ALL": 9}, (), ExecutionStatus.SUCCEEDED, False),
    ],
)
def test_each_kind_of_failure_has_its_budget_and_all_is_one_for_both(
    criteria: dict[str, int], past: tuple[ExecutionStatus, ...], failure: ExecutionStatus, is_left: bool
) -> None:
    assert retries.is_left(config(**criteria), past, failure) is is_left


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"jobExecutionsRetryConfig": config(FAILED=6, TIMED_OUT=5), "timeoutConfig": FIVE_MINUTES}, "11 retries"),
        ({"jobExecutionsRetryConfig": config(TIMED_OUT=1)}, "timeoutConfig"),
        ({"jobExecutionsRetryConfig": config(FAILED=11)}, "less than or equal to 10"),
        ({"jobExecutionsRetryConfig": config(REJECTED=1)}, "enum value set"),
        ({"jobExecutionsRetryConfig": config()}, "criteriaList"),
        ({"jobExecutionsRetryConfig": {"criteriaList": config(FAILED=1)["criteriaList"] * 2}}, "twice"),
        ({"jobExecutionsRetryConfig": {"criteriaList": config(FAILED=1)["criteriaList"] * 3}}, "equal to 2"),
    ],
)
def test_a_configuration_beyond_the_bounds_is_refused(cloud: Cloud, members: dict[str, Any], words: str) -> None:
    target = cloud.store.registry.find("lamp").arn
    code, message = cloud.refused("CreateJob", jobId="J1", targets=[target], document="{}", **members)
    assert (code, words in message) == ("InvalidRequest", True), message


def test_no_retries_of_timeouts_need_no_timeout(cloud: Cloud) -> None:
    cloud.create_job("J1", jobExecutionsRetryConfig=config(TIMED_OUT=0, FAILED=1))
    assert cloud.job()["jobExecutionsRetryConfig"] == config(TIMED_OUT=0, FAILED=1)


def test_a_job_is_complete_when_its_last_retry_has_failed(cloud: Cloud) -> None:
    cloud.create_job("J1", jobExecutionsRetryConfig=config(FAILED=2))
    for attempt in range(3):
        failed = {"Failed": attempt} if attempt else {}
        assert (cloud.job()["status"], cloud.counters()) == ("IN_PROGRESS", {"Queued": 1} | failed)
        assert cloud.accepted("start-next")["execution"]["executionNumber"] == attempt + 1
        cloud.accepted("J1/update", status="FAILED")
    assert (cloud.job()["status"], cloud.counters()) == ("COMPLETED", {"Failed": 3})
    assert [(number, attempt) for _, number, _, attempt in cloud.history()] == [(1, 0), (2, 1), (3, 2)]


def test_failures_and_timeouts_share_the_budget_of_all(cloud: Cloud) -> None:
    cloud.create_job("J1", jobExecutionsRetryConfig=config(ALL=2), timeoutConfig=FIVE_MINUTES)
    cloud.accepted("J1/update", status="FAILED")
    for _ in range(2):
        cloud.accepted("start-next")
        cloud.pass_time(minutes=5)
    assert [status for _, _, status, _ in cloud.history()] == ["FAILED", "TIMED_OUT", "TIMED_OUT"]
    assert cloud.job()["status"] == "COMPLETED"


def test_a_retry_goes_to_the_end_of_the_queue(cloud: Cloud) -> None:
    cloud.create_job("J1", jobExecutionsRetryConfig=config(FAILED=1))
    cloud.create_job("J2")
    cloud.published()
    cloud.accepted("J1/update", status="FAILED")
    [(_, listed), (_, following)] = cloud.published()
    assert [entry["jobId"] for entry in listed["jobs"]["QUEUED"]] == ["J2", "J1"]
    assert following["execution"]["jobId"] == "J2"


def test_nothing_is_retried_once_the_job_is_canceled(cloud: Cloud) -> None:
    cloud.create_job("J1", jobExecutionsRetryConfig=config(FAILED=1))
    cloud.accepted("start-next")
    cloud.operate("CancelJob", jobId="J1")
    cloud.accepted("J1/update", status="FAILED")
    assert cloud.history() == [("lamp", 1, "FAILED", 0)]


def test_retries_can_be_switched_off_but_not_on_or_changed(cloud: Cloud) -> None:
    cloud.create_job("J1", jobExecutionsRetryConfig=config(FAILED=1))
    assert cloud.refused("UpdateJob", jobId="J1", jobExecutionsRetryConfig=config(FAILED=2))[0] == "InvalidRequest"
    cloud.operate("UpdateJob", jobId="J1", jobExecutionsRetryConfig=config(FAILED=0))
    cloud.accepted("J1/update", status="FAILED")
    assert cloud.history() == [("lamp", 1, "FAILED", 0)]


def test_rejoining_a_group_restarts_the_count(cloud: Cloud) -> None:
    group = cloud.create_group("all", "lamp")
    cloud.operate(
        "CreateJob",
        jobId="J1",
        targets=[group],
        document="{}",
        targetSelection="CONTINUOUS",
        jobExecutionsRetryConfig=config(FAILED=1),
    )
    cloud.accepted("J1/update", status="FAILED")
    for operation in ("RemoveThingFromThingGroup", "AddThingToThingGroup"):
        cloud.operate(operation, thingName="lamp", thingGroupName="all")
    cloud.accepted("J1/update", status="FAILED")
    assert cloud.history() == [
        ("lamp", 1, "FAILED", 0),
        ("lamp", 2, "REMOVED", 1),
        ("lamp", 3, "FAILED", 0),
        ("lamp", 4, "QUEUED", 1),
    ]


@pytest.mark.parametrize("settings", [ServiceSettings(retry_delay_s=10)])
class TestWithDelay:
    @pytest.fixture
    def failed(self, cloud: Cloud) -> Any:
        """J1 for a group of one thing, which has failed; the retry is due in ten seconds."""
        cloud.create_group("all", "lamp")
        cloud.create_job("J1", jobExecutionsRetryConfig=config(FAILED=2))
        cloud.accepted("J1/update", status="FAILED")
        cloud.published()
        return cloud

    def test_the_job_waits_for_it(self, failed: Cloud) -> None:
        assert (failed.job()["status"], failed.accepted("get")["queuedJobs"]) == ("IN_PROGRESS", [])
        failed.pass_time(seconds=10)
        assert [topic for topic, _ in failed.published()] == ["notify", "notify-next"]
        assert failed.history() == [("lamp", 1, "FAILED", 0), ("lamp", 2, "QUEUED", 1)]

    def test_canceling_the_job_ends_the_wait(self, failed: Cloud) -> None:
        failed.operate("CancelJob", jobId="J1")
        failed.pass_time(seconds=10)
        assert failed.history() == [("lamp", 1, "FAILED", 0)]

    def test_deleting_the_job_ends_the_wait(self, failed: Cloud) -> None:
        failed.operate("DeleteJob", jobId="J1", force=True)
        failed.pass_time(seconds=10)
        assert failed.published() == []

    def test_switching_retries_off_leaves_nothing_to_wait_for(self, failed: Cloud) -> None:
        failed.operate("UpdateJob", jobId="J1", jobExecutionsRetryConfig=config(FAILED=0))
        failed.pass_time(seconds=10)
        assert (failed.history(), failed.job()["status"]) == ([("lamp", 1, "FAILED", 0)], "COMPLETED")

    def test_deleting_the_thing_ends_the_wait_and_completes_the_job(self, failed: Cloud) -> None:
        failed.operate("DeleteThing", thingName="lamp")
        assert failed.job()["status"] == "COMPLETED"
        failed.pass_time(seconds=10)
        assert failed.published() == []

    def test_deleting_the_failed_execution_ends_the_wait_and_completes_the_job(self, failed: Cloud) -> None:
        failed.operate("DeleteJobExecution", thingName="lamp", jobId="J1", executionNumber=1)
        assert (failed.job()["status"], failed.counters()) == ("COMPLETED", {})
        failed.pass_time(seconds=10)
        assert failed.history() == []
