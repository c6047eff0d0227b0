"""Job templates of the account: their life, what they show, and what a job takes from one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_simulator.jobs.template import MAX_TEMPLATES
from iot_jobs_simulator.operations import inheritance

if TYPE_CHECKING:
    from conftest import Cloud

ARN = "arn:aws:iot:us-east-1:123456789012:"
LAMP = [ARN + "thing/lamp"]
ROLE = {"roleArn": "arn:aws:iam::123456789012:role/presign"}
RETRIES = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 2}]}
ABORT = {
    "criteriaList": [
        {"failureType": "ALL", "action": "CANCEL", "thresholdPercentage": 50, "minNumberOfExecutedThings": 1}
    ]
}
RATE = {"baseRatePerMinute": 5, "incrementFactor": 2, "rateIncreaseCriteria": {"numberOfNotifiedThings": 10}}
WINDOWS = [{"startTime": "cron(0 0 ? * 2 *)", "durationInMinutes": 60}]
PACKAGE = ARN + "package/app/version/1.2"


def create(cloud: Cloud, template_id: str = "T1", **members: Any) -> str:
    """CreateJobTemplate; the template's ARN."""
    if not {"document", "documentSource", "jobArn"} & members.keys():
        members["document"] = '{"op": "x"}'
    answer = cloud.operate("CreateJobTemplate", jobTemplateId=template_id, **{"description": "words"} | members)
    return str(answer["jobTemplateArn"])


def described(cloud: Cloud, template_id: str = "T1") -> dict[str, Any]:
    return cloud.operate("DescribeJobTemplate", jobTemplateId=template_id)


class TestLife:
    def test_a_template_is_created_with_its_arn(self, cloud: Cloud) -> None:
        answer = cloud.operate("CreateJobTemplate", jobTemplateId="T1", description="words", document="{}")
        assert answer == {"jobTemplateArn": ARN + "jobtemplate/T1", "jobTemplateId": "T1"}

    def test_an_id_in_use_is_a_conflict_that_names_no_resource(self, cloud: Cloud) -> None:
        create(cloud)
        assert cloud.refused("CreateJobTemplate", jobTemplateId="T1", description="other", document="{}") == (
            "Conflict",
            "Job Template T1 already exists.",
        )

    def test_a_template_needs_a_description(self, cloud: Cloud) -> None:
        assert cloud.refused("CreateJobTemplate", jobTemplateId="T1", document="{}")[1] == (
            "1 validation error detected: Value null at 'description' failed to satisfy constraint:"
            " Member must not be null"
        )

    def test_a_template_needs_a_document(self, cloud: Cloud) -> None:
        assert cloud.refused("CreateJobTemplate", jobTemplateId="T1", description="words") == (
            "InvalidRequest",
            "Neither job document nor job document source is specified.",
        )

    def test_a_template_that_is_gone_is_not_found_and_its_jobs_stay(self, cloud: Cloud) -> None:
        arn = create(cloud)
        cloud.operate("CreateJob", jobId="J1", targets=LAMP, jobTemplateArn=arn)
        assert cloud.operate("DeleteJobTemplate", jobTemplateId="T1") == {}
        assert cloud.operate("ListJobTemplates") == {"jobTemplates": []}
        missing = ("ResourceNotFound", "Job Template T1 cannot be found.")
        for operation in ("DescribeJobTemplate", "DeleteJobTemplate"):
            assert cloud.refused(operation, jobTemplateId="T1") == missing
        assert cloud.refused("CreateJob", jobId="J2", targets=LAMP, jobTemplateArn=arn) == missing
        assert (cloud.job()["status"], cloud.job()["jobTemplateArn"]) == ("IN_PROGRESS", arn)
        create(cloud)

    def test_templates_are_listed_newest_first_in_pages(self, cloud: Cloud) -> None:
        for number in range(5):
            cloud.now += 1
            create(cloud, f"T{number}")
        first = cloud.operate("ListJobTemplates", maxResults=3)
        second = cloud.operate("ListJobTemplates", maxResults=3, nextToken=first["nextToken"])
        listed = first["jobTemplates"] + second["jobTemplates"]
        assert [entry["jobTemplateId"] for entry in listed] == ["T4", "T3", "T2", "T1", "T0"]
        assert "nextToken" not in second
        assert listed[0] == {
            "jobTemplateArn": ARN + "jobtemplate/T4",
            "jobTemplateId": "T4",
            "description": "words",
            "createdAt": cloud.now,
        }

    def test_a_page_of_templates_has_1_to_250_of_them_and_a_token_of_its_own(self, cloud: Cloud) -> None:
        for size, words in ((0, "greater than or equal to 1"), (251, "less than or equal to 250")):
            assert words in cloud.refused("ListJobTemplates", maxResults=size)[1]
        assert cloud.refused("ListJobTemplates", nextToken="x") == ("InvalidRequest", "Next token is invalid.")

    def test_there_are_no_more_templates_than_aws_allows(self, cloud: Cloud) -> None:
        for number in range(MAX_TEMPLATES):
            create(cloud, f"T{number}")
        assert cloud.refused("CreateJobTemplate", jobTemplateId="T", description="d", document="{}")[0] == (
            "LimitExceeded"
        )
        cloud.operate("DeleteJobTemplate", jobTemplateId="T0")
        create(cloud, "T")

    def test_a_template_has_tags_until_it_is_gone(self, cloud: Cloud) -> None:
        arn = create(cloud, tags=[{"Key": "a", "Value": "b"}])
        assert cloud.operate("ListTagsForResource", resourceArn=arn) == {"tags": [{"Key": "a", "Value": "b"}]}
        cloud.operate("DeleteJobTemplate", jobTemplateId="T1")
        assert cloud.refused("ListTagsForResource", resourceArn=arn)[0] == "ResourceNotFound"


class TestDescription:
    def test_every_member_is_there_and_null_if_it_is_not_set(self, cloud: Cloud) -> None:
        create(cloud)
        assert described(cloud) == {
            "jobTemplateArn": ARN + "jobtemplate/T1",
            "jobTemplateId": "T1",
            "description": "words",
            "createdAt": cloud.now,
            "document": '{"op": "x"}',
            "documentSource": None,
            "presignedUrlConfig": {"roleArn": None, "expiresInSec": None},
            "jobExecutionsRolloutConfig": {"maximumPerMinute": None, "exponentialRate": None},
            "abortConfig": None,
            "timeoutConfig": {"inProgressTimeoutInMinutes": None},
            "jobExecutionsRetryConfig": None,
            "maintenanceWindows": None,
            "destinationPackageVersions": None,
        }

    def test_what_was_given_is_shown_with_thresholds_and_factors_as_floats(self, cloud: Cloud) -> None:
        given = {
            "presignedUrlConfig": ROLE,
            "jobExecutionsRolloutConfig": {"exponentialRate": RATE, "maximumPerMinute": 9},
            "abortConfig": ABORT,
            "timeoutConfig": {"inProgressTimeoutInMinutes": 7},
            "jobExecutionsRetryConfig": RETRIES,
            "maintenanceWindows": WINDOWS,
            "destinationPackageVersions": [PACKAGE],
        }
        create(cloud, **given)
        shown = described(cloud)
        assert shown["presignedUrlConfig"] == {**ROLE, "expiresInSec": None}
        assert {name: shown[name] for name in given if name != "presignedUrlConfig"} == {
            name: given[name] for name in given if name != "presignedUrlConfig"
        }
        factor = shown["jobExecutionsRolloutConfig"]["exponentialRate"]["incrementFactor"]
        threshold = shown["abortConfig"]["criteriaList"][0]["thresholdPercentage"]
        assert (repr(factor), repr(threshold)) == ("2.0", "50.0")


class TestFromJob:
    @pytest.fixture
    def job(self, cloud: Cloud) -> str:
        """A job with all that a template takes and some that it does not; its ARN."""
        cloud.create_job(
            "J1",
            '{"op": "of the job"}',
            description="of the job",
            tags=[{"Key": "of", "Value": "job"}],
            presignedUrlConfig=ROLE,
            timeoutConfig={"inProgressTimeoutInMinutes": 7},
            jobExecutionsRetryConfig=RETRIES,
            destinationPackageVersions=[PACKAGE],
        )
        return str(cloud.job()["jobArn"])

    def test_document_and_configurations_are_taken_but_not_description_tags_and_packages(
        self, cloud: Cloud, job: str
    ) -> None:
        arn = create(cloud, jobArn=job)
        shown = described(cloud)
        assert (shown["document"], shown["documentSource"]) == ('{"op": "of the job"}', None)
        assert (shown["description"], shown["destinationPackageVersions"]) == ("words", None)
        assert cloud.operate("ListTagsForResource", resourceArn=arn) == {"tags": []}
        assert shown["presignedUrlConfig"]["roleArn"] == ROLE["roleArn"]
        assert shown["timeoutConfig"] == {"inProgressTimeoutInMinutes": 7}
        assert (shown["jobExecutionsRetryConfig"], shown["abortConfig"]) == (RETRIES, None)

    def test_a_document_in_the_request_replaces_that_of_the_job_and_the_rest_stays(
        self, cloud: Cloud, job: str
    ) -> None:
        create(cloud, jobArn=job, document='{"op": "new"}', timeoutConfig={"inProgressTimeoutInMinutes": 1})
        shown = described(cloud)
        assert (shown["document"], shown["jobExecutionsRetryConfig"]) == ('{"op": "new"}', RETRIES)
        assert shown["timeoutConfig"] == {"inProgressTimeoutInMinutes": 1}

    @pytest.mark.parametrize(
        ("arn", "code", "words"),
        [
            (ARN + "job/J9", "ResourceNotFound", "Job J9 cannot be found."),
            (ARN + "thing/J1", "InvalidRequest", "Resource type should be job but found invalid resource type thing"),
            ("J1", "InvalidRequest", "J1 is not an ARN of AWS IoT"),
            ("arn:aws:s3:::job/J1", "InvalidRequest", "arn:aws:s3:::job/J1 is not an ARN of AWS IoT"),
        ],
    )
    def test_a_job_that_is_none_is_refused(self, cloud: Cloud, arn: str, code: str, words: str) -> None:
        refused = cloud.refused("CreateJobTemplate", jobTemplateId="T1", description="d", jobArn=arn)
        assert refused == (code, words)


class TestJobFromTemplate:
    def test_a_job_takes_document_description_and_configurations(self, cloud: Cloud) -> None:
        arn = create(
            cloud,
            timeoutConfig={"inProgressTimeoutInMinutes": 7},
            jobExecutionsRetryConfig=RETRIES,
            destinationPackageVersions=[PACKAGE],
        )
        receipt = cloud.operate("CreateJob", jobId="J1", targets=LAMP, jobTemplateArn=arn)
        assert receipt["description"] == "words"
        assert cloud.operate("GetJobDocument", jobId="J1") == {"document": '{"op": "x"}'}
        job = cloud.job()
        assert (job["jobTemplateArn"], job["timeoutConfig"]) == (arn, {"inProgressTimeoutInMinutes": 7})
        assert (job["jobExecutionsRetryConfig"], job["destinationPackageVersions"]) == (RETRIES, [PACKAGE])
        assert cloud.accepted("start-next")["execution"]["approximateSecondsBeforeTimedOut"] == 420

    def test_each_member_of_the_request_wins_whole(self, cloud: Cloud) -> None:
        arn = create(cloud, presignedUrlConfig={**ROLE, "expiresInSec": 60})
        cloud.operate(
            "CreateJob",
            jobId="J1",
            targets=LAMP,
            jobTemplateArn=arn,
            document='{"op": "of the request"}',
            description="of the request",
            presignedUrlConfig=ROLE,
        )
        job = cloud.job()
        assert cloud.operate("GetJobDocument", jobId="J1") == {"document": '{"op": "of the request"}'}
        assert (job["description"], job["presignedUrlConfig"]) == ("of the request", ROLE)

    @pytest.mark.parametrize(
        ("arn", "code", "words"),
        [
            (ARN + "jobtemplate/T9", "ResourceNotFound", "Job Template T9 cannot be found."),
            ("arn:aws:iot:us-east-1::jobtemplate/T1", "ResourceNotFound", "Job Template T1 cannot be found."),
            (
                ARN + "job/T1",
                "InvalidRequest",
                "Resource type should be jobtemplate but found invalid resource type job",
            ),
            (
                "arn:aws:iot:eu-west-1:123456789012:jobtemplate/T1",
                "ResourceNotFound",
                "arn:aws:iot:eu-west-1:123456789012:jobtemplate/T1 cannot be found.",
            ),
            (
                "arn:aws:iot:us-east-1:999999999999:jobtemplate/T1",
                "ResourceNotFound",
                "arn:aws:iot:us-east-1:999999999999:jobtemplate/T1 cannot be found.",
            ),
        ],
    )
    def test_a_template_that_is_none_is_refused(self, cloud: Cloud, arn: str, code: str, words: str) -> None:
        create(cloud)
        assert cloud.refused("CreateJob", jobId="J1", targets=LAMP, jobTemplateArn=arn) == (code, words)

    def test_so_do_its_windows_beside_what_the_template_has(self, cloud: Cloud) -> None:
        """An hour after the request, which is made at 22:13:20 on a Tuesday."""
        cloud.create_group("all", "lamp")
        arn = create(cloud, maintenanceWindows=WINDOWS, timeoutConfig={"inProgressTimeoutInMinutes": 5})
        windows = [{"startTime": "cron(0 12 * * ? *)", "durationInMinutes": 30}]
        schedule = {"startTime": "2023-11-14T23:14", "maintenanceWindows": windows}
        cloud.operate(
            "CreateJob",
            jobId="J1",
            targets=[ARN + "thinggroup/all"],
            targetSelection="CONTINUOUS",
            jobTemplateArn=arn,
            schedulingConfig=schedule,
            description="of the request",
            timeoutConfig={"inProgressTimeoutInMinutes": 7},
        )
        job = cloud.job()
        assert job["schedulingConfig"] == schedule
        assert (job["description"], job["timeoutConfig"]) == ("of the request", {"inProgressTimeoutInMinutes": 7})

    def test_windows_need_a_continuous_job_and_a_start(self, cloud: Cloud) -> None:
        arn = create(cloud, maintenanceWindows=WINDOWS)
        members = {"jobId": "J1", "targets": LAMP, "jobTemplateArn": arn}
        assert cloud.refused("CreateJob", **members) == (
            "InvalidRequest",
            "TargetSelection is invalid. MaintenanceWindow cannot be used with SNAPSHOT job.",
        )
        refused = cloud.refused("CreateJob", **members, targetSelection="CONTINUOUS")
        assert refused == ("InvalidRequest", "MaintenanceWindow cannot be used without StartTime of SchedulingConfig.")
        scheduled = {
            "jobTemplateArn": arn,
            "targetSelection": "CONTINUOUS",
            "schedulingConfig": {"startTime": "2030-01-01T00:00"},
        }
        taken = inheritance.completed(scheduled, cloud.store.templates.find("T1"))
        assert taken["schedulingConfig"] == {"startTime": "2030-01-01T00:00", "maintenanceWindows": WINDOWS}

    @pytest.mark.parametrize(
        "members",
        [
            {"timeoutConfig": {"inProgressTimeoutInMinutes": 0}},
            {"jobExecutionsRetryConfig": {"criteriaList": [RETRIES["criteriaList"][0]] * 2}},
            {"document": "{no json"},
            {"document": '"${aws:iot:s3-presigned-url:https://example.com/b/k}"'},
            {"document": '"${aws:iot:package:app:version:1.0:attributes:a}"'},
            {"document": '"${aws:iot:code-sign-signature:s3://us-east-1.b/k@1}"'},
            {"maintenanceWindows": [{"startTime": "cron(0 0 * * * *)", "durationInMinutes": 60}]},
            {"maintenanceWindows": [{"startTime": "cron(0 0 ? * 2 *)", "durationInMinutes": 1431}]},
            {"destinationPackageVersions": ["arn:x"]},
            {"document": "{}", "documentSource": "s3://bucket/key"},
            {"documentSource": "s3://bucket/key"},
            {"tags": [{"Key": "aws:x"}]},
        ],
    )
    def test_what_no_job_could_have_no_template_may_have(self, cloud: Cloud, members: dict[str, Any]) -> None:
        given = {"jobTemplateId": "T1", "description": "d"}
        given |= {} if "documentSource" in members else {"document": "{}"}
        assert cloud.refused("CreateJobTemplate", **given | members)[0] == "InvalidRequest"
        assert cloud.operate("ListJobTemplates") == {"jobTemplates": []}

    def test_the_role_for_placeholders_may_come_with_the_job(self, cloud: Cloud) -> None:
        arn = create(cloud, document='"${aws:iot:s3-presigned-url:https://s3.amazonaws.com/b/k}"')
        members = {"targets": LAMP, "jobTemplateArn": arn}
        assert cloud.refused("CreateJob", jobId="J1", **members) == (
            "InvalidRequest",
            "presignedUrlConfig role ARN is required to generate an S3 presigned url in job document.",
        )
        cloud.operate("CreateJob", jobId="J1", **members, presignedUrlConfig=ROLE)
