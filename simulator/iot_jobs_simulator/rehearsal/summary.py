"""What all seeds of a plan say together, as a value, as JSON, and as a table. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from iot_jobs_simulator.rehearsal.answers import MILESTONES, PERCENTS, Answer, Interval, interval

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"))
_NEVER: Final = "never"


@dataclass(frozen=True, slots=True)
class Summary:
    """The answers of all seeds of a plan. `aborted_after_s` is of the seeds that abort, `harmed` of bad builds."""

    title: str
    things: int
    seeds: int
    engine: str
    done_after_s: tuple[Interval, ...]
    aborted_seeds: int
    aborted_after_s: Interval | None
    reached: Interval
    bad_seeds: int
    harmed: Interval | None
    endings: dict[str, Interval]

    def done(self, percent: int) -> Interval:
        """When so many percent of the targets were updated."""
        return self.done_after_s[percent - 1]


def summary_of(title: str, engine: str, answers: Sequence[Answer]) -> Summary:
    """What these answers, at least one, say together."""
    aborted = [each.aborted_after_s for each in answers if each.aborted_after_s is not None]
    harmed = [each.harmed for each in answers if each.is_build_bad]
    names = sorted({name for each in answers for name in each.endings})
    endings = {name: interval(each.endings.get(name, 0) for each in answers) for name in names}
    return Summary(
        title=title,
        things=answers[0].things,
        seeds=len(answers),
        engine=engine,
        done_after_s=tuple(interval(each.done(percent) for each in answers) for percent in PERCENTS),
        aborted_seeds=len(aborted),
        aborted_after_s=interval(aborted) if aborted else None,
        reached=interval(each.reached for each in answers),
        bad_seeds=len(harmed),
        harmed=interval(harmed) if harmed else None,
        endings=dict(sorted(endings.items(), key=lambda each: -(each[1].middle or 0))),
    )


def as_json(summary: Summary) -> dict[str, Any]:
    """The summary as JSON; times are seconds since the job was created, null is never."""
    return {
        "job": summary.title,
        "devices": summary.things,
        "seeds": summary.seeds,
        "engine": summary.engine,
        "done_after_s": {str(percent): _json(summary.done(percent)) for percent in MILESTONES},
        "aborted": {"seeds": summary.aborted_seeds, "after_s": _json(summary.aborted_after_s)},
        "reached": _json(summary.reached),
        "bad_build": {"seeds": summary.bad_seeds, "harmed": _json(summary.harmed)},
        "endings": {name: _json(each) for name, each in summary.endings.items()},
    }


def table(summaries: Sequence[Summary]) -> str:
    """The summaries side by side: the middle of the seeds, and in parentheses where 90 % of them lie."""
    rows: list[tuple[str, ...]] = [("", *(each.title for each in summaries))]
    rows.append(("devices", *(f"{each.things:,}" for each in summaries)))
    rows += [
        (f"{percent} % updated", *(in_words(each.done(percent), duration) for each in summaries))
        for percent in MILESTONES
    ]
    rows.append(("aborted", *(_aborted(each) for each in summaries)))
    rows.append(("reached", *(in_words(each.reached, count) for each in summaries)))
    if any(each.bad_seeds for each in summaries):
        rows.append(("harmed by a bad build", *(_harmed(each) for each in summaries)))
    rows.append(("", *("" for _ in summaries)))
    names = dict.fromkeys(name for each in summaries for name in each.endings)
    rows += [(name, *(_ending(each, name) for each in summaries)) for name in names]
    return "\n".join(aligned(rows))


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines with the columns of a table below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def in_words(found: Interval, word: Any) -> str:
    """An interval, with its values as `word` says them."""
    low, middle, high = (word(value) for value in (found.low, found.middle, found.high))
    return middle if low == high else f"{middle} ({low} to {high})"


def duration(seconds: float | None) -> str:
    """A time in the unit that fits it, with two digits."""
    if seconds is None:
        return _NEVER
    for unit_s, name in _UNITS:
        if seconds >= unit_s:
            value = seconds / unit_s
            return f"{value:.1f} {name}" if value < 10 else f"{value:.0f} {name}"  # noqa: PLR2004 - two digits
    return f"{seconds:.0f} s"


def count(number: float | None) -> str:
    """A number of devices."""
    return "-" if number is None else f"{number:,.0f}"


def _aborted(summary: Summary) -> str:
    if summary.aborted_after_s is None:
        return f"in 0 of {summary.seeds} seeds"
    return f"in {summary.aborted_seeds} of {summary.seeds} seeds, after {in_words(summary.aborted_after_s, duration)}"


def _harmed(summary: Summary) -> str:
    if summary.harmed is None:
        return "no seed has one"
    return f"{in_words(summary.harmed, count)}, in {summary.bad_seeds} of {summary.seeds} seeds"


def _ending(summary: Summary, name: str) -> str:
    return in_words(summary.endings[name], count) if name in summary.endings else "0"


def _json(found: Interval | None) -> dict[str, float | None] | None:
    return None if found is None else {"low": found.low, "middle": found.middle, "high": found.high}
