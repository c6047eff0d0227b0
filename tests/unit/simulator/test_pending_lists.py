"""How many executions the lists of a thing show (developer guide, page job-limits)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_simulator.jobs.settings import ServiceSettings

if TYPE_CHECKING:
    from conftest import Cloud

GROUP = "arn:aws:iot:us-east-1:123456789012:thinggroup/all"
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
HOURLY = {
    "startTime": "2026-11-30T13:00",
    "maintenanceWindows": [{"startTime": "cron(0 * * * ? *)", "durationInMinutes": 30}],
}


def create_windowed(cloud: Cloud, job_id: str, **more: Any) -> None:
    members = {"targets": [GROUP], "document": "{}", "targetSelection": "CONTINUOUS", "schedulingConfig": HOURLY}
    cloud.operate("CreateJob", jobId=job_id, **members, **more)


def listed(cloud: Cloud) -> list[str]:
    """The jobs of GetPendingJobExecutions, IN_PROGRESS first; the last notify had the same."""
    pending = cloud.accepted("get")
    found = [entry["jobId"] for name in ("inProgressJobs", "queuedJobs") for entry in pending[name]]
    notifications = [payload for topic, payload in cloud.published() if topic == "notify"]
    for payload in notifications[-1:]:
        told = [entry["jobId"] for name in ("IN_PROGRESS", "QUEUED") for entry in payload["jobs"].get(name, ())]
        assert told == found
    return found


@pytest.fixture
def busy(cloud: Cloud) -> Any:
    """Within a window of the jobs W0 to W6 for the lamp, with J0 to J11 queued a second apart before and after it."""
    cloud.now = NOON
    cloud.create_group("all", "lamp")
    for number in range(7):
        create_windowed(cloud, f"W{number}")
    for number in range(6):
        cloud.pass_time(seconds=1)
        cloud.create_job(f"J{number}")
    cloud.pass_time(minutes=60)
    for number in range(6, 12):
        cloud.pass_time(seconds=1)
        cloud.create_job(f"J{number}")
    return cloud


def named(letter: str, *numbers: int) -> list[str]:
    return [f"{letter}{number}" for number in numbers]


def test_ten_ordinary_ones_and_five_whose_window_is_open_in_the_order_of_all(busy: Cloud) -> None:
    assert listed(busy) == [*named("J", *range(6)), *named("W", *range(5)), *named("J", *range(6, 10))]


def test_ten_while_no_window_is_open(busy: Cloud) -> None:
    busy.pass_time(minutes=30)
    assert listed(busy) == named("J", *range(10))


def test_what_is_in_progress_comes_first_and_counts_with_its_kind(busy: Cloud) -> None:
    busy.accepted("W6/update", status="IN_PROGRESS")
    busy.accepted("J11/update", status="IN_PROGRESS")
    busy.published()  # notify does not tell of a change that is none of the set
    assert listed(busy) == [
        *("W6", "J11"),
        *named("J", *range(6)),
        *named("W", *range(4)),
        *named("J", *range(6, 9)),
    ]


def test_the_next_one_is_the_first_of_both_kinds(busy: Cloud) -> None:
    started = []
    for _ in range(19):
        job = busy.accepted("start-next")["execution"]["jobId"]
        busy.accepted(f"{job}/update", status="SUCCEEDED")
        started.append(job)
    assert started == [*named("J", *range(6)), *named("W", *range(7)), *named("J", *range(6, 12))]
    assert listed(busy) == []


def test_a_window_that_opens_tells_a_thing_with_nothing_else_to_do(cloud: Cloud) -> None:
    cloud.now = NOON
    cloud.create_group("all", "lamp")
    create_windowed(cloud, "W0")
    cloud.pass_time(minutes=60)
    [(_, notify), (topic, payload)] = cloud.published()
    assert ([each["jobId"] for each in notify["jobs"]["QUEUED"]], topic) == (["W0"], "notify-next")
    assert payload["execution"]["jobId"] == "W0"


@pytest.mark.parametrize("settings", [ServiceSettings(list_cap=3, window_list_cap=1)])
def test_both_caps_are_switches(busy: Cloud) -> None:
    assert listed(busy) == ["J0", "J1", "J2", "W0"]
