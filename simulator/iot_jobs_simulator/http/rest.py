"""The HTTP listeners: one for SigV4 clients (boto3, the AWS CLI), one for devices with a certificate. Knows aiohttp.

On the first, the service in the credential scope decides between the two planes, which share paths, or the Host if the
request is not signed; signatures are not verified. The second serves the data plane only, since a device has no
credential scope. The simulator's page, its own endpoints, presigned URLs and MQTT over WebSocket are on the first.
"""

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, TypeAlias

from aiohttp import web

from iot_jobs_simulator import certificates, objects, payloads
from iot_jobs_simulator.faults.faults import Alter, Delay, ListenerName, Lose, TrafficEvent
from iot_jobs_simulator.faults.injection import FaultInjector, alter
from iot_jobs_simulator.http import controls, origins
from iot_jobs_simulator.http import page as page_endpoint
from iot_jobs_simulator.http import s3 as s3_endpoint
from iot_jobs_simulator.http.controls import Controls
from iot_jobs_simulator.http.page import Page
from iot_jobs_simulator.http.s3 import S3Endpoint, whole_body_of
from iot_jobs_simulator.http.websocket import PATH as WEBSOCKET_PATH
from iot_jobs_simulator.http.websocket import ServeMqtt, answer_websocket, signature_problem
from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.message_log import MessageLog
from iot_jobs_simulator.model import ServiceApi
from iot_jobs_simulator.policy import Policy
from iot_jobs_simulator.refusals import Code, Refused
from iot_jobs_simulator.service import Service
from iot_jobs_simulator.tls_or_plain import TlsOrPlain

_Answer: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
AnswerRequest: TypeAlias = Callable[[str, Mapping[str, Any], Mapping[str, str]], Json]

_log = logging.getLogger(__name__)
_SCOPE: Final = re.compile(r"Credential=[^/,\s]+/[0-9]+/[^/,\s]+/(?P<service>[^/,\s]+)/aws4_request")

_INTERNAL: Final = "InternalFailureException"
_FORBIDDEN: Final = "ForbiddenException"
_UNREAD: Final = (408, 413)  # the statuses of requests whose bodies did not come, or not whole
_HTTP_CLIENT: Final = "HTTP"  # in the place of a client id

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
    Code.CONFLICT: "ConflictException",
    Code.REQUEST_THROTTLED: "ThrottlingException",
}
_operation: ContextVar[str] = ContextVar("operation", default="")  # of the request that is being answered
_BACKLOG: Final = 1024
_LINGERING_S: Final = 1  # for a body that nobody reads; the end of the simulator waits for it
_DATA_PLANE_HOST: Final = re.compile(r"[^.]+\.jobs\.iot\.")


class _Plane(NamedTuple):
    """One of the two services, as HTTP reaches it."""

    api: ServiceApi
    listener: ListenerName
    operate: AnswerRequest


class RestListener:
    """Both HTTP ports; `plain` and `secure` are bound already. `tls` is for the latter.

    The former takes TLS too, from clients that are not asked for a certificate, since they sign what they send.
    `own_name` is the name or the address that the ports were bound to, `messages` keeps what devices send.
    """

    def __init__(
        self,
        plain: socket.socket,
        secure: socket.socket,
        *,
        tls: ssl.SSLContext,
        service: Service,
        injector: FaultInjector,
        policy: Policy,
        controls: Controls,
        s3: S3Endpoint,
        page: Page,
        messages: MessageLog,
        own_name: str,
        serve_mqtt: ServeMqtt,
        tls_without_certificate: ssl.SSLContext,
    ) -> None:
        self._secure, self._tls = secure, tls
        self._signed, self._devices = _server(self._answer_plain), _server(self._answer_device)
        self._acceptor = TlsOrPlain(plain, tls_without_certificate, self._signed, s3_endpoint.SILENCE_S)
        self._control_plane = _Plane(service.control_api, ListenerName.CONTROL, _without_query(service.answer_operator))
        self._data_plane = _Plane(service.data_api, ListenerName.HTTP, service.answer_device)
        self._injector = injector
        self._policy = policy
        self._controls = controls
        self._s3 = s3
        self._page = page
        self._messages = messages
        self._own_name = own_name
        self._serve_mqtt = serve_mqtt
        self._runners: list[web.ServerRunner] = []

    async def start(self) -> None:
        """Serve on both ports."""
        for server in (self._signed, self._devices):
            runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0)
            await runner.setup()
            self._runners.append(runner)
        await web.SockSite(self._runners[-1], self._secure, ssl_context=self._tls, backlog=_BACKLOG).start()
        self._acceptor.start(_BACKLOG)

    def device_protocol(self) -> asyncio.Protocol:
        """Go on with a device's connection that came in on another port."""
        return self._devices()

    async def stop(self) -> None:
        """Close both ports and every connection."""
        self._page.stop()
        await self._acceptor.stop()
        for runner in self._runners:
            await runner.cleanup()
        self._runners = []

    async def _answer_plain(self, request: web.BaseRequest) -> web.StreamResponse:
        if problem := self._problem_with(request):
            return _error(403, _FORBIDDEN, problem)
        if request.method == "GET" and request.path == WEBSOCKET_PATH:
            return await answer_websocket(request, self._serve_mqtt)
        if _is_for_page(request):
            return await self._page.answer(request)
        if request.raw_path.startswith(objects.PATH):
            return await self._s3.answer(request)
        if request.raw_path.startswith(controls.PREFIX):
            return await self._controls.answer(request)
        match _service_of(request):
            case "iot":
                return await self._answer(request, self._control_plane)
            case "iot-jobs-data":
                return await self._answer_data_plane(request)
            case None:
                return _error(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
            case other:
                return _error(403, "InvalidSignatureException", f"Credential should be scoped to iot, not {other}")

    def _problem_with(self, request: web.BaseRequest) -> str:
        """Why a request is refused before anybody looks what it is about, "" if it is not."""
        headers, is_read = request.headers, request.method == "GET"
        if is_read and request.path == WEBSOCKET_PATH:
            return signature_problem(request.query) or origins.client_problem(headers, self._own_name)
        if is_read and request.raw_path.startswith(objects.PATH):
            return ""
        problem = origins.host_problem(headers, self._own_name) if _is_for_page(request) else ""
        if is_read and request.path == page_endpoint.PATH:  # which anybody may link to
            return problem
        return problem or origins.page_problem(headers, self._own_name)

    async def _answer_device(self, request: web.BaseRequest) -> web.Response:
        transport = request.transport
        name = certificates.common_name(transport.get_extra_info("ssl_object") if transport is not None else None)
        found = self._data_plane.api.find_operation(request.method, request.raw_path.split("?")[0])
        thing_name = found[1].get("thingName", "") if found is not None else ""
        if problem := origins.page_problem(request.headers, self._own_name):
            return _error(403, _FORBIDDEN, problem)
        if not self._policy.admits(name) or (found is not None and not self._policy.permits_thing(name, thing_name)):
            return _error(403, _FORBIDDEN, "Forbidden")
        return await self._answer_data_plane(request)

    async def _answer_data_plane(self, request: web.BaseRequest) -> web.Response:
        """Answer a device, and keep what was said."""
        response = await self._answer(request, self._data_plane)
        found = self._data_plane.api.find_operation(request.method, request.raw_path.split("?")[0])
        if found is not None and response.status not in _UNREAD:
            payload, thing_name, job_id = await request.read(), found[1].get("thingName", ""), found[1].get("jobId")
            said = f"{request.method} {request.path}"
            answered = self._messages.add_request(_HTTP_CLIENT, said, payload, thing_name, job_id)
            if request.transport is not None and not request.transport.is_closing():
                answered(f"{response.status}", (response.text or "").encode())
        return response

    async def _answer(self, request: web.BaseRequest, plane: _Plane) -> web.Response:
        api = plane.api
        found = api.find_operation(request.method, request.raw_path.split("?")[0])
        if found is None:
            return _error(404, "UnknownOperationException", f"No operation has {request.method} {request.path}")
        operation, path_members = found
        _operation.set(operation)
        event = TrafficEvent(
            operation=operation,
            thing=path_members.get("thingName"),
            listener=plane.listener,
            job=path_members.get("jobId"),
        )
        try:
            payload = await whole_body_of(request)

            def operate() -> Json:
                body = api.read_body(operation, payloads.decode_object(payload))
                query_members = api.read_query(operation, request.query)
                members = {**body, **query_members, **api.read_path(operation, path_members)}
                return plane.operate(operation, members, request.query)

            answer = self._injector.perform(event, operate)
            if answer is None:
                return _hung_up(request)
            return await self._reply(request, event, answer, has_body=api.answers(operation))
        except Refused as refusal:
            return _refusal(api, refusal)
        except web.HTTPRequestTimeout as late:
            return _error(408, "RequestTimeoutException", late.text or "")
        except web.HTTPRequestEntityTooLarge:
            return _error(413, "RequestEntityTooLargeException", "The request is too large")
        except Exception:  # noqa: BLE001 - a fault of ours is answered as AWS answers its own, and logged
            _log.exception("Fault while answering %s", operation)
            return _error(500, _INTERNAL, "Internal error")

    async def _reply(
        self, request: web.BaseRequest, event: TrafficEvent, answer: Json, *, has_body: bool
    ) -> web.Response:
        match fault := self._injector.http_reply_fault(event):
            case Lose():
                return _hung_up(request)
            case Delay():
                await asyncio.sleep(fault.delay_ms / 1000)
            case Alter():
                _, text = alter(fault, "", answer)
                return web.Response(text=text, content_type="application/json")
            case None:
                pass
        text = payloads.encode(answer) if has_body else ""
        return web.Response(text=text, content_type="application/json")


def _server(answer: _Answer) -> web.Server:
    return web.Server(
        _with_log(answer), access_log=None, lingering_time=_LINGERING_S, keepalive_timeout=s3_endpoint.SILENCE_S
    )


def _with_log(answer: _Answer) -> _Answer:
    """Let each request be logged, with how it was answered; never its query, which may be a presigned URL's."""

    async def answer_and_log(request: web.BaseRequest) -> web.StreamResponse:
        _operation.set("")  # a connection's requests share a context
        response = await answer(request)
        words = [_operation.get(), request.method, f"{request.path}:", str(response.status)]
        words.append(response.headers.get("x-amzn-ErrorType", ""))
        _log.info("http  %s", " ".join(filter(None, words)))
        return response

    return answer_and_log


def _without_query(operate: Callable[[str, Mapping[str, Any]], Json]) -> AnswerRequest:
    return lambda operation, members, _query: operate(operation, members)


def _service_of(request: web.BaseRequest) -> str | None:
    """Which service a request is for: by its credential scope, else by its Host, else unknown."""
    scope = _SCOPE.search(request.headers.get("Authorization", ""))
    if scope is not None:
        return scope["service"]
    return "iot-jobs-data" if _DATA_PLANE_HOST.match(request.headers.get("Host", "")) else None


def _is_for_page(request: web.BaseRequest) -> bool:
    is_its_path = request.path == page_endpoint.PATH or request.path.startswith(page_endpoint.PREFIX)
    return request.method == "GET" and is_its_path


def _hung_up(request: web.BaseRequest) -> web.Response:
    """The connection ends without an answer; what is returned goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _refusal(api: ServiceApi, refusal: Refused) -> web.Response:
    """A refusal by one of our codes, or by an exception's own name."""
    named = {**EXCEPTIONS, Code.INTERNAL_ERROR: _INTERNAL}
    exception = next((name for code, name in named.items() if code == refusal.code), refusal.code)
    return _error(refusal.status or api.error_status(exception), exception, refusal.message, refusal.members)


def _error(status: int, exception: str, message: str, members: Mapping[str, Any] | None = None) -> web.Response:
    """An error as botocore reads it: the exception in a header, the message in the body."""
    body = {"message": message, **(members or {})}
    return web.json_response(body, status=status, headers={"x-amzn-ErrorType": exception}, dumps=payloads.encode)
