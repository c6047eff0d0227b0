"""Wraps one MQTT 3.1.1 connection of the SDK for the loop.

To speak another version of MQTT, write a class with the same methods. SDK threads do nothing but hand over to the
loop. All methods belong to the loop's thread.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, TypeAlias

from awscrt import io, mqtt

from iot_jobs_agent.aws.sdk import SdkError, hand_over, proxy_options, sdk_errors, wait_for
from iot_jobs_agent.aws.tls import ALPN_MQTT, TlsContexts
from iot_jobs_agent.config.values import Aws

GRACE_S = 5.0  # for an orderly DISCONNECT

Hear: TypeAlias = Callable[[str, bytes], None]  # takes topic and payload, on an SDK thread


class SubscriptionRefusedError(SdkError):
    """The broker refused a subscription in its SUBACK."""


class MqttConnection:
    """A connection that can be opened once. After `lost` is set, it cannot be used any more.

    `unanswered` maps a key that the sender chose to the topic of a message without an answer yet, oldest first.
    """

    def __init__(self, aws: Aws, client_bootstrap: Any, tls: TlsContexts, hear: Hear) -> None:
        """Create the connection without opening it. `hear` must not refer to it, or the SDK would keep it alive.

        Raises:
            SdkError: the certificate's files cannot be used.
        """
        self.lost = asyncio.Event()
        self.why_lost = ""
        self.unanswered: dict[str, str] = {}
        self._hear = hear
        self._timeout_s = aws.request_timeout_s
        loop = asyncio.get_running_loop()
        with sdk_errors():
            self._connection = _sdk_connection(
                aws, client_bootstrap, tls, lambda error, **_: hand_over(loop, self._on_lost, error.name)
            )

    async def open(self, timeout_s: float) -> None:
        """Connect within `timeout_s` seconds.

        The SDK allows TLS 10 s of its own and has no option for that, so a connection that is up too late is closed.

        Raises:
            SdkError: there is no connection in time.
        """
        connection = self._connection
        with sdk_errors():
            opening = connection.connect()
        try:
            await wait_for(opening, timeout_s)
        except SdkError:
            opening.add_done_callback(lambda late: None if late.exception() else _disconnect(connection))
            raise

    def publish(self, topic: str, text: str) -> None:
        """Send a message at QoS 1. Raises SdkError if it cannot even be sent."""
        with sdk_errors():
            future, _ = self._connection.publish(topic, text, mqtt.QoS.AT_LEAST_ONCE)
            if future.done():
                future.result()

    async def subscribe(self, topic_filter: str) -> None:
        """Subscribe at QoS 1. Raises SdkError: SubscriptionRefusedError if the broker refuses the subscription."""
        hear = self._hear
        self.unanswered[topic_filter] = topic_filter
        try:
            with sdk_errors():
                future, _ = self._connection.subscribe(
                    topic_filter, mqtt.QoS.AT_LEAST_ONCE, lambda topic, payload, **_: hear(topic, payload)
                )
            await wait_for(future, self._timeout_s)
        except SdkError as error:
            if isinstance(error.cause, mqtt.SubscribeError):
                raise SubscriptionRefusedError(error.cause) from None
            raise
        finally:
            self.unanswered.pop(topic_filter, None)

    async def close(self) -> None:
        """Disconnect. The broker keeps the session, so that it queues notifications for us. Never raises."""
        with contextlib.suppress(SdkError):
            with sdk_errors():
                closing = self._connection.disconnect()
            await wait_for(closing, GRACE_S)

    def abandon(self) -> None:
        """Let go of a lost connection without waiting, so that it does not reconnect by itself. Never raises."""
        _disconnect(self._connection)

    def _on_lost(self, why: str) -> None:
        self.why_lost = why
        self.lost.set()


def _disconnect(connection: Any) -> None:
    """Disconnect without waiting; on any thread. Never raises."""
    with contextlib.suppress(SdkError), sdk_errors():
        connection.disconnect()


def _sdk_connection(aws: Aws, client_bootstrap: Any, tls: TlsContexts, on_lost: Callable[..., None]) -> Any:
    socket_options = io.SocketOptions()
    socket_options.connect_timeout_ms = int(aws.connect_timeout_s * 1000)
    return mqtt.Connection(
        mqtt.Client(client_bootstrap, tls.make(aws.port, ALPN_MQTT) if aws.tls else None),
        host_name=aws.endpoint,
        port=aws.port,
        client_id=aws.client_id,
        clean_session=False,
        keep_alive_secs=aws.keep_alive_s,
        ping_timeout_ms=min(int(aws.request_timeout_s * 1000), aws.keep_alive_s * 1000 - 1),
        on_connection_interrupted=on_lost,
        socket_options=socket_options,
        proxy_options=proxy_options(aws.proxy),
    )
