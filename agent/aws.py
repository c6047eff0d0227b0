"""The connection to AWS IoT Core: the only file that knows the AWS SDK.

One MQTT 3.1.1 connection, made anew after each loss with a randomised back-off: the SDK retries a first connect never
and a reconnect without jitter, and fresh objects read renewed certificates. Requests go through the SDK's
request-response client, with topic strings of our own, since the SDK's are not namespaced (docs/decisions.md).

SDK threads do one thing, hand over to the loop; a surprise there ends the process, because the SDK swallows exceptions
and the agent would go deaf. All public methods belong to the loop's thread.
"""

import asyncio
import contextlib
import json
import math
import os
import random
import sys
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import quote

from awscrt import exceptions, http, io, mqtt
from awscrt import mqtt_request_response as request_response
from awsiot import mqtt_connection_builder

from agent import messages
from agent.config_keys import Aws
from agent.core.backoff import delay_s
from agent.core.effects import Update
from agent.core.events import Connected, Disconnected, Notified
from agent.core.job import ExecutionId
from agent.errors import RequestRefused, RequestUnanswered
from agent.nodelay import send_at_once

HTTPS_ALPN_PORT = 443
LARGEST_ANSWER_BYTES = 1024 * 1024
LASTING_S = 30.0  # a connection that held this long was a good one: the back-off starts anew
SAY_EVERY = 5  # failed attempts between two lines in the log
GRACE_S = 5.0  # for an orderly DISCONNECT


Say: TypeAlias = Callable[..., Any]


@dataclass(slots=True)
class _Session:
    """What lives as long as one connection."""

    connection: Any
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    why: str = ""
    client: Any = None
    streams: dict[str, Any] = field(default_factory=dict)
    unanswered: set[str] = field(default_factory=set)
    all_answered: asyncio.Event = field(default_factory=asyncio.Event)
    halted: dict[str, int] = field(default_factory=dict)


class Cloud:
    """AWS IoT Core as the daemon sees it. `post` gets Connected, Disconnected and Notified events, on the loop.

    `say` and `warn` take a line for people and facts by name, as structlog's methods do.
    """

    def __init__(
        self,
        aws: Aws,
        namespaces: tuple[str, ...],
        post: Callable[[Connected | Disconnected | Notified], None],
        say: Say,
        warn: Say,
    ) -> None:
        self._aws = aws
        self._namespaces = namespaces
        self._post = post
        self._say = say
        self._warn = warn
        self._topics = messages.Topics(aws.thing_name)
        self._loop = asyncio.get_running_loop()
        self._bootstrap = _bootstrap()
        self._session: _Session | None = None
        self._malformed: set[str] = set()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        failures = 0
        while True:
            started = time.monotonic()
            session = await self._connect(failures)
            if session is not None:
                await self._serve(session)
            has_lasted = session is not None and time.monotonic() - started > LASTING_S
            failures = 0 if has_lasted else failures + 1
            await asyncio.sleep(delay_s(max(failures, 1), random.random()))  # noqa: S311 - jitter, no secret

    async def close(self) -> None:
        """Say goodbye to the broker, if there is one. The session stays with it, for its queued notifications."""
        if self._session is not None:
            await self._disconnect(self._session)

    async def pending(self, namespace: str, *, is_complete: bool) -> tuple[tuple[ExecutionId, ...], bool]:
        """Return the pending executions of a namespace, and whether that is the list or its head only.

        The default namespace is listed over MQTT, a named one over HTTPS: MQTT has no such request that any shipped
        client uses. Each stands in for the other: HTTPS for an unanswered list, the head over MQTT where HTTPS fails.

        Raises:
            RequestRefused, RequestUnanswered: neither way led to an answer.
        """
        if namespace:
            if is_complete:
                try:
                    return await self._listed_over_https(namespace), True
                except (RequestRefused, RequestUnanswered) as error:
                    self._warn("the list over HTTPS failed, asking for its head", namespace=namespace, why=str(error))
            head = await self._described(namespace, "$next", messages.describe_request(0, with_document=False))
            return ((head.id,) if head else ()), False
        try:
            message = await self._request(self._topics.get, {})
        except RequestUnanswered:
            return await self._listed_over_https(namespace), True
        return messages.parse_pending(message, namespace), True

    async def describe(self, execution: ExecutionId, *, with_document: bool = True) -> messages.ServiceExecution:
        """Return what the service says of an execution.

        Raises:
            RequestRefused, RequestUnanswered, messages.MalformedMessageError: it said no, nothing, or nonsense.
        """
        body = messages.describe_request(execution.execution_number, with_document=with_document)
        found = await self._described(execution.namespace, execution.job_id, body)
        if found is None or found.id != execution:
            raise messages.MalformedMessageError(f"the answer about {execution} is about something else")
        return found

    async def update(self, update: Update) -> None:
        """Report a status.

        Raises:
            RequestRefused, RequestUnanswered: it was refused, or may or may not have been applied.
        """
        topic = self._topics.update(update.execution.namespace, update.execution.job_id)
        await self._request(topic, messages.update_request(update))

    async def _described(self, namespace: str, job_id: str, body: dict[str, Any]) -> messages.ServiceExecution | None:
        message = await self._request(self._topics.describe(namespace, job_id), body)
        return messages.parse_execution(message, namespace)

    async def _listed_over_https(self, namespace: str) -> tuple[ExecutionId, ...]:
        message = await list_over_https(self._aws, namespace, self._bootstrap)
        return messages.parse_pending(message, namespace)

    async def _request(self, topic: str, body: dict[str, Any]) -> messages.Json:
        """Publish a request and return the answer. A time-out may mean that it was never sent."""
        session = self._session
        if session is None or session.client is None:
            raise RequestUnanswered(f"{topic}: not connected")
        token = uuid.uuid4().hex
        options = request_response.RequestOptions(
            subscription_topic_filters=[self._topics.answer_filter(topic)],
            response_paths=[
                request_response.ResponsePath(f"{topic}/{answer}", "clientToken") for answer in ("accepted", "rejected")
            ],
            publish_topic=topic,
            payload=json.dumps({**body, "clientToken": token}).encode(),
            correlation_token=token,
        )
        try:
            response = await asyncio.wrap_future(session.client.make_request(options))
        except exceptions.AwsCrtError as error:
            raise RequestUnanswered(f"{topic}: {error.name}") from None
        try:
            message = messages.parse_object(response.payload)
        except messages.MalformedMessageError as error:
            self._on_malformed(response.topic, error)
            raise
        if response.topic.endswith("/rejected"):
            raise messages.refusal(message)
        return message

    async def _connect(self, failures: int) -> _Session | None:
        """Connect and subscribe; None where that failed."""
        try:
            session = self._new_session()
            await asyncio.wrap_future(session.connection.connect())
        except Exception as error:  # noqa: BLE001 - the SDK raises AwsCrtError for the network and bare Exception for a refusing broker
            if failures % SAY_EVERY == 0:
                self._warn("cannot connect, trying again", endpoint=self._aws.endpoint, port=self._aws.port,
                           attempt=failures + 1, why=_reason(error))  # fmt: skip
            return None
        send_at_once(self._aws.port)
        self._session = session
        filters = self._topics.notifications(self._namespaces, with_api_text_form=self._aws.api_text_topics)
        requests = (3 if "" in self._namespaces else 0) + (2 if any(self._namespaces) else 0)
        options = request_response.ClientOptions(
            max_request_response_subscriptions=requests,
            max_streaming_subscriptions=len(filters),
            operation_timeout_in_seconds=math.ceil(self._aws.request_timeout_s),
        )
        session.client = request_response.Client(session.connection, options)
        session.unanswered = set(filters)
        for topic_filter in filters:
            self._subscribe(session, topic_filter)
        return session

    def _new_session(self) -> _Session:
        aws = self._aws
        common = {
            "client_id": aws.client_id,
            "clean_session": False,
            "keep_alive_secs": aws.keep_alive_s,
            "ping_timeout_ms": min(int(aws.request_timeout_s * 1000), aws.keep_alive_s * 1000 - 1),
            "on_connection_interrupted": lambda connection, error, **_: self._hand_over(
                self._on_lost, connection, error.name
            ),
        }
        if not aws.tls:
            client = mqtt.Client(self._bootstrap, None)
            return _Session(mqtt.Connection(client, host_name=aws.endpoint, port=aws.port, **common))
        return _Session(
            mqtt_connection_builder.mtls_from_path(
                str(aws.certificate),
                str(aws.private_key),
                ca_filepath=str(aws.root_ca),
                endpoint=aws.endpoint,
                port=aws.port,
                client_bootstrap=self._bootstrap,
                tcp_connect_timeout_ms=int(aws.connect_timeout_s * 1000),
                **common,
            )
        )

    async def _serve(self, session: _Session) -> None:
        """Announce the connection once its subscriptions are answered, and wait until it is lost."""
        answered = asyncio.create_task(session.all_answered.wait())
        lost = asyncio.create_task(session.lost.wait())
        try:
            await asyncio.wait({answered, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not session.lost.is_set():
                self._say("connected", endpoint=self._aws.endpoint, client_id=self._aws.client_id)
                self._post(Connected(random.random()))  # noqa: S311 - jitter, no secret
            await lost
            self._warn("connection lost", why=session.why)
            self._post(Disconnected())
        finally:
            answered.cancel()
            lost.cancel()
        await self._disconnect(session)

    async def _disconnect(self, session: _Session) -> None:
        self._session = None
        session.streams.clear()
        session.client = None
        with contextlib.suppress(TimeoutError, exceptions.AwsCrtError):  # it was gone already, which is what we want
            await asyncio.wait_for(asyncio.wrap_future(session.connection.disconnect()), GRACE_S)

    def _subscribe(self, session: _Session, topic_filter: str) -> None:
        stream = session.client.create_stream(
            request_response.StreamingOperationOptions(
                subscription_topic_filter=topic_filter,
                subscription_status_listener=lambda event: self._hand_over(
                    self._on_subscription, session, topic_filter, event
                ),
                incoming_publish_listener=lambda event: self._hand_over(self._on_publish, event.topic, event.payload),
            )
        )
        session.streams[topic_filter] = stream
        stream.open()

    def _hand_over(self, callback: Callable[..., None], *args: Any) -> None:
        """Call `callback` on the loop. Runs on an SDK thread, which would swallow what is raised."""
        try:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(callback, *args)
        except BaseException:  # noqa: BLE001 - whatever it is, a deaf agent would be worse than a restarted one
            traceback.print_exc(file=sys.stderr)
            os._exit(70)

    def _on_lost(self, connection: Any, why: str) -> None:
        session = self._session
        if session is not None and session.connection is connection:
            session.why = why
            session.lost.set()

    def _on_subscription(self, session: _Session, topic_filter: str, event: Any) -> None:
        kinds = request_response.SubscriptionStatusEventType
        if event.type == kinds.SUBSCRIPTION_HALTED and session is self._session:
            failures = session.halted[topic_filter] = session.halted.get(topic_filter, 0) + 1
            self._warn(
                "subscription refused: does the certificate's policy allow iot:Subscribe and iot:Receive on it?",
                topic=topic_filter,
                attempt=failures,
            )
            self._loop.call_later(delay_s(failures, random.random()), self._subscribe_again, session, topic_filter)  # noqa: S311 - jitter
        if event.type in (kinds.SUBSCRIPTION_ESTABLISHED, kinds.SUBSCRIPTION_HALTED):
            session.unanswered.discard(topic_filter)
            if not session.unanswered:
                session.all_answered.set()

    def _subscribe_again(self, session: _Session, topic_filter: str) -> None:
        if session is self._session and session.client is not None:
            self._subscribe(session, topic_filter)

    def _on_publish(self, topic: str, payload: bytes | None) -> None:
        try:
            namespace, is_complete = self._topics.namespace_of(topic)
            pending = messages.parse_notification(payload or b"", namespace, is_complete=is_complete)
        except messages.MalformedMessageError as error:
            self._on_malformed(topic, error)
            return
        self._post(Notified(namespace, pending, is_complete))

    def _on_malformed(self, topic: str, error: messages.MalformedMessageError) -> None:
        """Log it once a topic: whoever sends nonsense sends it again."""
        if topic not in self._malformed and len(self._malformed) < 1000:  # noqa: PLR2004 - bounded memory
            self._malformed.add(topic)
            self._warn("malformed message ignored", topic=topic, why=str(error))


async def list_over_https(aws: Aws, namespace: str, bootstrap: Any = None) -> messages.Json:
    """Return what GetPendingJobExecutions answers over HTTPS, with the device certificate (any thread's loop).

    Port 443 is told apart by ALPN `x-amzn-http-ca` (developer guide, page protocols).

    Raises:
        RequestRefused: an error answer; RequestUnanswered: no answer in time.
    """
    path = f"/things/{quote(aws.thing_name, safe='')}/jobs"
    if namespace:
        path += f"?namespaceId={quote(namespace, safe='')}"
    try:
        async with asyncio.timeout(aws.request_timeout_s):
            status, body = await _https_get(aws, path, bootstrap or _bootstrap())
    except (TimeoutError, exceptions.AwsCrtError) as error:
        raise RequestUnanswered(f"https://{aws.https_endpoint}:{aws.https_port}: {_reason(error)}") from None
    message = messages.parse_object(body)
    if status != 200:  # noqa: PLR2004 - OK
        raise RequestRefused(f"HTTP {status}", str(message.get("message") or "no message"))
    return message


async def _https_get(aws: Aws, path: str, bootstrap: Any) -> tuple[int, bytes]:
    options = io.TlsContextOptions.create_client_with_mtls_from_path(str(aws.certificate), str(aws.private_key))
    options.override_default_trust_store_from_path(None, str(aws.root_ca))
    if aws.https_port == HTTPS_ALPN_PORT:
        options.alpn_list = ["x-amzn-http-ca"]
    tls = io.ClientTlsContext(options).new_connection_options()
    tls.set_server_name(aws.https_endpoint)
    connection = await asyncio.wrap_future(
        http.HttpClientConnection.new(aws.https_endpoint, aws.https_port, bootstrap, io.SocketOptions(), tls)
    )
    try:
        body = bytearray()
        headers = http.HttpHeaders([("Host", aws.https_endpoint), ("Accept", "application/json")])

        def on_body(chunk: bytes, **_: Any) -> None:
            if len(body) <= LARGEST_ANSWER_BYTES:
                body.extend(chunk)

        stream = connection.request(http.HttpRequest("GET", path, headers), on_body=on_body)
        stream.activate()
        status = await asyncio.wrap_future(stream.completion_future)
    finally:
        connection.close()
    return int(status), bytes(body)


def _bootstrap() -> Any:
    """One event loop thread of the SDK's: a device needs no more, and each costs memory and wake-ups."""
    group = io.EventLoopGroup(1)
    return io.ClientBootstrap(group, io.DefaultHostResolver(group))


def _reason(error: BaseException) -> str:
    if isinstance(error, exceptions.AwsCrtError):
        return f"{error.name}: {error.message}"
    return str(error) or type(error).__name__
