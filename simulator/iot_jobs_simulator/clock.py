"""The service's clock: that of the machine, or ahead of it."""

import time
from datetime import UTC, datetime
from typing import Final

from iot_jobs_simulator.refusals import invalid

# AWS's cron expressions know no later years (EventBridge user guide), and Python's dates end in 9999.
LAST_YEAR: Final = 2199
_END: Final = datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC).timestamp()


class Clock:
    """The time of the service. Never goes back by itself; a test puts it forward."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._ahead_s

    def put_forward(self, seconds: float) -> None:
        """Be that much further ahead of the machine. InvalidRequest, and no change, beyond the last year."""
        if not 0 <= seconds < _END - self.now():
            raise invalid(f"The clock can be put forward by 0 seconds or more, and not beyond the year {LAST_YEAR}")
        self._ahead_s += seconds
