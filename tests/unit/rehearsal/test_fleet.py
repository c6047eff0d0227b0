"""Fleet files and jobs that cannot be used are refused in a sentence with the key and the fix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from strategies import CREATED_AT, HOUR_S

from iot_jobs_simulator.rehearsal.fleet import FleetError, fleet_of, load_fleet
from iot_jobs_simulator.rehearsal.plan import PlanError, creation_time, load_job, plan_of
from iot_jobs_simulator.rehearsal.spread import read_spread

if TYPE_CHECKING:
    from pathlib import Path

    from iot_jobs_simulator.model import ServiceApi

GROUP: dict[str, Any] = {"size": 10, "duration_min": 5}
ARN = "arn:aws:iot:eu-west-1:1:thinggroup/"


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ({}, "groups is missing"),
        ({"groups": {}}, "groups is {}: dictionary should have at least 1 item"),
        ({"groups": {"a b": GROUP}}, "groups.a b.[key] is 'a b': string should match pattern"),
        ({"groups": {"a": {"size": 10}}}, "groups.a.duration_min is missing"),
        ({"groups": {"a": GROUP | {"size": 0}}}, "groups.a.size is 0: input should be greater than or equal to 1"),
        ({"groups": {"a": GROUP | {"size": 600_000}, "b": GROUP | {"size": 600_000}}}, "1200000 devices together"),
        ({"groups": {"a": GROUP | {"duraton_min": 5}}}, "groups.a.duraton_min is not a key here; do you mean duration"),
        ({"groups": {"a": GROUP}, "xyzzy": 1}, "xyzzy is not a key here; keys are back_after_h, bad_build, cause"),
        (
            {"groups": {"a": GROUP | {"never_online_share": 20}}},
            "groups.a.never_online_share is 20; a share is a number from 0 to 1, so 20 % is 0.2",
        ),
        (
            {"groups": {"a": GROUP | {"never_online_share": 0.5, "offline": {"share": 0.6, "back_after_h": 1}}}},
            "groups.a: never_online_share and offline.share add up to 1.1; a share of 1 is all devices",
        ),
        (
            {"groups": {"a": GROUP | {"failures": [{"cause": "x", "share": 0.7}, {"cause": "y", "share": 0.7}]}}},
            "groups.a: the shares of failures add up to 1.4",
        ),
        (
            {"groups": {"a": GROUP | {"failures": [{"cause": "x", "share": 0.7, "status": "TIMED_OUT"}]}}},
            "groups.a.failures.0.status is 'TIMED_OUT': input should be 'FAILED', 'REJECTED' or 'SILENT'",
        ),
        ({"groups": {"a": GROUP | {"duration_min": "5"}}}, "groups.a.duration_min: give a number, or quantiles such"),
        ({"groups": {"a": GROUP | {"duration_min": {"median": 5}}}}, "median is not a quantile; give p0, p100"),
        ({"groups": {"a": GROUP | {"duration_min": {"p0": -5}}}}, "p0 is -5; give a number from 0 on"),
        ({"groups": {"a": GROUP | {"duration_min": {"p0": 5}}}}, "p0 or p100 is missing"),
        (
            {"groups": {"a": GROUP | {"duration_min": {"p0": 5, "p50": 3, "p100": 9}}}},
            "groups.a.duration_min: p50 is smaller than p0; quantiles rise",
        ),
        ({"groups": {"a": GROUP}, "bad_build": {"share": 2}}, "bad_build.share is 2; a share is a number from 0 to 1"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused_by_its_key(written: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FleetError) as raised:
        fleet_of(written)
    assert sentence in str(raised.value)


def test_a_file_that_is_not_toml_is_refused_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text("[groups\n")
    with pytest.raises(FleetError, match=r"fleet.toml is not TOML: .*line 1"):
        load_fleet(path)


def test_quantiles_are_joined_by_straight_lines() -> None:
    spread = read_spread({"p0": 1, "p50": 5, "p100": 60})
    assert [spread.at(share) for share in (0.0, 0.25, 0.5, 0.75)] == [1, 3, 5, 32.5]
    assert read_spread(7).at(0.99) == 7


@pytest.mark.parametrize(
    ("job", "sentence"),
    [
        ({}, "targets: give the ARNs of thing groups or things of the fleet file"),
        ({"targets": ["a"]}, "targets: a is not the ARN of a thing group or a thing"),
        ({"targets": [ARN + "b"]}, "targets: the fleet has no b; its groups are a"),
        (
            {"targets": ["arn:aws:iot:eu-west-1:1:thing/a-11"]},
            "targets: the fleet has no a-11; its things are a-0000001 to a-0000010",
        ),
        (
            {"targets": [ARN + "a"], "jobExecutionsRolloutConfig": {"maximumPerMinute": 2000}},
            "the service would refuse the job: maximumPerMinute is 2000, at most 1000 is allowed",
        ),
        (
            {
                "targets": [ARN + "a"],
                "targetSelection": "CONTINUOUS",
                "schedulingConfig": {
                    "startTime": "2026-11-30T13:00",
                    "maintenanceWindows": [{"startTime": "cron(0 25 * * ? *)", "durationInMinutes": 60}],
                },
            },
            "the service would refuse the job: startTime of a maintenance window, cron(0 25 * * ? *): 25 is not in",
        ),
        ({"targets": [ARN + "a"], "abortconfig": {}}, "abortconfig is not a member of CreateJob; correct its name"),
        (
            {"targets": [ARN + "a"], "abortConfig": {"criteriaList": [{"minNumberOfThings": 3}]}},
            "abortConfig.criteriaList.0.minNumberOfThings is not a member",
        ),
        ({"targets": [ARN + "a"], "jobId": "a b"}, "at 'jobId' failed to satisfy constraint"),
    ],
)
def test_a_job_that_cannot_be_is_refused_by_its_member(api: ServiceApi, job: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PlanError) as raised:
        plan_of(job, fleet_of({"groups": {"a": GROUP}}), CREATED_AT, HOUR_S, api)
    assert sentence in str(raised.value)


def test_a_job_names_single_things_and_any_account_and_needs_no_document(api: ServiceApi) -> None:
    things = [f"arn:aws-cn:iot:cn-north-1:999999999999:thing/a-{number:07}" for number in (9, 2)]
    job = {"targets": [*things, ARN + "b", things[0]], "documentSource": "https://s3.amazonaws.com/b/k"}
    plan = plan_of(job, fleet_of({"groups": {"a": GROUP, "b": GROUP}}), CREATED_AT, HOUR_S, api)
    assert list(plan.things) == [8, 1, *range(10, 20)]


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_file_that_holds_no_job_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "job.json"
    path.write_text(text)
    with pytest.raises(PlanError, match=r"job.json is not (JSON|an object)"):
        load_job(path)


def test_a_job_is_created_as_late_as_its_start_time_allows_or_now() -> None:
    assert creation_time({"schedulingConfig": {"startTime": "2026-11-30T12:30"}}, 0) == CREATED_AT
    assert creation_time({"schedulingConfig": {"startTime": "soon"}}, 119) == 60
    assert creation_time({"schedulingConfig": "never"}, 119) == 60
