"""An amqtt broker that hands request topics of Jobs to the service. The only file that knows amqtt.

Owns sessions and delivery. amqtt 0.12.1 is overridden where AWS IoT Core differs from it; each override says why.
Listening is our own (amqtt's "external" listener): its TLS listener would let clients in without a certificate.
"""

import asyncio
import itertools
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from amqtt.broker import Broker, Server
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.mqtt.constants import QOS_0, QOS_1
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import Session

from iot_jobs_simulator.changes import Changes
from iot_jobs_simulator.faults.faults import RefuseSubscription, SessionPresent, TrafficEvent
from iot_jobs_simulator.mqtt.gate import ConnectionRules, Gate

_LISTENER: Final = "default"
_KEPT: Final = "simulator.kept"
_REFUSED_FILTER: Final = 0x80


class MqttBroker:
    """Sessions, subscriptions and what is published to them. Gates bring the connections in."""

    def __init__(self, rules: ConnectionRules, changes: Changes) -> None:
        self.rules = rules
        self._changes = changes
        self._broker: _JobsBroker | None = None

    async def start(self) -> None:
        """Begin without any session, or go on with those that were kept."""
        if self._broker is None:
            config = BrokerConfig(listeners={_LISTENER: ListenerConfig(type=ListenerType.EXTERNAL)}, plugins={})
            self._broker = _JobsBroker(config, self.rules, self._changes)
            await self._broker.start()

    async def forget_sessions(self) -> None:
        """Lose every session, and what is published until `start`."""
        broker, self._broker = self._broker, None
        if broker is not None:
            await broker.shutdown()

    def has_subscription(self, topic_filter: str) -> bool:
        """Whether a client that is connected has subscribed to exactly this filter."""
        sessions = self._broker.subscriptions.get(topic_filter, []) if self._broker is not None else []
        return any(session.transitions.state == "connected" for session, _ in sessions)

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1 or what the subscription allows; sessions that are away keep it."""
        if self._broker is not None:
            self._broker.publish(topic, payload)

    async def serve(self, gate: Gate) -> None:
        """Serve one connection to its end. Raises whatever amqtt lets through."""
        if self._broker is not None:
            await self._broker.external_connected(gate, gate, _LISTENER)


@dataclass(frozen=True, slots=True)
class _Delivery:
    """One publication on its way to one session. `number` says in which order they were published."""

    session: Session
    topic: str
    payload: bytes
    qos: int
    number: int

    def keep(self) -> None:
        """Keep it with a session that is away; QoS 0 and clean sessions get nothing later."""
        if self.qos != QOS_0 and not self.session.clean_session:
            self.session.attributes.setdefault(_KEPT, []).append(self)


class _JobsBroker(Broker):  # type: ignore[misc] # amqtt ships no types
    """amqtt's broker with what AWS IoT Core does otherwise."""

    def __init__(self, config: BrokerConfig, rules: ConnectionRules, changes: Changes) -> None:
        super().__init__(config)
        self._rules = rules
        self._changes = changes
        self._replies: dict[asyncio.Task[Any], tuple[Gate, int]] = {}
        self._numbers = itertools.count()
        self._deliveries: dict[asyncio.Task[Any], _Delivery] = {}
        self._served: dict[str, tuple[asyncio.Task[Any], Gate]] = {}

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish to every subscription at its QoS.

        amqtt's own way loses what is on its way to a persistent session when the connection breaks.
        """
        for topic_filter, subscriptions in self._subscriptions.items():
            if self._matches(topic, topic_filter):
                for session, qos in subscriptions:
                    self._deliver(_Delivery(session, topic, payload, qos, next(self._numbers)))

    def _deliver(self, delivery: "_Delivery") -> None:
        """Send to a client that is connected, or keep it for its persistent session."""
        handler = self._get_handler(delivery.session)
        if handler is None or delivery.session.transitions.state != "connected":
            delivery.keep()
            return
        gate = self._served[delivery.session.client_id][1]
        if not self._rules.policy.permits(gate.common_name, delivery.topic):
            return  # subscribed with another certificate
        sending = handler.mqtt_publish(delivery.topic, delivery.payload, delivery.qos, retain=False)
        task = asyncio.ensure_future(sending)
        self._deliveries[task] = delivery
        task.add_done_callback(self._delivered)

    def _delivered(self, task: asyncio.Task[Any]) -> None:
        delivery = self._deliveries.pop(task)
        if task.cancelled() or task.exception() is not None:
            delivery.keep()

    async def _authenticate(self, session: Session, _listener: ListenerConfig) -> bool:
        """Any user name will do: the SDKs put their version there. The last moment to lie about the session.

        amqtt refuses all without an authentication plug-in, and its one for anonymous clients makes sessions forget.
        """
        fault = self._rules.faults.take(TrafficEvent(client_id=session.client_id), SessionPresent)
        if fault is not None:
            session.parent = int(fault.says)
        return True

    async def add_subscription(self, subscription: tuple[str, int], session: Session) -> int:
        """AWS has no QoS 2. amqtt keeps the old QoS when a filter is subscribed again; the new one counts."""
        topic_filter, qos = subscription
        if self._refuses_filter(topic_filter, session):
            return _REFUSED_FILTER
        self._del_subscription(topic_filter, session)
        granted: int = await super().add_subscription((topic_filter, min(qos, QOS_1)), session)
        if granted == _REFUSED_FILTER:
            self._subscriptions.pop(topic_filter, None)
        self._changes.announce()
        return granted

    def _refuses_filter(self, topic_filter: str, session: Session) -> bool:
        """By its size, its number, the certificate, or on demand."""
        limits, gate = self._rules.limits, self._served[session.client_id][1]
        event = TrafficEvent(client_id=session.client_id, topic=topic_filter)
        mine = {name for name, entries in self._subscriptions.items() if any(session is entry[0] for entry in entries)}
        return (
            not limits.takes_topic(topic_filter)
            or (topic_filter not in mine and len(mine) >= limits.max_subscriptions)
            or not self._rules.policy.permits(gate.common_name, topic_filter)
            or self._rules.faults.take(event, RefuseSubscription) is not None
        )

    async def _handle_client_session(  # noqa: PLR0917 - amqtt's signature
        self,
        reader: Gate,
        writer: Gate,
        client_session: Session,
        handler: BrokerProtocolHandler,
        server: Server,
        listener_name: str,
    ) -> None:
        """A new connection ends an older one of the same client id, completely, before it goes on.

        amqtt leaves the older one open if its session is clean, and otherwise lets it mark the session that both share
        as disconnected afterwards.
        """
        client_session.keep_alive = 0  # the gate sees to it; amqtt's own timeout does nothing
        task, previous = asyncio.current_task(), self._served.get(client_session.client_id)
        if task is not None:
            self._served[client_session.client_id] = (task, writer)
        if previous is not None:
            previous[1].abort()
            await asyncio.wait([previous[0]])
        if client_session.parent and client_session.clean_session:
            # amqtt found the older connection's session, but that was a clean one and ended just now
            client_session.parent, client_session.clean_session = 0, False
        try:
            await super()._handle_client_session(reader, writer, client_session, handler, server, listener_name)
        finally:
            if self._served.get(client_session.client_id, (None,))[0] is task:
                del self._served[client_session.client_id]

    async def _handle_disconnect(
        self, client_session: Session, handler: BrokerProtocolHandler, disconnect_waiter: asyncio.Future[Any]
    ) -> None:
        """Requests that came before the DISCONNECT still count; a clean session ends here, not up to a second later."""
        queue, gate = client_session.delivered_message_queue, self._served[client_session.client_id][1]
        while not queue.empty():
            message = queue.get_nowait()
            gate.on_request(client_session.client_id, message.topic, bytes(message.data), lambda _topic, _payload: None)
        await super()._handle_disconnect(client_session, handler, disconnect_waiter)
        unacknowledged = [task for task, delivery in self._deliveries.items() if delivery.session is client_session]
        for task in unacknowledged:
            task.cancel()
        if unacknowledged:
            await asyncio.wait(unacknowledged)  # so that all is kept before the next connection asks for it
        client_session.inflight_out.clear()  # what amqtt would send again is what was kept
        session, _ = self._sessions.get(client_session.client_id, (None, None))
        if client_session.clean_session and session is client_session:
            await self._delete_session(client_session.client_id)
        self._changes.announce()

    async def _handle_message_delivery(
        self, client_session: Session, handler: BrokerProtocolHandler, wait_deliver: asyncio.Future[Any]
    ) -> bool:
        """Requests to Jobs go to the service, and nowhere else.

        What else starts with `$` ends the connection. amqtt's own way to end it leaves the session connected forever.
        """
        message, gate = wait_deliver.result(), self._served[client_session.client_id][1]
        if message is None or not message.topic:
            return True

        def send(topic: str, payload: bytes) -> None:
            self._reply(handler, gate, topic, payload)

        if gate.on_request(client_session.client_id, message.topic, bytes(message.data), send):
            return True
        if message.topic.startswith("$"):
            gate.abort()
            return True
        handled: bool = await super()._handle_message_delivery(client_session, handler, wait_deliver)
        return handled

    def _reply(self, handler: BrokerProtocolHandler, gate: Gate, topic: str, payload: bytes) -> None:
        """Send to one client, subscribed or not, past the broker (developer guide, page jobs-mqtt-api).

        At QoS 0: with QoS 1, Nagle's algorithm and delayed acknowledgement cost 40 ms a request. Leaves before what is
        published after it, since writing to a client is first come, first served. A client that asks but does not read
        is cut off.
        """
        if gate.unsent_bytes > self._rules.limits.max_unsent_bytes:
            gate.abort()
            return
        gate.unsent_bytes += len(payload)
        task = asyncio.ensure_future(handler.mqtt_publish(topic, payload, QOS_0, retain=False))
        self._replies[task] = gate, len(payload)
        task.add_done_callback(self._reply_sent)

    def _reply_sent(self, task: asyncio.Task[Any]) -> None:
        gate, size_bytes = self._replies.pop(task)
        gate.unsent_bytes -= size_bytes
        with suppress(asyncio.CancelledError):
            task.exception()  # the client is gone; it hears nothing, as on AWS

    async def _publish_session_retained_messages(self, session: Session) -> None:
        """Send what was kept for a persistent session, in the order of publication."""
        kept: list[_Delivery] = session.attributes.pop(_KEPT, [])
        for delivery in sorted(kept, key=lambda delivery: delivery.number):
            self._deliver(delivery)
        await super()._publish_session_retained_messages(session)
