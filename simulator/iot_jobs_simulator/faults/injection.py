"""Makes happen what faults say about requests and messages; everything else passes through unchanged.

Both listeners have their requests performed here. Knows no sockets: a listener hands over what performs and what sends.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from iot_jobs_simulator import payloads, topics
from iot_jobs_simulator.faults.faults import (
    Alter,
    Crash,
    Delay,
    DelayRollout,
    Duplicate,
    EmptyNext,
    Fault,
    Faults,
    ListenerName,
    Lose,
    Reject,
    Reorder,
    Silence,
    Throttle,
    TrafficEvent,
)
from iot_jobs_simulator.jobs.device import NEXT
from iot_jobs_simulator.jobs.notifications import Publication
from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.refusals import Code, Refused

Send: TypeAlias = Callable[[str, bytes], None]
Operate: TypeAlias = Callable[[], Json]
_log = logging.getLogger(__name__)
_NOTIFY = "notify"


@dataclass(slots=True)
class _Held:
    """A message that waits until `behind` others to the same thing have overtaken it."""

    thing: str | None
    behind: int
    send: Callable[[], None]


class HeldMessages:
    """Messages that a fault holds back until others have overtaken them."""

    def __init__(self) -> None:
        self._held: list[_Held] = []

    def hold(self, thing: str | None, behind: int, send: Callable[[], None]) -> None:
        """Keep a message until `behind` others to the thing have been sent."""
        self._held.append(_Held(thing, behind, send))

    def count_sent(self, thing: str | None) -> None:
        """Send what has now been overtaken by enough: one more message to the thing was sent."""
        for held in self._held:
            if held.thing == thing:
                held.behind -= 1
        self._send(held for held in list(self._held) if held.behind <= 0)

    def send_all(self) -> None:
        """Send everything that waits."""
        self._send(list(self._held))

    def forget_all(self) -> None:
        """Never send what waits."""
        self._held.clear()

    def _send(self, due: Iterable[_Held]) -> None:
        for held in due:
            self._held.remove(held)
            held.send()


class FaultInjector:
    """The service as clients meet it. `publish` sends a notification to whoever subscribed."""

    def __init__(self, faults: Faults, held: HeldMessages, publish: Send) -> None:
        self._faults = faults
        self._held = held
        self._send_notification = publish
        self._timers: set[asyncio.TimerHandle] = set()
        self._notified_at: dict[str, float] = {}

    def stop(self) -> None:
        """Send nothing any more."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._held.forget_all()

    def perform(self, event: TrafficEvent, operate: Operate) -> Json | None:
        """Do what a request asks for, faults permitting: its answer, or None if it is neither done nor answered.

        Raises Refused where the service or a fault refuses it. Any other exception is a failure inside the service, to
        be answered as AWS answers its own.
        """

        def acts(fault: Fault) -> bool:
            return not isinstance(fault, EmptyNext) or self._hides_next(event, fault)

        match fault := self._faults.take(event, Silence, Reject, Throttle, Crash, EmptyNext, when=acts):
            case Silence():
                return None
            case Reject():
                raise Refused(fault.code, fault.message, fault.members, fault.status)
            case Throttle():
                raise Refused(Code.REQUEST_THROTTLED, "Rate exceeded")
            case Crash():
                raise RuntimeError("A fault on demand")
            case EmptyNext():
                return {}
            case _:
                return operate()

    def send_reply(self, event: TrafficEvent, topic: str, payload: Json, send: Send) -> None:
        """Send the answer to a request over MQTT, or what faults make of it."""
        self._send(replace(event, what="reply"), topic, payload, send)

    def publish(self, publication: Publication) -> None:
        """Send a notification, or what faults make of it."""
        thing, name = topics.notification(publication.topic) or (None, None)
        if thing is not None and name == _NOTIFY:
            self._notified_at[thing] = asyncio.get_running_loop().time()
        _log.info("mqtt  notification %s", publication.topic)
        event = TrafficEvent(operation=name, thing=thing, topic=publication.topic, what="notification")
        self._send(event, publication.topic, publication.payload, self._send_notification)

    def http_reply_fault(self, event: TrafficEvent) -> Lose | Delay | Alter | None:
        """The fault that befalls the answer to a request over HTTP."""
        fault: Lose | Delay | Alter | None = self._faults.take(replace(event, what="reply"), Lose, Delay, Alter)
        return fault

    def rollout_delay_s(self, usual_s: float) -> float:
        """By how much the executions of the job that is being created come later."""
        event = TrafficEvent(operation="CreateJob", listener=ListenerName.CONTROL)
        fault: DelayRollout | None = self._faults.take(event, DelayRollout)
        return fault.delay_ms / 1000 if fault is not None else usual_s

    def _hides_next(self, event: TrafficEvent, fault: EmptyNext) -> bool:
        """Whether this is a request for `$next` that is to be told that nothing is pending."""
        if event.operation != "DescribeJobExecution" or event.job != NEXT:
            return False
        now = asyncio.get_running_loop().time()
        return fault.covers(1000 * (now - self._notified_at.get(event.thing or "", float("-inf"))))

    def _send(self, event: TrafficEvent, topic: str, payload: Json, send: Send) -> None:
        def send_it() -> None:
            send(topic, payloads.encode(payload).encode())

        match fault := self._faults.take(event, Lose, Delay, Duplicate, Reorder, Alter):
            case Lose():
                pass
            case Delay():
                self._send_later(fault.delay_ms, send_it)
            case Duplicate():
                self._send_now(event.thing, send_it)
                for copy in range(1, fault.copies):
                    self._send_later(copy * fault.gap_ms, send_it)
            case Reorder():
                self._held.hold(event.thing, fault.behind, send_it)
            case Alter():
                altered_topic, altered = alter(fault, topic, payload)
                self._send_now(event.thing, lambda: send(altered_topic, altered.encode()))
            case _:
                self._send_now(event.thing, send_it)

    def _send_now(self, thing: str | None, send: Callable[[], None]) -> None:
        send()
        self._held.count_sent(thing)

    def _send_later(self, delay_ms: float, send: Callable[[], None]) -> None:
        if delay_ms == 0:
            send()
            return

        def fire() -> None:
            self._timers.discard(timer)
            send()

        timer = asyncio.get_running_loop().call_later(delay_ms / 1000, fire)
        self._timers.add(timer)


def alter(fault: Alter, topic: str, payload: Json) -> tuple[str, str]:
    """Topic and payload that are sent instead."""
    members = {name: value for name, value in (payload | dict(fault.members)).items() if value is not None}
    text = payloads.encode(members) if fault.payload is None else fault.payload
    return fault.send_to or topic, text
