"""AWS's cron expressions (EventBridge user guide, cron expressions). Expected times were read off a calendar."""

import itertools
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_jobs_simulator.jobs import cron

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)  # a Monday


def following(fields: str, count: int, since: datetime = NOON) -> list[str]:
    moments = cron.parsed(f"cron({fields})").occurrences(since)
    return [f"{moment:%Y-%m-%d %H:%M}" for moment in itertools.islice(moments, count)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # the examples of AWS's page
        ("0 10 * * ? *", ["2026-12-01 10:00", "2026-12-02 10:00"]),
        ("15 12 * * ? *", ["2026-11-30 12:15", "2026-12-01 12:15"]),
        ("0 18 ? * MON-FRI *", ["2026-11-30 18:00", "2026-12-01 18:00"]),
        ("0 8 1 * ? *", ["2026-12-01 08:00", "2027-01-01 08:00"]),
        ("0/15 * * * ? *", ["2026-11-30 12:00", "2026-11-30 12:15", "2026-11-30 12:30", "2026-11-30 12:45"]),
        ("0/10 * ? * MON-FRI *", ["2026-11-30 12:00", "2026-11-30 12:10"]),
        ("0/5 8-17 ? * MON-FRI *", ["2026-11-30 12:00", "2026-11-30 12:05"]),
        ("0/30 20-2 ? * MON-FRI *", ["2026-11-30 20:00", "2026-11-30 20:30"]),
        ("15 10 ? * 6L 2026-2030", ["2026-12-25 10:15", "2027-01-29 10:15"]),
        # every sign
        ("59 23 31 12 ? *", ["2026-12-31 23:59", "2027-12-31 23:59"]),
        ("5,35 14 * * ? *", ["2026-11-30 14:05", "2026-11-30 14:35", "2026-12-01 14:05"]),
        ("10-12 13 * * ? *", ["2026-11-30 13:10", "2026-11-30 13:11", "2026-11-30 13:12", "2026-12-01 13:10"]),
        ("10-40/15 13 * * ? *", ["2026-11-30 13:10", "2026-11-30 13:25", "2026-11-30 13:40", "2026-12-01 13:10"]),
        ("1/10 13 * * ? *", ["2026-11-30 13:01", "2026-11-30 13:11"]),
        ("*/20 13 * * ? *", ["2026-11-30 13:00", "2026-11-30 13:20", "2026-11-30 13:40", "2026-12-01 13:00"]),
        ("0 0 ? JAN,jul SUN *", ["2027-01-03 00:00", "2027-01-10 00:00"]),
        ("0 0 1 FEB-APR ? *", ["2027-02-01 00:00", "2027-03-01 00:00", "2027-04-01 00:00", "2028-02-01 00:00"]),
        ("0 0 1 11/1 ? *", ["2026-12-01 00:00", "2027-11-01 00:00"]),
        ("0 0 ? * 1 *", ["2026-12-06 00:00", "2026-12-13 00:00"]),
        ("0 0 ? * 2/3 *", ["2026-12-03 00:00", "2026-12-07 00:00"]),
        ("0 0 ? * FRI-MON *", ["2026-12-04 00:00", "2026-12-05 00:00", "2026-12-06 00:00", "2026-12-07 00:00"]),
        ("0 22-1 * * ? *", ["2026-11-30 22:00", "2026-11-30 23:00", "2026-12-01 00:00", "2026-12-01 01:00"]),
        # the last day of the month, of the week; the last Friday
        ("0 0 L * ? *", ["2026-12-31 00:00", "2027-01-31 00:00", "2027-02-28 00:00"]),
        ("0 0 L 2 ? *", ["2027-02-28 00:00", "2028-02-29 00:00"]),
        ("0 0 ? * L *", ["2026-12-05 00:00", "2026-12-12 00:00"]),
        ("0 0 ? * FRIL *", ["2026-12-25 00:00", "2027-01-29 00:00"]),
        ("0 0 ? * 7L *", ["2026-12-26 00:00", "2027-01-30 00:00"]),
        # weekdays: 2027-01-31 is a Sunday, 2027-02-28 too, 2027-05-01 a Saturday, 2027-08-01 a Sunday
        ("0 0 LW * ? *", ["2026-12-31 00:00", "2027-01-29 00:00", "2027-02-26 00:00"]),
        ("0 0 1W 5 ? 2027", ["2027-05-03 00:00"]),
        ("0 0 1W 8 ? 2027", ["2027-08-02 00:00"]),
        ("0 0 15W 5 ? 2027", ["2027-05-14 00:00"]),
        ("0 0 16W 5 ? 2027", ["2027-05-17 00:00"]),
        ("0 0 31W 1 ? 2027", ["2027-01-29 00:00"]),
        ("0 0 3W 12 ? *", ["2026-12-03 00:00", "2027-12-03 00:00"]),
        ("0 0 31W * ? *", ["2026-12-31 00:00", "2027-01-29 00:00", "2027-03-31 00:00"]),
        # the n-th of a weekday; not every month has a fifth one
        ("0 0 ? * 3#2 *", ["2026-12-08 00:00", "2027-01-12 00:00"]),
        ("0 0 ? * TUE#2 *", ["2026-12-08 00:00", "2027-01-12 00:00"]),
        ("0 0 ? * MON#5 *", ["2027-03-29 00:00", "2027-05-31 00:00"]),
        # small letters
        ("0 0 l * ? *", ["2026-12-31 00:00"]),
        ("0 0 lw * ? *", ["2026-12-31 00:00", "2027-01-29 00:00"]),
        ("0 0 15w 5 ? 2027", ["2027-05-14 00:00"]),
        ("0 0 ? * l *", ["2026-12-05 00:00"]),
        ("0 0 ? dec fril *", ["2026-12-25 00:00"]),
        ("0 0 ? Jan-feb tUe#2 *", ["2027-01-12 00:00", "2027-02-09 00:00"]),
        ("0 0 ? * mon-Wed,6 *", ["2026-12-01 00:00", "2026-12-02 00:00", "2026-12-04 00:00", "2026-12-07 00:00"]),
        # far away, and never
        ("0 0 29 2 ? *", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 0 29 2 ? 2096-2104", ["2096-02-29 00:00", "2104-02-29 00:00"]),
        ("0 0 1 1 ? 2199", ["2199-01-01 00:00"]),
        ("0 0 ? 2 MON#5 *", ["2044-02-29 00:00", "2072-02-29 00:00"]),
        ("0 0 30 2 ? *", []),
        ("0 0 1 1 ? 1970-2025", []),
    ],
)
def test_an_expression_means_these_times(fields: str, expected: list[str]) -> None:
    assert following(fields, len(expected) or 1) == expected


def test_the_minute_from_which_one_asks_counts() -> None:
    assert following("0 12 * * ? *", 1) == ["2026-11-30 12:00"]
    assert following("0 12 * * ? *", 1, NOON + timedelta(seconds=1)) == ["2026-12-01 12:00"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 10 * * ? *", "it is not cron("),
        ("cron(0 10 * * ?)", "it is not cron("),
        ("cron(0 10 * * ? * *)", "it is not cron("),
        ("rate(5 minutes)", "it is not cron("),
        ("cron(0 10 * * ? *", "it is not cron("),
        ("CRON(0 10 * * ? *)", "it is not cron("),
        ("", "it is not cron("),
        ("cron(0 10 * * * *)", "exactly one"),
        ("cron(0 10 ? * ? *)", "exactly one"),
        ("cron(0 10 1 * MON *)", "exactly one"),
        ("cron(60 10 * * ? *)", "60 is not in 0 to 59"),
        ("cron(0 24 * * ? *)", "24 is not in 0 to 23"),
        ("cron(0 0 0 * ? *)", "0 is not in 1 to 31"),
        ("cron(0 0 32 * ? *)", "32 is not in 1 to 31"),
        ("cron(0 0 32W * ? *)", "32 is not in 1 to 31"),
        ("cron(0 0 1 13 ? *)", "13 is not in 1 to 12"),
        ("cron(0 0 1 MOON ? *)", "MOON is not in 1 to 12"),
        ("cron(0 0 ? * 0 *)", "0 is not in 1 to 7"),
        ("cron(0 0 ? * 8 *)", "8 is not in 1 to 7"),
        ("cron(0 0 ? * DAYL *)", "DAY is not in 1 to 7"),
        ("cron(0 0 1 1 ? 1969)", "1969 is not in 1970 to 2199"),
        ("cron(0 0 1 1 ? 2200)", "2200 is not in 1970 to 2199"),
        ("cron(0 0 1,L * ? *)", "L is not in 1 to 31"),
        ("cron(0 0 ? * 3#1,6#3 *)", "is not a value"),
        ("cron(0 0 ? * MON#6 *)", "is not a value"),
        ("cron(*/0 0 1 * ? *)", "is not a value"),
        ("cron(/5 0 1 * ? *)", "is not a value"),
        ("cron(1- 0 1 * ? *)", "is not a value"),
        ("cron(-1 0 1 * ? *)", "is not a value"),
        ("cron(0 ? 1 * ? *)", "is not a value"),
        ("cron(\u0663 0 1 * ? *)", "is not in 0 to 59"),
    ],
)
def test_what_is_no_expression_is_named(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        cron.parsed(text)


@given(
    fields=st.tuples(
        st.sampled_from(["0", "7/20", "*/15"]),
        st.sampled_from(["0", "6-9", "22-2"]),
        st.sampled_from(["? {} MON", "? {} L", "? {} 6#2", "L {} ?", "LW {} ?", "15W {} ?", "1-5 {} ?"]),
        st.sampled_from(["*", "2", "JAN-MAR", "*/5"]),
    ),
    since=st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - the zone is given below
)
def test_occurrences_are_the_minutes_that_match_and_no_others(
    fields: tuple[str, str, str, str], since: datetime
) -> None:
    minute, hour, days, month = fields
    expression = cron.parsed(f"cron({minute} {hour} {days.format(month)} *)")
    moments = list(itertools.islice(expression.occurrences(since.replace(tzinfo=UTC)), 3))
    assert moments == sorted(set(moments))
    assert all(expression.matches(moment) for moment in moments)
    start = since.replace(tzinfo=UTC, second=0, microsecond=0)
    between = (start + timedelta(minutes=number) for number in range(1, 1500))
    missed = [moment for moment in between if moment < moments[0] and expression.matches(moment)]
    assert missed == []
