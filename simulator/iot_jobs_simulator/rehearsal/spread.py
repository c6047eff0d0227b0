"""How a quantity is spread over devices: a few quantiles, with straight lines between them. Pure."""

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

_KEY: Final = re.compile(r"p([0-9]{1,2}(?:\.[0-9]+)?|100)")


@dataclass(frozen=True, slots=True)
class Spread:
    """The inverse of a distribution function. `shares` go from 0 to 1, `values` and `slopes` belong to them.

    The kernel computes with these three by the very same operations, so that both engines draw the same numbers.
    """

    shares: tuple[float, ...]
    values: tuple[float, ...]
    slopes: tuple[float, ...]

    def at(self, share: float) -> float:
        """The value below which this share of the devices is; from 0 on, and below 1."""
        part = bisect_right(self.shares, share) - 1
        return self.values[part] + (share - self.shares[part]) * self.slopes[part]

    def times(self, factor: float) -> "Spread":
        """The same in another unit."""
        return spread_of({share: value * factor for share, value in zip(self.shares, self.values, strict=True)})


def spread_of(values: Mapping[float, float]) -> Spread:
    """The spread with these values at shares from 0 to 1, both of which are among them."""
    points = sorted(values.items())
    slopes = [(after[1] - before[1]) / (after[0] - before[0]) for before, after in pairwise(points)]
    return Spread(tuple(share for share, _ in points), tuple(value for _, value in points), (*slopes, 0.0))


def read_spread(written: Any) -> Spread:
    """Read a number, which all devices have, or `{p0 = …, p50 = …, p100 = …}`; ValueError says what is wrong."""
    if _is_amount(written):
        return spread_of({0.0: float(written), 1.0: float(written)})
    if not isinstance(written, Mapping):
        raise ValueError("give a number, or quantiles such as {p0 = 1, p50 = 5, p100 = 60}")  # noqa: TRY004 - pydantic wants this one
    values = {}
    for key, value in written.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise ValueError(f"{key} is not a quantile; give p0, p100, and any between them, such as p50 and p99.9")
        if not _is_amount(value):
            raise ValueError(f"{key} is {value!r}; give a number from 0 on")
        values[float(match[1]) / 100] = float(value)
    if not {0.0, 1.0} <= values.keys():
        raise ValueError("p0 or p100 is missing; give the least as p0 and the most as p100")
    points = sorted(values.items())
    for before, after in pairwise(points):
        if after[1] < before[1]:
            raise ValueError(f"p{100 * after[0]:g} is smaller than p{100 * before[0]:g}; quantiles rise")
    return spread_of(values)


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
