"""Waiting for a fact, looked at again after every change, so that a test needs no sleeping."""

import asyncio
from collections.abc import Callable


class Changes:
    """Wakes those who wait for a fact. Belongs to one event loop."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self.count = 0  # of changes so far

    def announce(self) -> None:
        """Let all who wait look again: something has changed."""
        self.count += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_until(self, is_so: Callable[[], bool], within_s: float) -> None:
        """Return as soon as the fact holds. TimeoutError when it does not in time."""
        async with asyncio.timeout(within_s):
            while not is_so():
                await self._changed.wait()
