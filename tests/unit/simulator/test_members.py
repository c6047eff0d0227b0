"""Members of requests and answers that no other vector is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_simulator.objects import Objects
from iot_jobs_simulator.placeholders import PresignedDocuments

if TYPE_CHECKING:
    from conftest import Cloud

LAMP = ["arn:aws:iot:us-east-1:123456789012:thing/lamp"]
SOURCE = "https://s3.us-east-1.amazonaws.com/documents/greet.json"


def test_the_answer_to_a_cancellation_has_the_description_if_there_is_one(cloud: Cloud) -> None:
    cloud.create_job("J1", description="words")
    cloud.create_job("J2")
    assert cloud.operate("CancelJob", jobId="J1")["description"] == "words"
    assert "description" not in cloud.operate("CancelJob", jobId="J2")


class TestDocumentSource:
    @pytest.fixture
    def bucket(self, cloud: Cloud) -> Objects:
        """Objects that document sources lead to, one of them a document."""
        objects = Objects()
        objects.put("documents", "greet.json", b'{"op": "greet"}')
        cloud.store.documents = PresignedDocuments(objects, "http://localhost", lambda: cloud.now)
        return objects

    def test_a_source_is_read_once_and_named_beside_the_job(self, cloud: Cloud, bucket: Objects) -> None:
        cloud.operate("CreateJob", jobId="J1", targets=LAMP, documentSource=SOURCE)
        bucket.put("documents", "greet.json", b'{"op": "changed"}')
        described = cloud.operate("DescribeJob", jobId="J1")
        assert (described["documentSource"], "documentSource" in described["job"]) == (SOURCE, False)
        assert cloud.operate("GetJobDocument", jobId="J1") == {"document": '{"op": "greet"}'}

    def test_a_template_keeps_the_source_and_each_job_reads_it(self, cloud: Cloud, bucket: Objects) -> None:
        made = cloud.operate("CreateJobTemplate", jobTemplateId="T1", description="d", documentSource=SOURCE)
        shown = cloud.operate("DescribeJobTemplate", jobTemplateId="T1")
        assert (shown["documentSource"], shown["document"]) == (SOURCE, None)
        bucket.put("documents", "greet.json", b'{"op": "changed"}')
        cloud.operate("CreateJob", jobId="J1", targets=LAMP, jobTemplateArn=made["jobTemplateArn"])
        assert cloud.operate("GetJobDocument", jobId="J1") == {"document": '{"op": "changed"}'}
        cloud.operate(
            "CreateJob", jobId="J2", targets=LAMP, jobTemplateArn=made["jobTemplateArn"], document='{"op": "own"}'
        )
        assert "documentSource" not in cloud.operate("DescribeJob", jobId="J2")

    def test_a_template_takes_the_source_of_a_job(self, cloud: Cloud, bucket: Objects) -> None:
        assert bucket.get("documents", "greet.json")
        cloud.operate("CreateJob", jobId="J1", targets=LAMP, documentSource=SOURCE)
        arn = cloud.job()["jobArn"]
        cloud.operate("CreateJobTemplate", jobTemplateId="T1", description="d", jobArn=arn)
        assert cloud.operate("DescribeJobTemplate", jobTemplateId="T1")["documentSource"] == SOURCE
        cloud.operate("CreateJobTemplate", jobTemplateId="T2", description="d", jobArn=arn, document="{}")
        assert cloud.operate("DescribeJobTemplate", jobTemplateId="T2")["documentSource"] is None


@pytest.mark.parametrize("life_s", [60, 3600])
def test_the_life_of_presigned_urls_is_kept_and_shown(cloud: Cloud, life_s: int) -> None:
    config = {"roleArn": "arn:aws:iam::123456789012:role/presign", "expiresInSec": life_s}
    cloud.create_job("J1", presignedUrlConfig=config)
    cloud.operate("CreateJobTemplate", jobTemplateId="T1", description="d", document="{}", presignedUrlConfig=config)
    assert cloud.job()["presignedUrlConfig"]["expiresInSec"] == life_s
    assert cloud.operate("DescribeJobTemplate", jobTemplateId="T1")["presignedUrlConfig"]["expiresInSec"] == life_s


@pytest.mark.parametrize("criterion", ["numberOfNotifiedThings", "numberOfSucceededThings"])
def test_a_template_keeps_either_criterion_of_a_rollout(cloud: Cloud, criterion: str) -> None:
    """The one is numberOfNotifiedThings, the other numberOfSucceededThings."""
    rate = {"baseRatePerMinute": 5, "incrementFactor": 1.5, "rateIncreaseCriteria": {criterion: 10}}
    template = {"jobTemplateId": "T1", "description": "d", "document": "{}"}
    cloud.operate("CreateJobTemplate", **template, jobExecutionsRolloutConfig={"exponentialRate": rate})
    shown = cloud.operate("DescribeJobTemplate", jobTemplateId="T1")["jobExecutionsRolloutConfig"]
    assert shown == {"maximumPerMinute": None, "exponentialRate": rate}


@pytest.mark.parametrize(("operation", "more"), [("UpdateJob", {"description": "new"}), ("DeleteJob", {"force": True})])
def test_the_namespace_if_given_must_be_the_jobs(cloud: Cloud, operation: str, more: dict[str, Any]) -> None:
    cloud.create_job("J1", namespaceId="team")
    assert cloud.refused(operation, jobId="J1", namespaceId="other", **more)[0] == "ResourceNotFound"
    assert cloud.operate(operation, jobId="J1", namespaceId="team", **more) == {}


@pytest.mark.parametrize("criterion", ["numberOfNotifiedThings", "numberOfSucceededThings"])
def test_a_job_shows_the_rate_of_its_rollout_as_it_was_given(cloud: Cloud, criterion: str) -> None:
    """With baseRatePerMinute, incrementFactor, and rateIncreaseCriteria of either kind, in an exponentialRate."""
    rate = {"baseRatePerMinute": 5, "incrementFactor": 1.5, "rateIncreaseCriteria": {criterion: 10}}
    config = {"exponentialRate": rate, "maximumPerMinute": 50}
    cloud.create_job("J1", jobExecutionsRolloutConfig=config)
    assert cloud.job()["jobExecutionsRolloutConfig"] == config
    slower = {"exponentialRate": {**rate, "rateIncreaseCriteria": {"numberOfSucceededThings": 20}}}
    cloud.operate("UpdateJob", jobId="J1", jobExecutionsRolloutConfig=slower)
    assert cloud.job()["jobExecutionsRolloutConfig"] == slower


def test_an_operator_sees_each_execution_of_a_thing_by_its_number(cloud: Cloud) -> None:
    retries = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}
    cloud.create_job("J1", jobExecutionsRetryConfig=retries)
    cloud.accepted("J1/update", status="FAILED")
    one = {"thingName": "lamp", "jobId": "J1"}
    statuses = {
        number: cloud.operate("DescribeJobExecution", **one, executionNumber=number)["execution"]["status"]
        for number in (1, 2)
    }
    assert statuses == {1: "FAILED", 2: "QUEUED"}
    assert cloud.refused("DescribeJobExecution", **one, executionNumber=3)[0] == "ResourceNotFound"


def test_executions_of_a_thing_come_in_pages_with_the_time_of_their_start(cloud: Cloud) -> None:
    for number in range(3):
        cloud.now += 1
        cloud.create_job(f"J{number}")
    cloud.accepted("start-next")
    first = cloud.operate("ListJobExecutionsForThing", thingName="lamp", maxResults=2)
    rest = cloud.operate("ListJobExecutionsForThing", thingName="lamp", maxResults=2, nextToken=first["nextToken"])
    listed = first["executionSummaries"] + rest["executionSummaries"]
    started = {entry["jobId"]: entry["jobExecutionSummary"].get("startedAt") for entry in listed}
    assert (started, "nextToken" in rest) == ({"J2": None, "J1": None, "J0": cloud.now}, False)
