"""Every operation of the control plane and of the data plane once through the AWS CLI's own driver.

One process runs all commands, since the command `aws` takes a second to start; that one is tested with boto3.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from botocore import xform_name

from iot_jobs_simulator.control_plane import SUPPORTED
from iot_jobs_simulator.device_plane import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulators import SimulatorProcess

ARN = "arn:aws:iot:us-east-1:123456789012"
DRIVER = """
import contextlib, io, json, sys
from awscli.clidriver import create_clidriver
driver = create_clidriver()
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = driver.main(json.loads(line))
    print(json.dumps([status, out.getvalue(), err.getvalue()]), flush=True)
"""


@pytest.fixture
def used() -> set[str]:
    """The commands that were run."""
    return set()


@pytest.fixture
def aws(simulator: SimulatorProcess, used: set[str]) -> Iterator[Callable[..., Any]]:
    """Runs a command of the AWS CLI, given as one string: its JSON, None for no output, or the code of its error."""
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": simulator.http_url,
    }
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", DRIVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def run(command: str, service: str = "iot") -> Any:
        words = command.split()
        used.add(words[0])
        stdin.write(json.dumps([service, *words, "--output", "json"]) + "\n")
        stdin.flush()
        status, out, err = json.loads(stdout.readline())
        if status:
            return err.split("(")[1].split(")")[0]
        return json.loads(out) if out.strip() else None

    with process:
        yield run
        stdin.close()


@dataclass(frozen=True)
class Names:
    """What the commands are about, new for each run."""

    thing: str
    root: str
    group: str
    job: str
    other: str

    @property
    def member(self) -> str:
        """The options that name the thing and its group."""
        return f"--thing-name {self.thing} --thing-group-name {self.group}"


@pytest.mark.timeout(60)
def test_the_aws_cli_knows_every_operation(
    aws: Callable[..., Any], used: set[str], new_name: Callable[[str], str]
) -> None:
    names = Names(*map(new_name, ("cli", "root", "group", "job", "other")))
    _register(aws, names)
    _group(aws, names)
    _roll_out(aws, names)
    _execute(aws, names)
    _tag(aws, names)
    _template(aws, names)
    _switch_events(aws)
    _remove(aws, names)
    assert used == {xform_name(operation, "-") for operation in (*SUPPORTED, *OPERATIONS)}


def _switch_events(aws: Callable[..., Any]) -> None:
    for is_on in (True, False):
        aws(f"update-event-configurations --event-configurations JOB={{Enabled={str(is_on).lower()}}}")
        configurations = aws("describe-event-configurations")["eventConfigurations"]
        assert (configurations["JOB"], configurations["THING"]) == ({"Enabled": is_on}, {"Enabled": False})


def _register(aws: Callable[..., Any], names: Names) -> None:
    thing = names.thing
    assert aws(f"create-thing --thing-name {thing} --attribute-payload attributes={{a=1}}")["thingArn"]
    assert aws(f"update-thing --thing-name {thing} --expected-version 1 --no-remove-thing-type") is None
    assert aws(f"update-thing --thing-name {thing} --expected-version 1") == "VersionConflictException"
    assert aws(f"describe-thing --thing-name {thing}")["version"] == 2
    assert thing in [entry["thingName"] for entry in aws("list-things --attribute-name a")["things"]]
    assert aws("describe-endpoint --endpoint-type iot:Data-ATS")["endpointAddress"].startswith("localhost:")
    assert aws("describe-endpoint --endpoint-type iot:Jobs") == "InvalidRequestException"


def _group(aws: Callable[..., Any], names: Names) -> None:
    root, group = names.root, names.group
    aws(f"create-thing-group --thing-group-name {root}")
    aws(f"create-thing-group --thing-group-name {group} --parent-group-name {root} --tags Key=a,Value=1")
    properties = "--thing-group-properties thingGroupDescription=words"
    assert aws(f"update-thing-group --thing-group-name {group} {properties}") == {"version": 2}
    assert aws(f"describe-thing-group --thing-group-name {group}")["thingGroupMetadata"]["parentGroupName"] == root
    assert aws(f"list-thing-groups --parent-group {root} --recursive")["thingGroups"][0]["groupName"] == group


def _roll_out(aws: Callable[..., Any], names: Names) -> None:
    root, group, job = names.root, names.group, names.job
    aws(
        f"create-job --job-id {job} --targets {ARN}:thinggroup/{group} --document {{}} --target-selection CONTINUOUS"
        " --timeout-config inProgressTimeoutInMinutes=9 --tags Key=k,Value=v --job-executions-retry-config"
        " criteriaList=[{failureType=FAILED,numberOfRetries=1}]"
    )
    assert aws(f"add-thing-to-thing-group {names.member}") is None
    assert aws(f"list-things-in-thing-group --thing-group-name {root} --recursive") == {"things": [names.thing]}
    assert len(aws(f"list-thing-groups-for-thing --thing-name {names.thing}")["thingGroups"]) == 1
    assert aws(f"list-jobs --thing-group-name {group}")["jobs"][0]["jobId"] == job
    assert aws(f"associate-targets-with-job --job-id {job} --targets {ARN}:thinggroup/{root}")["jobId"] == job
    rate = "--job-executions-rollout-config maximumPerMinute=50"
    rule = "{failureType=ALL,action=CANCEL,thresholdPercentage=90,minNumberOfExecutedThings=9}"
    assert aws(f"update-job --job-id {job} --description new {rate} --abort-config criteriaList=[{rule}]") is None
    described = aws(f"describe-job --job-id {job}")["job"]
    assert (described["description"], described["jobExecutionsRolloutConfig"]) == ("new", {"maximumPerMinute": 50})
    assert described["abortConfig"]["criteriaList"][0]["minNumberOfExecutedThings"] == 9
    assert aws(f"get-job-document --job-id {job}") == {"document": "{}"}


def _execute(aws: Callable[..., Any], names: Names) -> None:
    thing, job, device = names.thing, names.job, "iot-jobs-data"
    assert len(aws(f"get-pending-job-executions --thing-name {thing}", device)["queuedJobs"]) == 1
    step = "--step-timeout-in-minutes 3"
    started = aws(f"start-next-pending-job-execution --thing-name {thing} {step}", device)
    assert started["execution"]["approximateSecondsBeforeTimedOut"] == 180
    one = f"--thing-name {thing} --job-id {job}"
    aws(f"update-job-execution {one} --status FAILED --expected-version 2", device)
    assert aws(f"describe-job-execution {one}", device)["execution"]["executionNumber"] == 2
    assert aws(f"describe-job-execution {one} --execution-number 1")["execution"]["status"] == "FAILED"
    by_job = aws(f"list-job-executions-for-job --job-id {job}")["executionSummaries"]
    assert [entry["jobExecutionSummary"]["retryAttempt"] for entry in by_job] == [0, 1]
    assert len(aws(f"list-job-executions-for-thing --thing-name {thing}")["executionSummaries"]) == 2
    assert aws(f"cancel-job-execution {one} --expected-version 1") is None
    assert aws(f"cancel-job-execution {one} --force") == "InvalidStateTransitionException"
    assert aws(f"delete-job-execution {one} --execution-number 2") is None
    assert aws(f"remove-thing-from-thing-group {names.member}") is None


def _tag(aws: Callable[..., Any], names: Names) -> None:
    resource = f"--resource-arn {ARN}:job/{names.job}"
    aws(f"tag-resource {resource} --tags Key=x,Value=y")
    aws(f"untag-resource {resource} --tag-keys k")
    assert aws(f"list-tags-for-resource {resource}") == {"tags": [{"Key": "x", "Value": "y"}]}


def _template(aws: Callable[..., Any], names: Names) -> None:
    template, described = f"--job-template-id {names.job}", "--description words"
    made = aws(f"create-job-template {template} {described} --job-arn {ARN}:job/{names.job}")
    assert made["jobTemplateArn"] == f"{ARN}:jobtemplate/{names.job}"
    assert aws(f"create-job-template {template} {described} --document {{}}") == "ConflictException"
    assert aws(f"describe-job-template {template}")["timeoutConfig"] == {"inProgressTimeoutInMinutes": 9}
    assert aws("list-job-templates --max-items 1")["jobTemplates"][0]["jobTemplateId"] == names.job
    assert aws(f"delete-job-template {template}") is None
    assert len(aws("list-managed-job-templates")["managedJobTemplates"]) == 8
    managed = aws("describe-managed-job-template --template-name AWS-Run-Command")
    assert managed["documentParameters"][0]["key"] == "command"


def _remove(aws: Callable[..., Any], names: Names) -> None:
    aws(f"create-job --job-id {names.other} --targets {ARN}:thing/{names.thing} --document {{}}")
    assert aws(f"cancel-job --job-id {names.other} --reason-code ENOUGH --force")["jobId"] == names.other
    assert aws(f"delete-job --job-id {names.job}") == "InvalidStateTransitionException"
    for job_id in (names.job, names.other):
        assert aws(f"delete-job --job-id {job_id} --force") is None
    for name in (names.group, names.root):
        assert aws(f"delete-thing-group --thing-group-name {name}") is None
    assert aws(f"delete-thing --thing-name {names.thing}") is None
