"""Retry of executions that failed (developer guide, page jobs-configurations-details; API reference, RetryCriteria)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from iot_jobs_simulator.jobs.execution import ExecutionStatus
from iot_jobs_simulator.refusals import invalid

MAX_RETRIES: Final = 10  # of both kinds together, for each thing
RETRYABLE: Final = frozenset({ExecutionStatus.FAILED, ExecutionStatus.TIMED_OUT})  # REJECTED never is
_ALL: Final = "ALL"


def check(config: Mapping[str, Any], timeout_config: Mapping[str, Any]) -> None:
    """Refuse what the API's shapes allow but the developer guide does not."""
    criteria = _criteria(config)
    total = sum(criterion["numberOfRetries"] for criterion in criteria)
    if total > MAX_RETRIES:
        raise invalid(f"jobExecutionsRetryConfig has {total} retries, at most {MAX_RETRIES} are allowed")
    if len({criterion["failureType"] for criterion in criteria}) < len(criteria):
        raise invalid("jobExecutionsRetryConfig names a failureType twice")
    for criterion in criteria:
        is_for_timeouts = criterion["failureType"] == ExecutionStatus.TIMED_OUT and criterion["numberOfRetries"] > 0
        if is_for_timeouts and not timeout_config:
            raise invalid("jobExecutionsRetryConfig has retries of TIMED_OUT, which need a timeoutConfig")


def check_change(config: Mapping[str, Any]) -> None:
    """Refuse what UpdateJob may not do: once a job exists, retries can only be switched off."""
    if any(criterion["numberOfRetries"] > 0 for criterion in _criteria(config)):
        raise invalid("numberOfRetries of an existing job can only be changed to 0")


def is_left(config: Mapping[str, Any], past: Sequence[ExecutionStatus], failure: ExecutionStatus) -> bool:
    """Whether there is another retry after this failure. `past` holds the failures that were retried before it."""
    return failure in RETRYABLE and any(
        (len(past) if criterion["failureType"] == _ALL else past.count(failure)) < criterion["numberOfRetries"]
        for criterion in _criteria(config)
        if criterion["failureType"] in {_ALL, failure}
    )


def _criteria(config: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    criteria: Sequence[Mapping[str, Any]] = config.get("criteriaList", ())
    return criteria
