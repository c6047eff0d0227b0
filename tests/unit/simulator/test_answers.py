"""How the service says things: times, what is null, what is empty, how deep documents nest, AWS's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_simulator import payloads

if TYPE_CHECKING:
    from conftest import Cloud

THING_ARN = "arn:aws:iot:us-east-1:123456789012:thing/"


def test_times_of_the_control_plane_have_no_more_than_milliseconds(cloud: Cloud) -> None:
    cloud.now += 0.12345678
    cloud.create_group("all")
    cloud.create_job("J1")
    cloud.accepted("start-next")
    cloud.accepted("J1/update", status="SUCCEEDED")
    one = {"thingName": "lamp", "jobId": "J1"}
    shown = [
        cloud.job(),
        cloud.operate("ListJobs")["jobs"][0],
        cloud.operate("DescribeJobExecution", **one)["execution"],
        cloud.operate("ListJobExecutionsForJob", jobId="J1")["executionSummaries"][0]["jobExecutionSummary"],
        cloud.operate("DescribeThingGroup", thingGroupName="all")["thingGroupMetadata"],
    ]
    times = [value for entry in shown for name, value in entry.items() if name.endswith(("At", "Date"))]
    assert times == [1_700_000_000.373] * 13


def test_targets_are_null_once_a_job_is_rolled_out(cloud: Cloud) -> None:
    targets = [THING_ARN + "lamp"]
    cloud.control.answer("CreateJob", {"jobId": "J1", "targets": targets, "document": "{}"}, cloud.now)
    before = cloud.control.answer("DescribeJob", {"jobId": "J1"}, cloud.now)["job"]["jobProcessDetails"]
    assert before["processingTargets"] == targets
    cloud.pass_time()
    assert cloud.job()["jobProcessDetails"]["processingTargets"] is None


def test_explicit_empty_details_are_shown_and_absent_ones_are_not(cloud: Cloud) -> None:
    one = {"thingName": "lamp", "jobId": "J1"}
    cloud.create_job("J1")
    assert "statusDetails" not in cloud.accepted("J1/get")["execution"]
    assert cloud.operate("DescribeJobExecution", **one)["execution"]["statusDetails"] == {}
    updated = cloud.accepted("J1/update", status="IN_PROGRESS", statusDetails={}, includeJobExecutionState=True)
    assert updated["executionState"]["statusDetails"] == {}
    assert cloud.accepted("J1/get")["execution"]["statusDetails"] == {}
    assert cloud.operate("DescribeJobExecution", **one)["execution"]["statusDetails"] == {"detailsMap": {}}


def nested(depth: int) -> str:
    return '{"a":[' * (depth // 2) + "]}" * (depth // 2)


class TestNesting:
    def test_a_document_nests_as_deep_as_the_limit_says_wherever_it_is_read(self, cloud: Cloud) -> None:
        cloud.create_job("J1", nested(payloads.MAX_NESTING))
        target = {"targets": [THING_ARN + "lamp"], "document": nested(payloads.MAX_NESTING + 2)}
        assert cloud.refused("CreateJob", jobId="J2", **target) == (
            "InvalidRequest",
            f"The job document is not valid JSON: nests more than {payloads.MAX_NESTING} deep",
        )

    def test_many_brackets_beside_each_other_or_in_strings_are_no_nesting(self, cloud: Cloud) -> None:
        cloud.create_job("J1", "[" + ",".join(["{}"] * 2000) + "]")
        cloud.create_job("J2", '"' + '[\\"' * 2000 + '"')

    @pytest.mark.parametrize("text", ['"' * 100_001, '"\\' * 50_000, '["\\"' * 30_000], ids=len)
    def test_text_without_an_end_is_refused_in_no_time(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"nests|Extra data|Invalid|Expecting|Unterminated"):
            payloads.json_value(text + "[" * 600)


@pytest.mark.parametrize(("config", "shown"), [(0, 0), (-1, -1), (10081, 10081), (None, "null")])
def test_a_timeout_out_of_bounds_is_refused_in_awss_words(cloud: Cloud, config: int | None, shown: Any) -> None:
    timeout = {} if config is None else {"inProgressTimeoutInMinutes": config}
    words = f"Provide valid timeout value, inProgressTimeoutInMinutes cannot be {shown}."
    cloud.create_job("J1")
    target = {"targets": [THING_ARN + "lamp"], "document": "{}"}
    for operation, members in (("CreateJob", {"jobId": "J2", **target}), ("UpdateJob", {"jobId": "J1"})):
        assert cloud.refused(operation, **members, timeoutConfig=timeout) == ("InvalidRequest", words)


@pytest.mark.parametrize("members", [{}, {"description": None}, {"namespaceId": "team"}])
def test_an_update_that_changes_nothing_is_refused(cloud: Cloud, members: Any) -> None:
    cloud.create_job("J1", namespaceId="team")
    assert cloud.refused("UpdateJob", jobId="J1", **members)[1] == "UpdateJob of J1 names nothing to change"
