"""Random small fleets with their fates, and random jobs for them."""

import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from iot_jobs_simulator.rehearsal.fates import Attempts, Cause, Fates
from iot_jobs_simulator.rehearsal.fleet import Fleet, fleet_of

MONDAY = datetime(2026, 11, 30, 12, tzinfo=UTC)
CREATED_AT = MONDAY.timestamp()
HOUR_S = 3600.0
ATTEMPTS = 5
CAUSES = tuple(
    Cause(name, status)
    for name, status in [("", "SUCCEEDED"), ("broken", "FAILED"), ("old", "REJECTED"), ("stuck", "SILENT")]
)
WEIGHTED = st.sampled_from([0, 0, 0, 1, 1, 2, 3])
GROUPS = ("b", "a")  # not in the order of their names


def written(hours: float) -> str:
    return f"{MONDAY + timedelta(hours=hours):%Y-%m-%dT%H:%M}"


def fleet(sizes: tuple[int, ...]) -> Fleet:
    return fleet_of(
        {"groups": {name: {"size": size, "duration_min": 1} for name, size in zip(GROUPS, sizes, strict=True)}}
    )


@st.composite
def fleets(draw: st.DrawFn) -> tuple[Fleet, Fates]:
    """A fleet, and fates in which no two things happen at the same time."""
    sizes = (draw(st.integers(1, 9)), draw(st.integers(1, 6)))
    count = sum(sizes)
    away = st.one_of(st.just(0), st.just(0), st.integers(1, 12_000), st.just(math.inf))
    online = draw(st.lists(away, min_size=count, max_size=count))
    jitter = random.Random(draw(st.integers(0, 1000)))  # noqa: S311 - a test
    attempts = []
    for _ in range(ATTEMPTS):
        seconds = st.lists(st.one_of(st.integers(0, 90), st.integers(0, 2000)), min_size=count, max_size=count)
        durations = st.lists(st.sampled_from([1, 59, 61, 400, 1800, 9000]), min_size=count, max_size=count)
        causes = draw(st.lists(WEIGHTED, min_size=count, max_size=count))
        reactions = [each + jitter.random() / 1024 for each in draw(seconds)]
        attempts.append(Attempts(reactions, causes, draw(durations)))
    return fleet(sizes), Fates(online, attempts, CAUSES, is_build_bad=False)


WINDOW = st.builds(
    lambda minute, every, duration: {"startTime": f"cron({minute} 0/{every} * * ? *)", "durationInMinutes": duration},
    st.sampled_from([0, 30]),
    st.sampled_from([1, 2, 6]),
    st.sampled_from([1, 20, 60, 90]),
)
END = st.one_of(
    st.just({}),
    st.builds(
        lambda hours, behavior: {"endTime": written(hours), "endBehavior": behavior},
        st.sampled_from([1.5, 1.75, 2, 3]),
        st.sampled_from(["STOP_ROLLOUT", "CANCEL", "FORCE_CANCEL"]),
    ),
)
SCHEDULE = st.one_of(
    END.map(lambda end: {"schedulingConfig": end} if end else {}),
    END.map(lambda end: {"schedulingConfig": {"startTime": written(1)} | end}),
    st.builds(
        lambda windows, end: {
            "targetSelection": "CONTINUOUS",
            "schedulingConfig": {"startTime": written(1), "maintenanceWindows": windows} | end,
        },
        st.lists(WINDOW, min_size=1, max_size=3),
        END,
    ),
)
EXPONENTIAL = st.builds(
    lambda criterion, threshold, factor: {
        "exponentialRate": {
            "baseRatePerMinute": 1,
            "incrementFactor": factor,
            "rateIncreaseCriteria": {criterion: threshold},
        },
        "maximumPerMinute": 5,
    },
    st.sampled_from(["numberOfNotifiedThings", "numberOfSucceededThings"]),
    st.integers(1, 3),
    st.sampled_from([1.5, 2.0]),
)
RATE = st.one_of(st.just({}), st.integers(1, 4).map(lambda rate: {"maximumPerMinute": rate}), EXPONENTIAL)
ABORT = st.lists(
    st.fixed_dictionaries(
        {
            "failureType": st.sampled_from(["ALL", "FAILED", "REJECTED", "TIMED_OUT"]),
            "action": st.just("CANCEL"),
            "thresholdPercentage": st.sampled_from([0.1, 20.0, 33.33, 50.0, 100.0]),
            "minNumberOfExecutedThings": st.integers(1, 5),
        }
    ),
    max_size=2,
)
RETRIES = st.sampled_from(
    [
        [],
        [{"failureType": "ALL", "numberOfRetries": 3}],
        [{"failureType": "FAILED", "numberOfRetries": 1}],
        [{"failureType": "FAILED", "numberOfRetries": 2}, {"failureType": "TIMED_OUT", "numberOfRetries": 2}],
    ]
)


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, Any]:
    """A job that the service takes, for one group or both."""
    retry, abort = draw(RETRIES), draw(ABORT)
    minutes = draw(st.sampled_from([1, 2, 60, None]) if not retry else st.sampled_from([1, 7, 60]))
    targets = draw(st.sampled_from([GROUPS, GROUPS[::-1], GROUPS[:1]]))
    return {
        "targets": [f"arn:aws:iot:eu-central-1:210987654321:thinggroup/{name}" for name in targets],
        "jobExecutionsRolloutConfig": draw(RATE),
        **({"jobExecutionsRetryConfig": {"criteriaList": retry}} if retry else {}),
        **({"abortConfig": {"criteriaList": abort}} if abort else {}),
        **({"timeoutConfig": {"inProgressTimeoutInMinutes": minutes}} if minutes else {}),
        **draw(SCHEDULE),
    }
