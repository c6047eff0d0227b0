"""Unmodified boto3 and the AWS CLI against the simulator, a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from tests.support.clients import boto3_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulators import SimulatorProcess


@pytest.fixture
def thing(simulator: SimulatorProcess, new_name: Callable[[str], str]) -> Any:
    """A new thing's name and ARN."""
    name = new_name("thing")
    return name, simulator.create_thing(name)


@pytest.fixture
def job(simulator: SimulatorProcess, thing: tuple[str, str], new_name: Callable[[str], str]) -> Any:
    """A new job for the thing."""
    return simulator.create_job(new_name("job"), thing[1], {"op": "x"}, description="for the lamp")


def refusal(call: Callable[..., Any], **arguments: Any) -> Any:
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    answer = raised.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def test_an_operator_creates_watches_and_cancels_a_job(
    simulator: SimulatorProcess, thing: tuple[str, str], new_name: Callable[[str], str]
) -> None:
    name, arn = thing
    job_id = new_name("job")
    receipt = simulator.iot.create_job(
        jobId=job_id,
        targets=[arn],
        document=' {"op": "x"} ',
        description="words",
        timeoutConfig={"inProgressTimeoutInMinutes": 5},
        presignedUrlConfig={"roleArn": "arn:aws:iam::123456789012:role/x", "expiresInSec": 60},
        tags=[{"Key": "a", "Value": "b"}],
    )
    assert (receipt["jobId"], receipt["description"]) == (job_id, "words")
    job = simulator.iot.describe_job(jobId=job_id)["job"]
    assert job["jobArn"] == receipt["jobArn"]
    assert (job["status"], job["targets"], job["targetSelection"]) == ("IN_PROGRESS", [arn], "SNAPSHOT")
    assert job["timeoutConfig"] == {"inProgressTimeoutInMinutes": 5}
    assert job["presignedUrlConfig"]["expiresInSec"] == 60
    assert job["jobProcessDetails"]["numberOfQueuedThings"] == 1
    assert simulator.iot.get_job_document(jobId=job_id)["document"] == ' {"op": "x"} '
    simulator.iot.cancel_job(jobId=job_id, reasonCode="NO_MORE", comment="enough", force=True)
    job = simulator.iot.describe_job(jobId=job_id)["job"]
    assert (job["status"], job["reasonCode"], job["comment"]) == ("CANCELED", "NO_MORE", "enough")
    assert job["forceCanceled"] is True
    execution = simulator.iot.describe_job_execution(thingName=name, jobId=job_id)["execution"]
    assert (execution["status"], execution["forceCanceled"]) == ("CANCELED", True)


def test_a_device_works_off_a_job_over_the_data_plane(
    simulator: SimulatorProcess, thing: tuple[str, str], job: str
) -> None:
    name, _ = thing
    data = simulator.jobs_data
    assert [entry["jobId"] for entry in data.get_pending_job_executions(thingName=name)["queuedJobs"]] == [job]
    started = data.start_next_pending_job_execution(
        thingName=name, statusDetails={"at": "start"}, stepTimeoutInMinutes=9
    )
    execution = started["execution"]
    assert (execution["jobId"], execution["status"], execution["versionNumber"]) == (job, "IN_PROGRESS", 2)
    assert execution["statusDetails"] == {"at": "start"}
    updated = data.update_job_execution(
        thingName=name,
        jobId=job,
        status="SUCCEEDED",
        expectedVersion=2,
        includeJobExecutionState=True,
        includeJobDocument=True,
    )
    assert updated["executionState"] == {"status": "SUCCEEDED", "statusDetails": {"at": "start"}, "versionNumber": 3}
    assert json.loads(updated["jobDocument"]) == {"op": "x"}
    assert "execution" not in data.start_next_pending_job_execution(thingName=name)
    assert "execution" not in data.describe_job_execution(thingName=name, jobId="$next")
    execution = simulator.iot.describe_job_execution(thingName=name, jobId=job)["execution"]
    assert execution["statusDetails"] == {"detailsMap": {"at": "start"}}
    assert simulator.iot.describe_job(jobId=job)["job"]["status"] == "COMPLETED"


def test_vector_19_a_wrong_version_is_a_typed_exception_and_next_is_found_percent_encoded(
    simulator: SimulatorProcess, thing: tuple[str, str], job: str
) -> None:
    name, _ = thing
    data = simulator.jobs_data
    with pytest.raises(data.exceptions.InvalidStateTransitionException, match="Expected version 9 but found version 1"):
        data.update_job_execution(thingName=name, jobId=job, status="IN_PROGRESS", expectedVersion=9)
    assert data.describe_job_execution(thingName=name, jobId="$next")["execution"]["jobId"] == job


def test_vector_20_the_same_path_answers_by_the_service_it_is_signed_for(
    simulator: SimulatorProcess, thing: tuple[str, str], job: str
) -> None:
    name, _ = thing
    listed = simulator.iot.list_job_executions_for_thing(thingName=name)
    assert [entry["jobId"] for entry in listed["executionSummaries"]] == [job]
    pending = simulator.jobs_data.get_pending_job_executions(thingName=name)
    assert ([entry["jobId"] for entry in pending["queuedJobs"]], pending["inProgressJobs"]) == ([job], [])


def test_vector_28_the_document_is_a_string_over_http(
    simulator: SimulatorProcess, thing: tuple[str, str], new_name: Callable[[str], str]
) -> None:
    job_id = new_name("job")
    simulator.iot.create_job(jobId=job_id, targets=[thing[1]], document='{ "op" : "x" }')
    described = simulator.jobs_data.describe_job_execution(thingName=thing[0], jobId=job_id)
    assert described["execution"]["jobDocument"] == '{ "op" : "x" }'


def test_vector_21_what_boto3_lets_through_the_service_refuses(
    simulator: SimulatorProcess, thing: tuple[str, str]
) -> None:
    _, arn = thing
    create = simulator.iot.create_job
    good = {"jobId": "j", "targets": [arn], "document": "{}"}
    for bad in (
        {"jobId": "j" * 65},
        {"jobId": "a b"},
        {"targets": [arn] * 101},
        {"document": "1" * 32769},
        {"document": "{no json"},
        {"targetSelection": "BOGUS"},
        {"timeoutConfig": {"inProgressTimeoutInMinutes": 10081}},
        {"presignedUrlConfig": {"expiresInSec": 3601}},
        {"namespaceId": "a/b"},
        {"description": "two\nlines"},
    ):
        code, status, message = refusal(create, **(good | bad))
        assert (code, status) == ("InvalidRequestException", 400), (bad, message)
    assert refusal(simulator.iot.list_jobs, maxResults=251)[0] == "InvalidRequestException"
    assert refusal(simulator.iot.list_jobs, status="BOGUS")[0] == "InvalidRequestException"


def test_a_member_that_the_simulator_would_have_to_ignore_is_refused_by_name(simulator: SimulatorProcess) -> None:
    assert refusal(simulator.iot.create_thing, thingName="t", thingTypeName="lamps") == (
        "InvalidRequestException",
        400,
        "thingTypeName of CreateThing is not supported by this simulator",
    )


def test_operations_the_simulator_has_not_are_refused_by_name(simulator: SimulatorProcess) -> None:
    code, status, message = refusal(simulator.iot.list_thing_types)
    assert (code, status, message) == (
        "InvalidRequestException",
        400,
        "ListThingTypes is not supported by this simulator",
    )


def test_errors_are_the_typed_exceptions_of_the_service(
    simulator: SimulatorProcess, thing: tuple[str, str], job: str
) -> None:
    name, arn = thing
    iot, data = simulator.iot, simulator.jobs_data
    with pytest.raises(iot.exceptions.ResourceAlreadyExistsException) as raised:
        simulator.create_job(job, arn, {})
    assert raised.value.response["resourceId"] == job
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_job(jobId="unknown")
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        simulator.create_job("j", arn + "-unknown", {})
    with pytest.raises(iot.exceptions.InvalidRequestException):
        iot.cancel_job(jobId=job, reasonCode="lower case")
    with pytest.raises(data.exceptions.ResourceNotFoundException):
        data.get_pending_job_executions(thingName="unknown")
    data.update_job_execution(thingName=name, jobId=job, status="FAILED")
    with pytest.raises(data.exceptions.TerminalStateException):
        data.describe_job_execution(thingName=name, jobId=job)


def test_lists_come_in_pages_that_the_paginator_reads(
    simulator: SimulatorProcess, thing: tuple[str, str], new_name: Callable[[str], str]
) -> None:
    name, arn = thing
    namespace = new_name("namespace")
    created = [simulator.create_job(new_name("job"), arn, {}, namespaceId=namespace) for _ in range(5)]
    pages = simulator.iot.get_paginator("list_jobs").paginate(namespaceId=namespace, PaginationConfig={"PageSize": 2})
    assert [[job["jobId"] for job in page["jobs"]] for page in pages] == [created[:2:-1], created[2:0:-1], created[:1]]
    by_thing = simulator.iot.get_paginator("list_job_executions_for_thing").paginate(
        thingName=name, namespaceId=namespace, PaginationConfig={"PageSize": 3, "MaxItems": 4}
    )
    assert [entry["jobId"] for entry in by_thing.build_full_result()["executionSummaries"]] == created[:0:-1]
    by_job = simulator.iot.list_job_executions_for_job(jobId=created[0])["executionSummaries"]
    assert [entry["thingArn"] for entry in by_job] == [arn]


def test_a_thing_name_with_colons_is_one_segment(simulator: SimulatorProcess, new_name: Callable[[str], str]) -> None:
    name = new_name("a:b")
    simulator.create_thing(name)
    assert simulator.iot.describe_thing(thingName=name)["thingName"] == name
    assert simulator.jobs_data.get_pending_job_executions(thingName=name)["queuedJobs"] == []


def test_the_endpoints_are_the_simulators_own(simulator: SimulatorProcess) -> None:
    describe = simulator.iot.describe_endpoint
    assert describe(endpointType="iot:Data-ATS")["endpointAddress"] == f"localhost:{simulator.mqtts_port}"
    assert describe()["endpointAddress"] == f"localhost:{simulator.mqtts_port}"
    code, status, message = refusal(describe, endpointType="iot:Jobs")
    assert (code, status, "Please use iot:Data-ATS." in message) == ("InvalidRequestException", 400, True)
    assert refusal(describe, endpointType="iot:CredentialProvider")[0] == "InvalidRequestException"


def test_another_services_scope_is_refused(simulator: SimulatorProcess) -> None:
    client = boto3_client("iot-data", simulator.http_url)
    assert refusal(client.get_thing_shadow, thingName="t")[:2] == ("InvalidSignatureException", 403)
    client.close()


def test_the_aws_cli_drives_both_planes(
    simulator: SimulatorProcess, thing: tuple[str, str], new_name: Callable[[str], str]
) -> None:
    name, arn = thing
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": simulator.http_url,
    }

    def aws(*arguments: Any) -> Any:
        command = [str(Path(sys.executable).parent / "aws"), *arguments, "--output", "json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    job_id = new_name("job")
    assert aws("iot", "create-job", "--job-id", job_id, "--targets", arn, "--document", '{"op":"x"}')["jobId"] == job_id
    started = aws("iot-jobs-data", "start-next-pending-job-execution", "--thing-name", name)
    assert json.loads(started["execution"]["jobDocument"]) == {"op": "x"}
    listed = aws("iot", "list-job-executions-for-job", "--job-id", job_id, "--status", "IN_PROGRESS")
    assert len(listed["executionSummaries"]) == 1
