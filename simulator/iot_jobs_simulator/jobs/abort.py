"""When a job is aborted: too many of its executions failed (developer guide, page job-configurations-api). Pure."""

from collections.abc import Mapping
from typing import Any, Final

from iot_jobs_simulator.jobs.execution import PENDING, ExecutionStatus
from iot_jobs_simulator.refusals import invalid

REASON_CODE: Final = "ABORT_CRITERIA_MET"  # AWS fills it in by itself too, but does not publish with what
FAILURES: Final = frozenset({ExecutionStatus.FAILED, ExecutionStatus.REJECTED, ExecutionStatus.TIMED_OUT})
_ALL: Final = "ALL"
_THRESHOLD_DECIMALS: Final = 2
_EXACT_DECIMALS: Final = 6  # what floating point loses is less


def check(config: Mapping[str, Any]) -> None:
    """Refuse what the API's shapes allow but the documentation does not."""
    for criterion in config.get("criteriaList", ()):
        threshold = criterion["thresholdPercentage"]
        if round(threshold, _THRESHOLD_DECIMALS) != threshold:
            raise invalid(f"thresholdPercentage is {threshold}, at most two digits after the decimal point are allowed")
        if threshold < 0:
            raise invalid(f"thresholdPercentage is {threshold}, allowed are 0 to 100")


def reason(config: Mapping[str, Any], executions: Mapping[ExecutionStatus, int]) -> str | None:
    """The first criterion that these executions meet, as a sentence for the job's comment; None if they meet none.

    Executed are those that are terminal, as the guide has it; the API reference counts those that were notified.
    """
    executed = sum(count for status, count in executions.items() if status not in PENDING)
    for criterion in config.get("criteriaList", ()):
        kind, threshold = criterion["failureType"], criterion["thresholdPercentage"]
        failed = sum(count for status, count in executions.items() if _is_of_kind(status, kind))
        if executed >= criterion["minNumberOfExecutedThings"] and 100 * failed >= round(
            threshold * executed, _EXACT_DECIMALS
        ):
            kinds = "failed" if kind == _ALL else f"are {kind}"
            return f"Aborted: {failed} of {executed} executions {kinds}, the threshold is {threshold} %"
    return None


def _is_of_kind(status: ExecutionStatus, kind: str) -> bool:
    return status in FAILURES if kind == _ALL else status == kind
