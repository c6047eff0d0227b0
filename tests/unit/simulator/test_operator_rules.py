"""What an operator may do with jobs, beyond the worked examples."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_simulator.jobs import lifecycle, rollout
from iot_jobs_simulator.jobs.settings import ServiceSettings
from iot_jobs_simulator.refusals import Refused

if TYPE_CHECKING:
    from conftest import Cloud


THING_ARN = "arn:aws:iot:us-east-1:123456789012:thing/"


def refusal(cloud: Cloud, operation: str, **members: Any) -> Any:
    with pytest.raises(Refused) as raised:
        cloud.operate(operation, **members)
    return raised.value


class TestCreate:
    def test_a_job_returns_before_its_executions_exist(self, cloud: Cloud) -> None:
        members = {"jobId": "J1", "targets": [THING_ARN + "lamp"], "document": "{}", "description": "d"}
        receipt = cloud.control.answer("CreateJob", members, cloud.now)
        assert receipt == {"jobArn": "arn:aws:iot:us-east-1:123456789012:job/J1", "jobId": "J1", "description": "d"}
        job = cloud.control.answer("DescribeJob", {"jobId": "J1"}, cloud.now)["job"]
        assert (job["status"], job["isConcurrent"], job["createdAt"]) == ("IN_PROGRESS", True, cloud.now)
        assert job["jobProcessDetails"]["processingTargets"] == [THING_ARN + "lamp"]
        rollout.advance(cloud.store, cloud.now + 2)
        job = cloud.control.answer("DescribeJob", {"jobId": "J1"}, cloud.now)["job"]
        assert (job["isConcurrent"], job["lastUpdatedAt"]) == (False, cloud.now)
        assert job["jobProcessDetails"]["processingTargets"] is None

    @pytest.mark.parametrize("settings", [ServiceSettings(rollout_delay_s=1.5)])
    def test_a_rollout_comes_when_it_is_due(self, cloud: Cloud) -> None:
        assert rollout.next_due(cloud.store) is None
        cloud.create_job("J1")
        assert rollout.next_due(cloud.store) == cloud.now + 1.5
        rollout.advance(cloud.store, cloud.now + 1.4)
        assert cloud.published() == []
        rollout.advance(cloud.store, cloud.now + 1.5)
        assert [topic for topic, _ in cloud.published()] == ["notify", "notify-next"]
        assert rollout.next_due(cloud.store) is None

    @pytest.mark.parametrize("settings", [ServiceSettings(rollout_delay_s=1)])
    def test_a_job_cancelled_before_its_rollout_has_no_executions(self, cloud: Cloud) -> None:
        cloud.create_job("J1")
        cloud.operate("CancelJob", jobId="J1")
        rollout.advance(cloud.store, cloud.now + 1)
        assert (cloud.published(), list(cloud.store.executions_of_job("J1"))) == ([], [])

    def test_a_thing_that_is_targeted_twice_gets_one_execution(self, cloud: Cloud) -> None:
        cloud.create_job("J1", things=("lamp", "lamp"))
        assert len(list(cloud.store.executions_of_job("J1"))) == 1

    def test_a_job_id_is_taken_for_good(self, cloud: Cloud) -> None:
        cloud.create_job("J1")
        cloud.operate("CancelJob", jobId="J1")
        refused = refusal(cloud, "CreateJob", jobId="J1", targets=[THING_ARN + "lamp"], document="{}")
        assert refused.code == "ResourceAlreadyExists"
        assert refused.members == {"resourceId": "J1", "resourceArn": "arn:aws:iot:us-east-1:123456789012:job/J1"}

    @pytest.mark.parametrize("document", ["", "{", "{} {}", "NaN", "[Infinity]", "[" * 100_000, "'x'"])
    def test_a_document_that_is_not_json_is_invalid(self, cloud: Cloud, document: str) -> None:
        assert (
            refusal(cloud, "CreateJob", jobId="J", targets=[THING_ARN + "lamp"], document=document).code
            == "InvalidRequest"
        )

    @pytest.mark.parametrize("document", ["5", "null", '"text"', "[]", '{"a": {"a": 1}, "a": 2}', " {} \n"])
    def test_any_json_value_is_a_document_and_is_kept_as_it_was_written(self, cloud: Cloud, document: str) -> None:
        cloud.create_job("J1", document)
        assert cloud.operate("GetJobDocument", jobId="J1") == {"document": document}

    @pytest.mark.parametrize(
        ("members", "code", "words"),
        [
            ({"targets": ["lamp"]}, "ResourceNotFound", "Target lamp not found"),
            ({"targets": ["arn:aws:iot:eu-west-1:123456789012:thing/lamp"]}, "ResourceNotFound", "not found"),
            ({"targets": [THING_ARN + "lamp", THING_ARN + "nobody"]}, "ResourceNotFound", "nobody"),
            ({"targets": ["arn:aws:iot:us-east-1:123456789012:thinggroup/all"]}, "ResourceNotFound", "all not found"),
            ({"targets": []}, "InvalidRequest", "targets"),
            ({"targets": [THING_ARN + "lamp"] * 101}, "InvalidRequest", "101 targets"),
            ({"document": None}, "InvalidRequest", "Neither job document nor"),
            ({"document": '"${aws:iot:code-sign-signature:s3://eu-west-1.b/k@1}"'}, "InvalidRequest", "not supported"),
            (
                {"document": '"${aws:iot:s3-presigned-url:https://s3.amazonaws.com/b/k}"'},
                "InvalidRequest",
                "role ARN is required",
            ),
            ({"timeoutConfig": {"inProgressTimeoutInMinutes": 0}}, "InvalidRequest", "inProgressTimeoutInMinutes"),
            ({"tags": [{"Key": "aws:x"}]}, "InvalidRequest", "aws:x"),
            (
                {"document": '"' + "\u00fc" * 16384 + '"'},
                "InvalidRequest",
                "has 32770 bytes, at most 32768 are allowed",
            ),
            ({"abortConfig": {"criteriaList": []}}, "InvalidRequest", "abortConfig"),
        ],
    )
    def test_what_is_wrong_is_named(self, cloud: Cloud, members: dict[str, Any], code: str, words: str) -> None:
        refused = refusal(
            cloud, "CreateJob", **{"jobId": "J", "targets": [THING_ARN + "lamp"], "document": "{}"} | members
        )
        assert (refused.code, words in refused.message) == (code, True)
        assert "J" not in cloud.store.jobs

    def test_an_empty_structure_asks_for_nothing(self, cloud: Cloud) -> None:
        cloud.create_job("J1", jobExecutionsRolloutConfig={}, presignedUrlConfig={}, tags=[])
        job = cloud.operate("DescribeJob", jobId="J1")["job"]
        assert (job["status"], job["presignedUrlConfig"]) == ("IN_PROGRESS", {})

    def test_what_is_only_kept_is_shown_again(self, cloud: Cloud) -> None:
        cloud.create_job("J1", timeoutConfig={"inProgressTimeoutInMinutes": 10080}, namespaceId="team", description="d")
        job = cloud.operate("DescribeJob", jobId="J1")["job"]
        assert job["timeoutConfig"] == {"inProgressTimeoutInMinutes": 10080}
        assert (job["namespaceId"], job["description"], job["presignedUrlConfig"]) == ("team", "d", {})
        assert "reasonCode" not in job


class TestCompletion:
    def test_a_snapshot_job_is_complete_when_all_things_are_done_however_they_ended(self, cloud: Cloud) -> None:
        cloud.create_thing("fan")
        cloud.create_job("J1", things=("lamp", "fan"))
        cloud.accepted("J1/update", status="REJECTED")
        assert cloud.operate("DescribeJob", jobId="J1")["job"]["status"] == "IN_PROGRESS"
        cloud.now += 5
        cloud.accepted("J1/update", thing="fan", status="SUCCEEDED")
        job = cloud.operate("DescribeJob", jobId="J1")["job"]
        assert (job["status"], job["completedAt"]) == ("COMPLETED", cloud.now)
        counters = {name: count for name, count in job["jobProcessDetails"].items() if count}
        assert counters == {"numberOfRejectedThings": 1, "numberOfSucceededThings": 1}
        assert len(job["jobProcessDetails"]) == 9

    @pytest.mark.parametrize("settings", [ServiceSettings(rollout_delay_s=1)])
    def test_a_job_is_not_complete_before_its_rollout(self, cloud: Cloud) -> None:
        cloud.create_job("J1")
        lifecycle.settle(cloud.store, cloud.store.jobs["J1"], cloud.now)
        assert cloud.operate("DescribeJob", jobId="J1")["job"]["status"] == "IN_PROGRESS"


class TestCancel:
    @pytest.fixture
    def half_done(self, cloud: Cloud) -> Any:
        """A job that the lamp works on, the fan has not begun, and the radio has done."""
        for name in ("fan", "radio"):
            cloud.create_thing(name)
        cloud.create_job("J1", things=("lamp", "fan", "radio"))
        cloud.accepted("start-next")
        cloud.accepted("J1/update", thing="radio", status="FAILED")
        cloud.store.take_publications()
        return cloud

    def statuses(self, cloud: Cloud) -> Any:
        return [execution.status for execution in cloud.store.executions_of_job("J1")]

    def test_without_force_only_what_is_queued_is_canceled(self, half_done: Cloud) -> None:
        half_done.operate("CancelJob", jobId="J1", reasonCode="WHY_NOT", comment="words")
        assert self.statuses(half_done) == ["CANCELED", "IN_PROGRESS", "FAILED"]
        assert [topic for topic, _ in half_done.published("fan")] == ["notify", "notify-next"]
        job = half_done.operate("DescribeJob", jobId="J1")["job"]
        assert (job["status"], job["reasonCode"], job["comment"]) == ("CANCELED", "WHY_NOT", "words")
        assert job["forceCanceled"] is False

    def test_with_force_what_is_in_progress_is_canceled_too_and_the_device_hears_it(self, half_done: Cloud) -> None:
        half_done.operate("CancelJob", jobId="J1", force=True)
        assert self.statuses(half_done) == ["CANCELED", "CANCELED", "FAILED"]
        assert [payload for topic, payload in half_done.published() if topic == "notify"] == [
            {"timestamp": int(half_done.now), "jobs": {}}
        ]
        refused = half_done.rejected("J1/update", status="SUCCEEDED")
        assert (refused["code"], refused["executionState"]) == (
            "InvalidStateTransition",
            {"status": "CANCELED", "versionNumber": 3},
        )

    def test_a_canceled_job_can_be_canceled_by_force_while_something_is_in_progress(self, half_done: Cloud) -> None:
        half_done.operate("CancelJob", jobId="J1")
        assert refusal(half_done, "CancelJob", jobId="J1").code == "InvalidRequest"
        half_done.operate("CancelJob", jobId="J1", force=True)
        assert self.statuses(half_done) == ["CANCELED", "CANCELED", "FAILED"]
        assert refusal(half_done, "CancelJob", jobId="J1", force=True).code == "InvalidRequest"

    def test_reason_and_comment_stay_until_others_are_given(self, half_done: Cloud) -> None:
        half_done.operate("CancelJob", jobId="J1", reasonCode="TOO_LATE", comment="c")
        half_done.operate("CancelJob", jobId="J1", force=True, comment="d")
        assert (half_done.job()["reasonCode"], half_done.job()["comment"]) == ("TOO_LATE", "d")

    def test_a_completed_job_cannot_be_canceled(self, cloud: Cloud) -> None:
        cloud.create_job("J1")
        cloud.accepted("J1/update", status="SUCCEEDED")
        assert (
            refusal(cloud, "CancelJob", jobId="J1", force=True).message == "Job J1 is COMPLETED and cannot be canceled"
        )

    def test_an_unknown_job_is_not_found(self, cloud: Cloud) -> None:
        assert refusal(cloud, "CancelJob", jobId="J9").code == "ResourceNotFound"


class TestLists:
    @pytest.fixture
    def many(self, cloud: Cloud) -> Any:
        """J0 to J4, one second apart; J1 canceled, J2 completed, J3 of the namespace team."""
        for number in range(5):
            cloud.now += 1
            cloud.create_job(f"J{number}", **({"namespaceId": "team"} if number == 3 else {}))
        cloud.operate("CancelJob", jobId="J1")
        cloud.accepted("J2/update", status="SUCCEEDED")
        return cloud

    def ids(self, page: dict[str, Any]) -> Any:
        return [job["jobId"] for job in page["jobs"]]

    def test_jobs_are_grouped_by_status_newest_first(self, many: Cloud) -> None:
        assert self.ids(many.operate("ListJobs")) == ["J4", "J0", "J2", "J1"]
        assert self.ids(many.operate("ListJobs", namespaceId="team")) == ["J3"]
        assert self.ids(many.operate("ListJobs", status="CANCELED", targetSelection="SNAPSHOT")) == ["J1"]
        assert self.ids(many.operate("ListJobs", targetSelection="CONTINUOUS")) == []

    def test_pages_can_be_read_again_and_survive_what_comes_and_goes(self, many: Cloud) -> None:
        first = many.operate("ListJobs", maxResults=2)
        many.now += 1
        many.create_job("J9")
        second = many.operate("ListJobs", maxResults=2, nextToken=first["nextToken"])
        assert (self.ids(first), self.ids(second)) == (["J4", "J0"], ["J2", "J1"])
        assert many.operate("ListJobs", maxResults=2, nextToken=first["nextToken"]) == second
        assert "nextToken" not in second

    @pytest.mark.parametrize(
        "token",
        ["garbage", "e30=", base64.b64encode(b'["a","b","c"]').decode(), "", "\u20ac", base64.b64encode(b"[").decode()],
    )
    def test_a_token_that_nobody_gave_is_invalid(self, many: Cloud, token: str) -> None:
        assert refusal(many, "ListJobs", nextToken=token).code == "InvalidRequest"

    @pytest.mark.parametrize("group", ["thingGroupName", "thingGroupId"])
    def test_there_are_no_groups_yet(self, many: Cloud, group: str) -> None:
        assert refusal(many, "ListJobs", **{group: "all"}).code == "ResourceNotFound"

    def test_executions_of_a_thing_come_newest_first(self, many: Cloud) -> None:
        def listed(**filters: Any) -> Any:
            page = many.operate("ListJobExecutionsForThing", thingName="lamp", **filters)
            return [(entry["jobId"], entry["jobExecutionSummary"]["status"]) for entry in page["executionSummaries"]]

        assert listed() == [("J4", "QUEUED"), ("J2", "SUCCEEDED"), ("J1", "CANCELED"), ("J0", "QUEUED")]
        assert listed(status="QUEUED", jobId="J0") == [("J0", "QUEUED")]
        assert listed(namespaceId="team") == [("J3", "QUEUED")]
        assert refusal(many, "ListJobExecutionsForThing", thingName="nobody").code == "ResourceNotFound"

    def test_executions_of_a_job_come_by_thing(self, many: Cloud) -> None:
        many.create_thing("fan")
        many.create_job("J7", things=("lamp", "fan"))
        many.accepted("J7/update", status="IN_PROGRESS")
        page = many.operate("ListJobExecutionsForJob", jobId="J7", maxResults=1)
        [fan] = page["executionSummaries"]
        assert (fan["thingArn"], fan["jobExecutionSummary"]["retryAttempt"]) == (THING_ARN + "fan", 0)
        page = many.operate("ListJobExecutionsForJob", jobId="J7", nextToken=page["nextToken"])
        assert page["executionSummaries"][0]["jobExecutionSummary"]["startedAt"] == many.now
        assert len(many.operate("ListJobExecutionsForJob", jobId="J7", status="QUEUED")["executionSummaries"]) == 1
        assert refusal(many, "ListJobExecutionsForJob", jobId="J9").code == "ResourceNotFound"


class TestThings:
    def test_creating_the_same_thing_again_is_no_error_but_another_one_is(self, cloud: Cloud) -> None:
        first = cloud.operate("CreateThing", thingName="fan", attributePayload={"attributes": {"room": "1"}})
        assert cloud.operate("CreateThing", thingName="fan", attributePayload={"attributes": {"room": "1"}}) == first
        assert refusal(cloud, "CreateThing", thingName="fan").code == "ResourceAlreadyExists"
        assert cloud.operate("DescribeThing", thingName="fan")["attributes"] == {"room": "1"}

    def test_members_that_are_not_supported_are_named(self, cloud: Cloud) -> None:
        assert "thingTypeName" in refusal(cloud, "CreateThing", thingName="fan", thingTypeName="t").message
        assert "ListThingTypes" in refusal(cloud, "ListThingTypes").message

    def test_endpoints_are_told_by_type(self, cloud: Cloud) -> None:
        assert cloud.operate("DescribeEndpoint") == {"endpointAddress": "localhost:1"}
        assert "Please use iot:Data-ATS" in refusal(cloud, "DescribeEndpoint", endpointType="iot:Jobs").message
        assert refusal(cloud, "DescribeEndpoint", endpointType="iot:Other").code == "InvalidRequest"


def test_a_job_has_exactly_one_document(cloud: Cloud) -> None:
    source = "https://s3.amazonaws.com/bucket/key"
    targets = {"jobId": "J1", "targets": ["arn:aws:iot:us-east-1:123456789012:thing/lamp"]}
    assert cloud.refused("CreateJob", **targets)[0] == "InvalidRequest"
    assert cloud.refused("CreateJob", **targets, document="{}", documentSource=source)[0] == "InvalidRequest"
    code, message = cloud.refused("CreateJob", **targets, documentSource=source)
    assert (code, "cannot be read" in message) == ("InvalidRequest", True)
