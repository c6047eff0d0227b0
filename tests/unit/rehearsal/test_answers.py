"""What a release manager is told: percentiles of devices and of seeds, and every ending in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from strategies import CAUSES, CREATED_AT, HOUR_S, fleet

from iot_jobs_simulator.jobs.execution import ExecutionStatus
from iot_jobs_simulator.rehearsal.answers import Ending, Interval, answer_of, interval, places
from iot_jobs_simulator.rehearsal.plan import plan_of
from iot_jobs_simulator.rehearsal.summary import duration, in_words

if TYPE_CHECKING:
    from iot_jobs_simulator.model import ServiceApi


@pytest.mark.parametrize(
    ("things", "at_50", "at_99", "at_100"), [(1, 0, 0, 0), (10, 4, 9, 9), (200, 99, 197, 199), (201, 100, 198, 200)]
)
def test_a_percentage_is_full_with_the_device_that_reaches_it(things: int, at_50: int, at_99: int, at_100: int) -> None:
    found = places(things)
    assert (found[49], found[98], found[99]) == (at_50, at_99, at_100)


def test_an_interval_holds_nine_tenths_of_the_seeds_and_never_is_the_latest() -> None:
    assert interval(range(1, 21)) == Interval(1, 10, 19)
    assert interval([3, None, 1]) == Interval(1, 3, None)
    assert interval([None]) == Interval(None, None, None)


@pytest.mark.parametrize(
    ("ending", "is_aborted", "words"),
    [
        (Ending(ExecutionStatus.SUCCEEDED, 0, is_never_online=False), True, "updated"),
        (Ending(ExecutionStatus.FAILED, 1, is_never_online=False), False, "FAILED: broken"),
        (Ending(ExecutionStatus.REJECTED, 2, is_never_online=False), False, "REJECTED: old"),
        (Ending(ExecutionStatus.TIMED_OUT, 3, is_never_online=False), False, "TIMED_OUT: stuck"),
        (Ending(ExecutionStatus.TIMED_OUT, 0, is_never_online=False), False, "TIMED_OUT: took too long"),
        (Ending(ExecutionStatus.IN_PROGRESS, 3, is_never_online=False), False, "IN_PROGRESS: stuck"),
        (Ending(ExecutionStatus.IN_PROGRESS, 0, is_never_online=False), False, "IN_PROGRESS: not over yet"),
        (Ending(ExecutionStatus.QUEUED, 0, is_never_online=True), False, "QUEUED: never online"),
        (Ending(ExecutionStatus.QUEUED, 0, is_never_online=False), False, "QUEUED: away, or outside of the windows"),
        (Ending(ExecutionStatus.CANCELED, 0, is_never_online=True), True, "CANCELED: never online"),
        (Ending(ExecutionStatus.CANCELED, 0, is_never_online=False), True, "CANCELED: the job was aborted"),
        (Ending(ExecutionStatus.CANCELED, 0, is_never_online=False), False, "CANCELED: the job's endTime"),
        (Ending(None, 0, is_never_online=True), False, "no execution: never online"),
        (Ending(None, 0, is_never_online=False), True, "no execution: the job was aborted"),
        (Ending(None, 0, is_never_online=False), False, "no execution: the rollout did not get so far"),
    ],
)
def test_every_ending_has_its_words(api: ServiceApi, ending: Ending, is_aborted: bool, words: str) -> None:
    job = {"targets": ["arn:aws:iot:us-east-1:123456789012:thinggroup/b"]}
    said = answer_of(
        plan_of(job, fleet((7, 1)), CREATED_AT, HOUR_S, api),
        CAUSES,
        {ending: 7},
        done_at=[CREATED_AT + 5, None],
        reached=1,
        harmed=0,
        is_build_bad=False,
        aborted_at=CREATED_AT + 60 if is_aborted else None,
    )
    assert said.endings == {words: 7}
    assert said.done_after_s == (5, None)
    assert said.aborted_after_s == (60 if is_aborted else None)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "never"),
        (0, "0 s"),
        (59, "59 s"),
        (60, "1.0 min"),
        (599, "10.0 min"),
        (3599, "60 min"),
        (7200, "2.0 h"),
        (900_000, "10 d"),
    ],
)
def test_a_time_has_the_unit_that_fits_it(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


def test_an_interval_of_one_value_is_that_value() -> None:
    assert in_words(Interval(60, 60, 60), duration) == "1.0 min"
    assert in_words(Interval(60, 120, None), duration) == "2.0 min (1.0 min to never)"
