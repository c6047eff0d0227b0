"""Rehearsals whose figures can be worked out by hand, with both engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from strategies import CAUSES, CREATED_AT, HOUR_S, fleet, written

from iot_jobs_simulator.rehearsal import core
from iot_jobs_simulator.rehearsal.arrays import as_arrays
from iot_jobs_simulator.rehearsal.fates import Attempts, Fates
from iot_jobs_simulator.rehearsal.kernel import rehearse_arrays
from iot_jobs_simulator.rehearsal.plan import plan_of

if TYPE_CHECKING:
    from iot_jobs_simulator.model import ServiceApi
    from iot_jobs_simulator.rehearsal.outcome import RehearsedJob

TARGET = {"targets": ["arn:aws:iot:us-east-1:123456789012:thinggroup/b"]}
WELL, FAILS, REJECTS, IS_SILENT = range(4)


@pytest.fixture(params=["core", "kernel"])
def rehearse(request: pytest.FixtureRequest, api: ServiceApi) -> Any:
    """Rehearse a job on some devices: when each is online, reacts, how it ends, and how long it takes."""

    def run(devices: list[tuple[float, float, int, float]], **job: Any) -> list[tuple[str, float, Any, Any]]:
        online, reactions, causes, durations = (list(column) for column in zip(*devices, strict=True))
        online, reactions, durations = ([*each, 0] for each in (online, reactions, durations))
        attempts = [Attempts(reactions, [*causes, 0], durations)] * 3
        fates = Fates(online, attempts, CAUSES, is_build_bad=False)
        plan = plan_of(TARGET | job, fleet((len(devices), 1)), CREATED_AT, 10 * HOUR_S, api)
        if request.param == "core":
            return relative(core.rehearse(plan, fates, api))
        return relative(rehearse_arrays(plan, as_arrays(fates)).rehearsed())

    return run


def relative(job: RehearsedJob) -> list[tuple[str, float, Any, Any]]:
    """Status, and the times of being queued, started and ended, in seconds since the job was created."""
    return [
        (str(status), *(None if at is None else round(at - CREATED_AT, 3) for at in times))
        for _, _, status, *times in job.rows
    ]


def test_devices_get_their_executions_at_the_rate_and_start_them_once_they_are_there(rehearse: Any) -> None:
    devices = [(0, 1, WELL, 10), (0, 2, REJECTS, 10), (500, 3, WELL, 10), (float("inf"), 1, WELL, 10)]
    assert rehearse(devices, jobExecutionsRolloutConfig={"maximumPerMinute": 1}) == [
        ("SUCCEEDED", 0, 1, 11),
        ("REJECTED", 60, None, 62),
        ("SUCCEEDED", 120, 503, 513),
        ("QUEUED", 180, None, None),
    ]


def test_what_takes_too_long_is_tried_again_and_what_is_silent_too(rehearse: Any) -> None:
    retry = {"criteriaList": [{"failureType": "TIMED_OUT", "numberOfRetries": 1}]}
    timeout = {"inProgressTimeoutInMinutes": 2}
    devices = [(0, 1, WELL, 121), (0, 2, IS_SILENT, 10), (0, 3, FAILS, 10)]
    assert rehearse(devices, jobExecutionsRetryConfig=retry, timeoutConfig=timeout) == [
        ("TIMED_OUT", 0, 1, 121),
        ("TIMED_OUT", 121, 122, 242),
        ("TIMED_OUT", 0, 2, 122),
        ("TIMED_OUT", 122, 124, 244),
        ("FAILED", 0, 3, 13),
    ]


def test_outside_of_a_window_nothing_starts_and_what_is_in_progress_goes_on(rehearse: Any) -> None:
    windows = [{"startTime": "cron(0 14,16 * * ? *)", "durationInMinutes": 30}]  # created at 12
    job = {
        "targetSelection": "CONTINUOUS",
        "schedulingConfig": {"startTime": written(1), "maintenanceWindows": windows},
    }
    devices = [(0, 5, WELL, 3600), (7200 + 1790, 20, WELL, 60), (10_000, 5, WELL, 60)]
    assert rehearse(devices, **job) == [
        ("SUCCEEDED", 7200, 7205, 10_805),
        ("SUCCEEDED", 7200, 14_420, 14_480),
        ("SUCCEEDED", 7200, 14_405, 14_465),
    ]


def test_an_abort_cancels_what_is_queued_and_no_later_end_of_the_job_what_is_in_progress(rehearse: Any) -> None:
    abort = {"failureType": "FAILED", "action": "CANCEL", "thresholdPercentage": 50, "minNumberOfExecutedThings": 1}
    end = {"endTime": written(1.5), "endBehavior": "FORCE_CANCEL"}
    devices = [(0, 1, FAILS, 60), (0, 2, WELL, 9000), (500, 1, WELL, 60)]
    assert rehearse(devices, abortConfig={"criteriaList": [abort]}, schedulingConfig=end) == [
        ("FAILED", 0, 1, 61),
        ("SUCCEEDED", 0, 2, 9002),
        ("CANCELED", 0, None, 61),
    ]


@pytest.mark.parametrize(
    ("behavior", "ends"),
    [
        ("STOP_ROLLOUT", [("SUCCEEDED", 0, 2, 9002), ("SUCCEEDED", 0, 5500, 5560)]),
        ("CANCEL", [("SUCCEEDED", 0, 2, 9002), ("CANCELED", 0, None, 5400)]),
        ("FORCE_CANCEL", [("CANCELED", 0, 2, 5400), ("CANCELED", 0, None, 5400)]),
    ],
)
def test_the_end_of_a_job_does_what_its_end_behavior_says(rehearse: Any, behavior: str, ends: Any) -> None:
    devices = [(0, 2, WELL, 9000), (5300, 200, WELL, 60)]  # the second one has heard of it, but has not started it
    assert rehearse(devices, schedulingConfig={"endTime": written(1.5), "endBehavior": behavior}) == ends
