"""Our words and numbers against AWS's models, and every pattern that we hand to Python's `re`."""

from __future__ import annotations

import functools
import re
from typing import Any

import pytest
from botocore.loaders import Loader

from iot_jobs_simulator import control_plane, device_plane
from iot_jobs_simulator.http.rest import EXCEPTIONS
from iot_jobs_simulator.jobs import abort, events, execution, job, job_control, listing, rates, retries
from iot_jobs_simulator.model import expanded
from iot_jobs_simulator.refusals import Code

FIRST, LAST = execution.TIMEOUT_MINUTES[0], execution.TIMEOUT_MINUTES[-1]


@functools.cache
def model(service: str) -> Any:
    return Loader().load_service_model(service, "service-2")


def shape(service: str, name: str) -> Any:
    return model(service)["shapes"][name]


def shapes_below(service: str, operation: str) -> Any:
    """Names of every shape that a request of the operation may hold."""
    shapes = model(service)["shapes"]
    waiting = [model(service)["operations"][operation]["input"]["shape"]]
    found = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            inner = shapes[name]
            members = [
                *inner.get("members", {}).values(),
                *(inner[k] for k in ("member", "key", "value") if k in inner),
            ]
            waiting.extend(member["shape"] for member in members)
    return found


def test_execution_statuses_are_awss_in_both_planes() -> None:
    ours = [status.value for status in execution.ExecutionStatus]
    assert ours == shape("iot-jobs-data", "JobExecutionStatus")["enum"] == shape("iot", "JobExecutionStatus")["enum"]


def test_job_statuses_and_target_selections_are_awss() -> None:
    assert {status.value for status in job.JobStatus} == set(shape("iot", "JobStatus")["enum"])
    assert {selection.value for selection in job.TargetSelection} == set(shape("iot", "TargetSelection")["enum"])


def test_event_types_and_failures_that_abort_are_awss() -> None:
    assert list(events.TYPES) == shape("iot", "EventType")["enum"]
    assert {*abort.FAILURES, "ALL"} == set(shape("iot", "JobExecutionFailureType")["enum"])
    assert shape("iot", "RolloutRatePerMinute")["max"] == rates.MAX_PER_MINUTE


def test_the_page_size_is_the_largest_that_aws_allows() -> None:
    assert shape("iot", "LaserMaxResults")["max"] == listing.PAGE_SIZE


def test_things_and_groups_are_listed_in_pages_of_the_same_size() -> None:
    assert shape("iot", "RegistryMaxResults")["max"] == listing.PAGE_SIZE


def test_failures_that_are_retried_are_awss() -> None:
    kinds = {status.value for status in retries.RETRYABLE}
    assert {*kinds, "ALL"} == set(shape("iot", "RetryableFailureType")["enum"])
    assert shape("iot", "NumberOfRetries")["max"] == retries.MAX_RETRIES


def test_limits_of_deletions_and_targets_are_the_ones_that_the_documentation_states() -> None:
    operations = model("iot")["operations"]
    assert f"Only {job_control.MAX_DELETIONS} jobs" in operations["DeleteJob"]["documentation"]
    assert f"must not exceed {job.MAX_TARGETS}." in operations["AssociateTargetsWithJob"]["documentation"]


def test_limits_that_the_models_do_not_state_are_ours_to_check() -> None:
    assert "max" not in shape("iot-jobs-data", "DetailsMap")
    assert "max" not in shape("iot-jobs-data", "DetailsValue")
    assert "max" not in shape("iot-jobs-data", "StepTimeoutInMinutes")
    assert "max" not in shape("iot", "InProgressTimeoutInMinutes")
    assert "max" not in shape("iot", "JobTargets")


@pytest.mark.parametrize(
    ("service", "structure", "member", "words"),
    [
        ("iot-jobs-data", "UpdateJobExecutionRequest", "stepTimeoutInMinutes", f"range from {FIRST} to {LAST}"),
        (
            "iot-jobs-data",
            "UpdateJobExecutionRequest",
            "stepTimeoutInMinutes",
            f"{execution.CANCEL_STEP_TIMER} is also",
        ),
        ("iot-jobs-data", "JobExecution", "statusDetails", f"{execution.MAX_DETAIL_VALUE_CHARS:,} characters"),
        ("iot", "TimeoutConfig", "inProgressTimeoutInMinutes", f"({FIRST} to {LAST} minutes)"),
        ("iot", "CancelJobExecutionRequest", "statusDetails", f"at most {execution.MAX_DETAILS} name/value pairs"),
    ],
)
def test_those_limits_are_the_ones_that_the_documentation_states(
    service: str, structure: str, member: str, words: str
) -> None:
    assert words in shape(service, structure)["members"][member]["documentation"]


def test_every_operation_and_member_of_ours_exists_in_the_control_plane() -> None:
    operations = model("iot")["operations"]
    for operation, members in control_plane.SUPPORTED.items():
        assert members <= set(shape("iot", operations[operation]["input"]["shape"])["members"]), operation


def test_the_data_plane_has_its_four_operations() -> None:
    assert set(model("iot-jobs-data")["operations"]) - {"StartCommandExecution"} == device_plane.OPERATIONS


@pytest.mark.parametrize("plane", ["iot", "iot-jobs-data"])
def test_each_code_has_an_exception_that_the_service_models(plane: str) -> None:
    only_of_control_plane = {Code.RESOURCE_ALREADY_EXISTS, Code.VERSION_CONFLICT, Code.LIMIT_EXCEEDED}
    only_of_data_plane = {Code.TERMINAL_STATE_REACHED}
    absent = only_of_data_plane if plane == "iot" else only_of_control_plane
    for code, exception in EXCEPTIONS.items():
        assert (exception in model(plane)["shapes"]) == (code not in absent), exception


def test_the_namespace_of_http_requests_is_still_absent_from_the_model() -> None:
    for request in ("GetPendingJobExecutionsRequest", "StartNextPendingJobExecutionRequest"):
        assert "namespaceId" not in shape("iot-jobs-data", request)["members"]


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        *(("iot", operation) for operation in control_plane.SUPPORTED),
        *(("iot-jobs-data", operation) for operation in sorted(device_plane.OPERATIONS)),
    ],
)
def test_every_pattern_of_a_supported_operation_can_be_used(service: str, operation: str) -> None:
    for name in shapes_below(service, operation):
        if pattern := shape(service, name).get("pattern"):
            classes = re.findall(r"\\p\{(\w+)\}", pattern)
            assert all(len(name) <= 2 or expanded(rf"\p{{{name}}}", "") in ("A-Z", "0-9", "!-~") for name in classes)
            translated = expanded(pattern, "some value")
            assert r"\p" not in translated
            re.compile(translated)
