"""Job templates with unmodified boto3, and a device that gets what a managed template makes of its parameters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulators import SimulatorProcess

REBOOT = "arn:aws:iot:us-east-1::jobtemplate/AWS-Reboot:1.0"


@pytest.fixture
def thing(simulator: SimulatorProcess, new_name: Callable[[str], str]) -> Any:
    """A new thing's name and ARN."""
    name = new_name("thing")
    return name, simulator.create_thing(name)


def test_a_job_from_a_template_of_ones_own_is_delivered_to_the_device(
    simulator: SimulatorProcess, thing: tuple[str, str], new_name: Callable[[str], str]
) -> None:
    iot, template, job = simulator.iot, new_name("template"), new_name("job")
    made = iot.create_job_template(
        jobTemplateId=template,
        description="words",
        document='{"op": "x"}',
        timeoutConfig={"inProgressTimeoutInMinutes": 7},
        tags=[{"Key": "a", "Value": "b"}],
    )
    described = iot.describe_job_template(jobTemplateId=template)
    assert (described["document"], described["presignedUrlConfig"]) == ('{"op": "x"}', {})
    assert iot.list_tags_for_resource(resourceArn=made["jobTemplateArn"])["tags"] == [{"Key": "a", "Value": "b"}]
    receipt = iot.create_job(jobId=job, targets=[thing[1]], jobTemplateArn=made["jobTemplateArn"])
    assert receipt["description"] == "words"
    execution = simulator.jobs_data.start_next_pending_job_execution(thingName=thing[0])["execution"]
    assert json.loads(execution["jobDocument"]) == {"op": "x"}
    assert execution["approximateSecondsBeforeTimedOut"] == 420
    headers = iot.delete_job_template(jobTemplateId=template)["ResponseMetadata"]["HTTPHeaders"]
    assert headers["content-length"] == "0"
    assert iot.describe_job(jobId=job)["job"]["jobTemplateArn"] == made["jobTemplateArn"]


def test_conflicts_and_absence_are_the_typed_exceptions_of_the_service(
    simulator: SimulatorProcess, thing: tuple[str, str], new_name: Callable[[str], str]
) -> None:
    iot, template = simulator.iot, new_name("template")
    members = {"jobTemplateId": template, "description": "d", "document": "{}"}
    iot.create_job_template(**members)
    with pytest.raises(iot.exceptions.ConflictException) as raised:
        iot.create_job_template(**members)
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409
    assert raised.value.response["Error"]["Message"] == f"Job Template {template} already exists."
    iot.delete_job_template(jobTemplateId=template)
    with pytest.raises(iot.exceptions.ResourceNotFoundException, match="cannot be found"):
        iot.describe_job_template(jobTemplateId=template)
    with pytest.raises(iot.exceptions.InvalidRequestException, match="Resource type should be jobtemplate"):
        iot.create_job(jobId="j", targets=[thing[1]], jobTemplateArn=thing[1])


def test_what_boto3_lets_through_the_service_refuses(simulator: SimulatorProcess) -> None:
    iot = simulator.iot
    good = {"jobTemplateId": "t", "description": "d", "document": "{}"}
    for bad in (
        {"jobTemplateId": "a b"},
        {"jobTemplateId": "t" * 65},
        {"description": "two\nlines"},
        {"document": "{no json"},
        {"document": '"' + "x" * 32767 + '"'},
        {"timeoutConfig": {"inProgressTimeoutInMinutes": 10081}},
        {"destinationPackageVersions": ["arn:aws:iot:us-east-1:123456789012:job/j"]},
        {"maintenanceWindows": [{"startTime": "cron(0 0 ? * 2 *)", "durationInMinutes": 1431}]},
    ):
        with pytest.raises(iot.exceptions.InvalidRequestException) as raised:
            iot.create_job_template(**(good | bad))
        assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400, bad
    with pytest.raises(iot.exceptions.InvalidRequestException, match="Next token is invalid"):
        iot.list_job_templates(nextToken="x")


def test_a_managed_template_makes_the_document_from_its_parameters(
    simulator: SimulatorProcess, thing: tuple[str, str], new_name: Callable[[str], str]
) -> None:
    iot, job = simulator.iot, new_name("job")
    pages = iot.get_paginator("list_managed_job_templates").paginate(PaginationConfig={"PageSize": 3})
    names = [entry["templateName"] for page in pages for entry in page["managedJobTemplates"]]
    assert len(names) == len(set(names)) == 8
    template = iot.describe_managed_job_template(templateName="AWS-Reboot", templateVersion="1.0")
    assert template["templateArn"] == REBOOT
    iot.create_job(
        jobId=job, targets=[thing[1]], jobTemplateArn=REBOOT, documentParameters={"pathToHandler": "/opt/handlers"}
    )
    assert iot.describe_job(jobId=job)["job"]["documentParameters"] == {"pathToHandler": "/opt/handlers"}
    assert iot.get_job_document(jobId=job, beforeSubstitution=True)["document"] == template["document"]
    delivered = simulator.jobs_data.describe_job_execution(thingName=thing[0], jobId="$next")["execution"]
    assert json.loads(delivered["jobDocument"])["steps"][0]["action"]["input"]["path"] == "/opt/handlers"
    with pytest.raises(iot.exceptions.InvalidRequestException, match="not a parameter of AWS-Reboot"):
        iot.create_job(jobId="j", targets=[thing[1]], jobTemplateArn=REBOOT, documentParameters={"packages": "nginx"})


def test_a_malformed_document_can_have_the_exception_that_only_the_guide_names(
    start_simulator: Callable[..., SimulatorProcess],
) -> None:
    simulator = start_simulator("--invalid-documents-have-their-own-exception")
    arn = simulator.create_thing("lamp")
    with pytest.raises(simulator.iot.exceptions.ClientError) as raised:
        simulator.iot.create_job(jobId="j", targets=[arn], document='"${aws:iot:s3-presigned-url:x"')
    answer = raised.value.response
    assert answer["Error"]["Code"] == "InvalidJobDocumentException"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_a_source_of_a_template_has_to_be_readable_and_is_read_again_for_each_job(
    start_simulator: Callable[..., SimulatorProcess],
) -> None:
    """Inferred: a document in S3 is read when a job is created, which is when AWS reads that of a job."""
    simulator = start_simulator()
    arn = simulator.create_thing("lamp")
    source = "https://s3.us-east-1.amazonaws.com/documents/greet.json"
    template = {"jobTemplateId": "t", "description": "d", "documentSource": source}
    with pytest.raises(simulator.iot.exceptions.InvalidRequestException, match="does not exist"):
        simulator.iot.create_job_template(**template)
    simulator.put_object("documents", "greet.json", b'{"operation": "greet"}')
    made = simulator.iot.create_job_template(**template)
    described = simulator.iot.describe_job_template(jobTemplateId="t")
    assert (described["documentSource"], "document" in described) == (source, False)
    simulator.put_object("documents", "greet.json", b'{"operation": "changed"}')
    simulator.iot.create_job(jobId="j", targets=[arn], jobTemplateArn=made["jobTemplateArn"])
    assert simulator.iot.get_job_document(jobId="j")["document"] == '{"operation": "changed"}'
    assert simulator.iot.describe_job(jobId="j")["documentSource"] == source
