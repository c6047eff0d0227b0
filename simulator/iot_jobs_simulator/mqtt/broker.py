"""An amqtt broker that hands request topics of Jobs to the service. The only file that knows amqtt.

Owns sessions and delivery. amqtt 0.12.1 is overridden where AWS IoT Core differs from it; each override says why.
It sees MQTT 3.1.1 only, with payloads that are `sealed`: what MQTT 5 has besides travels in front of them.
Listening is our own (amqtt's "external" listener): its TLS listener would let clients in without a certificate.
"""

import asyncio
import math
from contextlib import suppress
from typing import Any, Final

from amqtt.broker import Broker, Server
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.mqtt.constants import QOS_0, QOS_1
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import Session

from iot_jobs_simulator.changes import Changes
from iot_jobs_simulator.faults.faults import RefuseSubscription, SessionPresent, TrafficEvent
from iot_jobs_simulator.mqtt import packets
from iot_jobs_simulator.mqtt.deliveries import (
    Deliveries,
    Delivery,
    end_session_at,
    session_is_over,
    take_kept,
)
from iot_jobs_simulator.mqtt.five import NO_LOCAL, RETAIN_AS_PUBLISHED
from iot_jobs_simulator.mqtt.gate import ConnectionRules, Gate
from iot_jobs_simulator.mqtt.packets import Kind, Packet
from iot_jobs_simulator.mqtt.reasons import Reason

_LISTENER: Final = "default"
_OPTIONS: Final = "simulator.options"
_SHARED: Final = "$share/"
_RETAIN_HANDLING: Final = 0x30  # of a subscription's options (MQTT 5, 3.8.3.1)
_ONLY_IF_NEW, _NEVER = 0x10, 0x20


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
            self._broker.publish(topic, packets.sealed(payload))

    async def serve(self, gate: Gate) -> None:
        """Serve one connection to its end. Raises whatever amqtt lets through."""
        if self._broker is not None:
            await self._broker.external_connected(gate, gate, _LISTENER)


class _JobsBroker(Broker):  # type: ignore[misc] # amqtt ships no types
    """amqtt's broker with what AWS IoT Core does otherwise."""

    def __init__(self, config: BrokerConfig, rules: ConnectionRules, changes: Changes) -> None:
        super().__init__(config)
        self._rules = rules
        self._changes = changes
        self._replies: dict[asyncio.Task[Any], tuple[Gate, int]] = {}
        self._deliveries = Deliveries(rules)
        self._served: dict[str, tuple[asyncio.Task[Any], Gate]] = {}

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        sender: Session | None = None,
        max_qos: int = QOS_1,
        is_retained: bool = False,
    ) -> None:
        """Publish to every subscription, at its QoS or the message's, whichever is lower.

        amqtt's own way loses what is on its way to a persistent session when the connection breaks.
        """
        for topic_filter, subscriptions in self._subscriptions.items():
            if self._matches(topic, topic_filter):
                for session, qos in subscriptions:
                    options = session.attributes.get(_OPTIONS, {}).get(topic_filter, 0)
                    if not (options & NO_LOCAL and session is sender):
                        stays_retained = is_retained and bool(options & RETAIN_AS_PUBLISHED)
                        self._deliver(Delivery(session, topic, payload, min(qos, max_qos), stays_retained))

    def _deliver(self, delivery: Delivery) -> None:
        """Send to a client that is connected, or keep it for its persistent session."""
        session = delivery.session
        handler = self._get_handler(session)
        if delivery.is_late(self._rules.now()):
            return
        if handler is None or session.transitions.state != "connected":
            delivery.keep()
            return
        self._deliveries.send(delivery, handler)

    async def _authenticate(self, session: Session, _listener: ListenerConfig) -> bool:
        """Any user name will do: the SDKs put their version there. The last moment to lie about the session.

        amqtt refuses all without an authentication plug-in, and its one for anonymous clients makes sessions forget.
        """
        fault = self._rules.faults.take(TrafficEvent(client_id=session.client_id), SessionPresent)
        if fault is not None:
            session.parent = int(fault.says)
        return True

    async def add_subscription(self, subscription: tuple[str, int], session: Session) -> int:
        """Return the QoS that is granted, or a reason code. What is subscribed with has the options of MQTT 5.

        AWS has no QoS 2. amqtt keeps the old QoS when a filter is subscribed again; the new one counts.
        """
        topic_filter, options = subscription
        self._del_subscription(topic_filter, session)
        granted: int = await super().add_subscription((topic_filter, min(options & 3, QOS_1)), session)
        if granted > QOS_1:
            self._subscriptions.pop(topic_filter, None)
            return Reason.TOPIC_FILTER_INVALID
        session.attributes.setdefault(_OPTIONS, {})[topic_filter] = options
        self._changes.announce()
        return granted

    def _filter_refusal(self, topic_filter: str, session: Session, gate: Gate) -> Reason | None:
        """Why a filter is refused: its size, its number, the certificate, or on demand."""
        limits = self._rules.limits
        if not limits.takes_topic(topic_filter):
            return Reason.TOPIC_FILTER_INVALID
        if topic_filter.startswith(_SHARED):
            return Reason.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
        mine = self._filters_of(session)
        if topic_filter not in mine and len(mine) >= limits.max_subscriptions:
            return Reason.QUOTA_EXCEEDED
        if not self._rules.policy.permits(gate.common_name, topic_filter):
            return Reason.NOT_AUTHORIZED
        event = TrafficEvent(client_id=session.client_id, topic=topic_filter)
        return Reason.UNSPECIFIED_ERROR if self._rules.faults.take(event, RefuseSubscription) is not None else None

    def _filters_of(self, session: Session) -> set[str]:
        return {name for name, entries in self._subscriptions.items() if any(session is entry[0] for entry in entries)}

    async def _handle_subscription(
        self, client_session: Session, handler: BrokerProtocolHandler, subscribe_waiter: asyncio.Future[Any]
    ) -> None:
        """Answer with reasons for refusals, of which amqtt knows one, and send what is retained, if that is wanted."""
        asked, before = subscribe_waiter.result(), self._filters_of(client_session)
        codes: list[int] = []
        for topic_filter, options in asked.topics:
            refusal = self._filter_refusal(topic_filter, client_session, handler.writer)
            granted = (
                await self.add_subscription((topic_filter, options), client_session) if refusal is None else refusal
            )
            codes.append(granted)
        await handler.mqtt_acknowledge_subscription(asked.packet_id, codes)
        for (topic_filter, options), code in zip(asked.topics, codes, strict=True):
            handling = options & _RETAIN_HANDLING
            if code <= QOS_1 and handling != _NEVER and not (handling == _ONLY_IF_NEW and topic_filter in before):
                self._send_retained(topic_filter, code, client_session)

    def _send_retained(self, topic_filter: str, qos: int, session: Session) -> None:
        for topic, message in self._retained_messages.items():
            if self._matches(topic, topic_filter):
                lower_qos = min(qos, message.qos or QOS_0)
                self._deliver(Delivery(session, topic, bytes(message.data), lower_qos, is_retained=True))

    async def _publish_retained_messages_for_subscription(
        self, _subscription: tuple[str, int], _session: Session
    ) -> None:
        """Send nothing: amqtt calls this at a connect too, when no message is new (MQTT 3.1.1, 3.3.1.3)."""

    async def _handle_unsubscription(
        self, client_session: Session, handler: BrokerProtocolHandler, unsubscribe_waiter: asyncio.Future[Any]
    ) -> None:
        """Say which filters were subscribed to, which amqtt does not."""
        asked = unsubscribe_waiter.result()
        removed = [self._del_subscription(topic_filter, client_session) for topic_filter in asked.topics]
        codes = bytes(Reason.SUCCESS if each else Reason.NO_SUBSCRIPTION_EXISTED for each in removed)
        body = asked.packet_id.to_bytes(2, "big") + codes
        handler.writer.write(packets.for_broker(Packet(Kind.UNSUBACK, 0, body)))

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
            previous[1].dismiss("another connection has taken its client id", Reason.SESSION_TAKEN_OVER)
            await asyncio.wait([previous[0]])
        await self._begin_session(client_session, writer)
        try:
            await super()._handle_client_session(reader, writer, client_session, handler, server, listener_name)
        finally:
            if self._served.get(client_session.client_id, (None,))[0] is task:
                del self._served[client_session.client_id]

    async def _begin_session(self, session: Session, gate: Gate) -> None:
        """Forget what is over of the session that amqtt has found, and note how long it is kept from now on.

        Its older connection may have ended just now, and with it a clean session. In MQTT 5, whether there is to be a
        new session and how long it is kept are two things.
        """
        if session.parent and (session.clean_session or session_is_over(session, self._rules.now())):
            await self._delete_session(session.client_id)
            session.attributes.clear()
            session.parent = 0
        session.clean_session = gate.session_expiry_s == 0
        end_session_at(session, math.inf)
        if gate.connect.will is not None:
            session.will_message = packets.sealed(gate.connect.will.payload, gate.connect.will.extras)
            session.will_retain = gate.connect.will.is_retained

    async def _handle_disconnect(
        self, client_session: Session, handler: BrokerProtocolHandler, disconnect_waiter: asyncio.Future[Any]
    ) -> None:
        """Requests that came before the DISCONNECT still count; a clean session ends here, not up to a second later."""
        queue, gate = client_session.delivered_message_queue, handler.writer  # a newer connection is served already
        while not queue.empty():
            message = queue.get_nowait()
            payload, _ = packets.opened(bytes(message.data))
            gate.on_request(client_session.client_id, message.topic, payload, lambda _topic, _payload: None)
        await super()._handle_disconnect(client_session, handler, disconnect_waiter)
        client_session.clean_session = gate.session_expiry_s == 0  # a DISCONNECT of MQTT 5 may say so
        if gate.session_expiry_s:
            end_session_at(client_session, self._rules.now() + gate.session_expiry_s)
        await self._deliveries.keep_all(gate)
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
        message, gate = wait_deliver.result(), handler.writer
        if message is None or not message.topic:
            return True

        def send(topic: str, payload: bytes) -> None:
            self._reply(handler, gate, topic, payload)

        payload, _ = packets.opened(bytes(message.data))
        if gate.on_request(client_session.client_id, message.topic, payload, send):
            return True
        if message.topic.startswith("$"):
            gate.dismiss(f"{message.topic} is a reserved topic that is not served", Reason.NOT_AUTHORIZED)
            return True
        is_retained = message.publish_packet.retain_flag
        data, qos = bytes(message.data), message.qos
        self.publish(message.topic, data, sender=client_session, max_qos=qos, is_retained=is_retained)
        if is_retained:
            await self.retain_message(client_session, message.topic, data, qos)
        return True

    async def _broadcast_message(
        self, session: Session | None, topic: str, data: bytes, force_qos: int | None = None
    ) -> None:
        """A client's will. amqtt's own way does not keep it for sessions that are away."""
        self.publish(topic, bytes(data), sender=session, max_qos=QOS_1 if force_qos is None else force_qos)

    async def retain_message(
        self, source_session: Session | None, topic_name: str, data: bytes, qos: int | None = None
    ) -> None:
        """An empty payload, which takes back what is retained, is not empty once it is sealed."""
        payload, _ = packets.opened(bytes(data))
        await super().retain_message(source_session, topic_name, data if payload else b"", qos)

    def _reply(self, handler: BrokerProtocolHandler, gate: Gate, topic: str, payload: bytes) -> None:
        """Send to one client, subscribed or not, past the broker (developer guide, page jobs-mqtt-api).

        At QoS 0: with QoS 1, Nagle's algorithm and delayed acknowledgement cost 40 ms a request. Leaves before what is
        published after it, since writing to a client is first come, first served. A client that asks but does not read
        is cut off.
        """
        if gate.unsent_bytes > self._rules.limits.max_unsent_bytes:
            gate.abort()
            return
        if not gate.can_send(topic, payload):
            return
        gate.unsent_bytes += len(payload)
        task = asyncio.ensure_future(handler.mqtt_publish(topic, packets.sealed(payload), QOS_0, retain=False))
        self._replies[task] = gate, len(payload)
        task.add_done_callback(self._reply_sent)

    def _reply_sent(self, task: asyncio.Task[Any]) -> None:
        gate, size_bytes = self._replies.pop(task)
        gate.unsent_bytes -= size_bytes
        with suppress(asyncio.CancelledError):
            task.exception()  # the client is gone; it hears nothing, as on AWS

    async def _publish_session_retained_messages(self, session: Session) -> None:
        """Send what was kept for a persistent session."""
        for delivery in take_kept(session):
            self._deliver(delivery)
        await super()._publish_session_retained_messages(session)
