"""MQTT over WebSocket, for clients that sign their handshake instead of showing a certificate. Knows no MQTT.

The signature is a query of Signature Version 4 (developer guide, page `protocols`); its form is checked, not its value.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final, TypeAlias

from aiohttp import WSMsgType, web

ServeMqtt: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

PATH: Final = "/mqtt"
_SUBPROTOCOLS: Final = ("mqtt", "mqttv3.1")  # the second is what AWS's first SDK for JavaScript asks for
_SERVICES: Final = "iotdevicegateway|iotdata"
_SIGNED: Final = {
    "X-Amz-Algorithm": re.compile(r"AWS4-HMAC-SHA256"),
    "X-Amz-Credential": re.compile(rf"[^/]+/[0-9]{{8}}/[a-z0-9-]+/({_SERVICES})/aws4_request"),
    "X-Amz-Date": re.compile(r"[0-9]{8}T[0-9]{6}Z"),
    "X-Amz-SignedHeaders": re.compile(r"([a-z0-9-]+;)*host(;[a-z0-9-]+)*"),
    "X-Amz-Signature": re.compile(r"[0-9a-f]{64}"),
}
_CHUNK_BYTES: Final = 64 * 1024
_CLOSE_WITHIN_S: Final = 1.0  # for a client's part of the end


def signature_problem(query: Mapping[str, str]) -> str:
    """What is wrong with the query of a handshake, "" if it has the form of a signed one; never a value of it."""
    for name, form in _SIGNED.items():
        if name not in query:
            return f"The query has no {name}: sign the handshake with Signature Version 4, for iotdevicegateway"
        if not form.fullmatch(query[name]):
            return f"The query's {name} does not have the form that Signature Version 4 gives it"
    return ""


async def answer_websocket(request: web.BaseRequest, serve: ServeMqtt) -> web.StreamResponse:
    """Upgrade the connection, and carry bytes between it and what serves MQTT until either ends."""
    offered = re.split(r"\s*,\s*", request.headers.get("Sec-WebSocket-Protocol", ""))
    if not set(_SUBPROTOCOLS).intersection(offered):
        raise web.HTTPBadRequest(text=f"MQTT over WebSocket needs the subprotocol {_SUBPROTOCOLS[0]}")
    response = web.WebSocketResponse(protocols=_SUBPROTOCOLS, timeout=_CLOSE_WITHIN_S)
    await response.prepare(request)
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    serving = asyncio.ensure_future(serve(*await asyncio.open_connection(sock=theirs)))
    coming, going = (
        asyncio.ensure_future(each) for each in (_carry_in(response, writer), _carry_out(reader, response))
    )
    try:
        await asyncio.wait([serving, coming], return_when=asyncio.FIRST_COMPLETED)
        if coming.done():
            writer.close()
        await asyncio.wait([serving])
        await asyncio.wait([going], timeout=_CLOSE_WITHIN_S)
        if not going.done() and request.transport is not None:
            request.transport.abort()  # the client does not read
    finally:
        writer.transport.abort()
        for task in (serving, coming, going):
            task.cancel()
    return response


async def _carry_in(response: web.WebSocketResponse, writer: asyncio.StreamWriter) -> None:
    """Until the client ends the connection, or sends a frame that is not binary (MQTT 3.1.1, 6.0)."""
    with suppress(ConnectionError):
        async for message in response:
            if message.type is not WSMsgType.BINARY:
                break
            writer.write(message.data)
            await writer.drain()


async def _carry_out(reader: asyncio.StreamReader, response: web.WebSocketResponse) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(_CHUNK_BYTES):
            await response.send_bytes(data)
