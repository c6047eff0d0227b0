"""What both ways to the service need of the AWS SDK: its thread, its futures, its errors."""

import asyncio
from typing import Any

from awscrt import exceptions, io


def bootstrap() -> Any:
    """One event loop thread of the SDK's: a device needs no more, and each costs memory and wake-ups."""
    group = io.EventLoopGroup(1)
    return io.ClientBootstrap(group, io.DefaultHostResolver(group))


async def outcome(future: Any, timeout_s: float | None = None) -> Any:
    """Wait for a future of the SDK's without ever cancelling it: the SDK complains on stderr when it completes one.

    Raises:
        TimeoutError: not in time; whatever the future holds.
    """
    waited = asyncio.wrap_future(future)
    waited.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be there to look at it
    await asyncio.wait([waited], timeout=timeout_s)
    if not waited.done():
        raise TimeoutError("no answer in time")
    return waited.result()


def reason(error: BaseException) -> str:
    """Say in words what the SDK raised."""
    if isinstance(error, exceptions.AwsCrtError):
        return f"{error.name}: {error.message}"
    return str(error) or type(error).__name__
