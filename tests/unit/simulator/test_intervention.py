"""UpdateJob, DeleteJob, and what operators do to single executions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_simulator.jobs.settings import ServiceSettings

if TYPE_CHECKING:
    from conftest import Cloud

ONE: dict[str, Any] = {"thingName": "lamp", "jobId": "J1"}


@pytest.fixture
def queued(cloud: Cloud) -> Any:
    """J1 queued, its notifications read."""
    cloud.create_job("J1")
    cloud.published()
    return cloud


class TestUpdateJob:
    def test_it_changes_what_is_given(self, queued: Cloud) -> None:
        queued.pass_time(seconds=5)
        presigned = {"roleArn": "arn:aws:iam::123456789012:role/x", "expiresInSec": 60}
        assert queued.operate("UpdateJob", jobId="J1", description="new", presignedUrlConfig=presigned) == {}
        job = queued.job()
        assert (job["description"], job["presignedUrlConfig"], job["timeoutConfig"]) == ("new", presigned, {})
        assert (job["lastUpdatedAt"], queued.published()) == (queued.now, [])

    @pytest.mark.parametrize("end", ["CancelJob", "DeleteJob"])
    def test_a_job_that_is_over_cannot_be_changed(self, queued: Cloud, end: str) -> None:
        queued.operate(end, jobId="J1", force=True)
        assert queued.refused("UpdateJob", jobId="J1", description="new")[0] == "InvalidRequest"

    def test_the_namespace_if_given_must_be_the_jobs(self, queued: Cloud) -> None:
        assert queued.refused("UpdateJob", jobId="J1", namespaceId="team")[0] == "ResourceNotFound"


class TestDeleteJob:
    def test_without_force_only_what_is_over(self, queued: Cloud) -> None:
        assert queued.refused("DeleteJob", jobId="J1")[0] == "InvalidStateTransition"
        queued.accepted("J1/update", status="SUCCEEDED")
        assert queued.operate("DeleteJob", jobId="J1") == {}

    def test_it_is_seen_in_deletion_and_then_gone_and_the_id_is_free(self, queued: Cloud) -> None:
        queued.operate("DeleteJob", jobId="J1", force=True)
        job = queued.job()
        assert (job["status"], queued.counters(), queued.history()) == ("DELETION_IN_PROGRESS", {}, [])
        [summary] = queued.operate("ListJobs", status="DELETION_IN_PROGRESS")["jobs"]
        assert summary["jobId"] == "J1"
        assert queued.refused("DeleteJob", jobId="J1", force=True)[0] == "InvalidStateTransition"
        assert queued.refused("CancelJob", jobId="J1", force=True)[0] == "InvalidRequest"
        target = queued.store.registry.find("lamp").arn
        again = {"jobId": "J1", "targets": [target], "document": "{}"}
        assert queued.refused("CreateJob", **again)[0] == "ResourceAlreadyExists"
        queued.pass_time(seconds=0.5)
        assert queued.refused("DescribeJob", jobId="J1")[0] == "ResourceNotFound"
        assert queued.operate("ListJobs")["jobs"] == []
        queued.operate("CreateJob", **again)
        assert queued.history() == [("lamp", 1, "QUEUED", 0)]

    @pytest.mark.parametrize("settings", [ServiceSettings(deletion_delay_s=3600)])
    def test_deletions_can_be_held(self, queued: Cloud) -> None:
        queued.operate("DeleteJob", jobId="J1", force=True)
        queued.pass_time(seconds=3599)
        assert queued.job()["status"] == "DELETION_IN_PROGRESS"

    @pytest.mark.parametrize("settings", [ServiceSettings(rollout_delay_s=1)])
    @pytest.mark.parametrize("end", ["CancelJob", "DeleteJob"])
    def test_a_job_that_ends_before_its_rollout_is_rolled_out_no_more(self, cloud: Cloud, end: str) -> None:
        cloud.create_job("J1")
        assert cloud.job()["isConcurrent"] is True
        cloud.operate(end, jobId="J1", force=True)
        assert cloud.job()["isConcurrent"] is False
        assert cloud.job()["jobProcessDetails"]["processingTargets"] is None

    @pytest.mark.parametrize("settings", [ServiceSettings(rollout_delay_s=1)])
    def test_a_job_deleted_before_its_rollout_has_no_executions(self, cloud: Cloud) -> None:
        cloud.create_job("J1")
        cloud.operate("DeleteJob", jobId="J1", force=True)
        cloud.pass_time(seconds=2)
        assert cloud.published() == []

    def test_the_namespace_if_given_must_be_the_jobs(self, queued: Cloud) -> None:
        assert queued.refused("DeleteJob", jobId="J1", force=True, namespaceId="team")[0] == "ResourceNotFound"


class TestCancelExecution:
    def test_what_is_queued_needs_no_force_and_can_complete_the_job(self, queued: Cloud) -> None:
        assert queued.operate("CancelJobExecution", **ONE) == {}
        assert [topic for topic, _ in queued.published()] == ["notify", "notify-next"]
        assert (queued.job()["status"], queued.counters()) == ("COMPLETED", {"Canceled": 1})
        execution = queued.operate("DescribeJobExecution", **ONE)["execution"]
        assert (execution["forceCanceled"], execution["statusDetails"]) == (False, {})

    def test_what_is_over_stays_even_by_force(self, queued: Cloud) -> None:
        queued.accepted("J1/update", status="FAILED")
        assert queued.refused("CancelJobExecution", **ONE, force=True)[0] == "InvalidStateTransition"

    def test_details_stay_unless_given(self, queued: Cloud) -> None:
        queued.accepted("J1/update", status="IN_PROGRESS", statusDetails={"a": "1"})
        queued.operate("CancelJobExecution", **ONE, force=True)
        execution = queued.operate("DescribeJobExecution", **ONE)["execution"]
        assert execution["statusDetails"] == {"detailsMap": {"a": "1"}}

    def test_details_have_their_bounds(self, queued: Cloud) -> None:
        too_many = {f"key-{number}": "x" for number in range(11)}
        assert "11 pairs" in queued.refused("CancelJobExecution", **ONE, statusDetails=too_many)[1]
        assert queued.published() == []

    def test_a_canceled_execution_is_not_retried(self, cloud: Cloud) -> None:
        retries = {"criteriaList": [{"failureType": "ALL", "numberOfRetries": 2}]}
        cloud.create_job("J1", jobExecutionsRetryConfig=retries)
        cloud.operate("CancelJobExecution", **ONE)
        assert cloud.history() == [("lamp", 1, "CANCELED", 0)]

    def test_one_that_does_not_exist_is_not_found(self, queued: Cloud) -> None:
        assert queued.refused("CancelJobExecution", thingName="lamp", jobId="J9")[0] == "ResourceNotFound"


class TestDeleteExecution:
    def test_what_is_queued_needs_no_force_what_is_in_progress_does(self, queued: Cloud) -> None:
        queued.accepted("start-next")
        refused = queued.refused("DeleteJobExecution", **ONE, executionNumber=1)
        assert refused[0] == "InvalidStateTransition"
        queued.operate("DeleteJobExecution", **ONE, executionNumber=1, force=True)
        assert [topic for topic, _ in queued.published()] == ["notify", "notify-next"]
        assert queued.rejected("J1/update", status="SUCCEEDED")["code"] == "ResourceNotFound"
        queued.create_job("J2")
        queued.operate("DeleteJobExecution", thingName="lamp", jobId="J2", executionNumber=1)
        assert (queued.job("J2")["status"], queued.history("J2")) == ("COMPLETED", [])

    def test_another_number_is_not_found(self, queued: Cloud) -> None:
        assert queued.refused("DeleteJobExecution", **ONE, executionNumber=2)[0] == "ResourceNotFound"

    def test_the_counters_are_of_the_executions_that_are_left(self, cloud: Cloud) -> None:
        retries = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 2}]}
        cloud.create_job("J1", jobExecutionsRetryConfig=retries)
        cloud.accepted("J1/update", status="FAILED")
        cloud.accepted("J1/update", status="FAILED")
        cloud.operate("DeleteJobExecution", **ONE, executionNumber=1)
        assert cloud.counters() == {"Failed": 1, "Queued": 1}
        cloud.operate("DeleteJobExecution", **ONE, executionNumber=3)
        assert (cloud.counters(), cloud.job()["status"]) == ({"Failed": 1}, "COMPLETED")
        assert cloud.history() == [("lamp", 2, "FAILED", 1)]

    def test_numbers_of_others_stay_theirs(self, cloud: Cloud) -> None:
        retries = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 2}]}
        cloud.create_job("J1", jobExecutionsRetryConfig=retries)
        cloud.accepted("J1/update", status="FAILED")
        cloud.operate("DeleteJobExecution", **ONE, executionNumber=1)
        cloud.accepted("J1/update", status="FAILED")
        assert cloud.history() == [("lamp", 2, "FAILED", 1), ("lamp", 3, "QUEUED", 2)]
        for number, is_there in ((1, False), (2, True), (3, True)):
            numbered = {"thingName": "lamp", "jobId": "J1", "executionNumber": number}
            if is_there:
                assert cloud.operate("DescribeJobExecution", **numbered)["execution"]["executionNumber"] == number
            else:
                assert cloud.refused("DescribeJobExecution", **numbered)[0] == "ResourceNotFound"

    def test_a_namespaced_one_is_found_in_its_namespace_only(self, cloud: Cloud) -> None:
        cloud.create_job("J1", namespaceId="team")
        assert cloud.refused("DeleteJobExecution", **ONE, executionNumber=1)[0] == "ResourceNotFound"
        cloud.operate("DeleteJobExecution", **ONE, executionNumber=1, namespaceId="team")


@pytest.mark.parametrize("settings", [ServiceSettings(terminal_update_is_terminal_state_reached=True)])
def test_the_update_of_what_is_over_can_be_refused_with_the_other_code(queued: Cloud) -> None:
    queued.accepted("J1/update", status="SUCCEEDED")
    queued.published()
    refused = queued.rejected("J1/update", status="FAILED")
    assert (refused["code"], "executionState" in refused) == ("TerminalStateReached", False)


@pytest.mark.parametrize("settings", [ServiceSettings(queued_may_end=False)])
def test_an_end_straight_from_the_queue_can_be_forbidden_but_for_a_rejection(queued: Cloud) -> None:
    for status in ("SUCCEEDED", "FAILED"):
        assert queued.rejected("J1/update", status=status)["code"] == "InvalidStateTransition"
    queued.accepted("J1/update", status="REJECTED")
    queued.create_job("J2")
    queued.accepted("start-next")
    queued.accepted("J2/update", status="SUCCEEDED")
