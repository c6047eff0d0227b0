"""The turns of the event loop, for tests about what others see while something long goes on."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


async def at_each_turn(work: Coroutine[Any, Any, _Result], look: Callable[[], object]) -> _Result:
    """Do the work, and look at each turn of the loop that it leaves to others. Return the work's result."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)

    def again() -> None:
        if not task.done():
            look()
            loop.call_soon(again)

    loop.call_soon(again)
    return await task
