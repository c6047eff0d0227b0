"""The service's clock: that of the machine, or ahead of it."""

import time


class Clock:
    """The time of the service. Never goes back by itself; a test puts it forward."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._ahead_s

    def put_forward(self, seconds: float) -> None:
        """Be that much further ahead of the machine."""
        self._ahead_s += seconds
