"""AWS's own templates: what they show, and how their parameters get into a job's document."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_simulator.jobs.managed_templates import MANAGED_TEMPLATES
from iot_jobs_simulator.jobs.settings import ServiceSettings

if TYPE_CHECKING:
    from conftest import Cloud

LAMP = ["arn:aws:iot:us-east-1:123456789012:thing/lamp"]
OWN = "arn:aws:iot:us-east-1::jobtemplate/"
DOWNLOAD = {"downloadUrl": "https://example.com/a", "filePath": "/tmp/a"}
REQUIRED = {
    "AWS-Download-File": ["downloadUrl", "filePath"],
    "AWS-Install-Application": ["packages"],
    "AWS-Reboot": [],
    "AWS-Remove-Application": ["packages"],
    "AWS-Restart-Application": ["services"],
    "AWS-Run-Command": ["command"],
    "AWS-Start-Application": ["services"],
    "AWS-Stop-Application": ["services"],
}


def create(cloud: Cloud, template: str = "AWS-Download-File:1.0", job_id: str = "J1", **members: Any) -> Any:
    return cloud.operate("CreateJob", jobId=job_id, targets=LAMP, jobTemplateArn=OWN + template, **members)


def refused(cloud: Cloud, template: str = "AWS-Download-File:1.0", **members: Any) -> tuple[str, str]:
    return cloud.refused("CreateJob", jobId="J9", targets=LAMP, jobTemplateArn=OWN + template, **members)


def step(cloud: Cloud, job_id: str = "J1", **members: Any) -> Any:
    """What the job's only action is, as an operator sees it."""
    document = json.loads(cloud.operate("GetJobDocument", jobId=job_id, **members)["document"])
    return document["steps"][0]["action"]


class TestShown:
    def test_the_eight_are_listed_by_name_in_pages(self, cloud: Cloud) -> None:
        first = cloud.operate("ListManagedJobTemplates", maxResults=5)
        second = cloud.operate("ListManagedJobTemplates", maxResults=5, nextToken=first["nextToken"])
        listed = first["managedJobTemplates"] + second["managedJobTemplates"]
        assert [entry["templateName"] for entry in listed] == sorted(REQUIRED)
        assert "nextToken" not in second
        assert listed[2] == {
            "templateArn": OWN + "AWS-Reboot:1.0",
            "templateName": "AWS-Reboot",
            "description": "A managed job template for rebooting the device.",
            "environments": ["LINUX"],
            "templateVersion": "1.0",
        }

    def test_one_is_listed_by_its_name_and_a_name_that_none_has_is_not_found(self, cloud: Cloud) -> None:
        [found] = cloud.operate("ListManagedJobTemplates", templateName="AWS-Reboot")["managedJobTemplates"]
        assert found["templateName"] == "AWS-Reboot"
        assert cloud.refused("ListManagedJobTemplates", templateName="AWS-Nothing")[0] == "ResourceNotFound"

    def test_a_template_is_described_as_awss_page_has_it(self, cloud: Cloud) -> None:
        found = cloud.operate("DescribeManagedJobTemplate", templateName="AWS-Download-File")
        assert found["documentParameters"][0] == {
            "key": "downloadUrl",
            "description": "URL of file to download.",
            "regex": "(.*?)",
            "example": "http://www.example.com/index.html",
            "optional": False,
        }
        assert found["document"] == (
            '{"version":"1.0","steps":[{"action":{"name":"Download-File","type":"runHandler","input":'
            '{"handler":"download-file.sh","args":["${aws:iot:parameter:downloadUrl}",'
            '"${aws:iot:parameter:filePath}"],"path":"${aws:iot:parameter:pathToHandler}"},'
            '"runAsUser":"${aws:iot:parameter:runAsUser}"}}]}'
        )

    @pytest.mark.parametrize("name", sorted(REQUIRED))
    def test_each_template_requires_what_awss_page_says(self, cloud: Cloud, name: str) -> None:
        found = cloud.operate("DescribeManagedJobTemplate", templateName=name, templateVersion="1.0")
        parameters = {parameter["key"]: parameter["optional"] for parameter in found["documentParameters"]}
        optional = ["runAsUser"] if name == "AWS-Run-Command" else ["runAsUser", "pathToHandler"]
        assert parameters == dict.fromkeys(REQUIRED[name], False) | dict.fromkeys(optional, True)
        assert set(MANAGED_TEMPLATES) == set(REQUIRED)

    @pytest.mark.parametrize(("name", "version"), [("AWS-Nothing", None), ("AWS-Reboot", "1.1")])
    def test_another_name_or_version_is_not_found(self, cloud: Cloud, name: str, version: str | None) -> None:
        code, _ = cloud.refused("DescribeManagedJobTemplate", templateName=name, templateVersion=version)
        assert code == "ResourceNotFound"
        assert refused(cloud, f"{name}:{version or '1.0'}")[0] == "ResourceNotFound"

    def test_a_version_is_two_numbers(self, cloud: Cloud) -> None:
        named = {"templateName": "AWS-Reboot", "templateVersion": "new"}
        assert "regular expression pattern: ^[1-9]+.[0-9]+" in cloud.refused("DescribeManagedJobTemplate", **named)[1]


class TestParameters:
    def test_they_are_put_into_the_document_and_shown_again(self, cloud: Cloud) -> None:
        receipt = create(cloud, documentParameters={**DOWNLOAD, "runAsUser": "user1"})
        assert receipt["description"] == "A managed job template for downloading a file."
        action = step(cloud)
        assert action["input"]["args"] == ["https://example.com/a", "/tmp/a"]
        assert (action["runAsUser"], action["input"]["path"]) == ("user1", "")
        job = cloud.job()
        assert job["documentParameters"] == {**DOWNLOAD, "runAsUser": "user1"}
        assert job["jobTemplateArn"] == OWN + "AWS-Download-File:1.0"
        assert cloud.accepted("J1/get")["execution"]["jobDocument"]["steps"][0]["action"] == action

    def test_the_document_before_the_substitution_is_shown_if_that_is_asked_for(self, cloud: Cloud) -> None:
        create(cloud, documentParameters=DOWNLOAD)
        assert step(cloud, beforeSubstitution=True)["input"]["args"] == [
            "${aws:iot:parameter:downloadUrl}",
            "${aws:iot:parameter:filePath}",
        ]
        assert step(cloud, beforeSubstitution=False) == step(cloud)
        cloud.create_job("J2", '{"op": "x"}')
        assert cloud.operate("GetJobDocument", jobId="J2", beforeSubstitution=True) == {"document": '{"op": "x"}'}
        assert cloud.operate("DescribeJob", jobId="J2", beforeSubstitution=True)["job"]["jobId"] == "J2"

    def test_a_value_stays_what_it_is_in_json(self, cloud: Cloud) -> None:
        value = 'a "quoted\\, word" \u00fc'
        create(cloud, "AWS-Run-Command:1.0", documentParameters={"command": value})
        assert step(cloud)["input"]["command"] == value

    @pytest.mark.parametrize("settings", [ServiceSettings(parameters_not_given_are_dropped=True)])
    def test_parameters_that_are_not_given_can_be_dropped(self, cloud: Cloud) -> None:
        create(cloud, documentParameters=DOWNLOAD)
        assert step(cloud) == {
            "name": "Download-File",
            "type": "runHandler",
            "input": {"handler": "download-file.sh", "args": ["https://example.com/a", "/tmp/a"]},
        }
        create(cloud, job_id="J2", documentParameters={**DOWNLOAD, "pathToHandler": "/opt"})
        assert (step(cloud, "J2")["input"]["path"], "runAsUser" in step(cloud, "J2")) == ("/opt", False)

    def test_a_document_of_the_request_wins_and_has_parameters_too(self, cloud: Cloud) -> None:
        document = '{"from": "${aws:iot:parameter:downloadUrl}", "as": "${aws:iot:parameter:runAsUser}"}'
        create(cloud, documentParameters=DOWNLOAD, document=document)
        assert cloud.operate("GetJobDocument", jobId="J1") == {
            "document": '{"from": "https://example.com/a", "as": ""}'
        }

    def test_a_presigned_url_may_be_a_parameter(self, cloud: Cloud) -> None:
        url = "${aws:iot:s3-presigned-url:https://s3.us-east-1.amazonaws.com/bucket/key}"
        given = {**DOWNLOAD, "downloadUrl": url}
        assert "role ARN is required" in refused(cloud, documentParameters=given)[1]
        create(cloud, documentParameters=given, presignedUrlConfig={"roleArn": "arn:aws:iam::123456789012:role/x"})
        assert step(cloud)["input"]["args"][0] == url

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({}, "documentParameters lacks downloadUrl, filePath, which AWS-Download-File requires"),
            ({"filePath": "/a"}, "documentParameters lacks downloadUrl, which AWS-Download-File requires"),
            ({**DOWNLOAD, "colour": "red"}, "documentParameters.colour is not a parameter of AWS-Download-File"),
            (
                {**DOWNLOAD, "runAsUser": "u" * 257},
                "documentParameters.runAsUser does not match (.){0,256}, the regex of AWS-Download-File",
            ),
        ],
    )
    def test_missing_unknown_and_malformed_ones_are_named(
        self, cloud: Cloud, given: dict[str, str], words: str
    ) -> None:
        assert refused(cloud, documentParameters=given) == ("InvalidRequest", words)

    @pytest.mark.parametrize(
        ("given", "words"),
        [({"a b": "x"}, "documentParameters.key"), ({"a": ""}, "length greater"), ({"a": "x" * 30721}, "length less")],
    )
    def test_the_models_bounds_hold(self, cloud: Cloud, given: dict[str, str], words: str) -> None:
        assert words in refused(cloud, documentParameters=given)[1]

    def test_only_managed_templates_have_some(self, cloud: Cloud) -> None:
        words = "documentParameters can only be used when creating jobs from AWS managed templates."
        job = {"jobId": "J9", "targets": LAMP, "documentParameters": {"a": "b"}}
        assert cloud.refused("CreateJob", **job, document="{}") == ("InvalidRequest", words)
        own = cloud.operate("CreateJobTemplate", jobTemplateId="T1", description="d", document="{}")
        assert cloud.refused("CreateJob", **job, jobTemplateArn=own["jobTemplateArn"])[1] == words
        code, message = cloud.refused("CreateJob", jobId="J9", targets=LAMP, document='"${aws:iot:parameter:command}"')
        assert (code, message) == (
            "InvalidRequest",
            "${aws:iot:parameter:command} stands for no parameter of a managed template",
        )

    def test_a_template_of_ones_own_is_made_from_such_a_job(self, cloud: Cloud) -> None:
        create(cloud, documentParameters=DOWNLOAD)
        named = {"jobTemplateId": "T1", "description": "d", "jobArn": cloud.job()["jobArn"]}
        cloud.operate("CreateJobTemplate", **named)
        document = cloud.operate("DescribeJobTemplate", jobTemplateId="T1")["document"]
        assert json.loads(document)["steps"][0]["action"]["input"]["args"] == list(DOWNLOAD.values())
