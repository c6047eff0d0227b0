"""The simulator's page: its files, the rows that are in view, and a stream that says when something has changed.

What the page does, it asks of the service itself and of the control endpoints, as boto3 and curl do. Here is only what
it reads. Knows aiohttp.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from iot_jobs_simulator import payloads
from iot_jobs_simulator.changes import Changes
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.message_log import MessageLog
from iot_jobs_simulator.page.history import history_of
from iot_jobs_simulator.page.rows import execution_row, job_row, rows, totals
from iot_jobs_simulator.refusals import Refused, invalid

PATH: Final = "/"
PREFIX: Final = "/_simulator/page/"
MAX_STREAMS: Final = 32
_ASSETS: Final = Path(__file__).parents[1] / "page" / "assets"
_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_INTERVAL_S: Final = 0.25  # between two messages of a stream, whatever happens meanwhile
_SILENCE_S: Final = 5.0  # after which a stream says that it is still there, and notices that its reader is not
_PATIENCE_S: Final = 10.0  # with a reader that does not read
_KEPT_HISTORIES: Final = 16
_SHARE: Final = 20  # one part in so many of the time goes into histories of one job


class LiveStream:
    """Server-sent events: one that says how things are now, after each change, but never more often than so.

    Each event is a few numbers that replace those before them, so there is nothing to queue for a slow reader. One that
    does not read for `patience_s` is dropped.
    """

    def __init__(
        self,
        changes: Changes,
        describe: Callable[[], Json],
        *,
        interval_s: float = _INTERVAL_S,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._changes = changes
        self._describe = describe
        self._interval_s = interval_s
        self._patience_s = patience_s
        self._readers: set[asyncio.Task[Any]] = set()

    @property
    def open(self) -> int:
        """How many readers there are."""
        return len(self._readers)

    def stop(self) -> None:
        """End all streams, for which the end of the server would wait."""
        for reader in self._readers:
            reader.cancel()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Stream until the reader goes."""
        if self.open >= MAX_STREAMS:
            return _json(503, {"message": f"{MAX_STREAMS} pages are open already; close one"})
        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/event-stream"})
        reader = asyncio.ensure_future(self._stream(request, response))
        self._readers.add(reader)
        try:
            await asyncio.wait([reader])
        finally:
            reader.cancel()
            self._readers.discard(reader)
        if request.transport is not None:
            request.transport.abort()  # what it has not read is of no use to it
        return response

    async def _stream(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        seen = 0

        def has_changed() -> bool:
            return self._changes.count != seen

        await response.prepare(request)
        while True:
            seen = self._changes.count
            event = f"data: {payloads.encode(self._describe())}\n\n"
            try:
                async with asyncio.timeout(self._patience_s):
                    await response.write(event.encode())
            except (ConnectionError, TimeoutError):
                return
            await asyncio.sleep(self._interval_s)
            with suppress(TimeoutError):
                await self._changes.wait_until(has_changed, _SILENCE_S)


class Page:
    """Everything that the page reads. `now` is seconds since the epoch."""

    def __init__(self, store: JobStore, now: Callable[[], float], changes: Changes, messages: MessageLog) -> None:
        self._store = store
        self._now = now
        self._messages = messages
        self._stream = LiveStream(changes, lambda: {"now": self._now()} | totals(self._store))
        self._files = {path.name: path for path in _ASSETS.iterdir()}
        self._histories: OrderedDict[str, tuple[float, Json]] = OrderedDict()  # with the time until which they are good
        self._history_lock = asyncio.Lock()

    def stop(self) -> None:
        """End what goes on: the streams."""
        self._stream.stop()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a GET for the page or below PREFIX."""
        name = request.path.removeprefix(PREFIX) if request.path != PATH else "index.html"
        if name in self._files:
            content_type = _TYPES[self._files[name].suffix]
            body = self._files[name].read_bytes()
            return web.Response(body=body, content_type=content_type, charset="utf-8", headers=_HEADERS)
        try:
            match name.split("/"):
                case ["live"]:
                    return await self._stream.answer(request)
                case ["rows", kind]:
                    return _json(200, rows(self._store, kind, request.query))
                case ["history"]:
                    return _json(200, await self._history(request.query.get("job", "")))
                case ["messages"]:
                    return _json(200, self._exchanged(request.query))
                case _:
                    return _json(404, {"message": f"The simulator has no {request.method} {request.path}"})
        except Refused as refusal:
            return _json(400, {"message": refusal.message})

    def _exchanged(self, query: Mapping[str, str]) -> Json:
        """The executions of a job on a thing, the latest first, and the messages about them, the oldest first."""
        if not query.get("thing") or not query.get("job"):
            raise invalid("Name the thing and the job whose messages are wanted")
        place = (query["thing"], query["job"])
        executions = [execution_row(each) for each in self._store.executions.latest_first(*place)]
        return {"executions": executions, "messages": self._messages.listed(*place)}

    async def _history(self, job_id: str) -> Json:
        """The course of a job, computed in slices, and good for a while for all who ask: of large jobs for longer.

        With the job as it is now, so that nobody has to ask the service, which would be another change to tell of.
        """
        async with self._history_lock:
            job = self._store.find_job(job_id)
            good_until, history = self._histories.pop(job_id, (0.0, {}))
            if time.monotonic() >= good_until:
                history, cost_s = await _in_slices(history_of(self._store, job, self._now()))
                good_until = time.monotonic() + _SHARE * cost_s
            self._histories[job_id] = good_until, history
            if len(self._histories) > _KEPT_HISTORIES:
                self._histories.popitem(last=False)
            return history | {"job": job_row(job)}


async def _in_slices(steps: Iterator[Json | None]) -> tuple[Json, float]:
    """What the last step gives, and how many seconds all of them took; others are served after each."""
    cost_s = 0.0
    while True:
        began_at = time.monotonic()
        found = next(steps)
        cost_s += time.monotonic() - began_at
        if found is not None:
            return found, cost_s
        await asyncio.sleep(0)


def _json(status: int, body: Json) -> web.Response:
    return web.json_response(body, status=status, headers=_HEADERS, dumps=payloads.encode)
