"""The connection to AWS IoT Core. After each loss it connects again, with exponential back-off and jitter.

We do that ourselves, with new SDK objects each time: the SDK never retries a first connect and reconnects without
jitter, and new objects read renewed certificates. Notifications and answers arrive on plain subscriptions that last as
long as the connection, because the SDK's request-response client subscribes again for each request, and never gives up
if that is refused (docs/decisions.md). All public methods belong to the loop's thread.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

from iot_jobs_agent import logs
from iot_jobs_agent.aws import advice, messages
from iot_jobs_agent.aws.mqtt import MqttConnection
from iot_jobs_agent.aws.nodelay import keep_tcp_nodelay, set_tcp_nodelay
from iot_jobs_agent.aws.requests import Requests
from iot_jobs_agent.aws.sdk import SdkError, hand_over, new_bootstrap
from iot_jobs_agent.aws.subscriptions import LOG_EVERY, Subscriptions
from iot_jobs_agent.aws.tls import TlsContexts
from iot_jobs_agent.chance import fraction
from iot_jobs_agent.config.values import Aws
from iot_jobs_agent.core.backoff import delay_s
from iot_jobs_agent.core.events import Connected, Disconnected, Notified
from iot_jobs_agent.errors import RequestUnanswered

LASTING_S = 30.0  # after a connection that lasted this long, the back-off starts over
TAKEN_OVER_WITHIN_S = 60.0  # two clients of one id each wait up to 30 s before they take the connection back
TAKEN_OVER_IN_A_ROW = 3
HEARD_KEPT = 500  # messages that may wait for the loop; losing one is safe: we poll, and repeat unanswered requests
LOSSES_LOGGED = 3  # equal ones in a row; of those that follow, one in LOG_EVERY
MALFORMED_KEPT = 1000  # how many topics of malformed messages we remember, to bound the memory

CREDENTIALS_HINT = "the agent looks at the files again each time it tries to connect"

Log: TypeAlias = Callable[..., Any]


class Connection:
    """The agent's one connection. `post` is called with Connected, Disconnected and Notified events, on the loop.

    `requests` sends over the current connection, if there is one. `info` and `warn` take a message and keyword facts,
    like structlog's methods.
    """

    def __init__(
        self,
        aws: Aws,
        namespaces: tuple[str, ...],
        post: Callable[[Connected | Disconnected | Notified], None],
        info: Log,
        warn: Log,
    ) -> None:
        self._aws = aws
        self._post = post
        self._info = info
        self._warn = warn
        self._log = logs.get_logger()
        self._topics = messages.Topics(aws.thing_name)
        self._bootstrap = new_bootstrap()
        self._tls = TlsContexts(aws, warn)
        self.requests = Requests(aws, self._bootstrap, self._tls, warn)
        filters = self._topics.answers(namespaces)
        filters += self._topics.notifications(namespaces, with_api_text_form=aws.api_text_topics)
        self._subscriptions = Subscriptions(filters, warn)
        self._loop = asyncio.get_running_loop()
        self._notifications: deque[tuple[str, bytes]] = deque(maxlen=HEARD_KEPT)
        self._answers: deque[tuple[str, bytes]] = deque(maxlen=HEARD_KEPT)
        self._malformed: set[str] = set()
        self._lost_on = ""
        self._connected_at = -TAKEN_OVER_WITHIN_S
        self._idle_losses = 0
        self._last_loss: dict[str, str] = {}
        self._equal_losses = 0

    async def run(self) -> None:
        """Stay connected until cancelled."""
        failures = 0
        while True:
            started = time.monotonic()
            connection = await self._connect(failures)
            if connection is not None:
                await self._serve(connection)
            has_lasted = connection is not None and time.monotonic() - started > LASTING_S
            failures = 0 if has_lasted else failures + 1
            self._last_loss = {} if has_lasted else self._last_loss
            wait_s = delay_s(max(failures, 1) + 1, fraction())
            await asyncio.sleep(wait_s)  # 1 s at least: AWS takes one CONNECT a second from a client id

    async def close(self) -> None:
        """Disconnect from the broker, if we are connected."""
        connection, self.requests.connection = self.requests.connection, None
        if connection is not None:
            await connection.close()

    async def _connect(self, failures: int) -> MqttConnection | None:
        """Connect and return the connection; None if that failed."""
        port = self._aws.proxy.port if self._aws.proxy else self._aws.port
        hurrying = asyncio.create_task(keep_tcp_nodelay(port))
        try:
            connection = MqttConnection(self._aws, self._bootstrap, self._tls, self._hear)
            await connection.open(self._aws.connect_timeout_s)
        except SdkError as error:
            if failures % LOG_EVERY == 0:
                self._warn(
                    "cannot connect, trying again",
                    endpoint=self._aws.endpoint,
                    port=self._aws.port,
                    attempt=failures + 1,
                    why=str(error),
                    hint=await self._connect_hint(error),
                )
            return None
        finally:
            hurrying.cancel()
        set_tcp_nodelay(port)
        self.requests.connection = connection
        return connection

    async def _connect_hint(self, error: SdkError) -> str:
        """Return what to change, in the words of `check`. This may ask the server once more, with Python's `ssl`."""
        if error.name == "CredentialsError":  # whose own sentence says what to change
            return CREDENTIALS_HINT
        from iot_jobs_agent.aws.diagnosis import connect_problem  # noqa: PLC0415 - takes memory, for failures only

        return await connect_problem(self._aws, error)

    async def _serve(self, connection: MqttConnection) -> None:
        """Announce the connection once every subscription has been tried, and wait until the connection is lost."""
        async with asyncio.TaskGroup() as group:
            holders = self._subscriptions.hold(connection, group)
            tried = group.create_task(self._subscriptions.wait_until_tried())
            lost = group.create_task(_wait(connection.lost))
            await asyncio.wait({tried, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not connection.lost.is_set():
                self._connected_at = time.monotonic()
                self._info("connected", endpoint=self._aws.endpoint, client_id=self._aws.client_id)
                self._post(Connected(fraction()))
            await lost
            self._blame(connection)
            for task in (tried, *holders):
                task.cancel()
        self.requests.connection = None
        self.requests.fail(RequestUnanswered("the connection was lost; whether the request arrived is not known"))
        connection.abandon()
        self._post(Disconnected())

    def _blame(self, connection: MqttConnection) -> None:
        """Log what was unanswered when the connection was lost: AWS closes it on anything that the policy forbids."""
        unanswered = list(connection.unanswered.values())
        first = unanswered[0] if unanswered else ""
        is_request_again = bool(first) and first == self._lost_on and not self._subscriptions.has(first)
        hint = {"hint": advice.request_closes(first)} if is_request_again else {}
        if self._was_taken_over_again(unanswered):
            hint = {"hint": advice.taken_over(self._aws.client_id)}
        self._lost_on = first
        loss = {"why": connection.why_lost, "unanswered": ", ".join(unanswered[:3]), **hint}
        self._equal_losses = self._equal_losses + 1 if loss == self._last_loss else 0
        self._last_loss = loss
        if self._equal_losses < LOSSES_LOGGED or self._equal_losses % LOG_EVERY == 0:
            self._warn("connection lost", **loss)
        self._subscriptions.blame(connection)

    def _was_taken_over_again(self, unanswered: list[str]) -> bool:
        """Return whether several short connections in a row ended while nothing was unanswered.

        That is how it looks if another client connects with our client id, because AWS IoT then ends ours
        (AWS IoT developer guide, page mqtt).
        """
        if time.monotonic() - self._connected_at > TAKEN_OVER_WITHIN_S:
            self._idle_losses = 0
        elif not unanswered:
            self._idle_losses += 1
        return not unanswered and self._idle_losses >= TAKEN_OVER_IN_A_ROW

    def _hear(self, topic: str, payload: bytes) -> None:
        """Take a message, on an SDK thread. Refers to no MqttConnection, because the SDK keeps this method alive."""
        heard = self._answers if messages.is_answer(topic) else self._notifications
        heard.append((topic, payload[: messages.LARGEST_BYTES + 1]))  # enough to see that it is too large
        hand_over(self._loop, self._on_heard)

    def _on_heard(self) -> None:
        while self._answers:
            self._on_answer(*self._answers.popleft())
        while self._notifications:
            self._on_notification(*self._notifications.popleft())

    def _on_answer(self, topic: str, payload: bytes) -> None:
        self._log.debug("answer received", topic=topic, size_bytes=len(payload))
        try:
            message = messages.parse_object(payload)
        except messages.MalformedMessageError as error:
            self._on_malformed(topic, error)
            self.requests.fail(error, topic.rpartition("/")[0])
            return
        self.requests.on_answer(topic, message)

    def _on_notification(self, topic: str, payload: bytes) -> None:
        self._log.debug("notification received", topic=topic, size_bytes=len(payload))
        try:
            namespace, is_complete = self._topics.namespace_of(topic)
            pending = messages.parse_notification(payload, namespace, is_complete=is_complete)
        except messages.MalformedMessageError as error:
            self._on_malformed(topic, error)
            return
        self._post(Notified(namespace, pending, is_complete))

    def _on_malformed(self, topic: str, error: messages.MalformedMessageError) -> None:
        """Log a malformed message, once per topic: whoever sends one sends more."""
        if topic not in self._malformed and len(self._malformed) < MALFORMED_KEPT:
            self._malformed.add(topic)
            self._warn("malformed message ignored", topic=topic, why=str(error))


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
