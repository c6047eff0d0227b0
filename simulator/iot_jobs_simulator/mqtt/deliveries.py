"""Messages on their way to clients: when one is sent, waits, is kept for later or is dropped.

Sessions and handlers are amqtt's; nothing else of amqtt is known here.
"""

import asyncio
import itertools
import math
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from iot_jobs_simulator.mqtt import packets
from iot_jobs_simulator.mqtt.gate import ConnectionRules, Gate

_KEPT: Final = "simulator.kept"
_ENDS_AT: Final = "simulator.ends-at"
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Delivery:
    """One publication on its way to one session; its payload is sealed.

    `number` says in which order they were published.
    """

    session: Any
    topic: str
    payload: bytes
    qos: int
    is_retained: bool = False
    number: int = field(default_factory=lambda: next(_numbers))

    def keep(self) -> None:
        """Keep it with a session that is away; QoS 0 and clean sessions get nothing later."""
        if self.qos and not self.session.clean_session:
            self.session.attributes.setdefault(_KEPT, []).append(self)

    def is_late(self, now: float) -> bool:
        """Whether it has expired, or its session has."""
        return packets.opened(self.payload)[1].ends_at <= now or session_is_over(self.session, now)


class Deliveries:
    """Those of all sessions of a broker. At QoS 1, only as many are under way to a client as it takes at once."""

    def __init__(self, rules: ConnectionRules) -> None:
        self._rules = rules
        self._under_way: dict[asyncio.Task[Any], tuple[Delivery, Gate]] = {}
        self._unacknowledged: dict[Gate, int] = defaultdict(int)
        self._waiting: dict[Gate, deque[Delivery]] = defaultdict(deque)

    def send(self, delivery: Delivery, handler: Any) -> None:
        """Send to a client that is connected, as soon as it takes more; not what is too large for it.

        What is too large counts as sent (MQTT 5, 3.1.2.11.4). amqtt waits 5 s for a client's PUBACK; then the message
        is kept for the next connection.
        """
        gate: Gate = handler.writer
        if not self._rules.policy.permits(gate.common_name, delivery.topic):
            return  # it subscribed with another certificate
        if not gate.can_send(delivery.topic, delivery.payload):
            return
        most = min(gate.connect.receive_maximum, self._rules.limits.max_unacknowledged)
        if delivery.qos and self._unacknowledged[gate] >= most:
            self._waiting[gate].append(delivery)
            return
        self._unacknowledged[gate] += delivery.qos
        sending = handler.mqtt_publish(delivery.topic, delivery.payload, delivery.qos, retain=delivery.is_retained)
        task = asyncio.ensure_future(sending)
        self._under_way[task] = delivery, gate
        task.add_done_callback(lambda done: self._sent(done, handler))

    async def keep_all(self, gate: Gate) -> None:
        """Keep what a connection that has ended leaves, before the next one asks for it."""
        for delivery in self._waiting.pop(gate, ()):
            delivery.keep()
        unsent = [task for task, (_, of) in self._under_way.items() if of is gate]
        for task in unsent:
            task.cancel()
        if unsent:
            await asyncio.wait(unsent)
        self._unacknowledged.pop(gate, None)

    def _sent(self, task: asyncio.Task[Any], handler: Any) -> None:
        delivery, gate = self._under_way.pop(task)
        self._unacknowledged[gate] -= delivery.qos
        if task.cancelled() or task.exception() is not None:
            delivery.keep()
        if self._waiting.get(gate):
            self.send(self._waiting[gate].popleft(), handler)


def take_kept(session: Any) -> Iterable[Delivery]:
    """Take what was kept for a persistent session, in the order of publication."""
    kept: list[Delivery] = session.attributes.pop(_KEPT, [])
    return sorted(kept, key=lambda delivery: delivery.number)


def end_session_at(session: Any, at: float) -> None:
    """Note when a session ends whose client is away; infinity if it is not or has no end."""
    session.attributes[_ENDS_AT] = at


def session_is_over(session: Any, now: float) -> bool:
    """Whether a session has ended while its client was away."""
    return bool(session.attributes.get(_ENDS_AT, math.inf) <= now)
