"""Jobs that are aborted because too many executions failed (developer guide, page job-configurations-api)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_simulator.jobs import abort
from iot_jobs_simulator.jobs.execution import ExecutionStatus
from iot_jobs_simulator.jobs.settings import ServiceSettings

if TYPE_CHECKING:
    from conftest import Cloud

FLEET = ("t0", "t1", "t2", "t3")


def criterion(kind: str = "FAILED", threshold: float = 50, least: int = 2, **more: Any) -> dict[str, Any]:
    known = {"failureType": kind, "action": "CANCEL", "thresholdPercentage": threshold}
    return known | {"minNumberOfExecutedThings": least} | more


def config(*criteria: dict[str, Any]) -> dict[str, Any]:
    return {"criteriaList": list(criteria)}


@pytest.mark.parametrize(
    ("criteria", "executions", "comment"),
    [
        ([criterion()], {"FAILED": 1}, None),  # fewer than the minimum
        ([criterion()], {"FAILED": 1, "QUEUED": 5, "IN_PROGRESS": 5}, None),  # which counts what is terminal
        ([criterion()], {"FAILED": 1, "SUCCEEDED": 2}, None),  # a third
        ([criterion()], {"FAILED": 1, "SUCCEEDED": 1}, "Aborted: 1 of 2 executions are FAILED, the threshold is 50 %"),
        ([criterion(threshold=33.34)], {"FAILED": 1, "SUCCEEDED": 2}, None),
        ([criterion(threshold=33.33)], {"FAILED": 1, "SUCCEEDED": 2}, "Aborted: 1 of 3 executions are FAILED"),
        ([criterion(threshold=0)], {"SUCCEEDED": 2}, "Aborted: 0 of 2 executions are FAILED"),
        ([criterion(threshold=100)], {"FAILED": 2}, "Aborted: 2 of 2 executions are FAILED"),
        ([criterion("REJECTED")], {"FAILED": 5, "TIMED_OUT": 5}, None),
        ([criterion("REJECTED")], {"REJECTED": 1, "CANCELED": 1}, "Aborted: 1 of 2 executions are REJECTED"),
        ([criterion("TIMED_OUT")], {"TIMED_OUT": 1, "REMOVED": 1}, "Aborted: 1 of 2 executions are TIMED_OUT"),
        ([criterion("ALL", 100)], {"FAILED": 1, "REJECTED": 1, "TIMED_OUT": 1}, "Aborted: 3 of 3 executions failed"),
        ([criterion("ALL", 100)], {"FAILED": 1, "CANCELED": 1}, None),
        ([criterion("REJECTED"), criterion("ALL")], {"FAILED": 2}, "Aborted: 2 of 2 executions failed"),
        ([criterion("FAILED"), criterion("ALL")], {"FAILED": 2}, "Aborted: 2 of 2 executions are FAILED"),
        ([], {"FAILED": 2}, None),
    ],
)
def test_the_first_criterion_that_is_met_is_the_reason(
    criteria: list[dict[str, Any]], executions: dict[str, int], comment: str | None
) -> None:
    reason = abort.reason(config(*criteria), {ExecutionStatus(name): count for name, count in executions.items()})
    assert (reason is None) == (comment is None)
    assert (reason or "").startswith(comment or "")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (config(), "length greater than or equal to 1"),
        ({}, "criteriaList"),
        (config(criterion("SUCCEEDED")), "enum value set: [FAILED, REJECTED, TIMED_OUT, ALL]"),
        (config(criterion(action="DELETE")), "enum value set: [CANCEL]"),
        (config(criterion(threshold=100.01)), "less than or equal to 100"),
        (config(criterion(threshold=-1)), "thresholdPercentage is -1, allowed are 0 to 100"),
        (config(criterion(threshold=10.999)), "at most two digits after the decimal point"),
        (config(criterion(least=0)), "greater than or equal to 1"),
        (config({"failureType": "ALL"}), "thresholdPercentage' failed to satisfy constraint: Member must not be null"),
    ],
)
@pytest.mark.parametrize("operation", ["CreateJob", "UpdateJob"])
def test_a_configuration_out_of_bounds_is_refused(
    cloud: Cloud, operation: str, value: dict[str, Any], words: str
) -> None:
    members: dict[str, Any] = {"targets": [cloud.store.registry.find("lamp").arn], "document": "{}"}
    if operation == "UpdateJob":
        cloud.create_job("J1")
        members = {}
    code, message = cloud.refused(operation, jobId="J1", **members, abortConfig=value)
    assert (code, words in message) == ("InvalidRequest", True), message


@pytest.fixture
def fleet(cloud: Cloud) -> Any:
    """Four things with nothing to do."""
    for name in FLEET:
        cloud.create_thing(name)
    return cloud


def test_vector_18_the_second_failure_of_three_aborts_the_job(fleet: Cloud) -> None:
    fleet.create_job("J1", things=FLEET[:3], abortConfig=config(criterion()))
    assert fleet.job()["abortConfig"] == config(criterion())
    fleet.accepted("J1/update", "t0", status="FAILED")
    assert (fleet.job()["status"], "reasonCode" in fleet.job()) == ("IN_PROGRESS", False)
    fleet.store.take_publications()
    fleet.accepted("J1/update", "t1", status="FAILED")
    job = fleet.job()
    assert (job["status"], job["reasonCode"], job["forceCanceled"]) == ("CANCELED", "ABORT_CRITERIA_MET", False)
    assert job["comment"] == "Aborted: 2 of 2 executions are FAILED, the threshold is 50 %"
    assert [entry[2] for entry in fleet.history()] == ["FAILED", "FAILED", "CANCELED"]
    assert [topic for topic, _ in fleet.published("t2")][-2:] == ["notify", "notify-next"]


def test_what_is_in_progress_goes_on_and_what_waits_never_begins(fleet: Cloud) -> None:
    slow = {"maximumPerMinute": 3}
    rule = config(criterion(threshold=1, least=1))
    fleet.create_job("J1", things=FLEET, abortConfig=rule, jobExecutionsRolloutConfig=slow)
    fleet.accepted("start-next", "t1")
    fleet.accepted("J1/update", "t0", status="FAILED")
    fleet.pass_time(minutes=5)
    assert [(entry[0], entry[2]) for entry in fleet.history()] == [
        ("t0", "FAILED"),
        ("t1", "IN_PROGRESS"),
        ("t2", "CANCELED"),
    ]
    fleet.accepted("J1/update", "t1", status="SUCCEEDED")
    assert fleet.job()["status"] == "CANCELED"


def test_the_last_failure_aborts_a_job_that_would_else_be_complete(fleet: Cloud) -> None:
    fleet.create_job("J1", things=("t0",), abortConfig=config(criterion(least=1)))
    fleet.accepted("J1/update", "t0", status="FAILED")
    assert fleet.job()["status"] == "CANCELED"


def test_a_time_out_counts_as_it_comes(fleet: Cloud) -> None:
    rule = config(criterion("TIMED_OUT", 100, 1))
    fleet.create_job("J1", things=FLEET[:2], abortConfig=rule, timeoutConfig={"inProgressTimeoutInMinutes": 1})
    fleet.accepted("start-next", "t0")
    fleet.pass_time(minutes=1)
    assert fleet.job()["status"] == "CANCELED"
    assert [entry[2] for entry in fleet.history()] == ["TIMED_OUT", "CANCELED"]


def test_deleted_executions_do_not_count(fleet: Cloud) -> None:
    fleet.create_job("J1", things=FLEET[:3], abortConfig=config(criterion(least=2)))
    fleet.accepted("J1/update", "t0", status="FAILED")
    fleet.operate("DeleteJobExecution", thingName="t0", jobId="J1", executionNumber=1)
    fleet.accepted("J1/update", "t1", status="FAILED")
    assert fleet.job()["status"] == "IN_PROGRESS"


def test_another_rule_counts_from_the_next_execution_that_ends(fleet: Cloud) -> None:
    fleet.create_job("J1", things=FLEET)
    fleet.accepted("J1/update", "t0", status="FAILED")
    fleet.operate("UpdateJob", jobId="J1", abortConfig=config(criterion(threshold=50, least=1)))
    assert (fleet.job()["status"], fleet.job()["abortConfig"]) == ("IN_PROGRESS", config(criterion(least=1)))
    fleet.accepted("J1/update", "t1", status="SUCCEEDED")
    assert fleet.job()["status"] == "CANCELED"


@pytest.mark.parametrize(
    ("settings", "status"),
    [(ServiceSettings(), "CANCELED"), (ServiceSettings(abort_counts_retried=False), "IN_PROGRESS")],
)
def test_whether_a_retried_failure_counts_is_a_switch(fleet: Cloud, status: str) -> None:
    retries = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}
    rule = config(criterion(threshold=1, least=1))
    fleet.create_job("J1", things=FLEET[:2], abortConfig=rule, jobExecutionsRetryConfig=retries)
    fleet.accepted("J1/update", "t0", status="FAILED")
    assert fleet.job()["status"] == status
    if status == "IN_PROGRESS":
        fleet.operate("DeleteJobExecution", thingName="t0", jobId="J1", executionNumber=1)
        fleet.accepted("J1/update", "t0", status="FAILED")
        assert fleet.job()["status"] == "CANCELED"


def test_the_retry_of_the_last_failure_is_canceled_by_the_abort(fleet: Cloud) -> None:
    retries = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 5}]}
    fleet.create_job("J1", things=("t0",), abortConfig=config(criterion(least=1)), jobExecutionsRetryConfig=retries)
    fleet.accepted("J1/update", "t0", status="FAILED")
    assert [entry[2] for entry in fleet.history()] == ["FAILED", "CANCELED"]
