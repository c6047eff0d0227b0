"""What MQTT and HTTPS share of the AWS SDK: its thread, its futures, its errors."""

import asyncio
import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from awscrt import exceptions, io

from iot_jobs_agent.config.values import Proxy
from iot_jobs_agent.errors import AgentError


class SdkError(AgentError):
    """The SDK failed and raised `cause`. `name` is the SDK's own name for the error, or the class name of `cause`."""

    def __init__(self, error: Any) -> None:
        self.cause: Exception = error
        is_named = isinstance(error, exceptions.AwsCrtError)
        self.name: str = error.name if is_named else type(error).__name__
        super().__init__(f"{error.name}: {error.message}" if is_named else str(error) or self.name)


def new_bootstrap() -> Any:
    """Start one event loop thread of the SDK. A device needs no more, and each costs memory and wake-ups."""
    group = io.EventLoopGroup(1)
    return io.ClientBootstrap(group, io.DefaultHostResolver(group))


def proxy_options(proxy: Proxy | None) -> Any:
    """Return the SDK's options for an HTTP proxy; None without one."""
    if proxy is None:
        return None
    from iot_jobs_agent.aws.proxy import sdk_options  # noqa: PLC0415 - takes memory, and few devices have a proxy

    return sdk_options(proxy)


@contextlib.contextmanager
def sdk_errors() -> Iterator[None]:
    """Turn every failure of the SDK into SdkError.

    The SDK raises AwsCrtError through its futures, a bare RuntimeError for errors that it notices at once, and a bare
    Exception if a broker refuses a connection.
    """
    try:
        yield
    except (SdkError, asyncio.CancelledError):
        raise
    except Exception as error:  # noqa: BLE001 - see above: the SDK's errors have no common class
        raise SdkError(error) from None


async def wait_for(future: Any, timeout_s: float | None = None) -> Any:
    """Wait for a future of the SDK, and never cancel it: the SDK would complain on stderr on completing it later.

    Raises:
        SdkError: the future failed, or was not done in `timeout_s` seconds (`name` is then TimeoutError).
    """
    waited = asyncio.wrap_future(future)
    waited.add_done_callback(lambda done: done.cancelled() or done.exception())  # or asyncio warns if nobody ever does
    await asyncio.wait([waited], timeout=timeout_s)
    with sdk_errors():
        if not waited.done():
            raise TimeoutError("no answer in time")
        return waited.result()


def hand_over(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: Any) -> None:
    """Call `callback` on the loop. Runs on an SDK thread, and ends the process if the loop cannot be told.

    The SDK swallows exceptions of its callbacks, so anything raised here would leave an agent that hears nothing.
    """
    try:
        loop.call_soon_threadsafe(callback, *args)
    except BaseException:  # noqa: BLE001 - whatever it is, a restarted agent is better than a deaf one
        if not loop.is_closed():
            traceback.print_exc(file=sys.stderr)
            os._exit(os.EX_SOFTWARE)
