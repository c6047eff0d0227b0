"""The HTTP fronts: one port for SigV4 clients (boto3, the AWS CLI), one for devices with a certificate. Knows aiohttp.

On the first, the service in the credential scope decides between the two planes, which share paths; signatures are not
verified. The second serves the data plane only, since a device has no credential scope.
"""

import re
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web

from simulator import payloads
from simulator.jobs.views import Json
from simulator.model import ServiceApi
from simulator.refusals import Code, Refused
from simulator.service import Service

_SCOPE: Final = re.compile(r"Credential=[^/,\s]+/[0-9]+/[^/,\s]+/(?P<service>[^/,\s]+)/aws4_request")

_CLOCK: Final = "/_simulator/clock"
MAX_ADVANCE_S: Final = 10 * 366 * 86400

# The exceptions of both services by our code; their status is in the service's model. A version that does not match has
# no exception of its own on the data plane, and travels as the modelled one that fits.
EXCEPTIONS: Final[Mapping[Code, str]] = {
    Code.INVALID_JSON: "InvalidRequestException",
    Code.INVALID_REQUEST: "InvalidRequestException",
    Code.INVALID_STATE_TRANSITION: "InvalidStateTransitionException",
    Code.VERSION_MISMATCH: "InvalidStateTransitionException",
    Code.TERMINAL_STATE_REACHED: "TerminalStateException",
    Code.RESOURCE_NOT_FOUND: "ResourceNotFoundException",
    Code.RESOURCE_ALREADY_EXISTS: "ResourceAlreadyExistsException",
    Code.VERSION_CONFLICT: "VersionConflictException",
    Code.LIMIT_EXCEEDED: "LimitExceededException",
}


class RestFront:
    """Both HTTP ports."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._runners: list[web.ServerRunner] = []

    async def start(self, plain: socket.socket, secure: socket.socket, tls: ssl.SSLContext) -> None:
        """Serve on two bound sockets."""
        for listener, context, handler in ((plain, None, self._answer_signed), (secure, tls, self._answer_device)):
            runner = web.ServerRunner(web.Server(handler, access_log=None), handle_signals=False, shutdown_timeout=0)
            await runner.setup()
            await web.SockSite(runner, listener, ssl_context=context).start()
            self._runners.append(runner)

    async def stop(self) -> None:
        """Close both ports and every connection."""
        for runner in self._runners:
            await runner.cleanup()
        self._runners = []

    async def _answer_signed(self, request: web.BaseRequest) -> web.Response:
        if request.path == _CLOCK:
            return await self._answer_clock(request)
        scope = _SCOPE.search(request.headers.get("Authorization", ""))
        match scope["service"] if scope else None:
            case "iot":
                return await _answer(request, self._service.control_api, self._answer_operator)
            case "iot-jobs-data":
                return await self._answer_device(request)
            case None:
                return _error(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
            case other:
                return _error(403, "InvalidSignatureException", f"Credential should be scoped to iot, not {other}")

    async def _answer_clock(self, request: web.BaseRequest) -> web.Response:
        """The simulator's own: POST {"advance_s": N} puts the clock forward, GET tells the time."""
        try:
            body = payloads.decode_object(await request.read())
        except Refused as refusal:
            return _error(400, "InvalidRequestException", refusal.message)
        seconds = body.get("advance_s", 0)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_ADVANCE_S:
            return _error(400, "InvalidRequestException", f"advance_s must be a number from 0 to {MAX_ADVANCE_S}")
        now = self._service.advance_clock(seconds) if request.method == "POST" else self._service.now()
        return web.json_response({"now": now})

    async def _answer_device(self, request: web.BaseRequest) -> web.Response:
        return await _answer(request, self._service.data_api, self._service.answer_device)

    def _answer_operator(self, operation: str, members: Mapping[str, Any], _query: Mapping[str, str]) -> Json:
        return self._service.answer_operator(operation, members)


async def _answer(
    request: web.BaseRequest, api: ServiceApi, answer: Callable[[str, Mapping[str, Any], Mapping[str, str]], Json]
) -> web.Response:
    found = api.find_operation(request.method, request.raw_path.split("?")[0])
    if found is None:
        return _error(404, "UnknownOperationException", f"No operation has {request.method} {request.path}")
    operation, path_members = found
    try:
        body = payloads.decode_object(await request.read())
        query_members = api.read_query(operation, request.query)
        members = {**body, **query_members, **api.read_path(operation, path_members)}
        return web.json_response(answer(operation, members, request.query), dumps=payloads.encode)
    except Refused as refusal:
        exception = EXCEPTIONS[refusal.code]
        return _error(api.error_status(exception), exception, refusal.message, refusal.members)


def _error(status: int, exception: str, message: str, members: Mapping[str, Any] | None = None) -> web.Response:
    """An error as botocore reads it: the exception in a header, the message in the body."""
    body = {"message": message, **(members or {})}
    return web.json_response(body, status=status, headers={"x-amzn-ErrorType": exception}, dumps=payloads.encode)
