"""How long to wait before a request is sent again, and what a refusal means. Durations are in seconds."""

from dataclasses import replace

from iot_jobs_agent.core.state import Request

SHORTEST_S = 1.0
LONGEST_S = 30.0
LONGEST_THROTTLED_S = 640.0
HOPELESS_S = 3600.0

STALE_ANSWERS = 5  # descriptions older than what we know that are tolerated before they count as the truth
QUEUED_AGAIN = "the service queued it again"

THROTTLED = "RequestThrottled"
UNANSWERED = ""

# The service no longer has the execution, or calls it closed (developer guide, page jobs-api, "ErrorCode").
CLOSED = frozenset({"InvalidStateTransition", "TerminalStateReached", "ResourceNotFound"})

# The request itself is wrong, so sending it again will not help.
HOPELESS = frozenset({"InvalidRequest", "InvalidJson", "InvalidTopic", "VersionMismatch"})


def delay_s(failures: int, jitter: float, code: str = UNANSWERED) -> float:
    """Return the wait after the `failures`-th failure in a row: doubled each time, capped, then 50 to 100 % of it."""
    cap = LONGEST_THROTTLED_S if code == THROTTLED else LONGEST_S
    return min(cap, SHORTEST_S * 2.0 ** min(failures - 1, 20)) * (0.5 + jitter / 2)


def retry_later(request: Request, now: float, jitter: float, code: str = UNANSWERED) -> Request:
    """Return the request after one more failure: due again once the back-off is over."""
    failures = request.failures + 1
    return replace(request, ticket=0, failures=failures, retry_at=now + delay_s(failures, jitter, code))
