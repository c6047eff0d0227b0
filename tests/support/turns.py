"""The turns of the event loop, for tests about what others see while something long goes on."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class _Turn:
    """One turn of the loop, in which whatever is ready goes on."""

    def __await__(self) -> Generator[None, None, None]:
        yield


async def at_each_turn(work: Coroutine[Any, Any, _Result], look: Callable[[], object]) -> _Result:
    """Do the work, and look at each turn of the loop that it leaves to others. Return the work's result.

    Raises what either of them raises.
    """
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await _Turn()
            look()
    finally:
        task.cancel()
    return await task
