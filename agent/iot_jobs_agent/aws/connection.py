"""The connection to AWS IoT Core over MQTT.

One MQTT 3.1.1 connection, made anew after each loss with a randomised back-off: the SDK never retries a first connect,
reconnects without jitter, and fresh objects read renewed certificates. Notifications and answers come through plain
subscriptions that stand as long as the connection; an answer is known by its clientToken and its topic. The SDK's
request-response client would subscribe anew for each request, without end where that is refused (docs/decisions.md).

SDK threads do one thing, hand over to the loop; a surprise there ends the process, because the SDK swallows exceptions
and the agent would go deaf. All public methods belong to the loop's thread.
"""

import asyncio
import contextlib
import json
import os
import random
import sys
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from awscrt import exceptions, mqtt
from awsiot import mqtt_connection_builder

from iot_jobs_agent.aws import messages
from iot_jobs_agent.aws.https import list_over_https
from iot_jobs_agent.aws.nodelay import send_at_once
from iot_jobs_agent.aws.sdk import bootstrap, outcome, reason
from iot_jobs_agent.config.keys import Aws
from iot_jobs_agent.core.backoff import delay_s
from iot_jobs_agent.core.effects import Update
from iot_jobs_agent.core.events import Connected, Disconnected, Notified
from iot_jobs_agent.core.job import ExecutionId
from iot_jobs_agent.errors import AgentError, RequestRefused, RequestUnanswered

LASTING_S = 30.0  # a connection that held this long was a good one: the back-off starts anew
HEARD_KEPT = 500  # messages that wait for the loop: notifications are hints, unanswered requests are repeated
SAY_EVERY = 5  # failed attempts between two lines in the log
GRACE_S = 5.0  # for an orderly DISCONNECT
CLOSINGS_IN_A_ROW = 2  # that set a filter aside
SET_ASIDE_S = 30.0  # until it is asked for again, doubled each time the connection is closed over it
SET_ASIDE_LONGEST_S = 3600.0

HINT = "does the certificate's policy allow iot:Subscribe and iot:Receive on it?"
PUBLISH_HINT = "twice in a row: does the certificate's policy allow iot:Publish on the first of these?"
CONNECT_HINT = "check the network and [aws] in the configuration with `iot-jobs-agent check`"
CONNECT_HINTS = {
    "AWS_IO_SOCKET_CLOSED": "is the certificate active, and does its policy allow iot:Connect with this client id?",
    "AWS_ERROR_MQTT_UNEXPECTED_HANGUP": "does the certificate's policy allow iot:Connect with this client id?",
    "AWS_IO_TLS_ERROR_NEGOTIATION_FAILURE": "is root_ca the authority of this endpoint, and is the clock right?",
    "AWS_IO_DNS_INVALID_NAME": "check aws.endpoint and the device's DNS",
    # The SDK holds the news of a certificate that it does not trust back for 10 to 30 s.
    "TimeoutError": "is that port open, is root_ca the authority of this endpoint, and is the clock right?",
}

Say: TypeAlias = Callable[..., Any]


@dataclass(slots=True)
class _Session:
    """What lives as long as one connection.

    `asked` are the topics of what has no answer yet, by key, oldest first; `awaiting` the requests among them.
    """

    connection: Any = None
    awaiting: dict[str, asyncio.Future[tuple[str, messages.Json]]] = field(default_factory=dict)
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    why: str = ""
    asked: dict[str, str] = field(default_factory=dict)
    untried: set[str] = field(default_factory=set)
    all_tried: asyncio.Event = field(default_factory=asyncio.Event)

    def answer(self, topic: str, message: messages.Json) -> None:
        """Hand an answer to who waits for it; one that nobody waits for, or to another request, is none of ours."""
        token = str(message.get("clientToken", ""))
        awaiting = self.awaiting.get(token)
        if awaiting is not None and not awaiting.done() and topic.rpartition("/")[0] == self.asked.get(token):
            awaiting.set_result((topic, message))

    def fail(self, error: AgentError, topic: str = "") -> None:
        """Fail the requests that wait for an answer on `topic`, or all of them."""
        for token, awaiting in self.awaiting.items():
            if not awaiting.done() and topic in ("", self.asked.get(token)):
                awaiting.set_exception(error)

    def tried(self, topic_filter: str) -> None:
        """Note that the first try to subscribe is over, however it ended."""
        self.untried.discard(topic_filter)
        if not self.untried:
            self.all_tried.set()


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
        self._bootstrap = bootstrap()
        self._session: _Session | None = None
        self._heard: deque[tuple[str, bytes]] = deque(maxlen=HEARD_KEPT)
        self._answers: deque[tuple[str, bytes]] = deque(maxlen=HEARD_KEPT)
        self._malformed: set[str] = set()
        self._closings: dict[str, int] = {}
        self._lost_on = ""

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
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(TimeoutError, exceptions.AwsCrtError):
                await outcome(session.connection.disconnect(), GRACE_S)

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
        return messages.parse_execution(message, namespace, body.get("executionNumber", 1))

    async def _listed_over_https(self, namespace: str) -> tuple[ExecutionId, ...]:
        message = await list_over_https(self._aws, namespace, self._bootstrap)
        return messages.parse_pending(message, namespace)

    async def _request(self, topic: str, body: dict[str, Any]) -> messages.Json:
        """Publish a request and return the answer. A time-out may mean that it was never sent."""
        session = self._session
        if session is None:
            raise RequestUnanswered(f"{topic}: not connected")
        token = uuid.uuid4().hex
        awaiting: asyncio.Future[tuple[str, messages.Json]] = self._loop.create_future()
        session.awaiting[token] = awaiting
        session.asked[token] = topic
        try:
            session.connection.publish(topic, json.dumps({**body, "clientToken": token}), mqtt.QoS.AT_LEAST_ONCE)
            async with asyncio.timeout(self._aws.request_timeout_s):
                answered, message = await awaiting
        except (TimeoutError, exceptions.AwsCrtError) as error:
            raise RequestUnanswered(f"{topic}: {reason(error)}") from None
        finally:
            session.awaiting.pop(token)
            session.asked.pop(token)
        if answered.endswith("/rejected"):
            raise messages.refusal(message)
        return message

    async def _connect(self, failures: int) -> _Session | None:
        """Connect; None where that failed."""
        try:
            session = self._new_session()
            await _opened(session.connection, self._aws.connect_timeout_s)
        except Exception as error:  # noqa: BLE001 - the SDK raises AwsCrtError for the network and bare Exception for a refusing broker
            if failures % SAY_EVERY == 0:
                self._warn(
                    "cannot connect, trying again",
                    endpoint=self._aws.endpoint,
                    port=self._aws.port,
                    attempt=failures + 1,
                    why=reason(error),
                    hint=CONNECT_HINTS.get(getattr(error, "name", type(error).__name__), CONNECT_HINT),
                )
            return None
        send_at_once(self._aws.port)
        self._session = session
        return session

    def _new_session(self) -> _Session:
        aws = self._aws
        session = _Session()
        common = {
            "client_id": aws.client_id,
            "clean_session": False,
            "keep_alive_secs": aws.keep_alive_s,
            "ping_timeout_ms": min(int(aws.request_timeout_s * 1000), aws.keep_alive_s * 1000 - 1),
            "on_connection_interrupted": lambda error, **_: self._hand_over(_on_lost, session, error.name),
        }
        if not aws.tls:
            client = mqtt.Client(self._bootstrap, None)
            session.connection = mqtt.Connection(client, host_name=aws.endpoint, port=aws.port, **common)
        else:
            session.connection = mqtt_connection_builder.mtls_from_path(
                str(aws.certificate),
                str(aws.private_key),
                ca_filepath=str(aws.root_ca),
                endpoint=aws.endpoint,
                port=aws.port,
                client_bootstrap=self._bootstrap,
                tcp_connect_timeout_ms=int(aws.connect_timeout_s * 1000),
                **common,
            )
        return session

    async def _serve(self, session: _Session) -> None:
        """Announce the connection once its subscriptions were tried, and wait until it is lost."""
        filters = self._topics.answers(self._namespaces)
        filters += self._topics.notifications(self._namespaces, with_api_text_form=self._aws.api_text_topics)
        session.untried = set(filters)
        async with asyncio.TaskGroup() as group:
            holders = [group.create_task(self._hold(session, topic_filter)) for topic_filter in filters]
            tried, lost = (group.create_task(event.wait()) for event in (session.all_tried, session.lost))
            await asyncio.wait({tried, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not session.lost.is_set():
                self._say("connected", endpoint=self._aws.endpoint, client_id=self._aws.client_id)
                self._post(Connected(random.random()))  # noqa: S311 - jitter, no secret
            await lost
            self._blame(session, filters)
            for task in (tried, *holders):
                task.cancel()
        self._session = None
        session.fail(RequestUnanswered("the connection was lost; whether the request arrived is not known"))
        session.connection.disconnect()  # done by the SDK in its own time; it must not reconnect by itself
        self._post(Disconnected())

    def _blame(self, session: _Session, filters: list[str]) -> None:
        """Tell what had no answer when the connection was lost: AWS closes it on what the policy does not allow."""
        asked = list(session.asked.values())
        hint = {"hint": PUBLISH_HINT} if asked and asked[0] == self._lost_on and asked[0] not in filters else {}
        self._lost_on = asked[0] if asked else ""
        self._warn("connection lost", why=session.why, unanswered=", ".join(asked[:3]), **hint)
        suspect = next((key for key in session.asked if key in filters), None)
        if suspect is not None:
            closings = self._closings[suspect] = self._closings.get(suspect, 0) + 1
            if closings == CLOSINGS_IN_A_ROW:
                self._warn(
                    "subscription set aside",
                    topic=suspect,
                    why="the connection was closed twice in a row before it was answered",
                    hint=HINT,
                )

    async def _hold(self, session: _Session, topic_filter: str) -> None:
        """Subscribe until it is granted, with a back-off; what got the connection closed before only after a while."""
        closings = self._closings.get(topic_filter, 0) - CLOSINGS_IN_A_ROW
        if closings >= 0:
            session.tried(topic_filter)
            await asyncio.sleep(min(SET_ASIDE_LONGEST_S, SET_ASIDE_S * 2.0 ** min(closings, 20)))
        failures = 0
        while why := await self._subscribe(session, topic_filter):
            if failures % SAY_EVERY == 0:
                self._warn("subscription refused", topic=topic_filter, attempt=failures + 1, why=why, hint=HINT)
            failures += 1
            session.tried(topic_filter)
            await asyncio.sleep(delay_s(failures, random.random()))  # noqa: S311 - jitter, no secret
        self._closings.pop(topic_filter, None)
        session.tried(topic_filter)

    async def _subscribe(self, session: _Session, topic_filter: str) -> str:
        """Subscribe once; why it failed, or ""."""
        session.asked[topic_filter] = topic_filter
        future, _ = session.connection.subscribe(topic_filter, mqtt.QoS.AT_LEAST_ONCE, self._on_message)
        try:
            await outcome(future, self._aws.request_timeout_s)
        except mqtt.SubscribeError:
            return "the broker said no"
        except (TimeoutError, exceptions.AwsCrtError) as error:
            return reason(error)
        finally:
            session.asked.pop(topic_filter, None)
        return ""

    def _on_message(self, topic: str, payload: bytes, **_: Any) -> None:
        """Runs on an SDK thread. Holds no session: the SDK holds this, and the session the SDK's connection."""
        heard = self._answers if messages.is_answer(topic) else self._heard
        heard.append((topic, payload))
        self._hand_over(self._on_heard)

    def _hand_over(self, callback: Callable[..., None], *args: Any) -> None:
        """Call `callback` on the loop. Runs on an SDK thread: nothing may be raised into it, and nothing hidden."""
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except BaseException:  # noqa: BLE001 - whatever it is, a deaf agent would be worse than a restarted one
            if not self._loop.is_closed():
                traceback.print_exc(file=sys.stderr)
                os._exit(70)

    def _on_heard(self) -> None:
        while self._answers:
            self._on_answer(*self._answers.popleft())
        while self._heard:
            self._on_notification(*self._heard.popleft())

    def _on_answer(self, topic: str, payload: bytes) -> None:
        session = self._session
        try:
            message = messages.parse_object(payload)
        except messages.MalformedMessageError as error:
            self._on_malformed(topic, error)
            if session is not None:
                session.fail(error, topic.rpartition("/")[0])
            return
        if session is not None:
            session.answer(topic, message)

    def _on_notification(self, topic: str, payload: bytes) -> None:
        try:
            namespace, is_complete = self._topics.namespace_of(topic)
            pending = messages.parse_notification(payload, namespace, is_complete=is_complete)
        except messages.MalformedMessageError as error:
            self._on_malformed(topic, error)
            return
        self._post(Notified(namespace, pending, is_complete))

    def _on_malformed(self, topic: str, error: messages.MalformedMessageError) -> None:
        """Log it once a topic: whoever sends nonsense sends it again."""
        if topic not in self._malformed and len(self._malformed) < 1000:  # noqa: PLR2004 - bounded memory
            self._malformed.add(topic)
            self._warn("malformed message ignored", topic=topic, why=str(error))


async def _opened(connection: Any, timeout_s: float) -> None:
    """Connect in time: the SDK gives TLS 10 s of its own and has no option for it. What connects later hangs up."""
    opening = connection.connect()
    try:
        await outcome(opening, timeout_s)
    except TimeoutError:
        opening.add_done_callback(lambda late: late.exception() or connection.disconnect())
        raise


def _on_lost(session: _Session, why: str) -> None:
    session.why = why
    session.lost.set()
