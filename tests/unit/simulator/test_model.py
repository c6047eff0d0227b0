"""Requests checked against AWS's own models."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_jobs_simulator.model import expanded
from iot_jobs_simulator.refusals import Refused

if TYPE_CHECKING:
    from iot_jobs_simulator.model import ServiceApi


GOOD_JOB = {"jobId": "J1", "targets": ["arn"], "document": "{}"}


def complaint(api: ServiceApi, operation: str, **members: Any) -> Any:
    with pytest.raises(Refused) as raised:
        api.check(operation, members)
    assert raised.value.code == "InvalidRequest"
    return raised.value.message


@pytest.mark.parametrize(
    ("method", "path", "operation", "members"),
    [
        ("GET", "/things/lamp/jobs", "ListJobExecutionsForThing", {"thingName": "lamp"}),
        ("GET", "/things/lamp/jobs/J1", "DescribeJobExecution", {"thingName": "lamp", "jobId": "J1"}),
        ("GET", "/things/a%3Ab", "DescribeThing", {"thingName": "a:b"}),
        ("GET", "/things/jobs", "DescribeThing", {"thingName": "jobs"}),
        ("PUT", "/jobs/a%2Fb", "CreateJob", {"jobId": "a/b"}),
        ("GET", "/certificate-providers/", "ListCertificateProviders", {}),
        ("PUT", "/thing-groups/addThingToThingGroup", "AddThingToThingGroup", {}),
    ],
)
def test_method_and_path_lead_to_the_operation(
    iot: ServiceApi, method: str, path: str, operation: str, members: dict[str, Any]
) -> None:
    assert iot.find_operation(method, path) == (operation, members)


@pytest.mark.parametrize(
    ("method", "path"), [("BREW", "/jobs"), ("GET", "/coffee"), ("GET", "/things//jobs"), ("GET", "")]
)
def test_a_path_that_leads_nowhere_is_not_an_operation(iot: ServiceApi, method: str, path: str) -> None:
    assert iot.find_operation(method, path) is None


def test_next_is_found_literally_and_percent_encoded(data: ServiceApi) -> None:
    assert data.find_operation("PUT", "/things/t/jobs/$next") == ("StartNextPendingJobExecution", {"thingName": "t"})
    assert data.find_operation("PUT", "/things/t/jobs/%24next") == ("StartNextPendingJobExecution", {"thingName": "t"})
    assert data.find_operation("GET", "/things/t/jobs/%24next") == (
        "DescribeJobExecution",
        {"thingName": "t", "jobId": "$next"},
    )


def test_query_parameters_get_their_types(iot: ServiceApi, data: ServiceApi) -> None:
    assert data.read_query(
        "DescribeJobExecution", {"includeJobDocument": "false", "executionNumber": "12", "x": "y"}
    ) == {
        "includeJobDocument": False,
        "executionNumber": 12,
    }
    assert iot.read_query("ListJobs", {"maxResults": "5", "nextToken": "1"}) == {"maxResults": 5, "nextToken": "1"}


def test_members_in_the_path_get_their_types_too(iot: ServiceApi) -> None:
    path = "/things/lamp/jobs/J1/executionNumber/12"
    operation, members = iot.find_operation("DELETE", path) or ("", {})
    assert iot.read_path(operation, members) == {"thingName": "lamp", "jobId": "J1", "executionNumber": 12}
    with pytest.raises(Refused, match="executionNumber"):
        iot.read_path(operation, members | {"executionNumber": "x"})


@pytest.mark.parametrize("query", [{"includeJobDocument": "1"}, {"executionNumber": "1.5"}, {"executionNumber": ""}])
def test_query_parameters_of_another_type_are_invalid(data: ServiceApi, query: Any) -> None:
    with pytest.raises(Refused, match="Member must be of type"):
        data.read_query("DescribeJobExecution", query)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"jobId": None}, "Value null at 'jobId' failed to satisfy constraint: Member must not be null"),
        ({"jobId": "J" * 65}, "Member must have length less than or equal to 64"),
        ({"jobId": ""}, "Member must have length greater than or equal to 1"),
        (
            {"jobId": "a b"},
            "Value 'a b' at 'jobId' failed to satisfy constraint: Member must satisfy regular expression",
        ),
        ({"jobId": "J1\n"}, "regular expression pattern: [a-zA-Z0-9_-]+"),
        ({"jobId": 5}, "Value '5' at 'jobId' failed to satisfy constraint: Member must be of type string"),
        (
            {"targets": []},
            "at 'targets' failed to satisfy constraint: Member must have length greater than or equal to 1",
        ),
        ({"targets": "arn"}, "Member must be of type list"),
        ({"targets": ["x" * 2049]}, "at 'targets.1.member'"),
        ({"targetSelection": "X"}, "Member must satisfy enum value set: [CONTINUOUS, SNAPSHOT]"),
        ({"presignedUrlConfig": {"expiresInSec": 3601}}, "at 'presignedUrlConfig.expiresInSec' failed"),
        ({"presignedUrlConfig": {"expiresInSec": 59}}, "Member must have value greater than or equal to 60"),
        ({"presignedUrlConfig": {"expiresInSec": True}}, "Member must be of type long"),
        ({"presignedUrlConfig": []}, "Member must be of type structure"),
        ({"tags": [{"Value": "v"}]}, "Value null at 'tags.1.member.Key'"),
        ({"tags": [{"Key": "a!"}]}, "at 'tags.1.member.Key'"),
        ({"documentParameters": {"a b": "v"}}, "at 'documentParameters.key'"),
        ({"documentParameters": {"a": ""}}, "at 'documentParameters.a.member'"),
    ],
)
def test_every_kind_of_constraint_is_checked_in_awss_words(
    iot: ServiceApi, members: dict[str, Any], words: str
) -> None:
    assert words in complaint(iot, "CreateJob", **GOOD_JOB | members)


def test_all_problems_are_told_at_once(iot: ServiceApi) -> None:
    assert complaint(iot, "CreateJob").startswith("2 validation errors detected: ")


def test_doubles_take_whole_numbers_too(iot: ServiceApi) -> None:
    for threshold in (50, 50.5):
        criteria = {
            "failureType": "ALL",
            "action": "CANCEL",
            "thresholdPercentage": threshold,
            "minNumberOfExecutedThings": 1,
        }
        request = GOOD_JOB | {"abortConfig": {"criteriaList": [criteria]}}
        assert iot.check("CreateJob", request) == request


def test_null_and_unknown_members_are_left_out(iot: ServiceApi) -> None:
    assert iot.check("CreateJob", GOOD_JOB | {"description": None, "colour": "red"}) == GOOD_JOB


def test_null_and_unknown_members_are_left_out_of_what_is_nested_too(iot: ServiceApi) -> None:
    nested = {
        "presignedUrlConfig": {"roleArn": "r" * 20, "expiresInSec": None, "colour": "red"},
        "tags": [{"Key": "a", "Value": None}],
    }
    assert iot.check("CreateJob", GOOD_JOB | nested) == GOOD_JOB | {
        "presignedUrlConfig": {"roleArn": "r" * 20},
        "tags": [{"Key": "a"}],
    }
    assert "at 'targets.1.member'" in complaint(iot, "CreateJob", **GOOD_JOB | {"targets": [None]})


def test_the_body_holds_only_what_belongs_there(iot: ServiceApi) -> None:
    body = {"jobId": "J2", "force": True, "comment": "c", "colour": "red"}
    assert iot.read_body("CancelJob", body) == {"comment": "c"}


def test_letters_of_any_script_are_fine_in_tags(iot: ServiceApi) -> None:
    request = GOOD_JOB | {"tags": [{"Key": "\u00e9t\u00e9 \u0661", "Value": "anything!"}]}
    assert iot.check("CreateJob", request) == request


def test_an_operation_without_input_takes_nothing(iot: ServiceApi) -> None:
    assert iot.check("DescribeEventConfigurations", {"a": 1}) == {}


def test_timestamps_and_other_types_that_jobs_has_not_are_let_through(iot: ServiceApi) -> None:
    assert iot.check("ListAuditFindings", {"startTime": 5}) == {"startTime": 5}


def test_the_status_of_an_exception_comes_from_the_model(iot: ServiceApi, data: ServiceApi) -> None:
    assert iot.error_status("ResourceAlreadyExistsException") == 409
    assert data.error_status("ThrottlingException") == 429


@given(st.text())
def test_the_pattern_of_visible_text_agrees_with_unicode(text: str) -> None:
    is_match = re.fullmatch(expanded(r"[^\p{C}]+", text), text) is not None
    # str.isprintable() is False for the categories Other and Separator, except the space
    separators = {
        "\u00a0",
        "\u1680",
        "\u2028",
        "\u2029",
        "\u202f",
        "\u205f",
        "\u3000",
        *map(chr, range(0x2000, 0x200B)),
    }
    assert is_match == (text != "" and all(character.isprintable() or character in separators for character in text))


def test_classes_inside_and_outside_of_sets_are_translated() -> None:
    assert re.fullmatch(expanded(r"[\p{Upper}\p{Digit}_]+", "A_1"), "A_1")
    assert not re.fullmatch(expanded(r"[\p{Upper}\p{Digit}_]+", "\u00c4"), "\u00c4")
    assert not re.fullmatch(expanded(r"[\p{L}]+", "]"), "]")
    assert not re.fullmatch(expanded(r"[^\p{C}]+", "a\u200b-z\x00"), "a\u200b-z\x00")
