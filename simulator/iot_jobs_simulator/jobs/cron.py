"""AWS's cron expressions: six fields, UTC, with `?`, `L`, `W` and `#` (EventBridge user guide, cron expressions). Pure.

AWS documents neither that letters may be small, nor `LW`, the month's last weekday, but its console takes both
(docs/simulator.md). A range may go round its end (`FRI-MON`) as in Quartz, whose form this is. `L`, `W` and `#` stand
alone in their field.
"""

import calendar
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_MONTHS: Final = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS: Final = {name: number for number, name in enumerate(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"], 1)}
_PART: Final = re.compile(r"(?:(?P<all>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[0-9]+))?")
_DAY_OF_MONTH: Final = re.compile(r"(?P<last>L)(?P<weekday>W)?|(?P<near>[0-9]{1,2})W")
_DAY_OF_WEEK: Final = re.compile(r"(?P<day>[1-7]|[A-Z]{3})(?:#(?P<nth>[1-5])|(?P<last>L))|(?P<saturday>L)")
_SATURDAY: Final = 7


@dataclass(frozen=True, slots=True)
class CronExpression:
    """What an expression means; `days` and `weekdays` are the fields in capitals, one of them `?`."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: str
    months: tuple[int, ...]
    weekdays: str
    years: tuple[int, ...]

    def days_of(self, year: int, month: int) -> list[int]:
        """The days of a month that both fields allow, in order."""
        last = calendar.monthrange(year, month)[1]
        if self.weekdays == "?":
            return [day for day in _days_of_month(self.days, year, month, last) if day <= last]
        return _days_by_week(self.weekdays, year, month, last)

    def matches(self, moment: datetime) -> bool:
        """Whether this minute is one of the expression's."""
        is_month = moment.year in self.years and moment.month in self.months
        is_time = moment.hour in self.hours and moment.minute in self.minutes
        return is_month and is_time and moment.day in self.days_of(moment.year, moment.month)

    def occurrences(self, since: datetime) -> Iterator[datetime]:
        """Every minute of the expression's from one on, that one included, up to the last of its years."""
        for year in (year for year in self.years if year >= since.year):
            for month in (month for month in self.months if (year, month) >= (since.year, since.month)):
                for day in self.days_of(year, month):
                    moments = (datetime(year, month, day, h, m, tzinfo=UTC) for h in self.hours for m in self.minutes)
                    yield from (moment for moment in moments if moment >= since)


@functools.lru_cache(maxsize=1024)
def parsed(text: str) -> CronExpression:
    """Read `cron(MINUTE HOUR DAY-OF-MONTH MONTH DAY-OF-WEEK YEAR)`; ValueError says what is wrong."""
    fields = text.removeprefix("cron(").removesuffix(")").split()
    if text != f"cron({text[5:-1]})" or len(fields) != 6:  # noqa: PLR2004 - the six that the docstring names
        raise ValueError("it is not cron(MINUTE HOUR DAY-OF-MONTH MONTH DAY-OF-WEEK YEAR)")
    minute, hour, day, month, weekday, year = (field.upper() for field in fields)
    if (day == "?") == (weekday == "?"):
        raise ValueError("exactly one of day-of-month and day-of-week must be ?")
    if day != "?":
        _days_of_month(day, 2000, 1, 31)
    else:
        _days_by_week(weekday, 2000, 1, 31)
    numbers = (
        _numbers(minute, 0, 59),
        _numbers(hour, 0, 23),
        _numbers(month, 1, 12, _MONTHS),
        _numbers(year, 1970, 2199),
    )
    return CronExpression(numbers[0], numbers[1], day, numbers[2], weekday, numbers[3])


def _numbers(field: str, low: int, high: int, names: dict[str, int] | None = None) -> tuple[int, ...]:
    """The values of a field of lists, ranges and steps."""
    found: set[int] = set()
    for part in field.split(","):
        match = _PART.fullmatch(part)
        step = int((match and match["step"]) or 1)
        if match is None or step == 0:
            raise ValueError(f"{field} has a part that is not a value, a range or a step")
        first = low if match["all"] else _number(match["first"], low, high, names or {})
        is_open = match["all"] or (match["step"] and not match["last"])
        last = high if is_open else _number(match["last"] or match["first"], low, high, names or {})
        span = high - low + 1
        found |= {
            low + (number - low) % span for number in range(first, last + (span if last < first else 0) + 1, step)
        }
    return tuple(sorted(found))


def _number(word: str, low: int, high: int, names: dict[str, int]) -> int:
    number = names.get(word, int(word) if word.isascii() and word.isdigit() else -1)
    if not low <= number <= high:
        raise ValueError(f"{word} is not in {low} to {high}")
    return number


def _days_of_month(field: str, year: int, month: int, last: int) -> list[int]:
    match = _DAY_OF_MONTH.fullmatch(field)
    if match is None:
        return list(_numbers(field, 1, 31))
    if match["last"] and not match["weekday"]:
        return [last]
    day = last if match["last"] else _number(match["near"], 1, 31, {})
    if day > last:
        return []
    weekday = calendar.weekday(year, month, day)
    if weekday == calendar.SATURDAY:
        return [day - 1 if day > 1 else day + 2]
    if weekday == calendar.SUNDAY:
        return [day + 1 if day < last else day - 2]
    return [day]


def _days_by_week(field: str, year: int, month: int, last: int) -> list[int]:
    """Days by the day of the week, which AWS counts from SUN, 1, to SAT, 7."""
    first = calendar.weekday(year, month, 1)
    match = _DAY_OF_WEEK.fullmatch(field)
    if match is None:
        wanted: tuple[int, ...] = _numbers(field, 1, 7, _DAYS)
    else:
        wanted = (_SATURDAY if match["saturday"] else _number(match["day"], 1, 7, _DAYS),)
    days = [day for day in range(1, last + 1) if (first + day) % 7 + 1 in wanted]
    if match is None or match["saturday"]:
        return days
    return days[-1:] if match["last"] else days[int(match["nth"]) - 1 : int(match["nth"])]
