"""What a schedule may be: forms, bounds and combinations (page jobs-configurations-details, and captures of 2026)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Cloud

MONDAY = datetime(2026, 11, 30, 12, tzinfo=UTC)
GROUP = "arn:aws:iot:us-east-1:123456789012:thinggroup/all"


def written(**later: float) -> str:
    return f"{MONDAY + timedelta(**later):%Y-%m-%dT%H:%M}"


def window(fields: str = "0 14 * * ? *", minutes: int = 60) -> dict[str, Any]:
    return {"startTime": f"cron({fields})", "durationInMinutes": minutes}


def windows(each: dict[str, Any]) -> dict[str, Any]:
    return {"startTime": written(hours=1), "maintenanceWindows": [each]}


FORMAT = "must follow the format YYYY-MM-DDThh:mm."


@pytest.mark.parametrize(
    ("schedule", "selection", "words"),
    [
        (
            {"startTime": "2026-12-01 10:00"},
            "SNAPSHOT",
            f"1 validation error detected: Provided time 2026-12-01 10:00 UTC {FORMAT}",
        ),
        ({"startTime": "2026-12-01T10:00:00"}, "SNAPSHOT", FORMAT),
        ({"startTime": "2026-12-01T10:00Z"}, "SNAPSHOT", FORMAT),
        ({"startTime": "2026-12-1T10:00"}, "SNAPSHOT", FORMAT),
        ({"startTime": "2026-02-30T10:00"}, "SNAPSHOT", FORMAT),
        ({"endTime": "tomorrow"}, "SNAPSHOT", f"Provided time tomorrow UTC {FORMAT}"),
        ({"startTime": ""}, "SNAPSHOT", "length greater than or equal to 1"),
        ({"startTime": written(minutes=29)}, "SNAPSHOT", "startTime of SchedulingConfig is 2026-11-30T12:29, allowed"),
        ({"startTime": written(days=366)}, "SNAPSHOT", "allowed are times from 2026-11-30T12:30 to 2027-11-30T12:00"),
        ({"endTime": written(minutes=29)}, "SNAPSHOT", "endTime of SchedulingConfig"),
        ({"endTime": written(days=731)}, "SNAPSHOT", "to 2028-11-29T12:00"),
        ({"startTime": written(hours=1), "endTime": written(minutes=89)}, "SNAPSHOT", "from 2026-11-30T13:30"),
        ({"endBehavior": "CANCEL"}, "SNAPSHOT", "endBehavior of SchedulingConfig cannot be used without endTime"),
        ({"endTime": written(days=1), "endBehavior": "STOP"}, "SNAPSHOT", "[STOP_ROLLOUT, CANCEL, FORCE_CANCEL]"),
        (
            windows(window()),
            "SNAPSHOT",
            "TargetSelection is invalid. MaintenanceWindow cannot be used with SNAPSHOT job.",
        ),
        (
            {"maintenanceWindows": [window()]},
            "CONTINUOUS",
            "MaintenanceWindow cannot be used without StartTime of SchedulingConfig.",
        ),
        (windows(window("0 14 * * * *")), "CONTINUOUS", "exactly one of day-of-month and day-of-week must be ?"),
        (windows(window(minutes=0)), "CONTINUOUS", "greater than or equal to 1"),
        (windows(window(minutes=1431)), "CONTINUOUS", "less than or equal to 1430"),
        (windows({"startTime": "cron(0 14 * * ? *)"}), "CONTINUOUS", "durationInMinutes' failed to satisfy"),
    ],
)
def test_a_schedule_out_of_bounds_is_refused(
    cloud: Cloud, schedule: dict[str, Any], selection: str, words: str
) -> None:
    members = {"jobId": "J1", "targets": [GROUP], "document": "{}", "targetSelection": selection}
    cloud.now = MONDAY.timestamp()
    cloud.create_group("all")
    code, message = cloud.refused("CreateJob", **members, schedulingConfig=schedule)
    assert (code, words in message) == ("InvalidRequest", True), message
