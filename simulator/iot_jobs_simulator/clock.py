"""The service's clock: it goes as the machine's does, can be put forward, and can stand still."""

import time
from datetime import UTC, datetime
from typing import Final

from iot_jobs_simulator.refusals import invalid

# AWS's cron expressions know no later years (EventBridge user guide), and Python's dates end in 9999.
LAST_YEAR: Final = 2199
_END: Final = datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC).timestamp()


class Clock:
    """The time of the service. Never goes back by itself; a test puts it forward, or has it stand still."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self._frozen_at: float | None = None

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._ahead_s if self._frozen_at is None else self._frozen_at

    @property
    def is_frozen(self) -> bool:
        """Whether it stands still."""
        return self._frozen_at is not None

    def put_forward(self, seconds: float) -> None:
        """Be that much later, standing still or not. InvalidRequest, and no change, beyond the last year."""
        if not 0 <= seconds < _END - self.now():
            raise invalid(f"The clock can be put forward by 0 seconds or more, and not beyond the year {LAST_YEAR}")
        if self._frozen_at is None:
            self._ahead_s += seconds
        else:
            self._frozen_at += seconds

    def freeze(self) -> None:
        """Stand still, except for being put forward. Idempotent."""
        self._frozen_at = self.now()

    def unfreeze(self) -> None:
        """Go on from the time at which it stands, so that nothing becomes due by this. Idempotent."""
        if self._frozen_at is not None:
            self._ahead_s = self._frozen_at - time.time()
            self._frozen_at = None
