"""GET and PUT on presigned URLs, answered as S3 answers them. Knows aiohttp."""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import unquote
from xml.sax.saxutils import escape

from aiohttp import web

from iot_jobs_simulator.objects import PATH, Denied, ObjectPlace, Objects

MAX_OBJECT_BYTES: Final = 256 * 1024 * 1024
SILENCE_S = 60.0  # for what a client has begun to send, or has not even begun
_RANGE: Final = re.compile(r"bytes=(?P<first>[0-9]*)-(?P<last>[0-9]*)")


class S3Endpoint:
    """Everything below `objects.PATH`. `now` is seconds since the epoch."""

    def __init__(self, objects: Objects, now: Callable[[], float]) -> None:
        self._objects = objects
        self._now = now

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer a request for an object."""
        bucket, _, key = unquote(request.raw_path.split("?")[0].removeprefix(PATH)).partition("/")
        if len(set(request.query)) < len(request.query):
            return _error(403, "SignatureDoesNotMatch", "The query names a member twice, which no signature covers")
        try:
            self._objects.check(request.method, ObjectPlace(bucket, key), request.query, self._now())
        except Denied as denied:
            return _error(403, denied.code, denied.message)
        if request.method == "PUT":
            content = await body_of(request)
            if content is None:
                return _error(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
            self._objects.put(bucket, key, content)
            return web.Response(headers={"ETag": _etag(content)})
        found = self._objects.get(bucket, key)
        if found is None:
            return _error(404, "NoSuchKey", "The specified key does not exist.")
        return _content(found, request.headers.get("Range", ""))


async def body_of(request: web.BaseRequest) -> bytes | None:
    """The body of a PUT, None if it is larger than the simulator keeps. HTTPRequestTimeout if it stops coming."""
    content = bytearray()
    chunks = request.content.iter_any()
    while chunk := await _in_time(anext(chunks, b"")):
        content += chunk
        if len(content) > MAX_OBJECT_BYTES:
            return None
    return bytes(content)


async def whole_body_of(request: web.BaseRequest) -> bytes:
    """The body of any other request. HTTPRequestTimeout if it does not come in SILENCE_S seconds."""
    return await _in_time(request.read())


async def _in_time(reading: Awaitable[bytes]) -> bytes:
    try:
        async with asyncio.timeout(SILENCE_S):
            return await reading
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="The body did not arrive in time") from None


def _content(whole: bytes, wanted: str) -> web.Response:
    """The object, or the part that a Range header names; S3 ignores ranges that it cannot read."""
    headers = {"ETag": _etag(whole), "Accept-Ranges": "bytes", "Content-Type": "binary/octet-stream"}
    headers["X-Content-Type-Options"] = "nosniff"  # the page has the same origin, and a device may have uploaded this
    match = _RANGE.fullmatch(wanted)
    if match is None or match["first"] + match["last"] == "":
        return web.Response(body=whole, headers=headers)
    if match["first"]:
        first, end = int(match["first"]), min(int(match["last"] or len(whole)), len(whole) - 1) + 1
    else:
        first, end = max(0, len(whole) - int(match["last"])), len(whole)
    if first >= len(whole) or first >= end:
        return _error(416, "InvalidRange", "The requested range is not satisfiable")
    headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(whole)}"
    return web.Response(status=206, body=whole[first:end], headers=headers)


def _error(status: int, code: str, message: str) -> web.Response:
    error = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{error}'
    return web.Response(status=status, text=body, content_type="application/xml")


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
