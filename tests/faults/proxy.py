"""A TCP proxy that makes the trouble a network makes: silence, a cut after so many bytes, an end right after connect.

It knows bytes and connections, nothing of MQTT. With a TLS context it ends TLS, as a broker with that certificate does.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Direction: TypeAlias = Literal["up", "down"]  # from the agent, to the agent


@dataclass(frozen=True)
class Limit:
    """Let `count` bytes of a connection pass in a direction; then cut it, or only forward no more."""

    direction: Direction
    count: int
    is_cut: bool = True


@dataclass
class _Link:
    """One connection: its number, what it belongs to until a stall, and the bytes that passed."""

    number: int
    alive: asyncio.Event
    passed: dict[Direction, int] = field(default_factory=lambda: {"up": 0, "down": 0})


@dataclass
class Proxy:
    """One listening port. `limits` are by the number of the connection, from 1; `reached` counts those that were.

    `passed` are the bytes of the newest connection, `connects` the times of all, in seconds of the loop.
    """

    to_port: int
    limits: dict[int, Limit] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    closes_at_once: bool = False
    port: int = 0  # any free one
    connects: list[float] = field(default_factory=list)
    passed: dict[Direction, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    reached: int = 0
    is_stalled: bool = False
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _alive: asyncio.Event = field(default_factory=asyncio.Event)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def wait_until(self, is_so: Callable[[], object], *, within_s: float = 60) -> None:
        """Return once a fact about the proxy holds; looked at after every connect and every piece forwarded."""
        async with asyncio.timeout(within_s), self._news:
            await self._news.wait_for(is_so)

    def stall(self) -> None:
        """Forward nothing any more on connections that are open, both ways, and close none. New ones work."""
        self.is_stalled = True
        self._alive = asyncio.Event()

    def cut_all(self) -> None:
        """End every connection at once, with a reset."""
        for writer in self._open:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of an agent."""
        link = _Link(len(self.connects) + 1, self._alive)
        self.connects.append(asyncio.get_running_loop().time())
        await self._tell()
        if self.closes_at_once:
            writer.transport.abort()
            return
        onward_reader, onward = await asyncio.open_connection("127.0.0.1", self.to_port)
        self._open |= {writer, onward}
        self.passed = link.passed
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(link, "up", reader, onward))
                group.create_task(self._forward(link, "down", onward_reader, writer))
        except* (ConnectionError, ssl.SSLError):
            pass
        finally:
            for each in (writer, onward):
                self._open.discard(each)
                each.transport.abort()

    async def _forward(
        self, link: "_Link", direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while piece := await reader.read(65536):
            if link.alive is not self._alive:  # stalled since: swallowed, as by a network that is gone
                continue
            limit = self.limits.get(link.number)
            room = limit.count - link.passed[direction] if limit and limit.direction == direction else None
            passing = piece if room is None else piece[: max(0, room)]
            writer.write(passing)
            await writer.drain()
            link.passed[direction] += len(passing)
            if limit is not None and room is not None and len(passing) >= room:
                await self._end(limit)
            await self._tell()
        raise ConnectionResetError  # one side ended: so does the other

    async def _end(self, limit: Limit) -> None:
        self.reached += 1
        await self._tell()
        if limit.is_cut:
            raise ConnectionAbortedError
        self.stall()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


@contextlib.asynccontextmanager
async def running_proxy(to_port: int, **manners: object) -> AsyncIterator[Proxy]:
    """Run a proxy to a port of this machine, on any free port or the given one, until the block ends."""
    proxy = Proxy(to_port, **manners)  # type: ignore[arg-type]  # the dataclass's own fields
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", proxy.port, ssl=proxy.tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
