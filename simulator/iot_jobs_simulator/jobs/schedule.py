"""When a scheduled job may be rolled out (developer guide, page jobs-configurations-details; SchedulingConfig). Pure.

Times are epoch seconds; a configuration writes them as `YYYY-MM-DDThh:mm`, in UTC.
"""

import heapq
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

from iot_jobs_simulator.jobs import cron
from iot_jobs_simulator.refusals import invalid

_FORM: Final = "%Y-%m-%dT%H:%M"
_WRITTEN: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}")
_YEAR_S: Final = 365 * 86400
_MAX_START_S: Final = _YEAR_S
_MAX_END_S: Final = 2 * _YEAR_S
_SHOWN: Final = 7
MAX_WINDOWS: Final = 20  # inferred: each DescribeJob looks at all of them


def check(config: Mapping[str, Any], now: float, *, is_continuous: bool, lead_s: float) -> None:
    """Refuse what the API's shapes allow but the documentation or the service does not.

    `lead_s` is how far ahead a time must lie at least, and how long a job must last.
    """
    start, end = start_time(config), end_time(config)
    if start is not None:
        _check_between("startTime", start, now + lead_s, now + _MAX_START_S)
    if end is not None:
        since = start if start is not None else now
        _check_between("endTime", end, since + lead_s, now + _MAX_END_S)
    elif "endBehavior" in config:
        raise invalid("endBehavior of SchedulingConfig cannot be used without endTime")
    windows = config.get("maintenanceWindows", ())
    if windows and not is_continuous:  # docs/simulator.md, captured
        raise invalid("TargetSelection is invalid. MaintenanceWindow cannot be used with SNAPSHOT job.")
    if windows and start is None:
        raise invalid("MaintenanceWindow cannot be used without StartTime of SchedulingConfig.")
    check_windows(windows)


def check_windows(windows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse windows that cannot be: too many, or with an expression that says nothing."""
    if len(windows) > MAX_WINDOWS:
        raise invalid(f"maintenanceWindows has {len(windows)} members, {MAX_WINDOWS} are allowed")
    for window in windows:
        try:
            cron.parsed(window["startTime"])
        except ValueError as error:
            raise invalid(f"startTime of a maintenance window, {window['startTime']}: {error}") from None


def start_time(config: Mapping[str, Any]) -> float | None:
    """When the job starts; None if at once."""
    return _read(config.get("startTime"))


def end_time(config: Mapping[str, Any]) -> float | None:
    """When the job ends; None if never."""
    return _read(config.get("endTime"))


def next_opening(config: Mapping[str, Any], since: float) -> float | None:
    """When a window begins next, from a time on, that time included; None if none does before the job's end."""
    return next(_openings(config, since), None)


def open_until(config: Mapping[str, Any], now: float) -> float:
    """Until when the windows that have begun by now stay open, at most: overlapping ones are one long window.

    Windows that began before the job did are not counted.
    """
    start = start_time(config)
    return max(
        (end for window in config["maintenanceWindows"] for end in _ends(window, now, start or now)), default=now
    )


def upcoming(config: Mapping[str, Any], now: float) -> list[dict[str, str]]:
    """The `scheduledJobRollouts` of a job: the next seven beginnings of windows."""
    later = (at for at in _openings(config, now) if at > now)
    return [{"startTime": _written(at)} for at in islice(later, _SHOWN)]


def _openings(config: Mapping[str, Any], since: float) -> Iterator[float]:
    start, end = start_time(config), end_time(config)
    moment = datetime.fromtimestamp(max(since, start or since), UTC)
    expressions = [cron.parsed(window["startTime"]) for window in config.get("maintenanceWindows", ())]
    before = 0.0
    for opening in heapq.merge(*(expression.occurrences(moment) for expression in expressions)):
        at = opening.timestamp()
        if end is not None and at >= end:
            return
        if at > before:
            yield (before := at)


def _ends(window: Mapping[str, Any], now: float, start: float) -> Iterator[float]:
    """When the last occurrence ends that has begun by now, if it began within its own duration."""
    expression, duration_min = cron.parsed(window["startTime"]), window["durationInMinutes"]
    latest = datetime.fromtimestamp(now, UTC).replace(second=0, microsecond=0)
    for minutes in range(duration_min + 1):
        began = latest - timedelta(minutes=minutes)
        if began.timestamp() < start:
            return
        if expression.matches(began):
            yield began.timestamp() + 60 * duration_min
            return


def _read(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        moment = datetime.strptime(text, _FORM).replace(tzinfo=UTC)
    except ValueError:
        moment = None
    if moment is None or _WRITTEN.fullmatch(text) is None:  # strptime takes single digits too
        raise invalid(f"1 validation error detected: Provided time {text} UTC must follow the format YYYY-MM-DDThh:mm.")
    return moment.timestamp()


def _check_between(name: str, at: float, earliest: float, latest: float) -> None:
    if not earliest <= at <= latest:
        raise invalid(
            f"{name} of SchedulingConfig is {_written(at)}, allowed are times from {_written(earliest)} to"
            f" {_written(latest)}"
        )


def _written(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime(_FORM)
