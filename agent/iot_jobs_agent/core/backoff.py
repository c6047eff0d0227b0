"""How long to wait before sending a request again, and what a refusal means. Durations are in seconds."""

from dataclasses import replace

from iot_jobs_agent.core.state import Request

SHORTEST_S = 1.0
LONGEST_S = 30.0
LONGEST_THROTTLED_S = 640.0
HOPELESS_S = 3600.0

STALE_ANSWERS = 5  # how many descriptions may contradict what we know before we believe them
QUEUED_AGAIN = "the service queued it again"

THROTTLED = "RequestThrottled"
UNANSWERED = ""

# The service no longer has the execution, or has closed it (AWS IoT developer guide, page jobs-api, "ErrorCode").
CLOSED = frozenset({"InvalidStateTransition", "TerminalStateReached", "ResourceNotFound"})

# The request itself is wrong, so sending it again will not help.
HOPELESS = frozenset({"InvalidRequest", "InvalidJson", "InvalidTopic", "VersionMismatch"})


def delay_s(failures: int, jitter: float, code: str = UNANSWERED) -> float:
    """Return the wait after `failures` failures in a row: doubled each time up to a cap, then jittered to 50-100 %."""
    cap = LONGEST_THROTTLED_S if code == THROTTLED else LONGEST_S
    return min(cap, SHORTEST_S * 2.0 ** min(failures - 1, 20)) * (0.5 + jitter / 2)


def retry_later(request: Request, now: float, jitter: float, code: str = UNANSWERED) -> Request:
    """Return the request with one more failure counted, due again after the back-off."""
    failures = request.failures + 1
    return replace(request, ticket=0, failures=failures, retry_at=now + delay_s(failures, jitter, code))
