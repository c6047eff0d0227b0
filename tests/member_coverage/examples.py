"""An example of every member that a request of Jobs may have. What it needs to make sense is on the `stage`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

Request: TypeAlias = Mapping[str, Any]

ARN: Final = "arn:aws:iot:us-east-1:123456789012:"
LAMP: Final = ARN + "thing/lamp"
GROUP: Final = ARN + "thinggroup/all"
ROLE: Final = "arn:aws:iam::123456789012:role/example"
SOURCE: Final = "https://s3.us-east-1.amazonaws.com/documents/example.json"
DETAILS: Final = {"example": "example detail"}
PACKAGE: Final = ARN + "package/example/version/1.0"
PRESIGN: Final = {"roleArn": ROLE, "expiresInSec": 77}
RETRIES: Final = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 3}]}
TAGS: Final = [{"Key": "example-key", "Value": "example-value"}]
ABORT: Final = {
    "criteriaList": [
        {"failureType": "ALL", "action": "CANCEL", "thresholdPercentage": 12.5, "minNumberOfExecutedThings": 11}
    ]
}


def rate(criterion: str) -> Request:
    """A rollout that becomes faster, by either criterion."""
    exponential = {"baseRatePerMinute": 13, "incrementFactor": 1.5, "rateIncreaseCriteria": {criterion: 19}}
    return {"jobExecutionsRolloutConfig": {"maximumPerMinute": 71, "exponentialRate": exponential}}


RATES: Final = (rate("numberOfNotifiedThings"), rate("numberOfSucceededThings"))
WINDOW: Final = {"startTime": "cron(0 3 ? * 2 *)", "durationInMinutes": 61}
CONFIGS: Final[tuple[Request, ...]] = (
    {"presignedUrlConfig": PRESIGN},
    *RATES,
    {"abortConfig": ABORT},
    {"timeoutConfig": {"inProgressTimeoutInMinutes": 17}},
    {"jobExecutionsRetryConfig": RETRIES},
)


def stamp(now: float, days: float) -> str:
    """A time as schedulingConfig has it, some days after now."""
    return time.strftime("%Y-%m-%dT%H:%M", time.gmtime(now + days * 86400))


def scheduling(now: float) -> Request:
    """A schedule of a continuous job, with everything in it."""
    times = {"startTime": stamp(now, 1), "endTime": stamp(now, 40), "endBehavior": "CANCEL"}
    return {"targetSelection": "CONTINUOUS", "schedulingConfig": {**times, "maintenanceWindows": [WINDOW]}}


def requests(now: float) -> Mapping[str, tuple[Request, tuple[Request, ...]]]:
    """For each operation of the control plane a request that it can fulfil, and further members to add, one by one.

    A member that is null in the latter takes the one of the former away.
    """
    job = {"jobId": "probe", "targets": [LAMP], "document": '{"op": "example"}'}
    template = {"jobTemplateId": "probe", "description": "example template", "document": '{"op": "example"}'}
    execution = {"thingName": "lamp", "jobId": "done"}
    pending = {"thingName": "lamp", "jobId": "plain"}
    no_document = {"document": None}
    reboot = {**no_document, "jobTemplateArn": "arn:aws:iot:us-east-1::jobtemplate/AWS-Reboot:1.0"}
    pages = ({"maxResults": 1}, {"nextToken": None})
    return {
        "CreateJob": (
            job,
            (
                {"targets": [GROUP, LAMP]},
                {**no_document, "documentSource": SOURCE},
                {"description": "example description"},
                {"targetSelection": "CONTINUOUS"},
                *CONFIGS,
                {"tags": TAGS},
                {"namespaceId": "example-namespace"},
                {**no_document, "jobTemplateArn": ARN + "jobtemplate/kept"},
                {**reboot, "documentParameters": {"runAsUser": "example-user"}},
                scheduling(now),
                {"destinationPackageVersions": [PACKAGE]},
            ),
        ),
        "DescribeJob": ({"jobId": "plain"}, ({"beforeSubstitution": True},)),
        "GetJobDocument": ({"jobId": "plain"}, ({"beforeSubstitution": True},)),
        "UpdateJob": (
            {"jobId": "slow", "description": "changed description"},
            (
                *CONFIGS[:-1],
                {"jobExecutionsRetryConfig": {"criteriaList": [{"failureType": "ALL", "numberOfRetries": 0}]}},
                {"jobId": "team", "namespaceId": "team"},
            ),
        ),
        "CancelJob": ({"jobId": "plain"}, ({"reasonCode": "EXAMPLE"}, {"comment": "example comment"}, {"force": True})),
        "DeleteJob": ({"jobId": "done"}, ({"force": True}, {"jobId": "team", "namespaceId": "team", "force": True})),
        "AssociateTargetsWithJob": (
            {"jobId": "follower", "targets": [ARN + "thinggroup/more"]},
            ({"comment": "example comment"}, {"jobId": "follower-of-team", "namespaceId": "team"}),
        ),
        "ListJobs": (
            {},
            (
                {"status": "COMPLETED"},
                {"targetSelection": "CONTINUOUS"},
                {"thingGroupName": "all"},
                {"thingGroupId": "GROUP-ID"},
                {"namespaceId": "team"},
                *pages,
            ),
        ),
        "DescribeJobExecution": (execution, ({"executionNumber": 1},)),
        "CancelJobExecution": (pending, ({"force": True}, {"expectedVersion": 1}, {"statusDetails": DETAILS})),
        "DeleteJobExecution": (
            {**execution, "executionNumber": 1},
            ({"force": True}, {"jobId": "team", "namespaceId": "team"}),
        ),
        "ListJobExecutionsForJob": ({"jobId": "plain"}, ({"status": "QUEUED"}, *pages)),
        "ListJobExecutionsForThing": (
            {"thingName": "lamp"},
            ({"status": "QUEUED"}, {"jobId": "plain"}, {"namespaceId": "team"}, *pages),
        ),
        "CreateJobTemplate": (
            template,
            (
                {**no_document, "jobArn": ARN + "job/plain"},
                {**no_document, "documentSource": SOURCE},
                *CONFIGS,
                {"tags": TAGS},
                {"maintenanceWindows": [WINDOW]},
                {"destinationPackageVersions": [PACKAGE]},
            ),
        ),
        "DescribeJobTemplate": ({"jobTemplateId": "kept"}, ()),
        "DeleteJobTemplate": ({"jobTemplateId": "kept"}, ()),
        "ListJobTemplates": ({}, pages),
        "DescribeManagedJobTemplate": ({"templateName": "AWS-Reboot"}, ({"templateVersion": "1.0"},)),
        "ListManagedJobTemplates": ({}, ({"templateName": "AWS-Reboot"}, *pages)),
        "DescribeEventConfigurations": ({}, ()),
        "UpdateEventConfigurations": ({}, ({"eventConfigurations": {"JOB": {"Enabled": True}}},)),
    }


def device_requests() -> Mapping[str, tuple[Request, tuple[Request, ...]]]:
    """The same for the data plane."""
    step = {"stepTimeoutInMinutes": 9}
    plain = {"thingName": "lamp", "jobId": "plain"}
    return {
        "GetPendingJobExecutions": ({"thingName": "lamp"}, ()),
        "StartNextPendingJobExecution": ({"thingName": "lamp"}, ({"statusDetails": DETAILS}, step)),
        "DescribeJobExecution": (plain, ({"includeJobDocument": False}, {"executionNumber": 1})),
        "UpdateJobExecution": (
            {**plain, "status": "IN_PROGRESS"},
            (
                {"statusDetails": DETAILS},
                step,
                {"expectedVersion": 1},
                {"executionNumber": 1},
                {"includeJobExecutionState": True, "statusDetails": DETAILS},
                {"includeJobDocument": True},
            ),
        ),
        "StartCommandExecution": ({"targetArn": LAMP, "commandArn": ARN + "command/example"}, ()),
    }
