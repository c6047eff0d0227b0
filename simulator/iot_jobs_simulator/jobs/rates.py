"""How many things of a job are notified in a minute (developer guide, page jobs-configurations-details). Pure."""

from collections.abc import Mapping
from typing import Any, Final

from iot_jobs_simulator.refusals import invalid

MAX_PER_MINUTE: Final = 1000  # general reference, AWS IoT Device Management quotas
_FACTOR_DECIMALS: Final = 1


def check(config: Mapping[str, Any]) -> None:
    """Refuse what the API's shapes allow but the documentation does not."""
    maximum = config.get("maximumPerMinute")
    if maximum is not None and maximum > MAX_PER_MINUTE:
        raise invalid(f"maximumPerMinute is {maximum}, at most {MAX_PER_MINUTE} is allowed")
    exponential = config.get("exponentialRate")
    if exponential is None:
        return
    factor = exponential["incrementFactor"]
    if round(factor, _FACTOR_DECIMALS) != factor:
        raise invalid(f"incrementFactor is {factor}, at most one digit after the decimal point is allowed")
    if not exponential["rateIncreaseCriteria"]:
        raise invalid("rateIncreaseCriteria needs numberOfNotifiedThings or numberOfSucceededThings")


def per_minute(config: Mapping[str, Any], usual: int, *, notified: int, succeeded: int) -> int:
    """The rate once so many things were notified and so many executions succeeded; `usual` without a configuration.

    An exponential rate rises each time that either count reaches another multiple of its threshold. That a rate is
    rounded down is inferred.
    """
    ceiling: int = config.get("maximumPerMinute", usual)
    exponential = config.get("exponentialRate")
    if exponential is None:
        return ceiling
    criteria = exponential["rateIncreaseCriteria"]
    counts = {"numberOfNotifiedThings": notified, "numberOfSucceededThings": succeeded}
    increases = max(counts[name] // threshold for name, threshold in criteria.items())
    base, factor = exponential["baseRatePerMinute"], exponential["incrementFactor"]
    rate: float = base
    while increases > 0 and rate < ceiling:  # no power of a number of increases that nobody bounds
        rate, increases = rate * factor, increases - 1
    return min(int(round(rate, 6)), ceiling)
