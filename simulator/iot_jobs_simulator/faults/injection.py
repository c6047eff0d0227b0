"""Makes happen what faults say about requests and messages; everything else passes through unchanged.

Stands between the fronts and the service. Knows no sockets: a front hands over what sends.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from iot_jobs_simulator import payloads, topics
from iot_jobs_simulator.device_plane import Reply
from iot_jobs_simulator.faults.faults import (
    Alter,
    Crash,
    Delay,
    DelayRollout,
    Duplicate,
    EmptyNext,
    Event,
    Faults,
    Front,
    Lose,
    Reject,
    Reorder,
    Silence,
    Throttle,
)
from iot_jobs_simulator.jobs.device import NEXT
from iot_jobs_simulator.jobs.notifications import Publication
from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.refusals import Code, Refused
from iot_jobs_simulator.service import Service

Send: TypeAlias = Callable[[str, bytes], None]
RequestFault: TypeAlias = Silence | Reject | Throttle | Crash
MessageFault: TypeAlias = Lose | Delay | Duplicate | Reorder | Alter

_NOTIFY: Final = "notify"


@dataclass(slots=True)
class _Held:
    """A message that waits until others have overtaken it."""

    thing: str | None
    behind: int
    send: Callable[[], None]


class Trouble:
    """The service as clients meet it. `publish` sends a notification to whoever subscribed."""

    def __init__(self, faults: Faults, publish: Send) -> None:
        self._faults = faults
        self._send_notification = publish
        self._held: list[_Held] = []
        self._timers: set[asyncio.TimerHandle] = set()
        self._notified_at: dict[str, float] = {}
        faults.when_cleared = self._release_all

    def stop(self) -> None:
        """Send nothing any more."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._held.clear()

    def answer_mqtt(self, service: Service, client_id: str, topic: str, payload: bytes, send: Send) -> bool:
        """Answer a message on a request topic; False if the topic is none of Jobs'."""
        request = topics.parse(topic)
        if request is None:
            return False
        event = Event(
            operation=request.operation,
            thing=request.thing_name,
            topic=topic,
            client_id=client_id,
            front=Front.MQTT,
            job=request.job_id,
        )

        def reply(reply: Reply) -> None:
            self._send(replace(event, what="reply"), reply.topic, reply.payload, send)

        if self.hides_next(event):
            reply(Reply(f"{topic}/accepted", _envelope(payload, service.now())))
            return True
        match fault := self.for_request(event):
            case Silence():
                return True
            case Reject() | Throttle():
                reply(Reply(f"{topic}/rejected", rejection(fault) | _envelope(payload, service.now())))
                return True
            case _:
                return service.answer_mqtt(topic, payload, reply, fails=fault is not None)

    def publish(self, publication: Publication) -> None:
        """Send a notification, or what faults make of it."""
        thing, name = topics.notification(publication.topic) or (None, None)
        if thing is not None and name == _NOTIFY:
            self._notified_at[thing] = asyncio.get_running_loop().time()
        event = Event(operation=name, thing=thing, topic=publication.topic, what="notification")
        self._send(event, publication.topic, publication.payload, self._send_notification)

    def for_request(self, event: Event) -> RequestFault | None:
        """What befalls a request before it reaches the service."""
        fault: RequestFault | None = self._faults.take(event, Silence, Reject, Throttle, Crash)
        return fault

    def for_http_reply(self, event: Event) -> Lose | Delay | Alter | None:
        """What befalls the answer of a request over HTTP."""
        fault: Lose | Delay | Alter | None = self._faults.take(replace(event, what="reply"), Lose, Delay, Alter)
        return fault

    def rollout_delay_s(self) -> float | None:
        """By how much the executions of a job that is being created come later."""
        event = Event(operation="CreateJob", front=Front.CONTROL)
        fault: DelayRollout | None = self._faults.take(event, DelayRollout)
        return fault.delay_ms / 1000 if fault is not None else None

    def hides_next(self, event: Event) -> bool:
        """Whether a request for `$next` is to be told that nothing is pending."""
        if event.operation != "DescribeJobExecution" or event.job != NEXT:
            return False
        now = asyncio.get_running_loop().time()
        since_notify_ms = 1000 * (now - self._notified_at.get(event.thing or "", float("-inf")))
        return self._faults.take(event, EmptyNext, when=lambda fault: fault.covers(since_notify_ms)) is not None

    def _send(self, event: Event, topic: str, payload: Json, send: Send) -> None:
        def send_it() -> None:
            send(topic, payloads.encode(payload).encode())

        fault: MessageFault | None = self._faults.take(event, Lose, Delay, Duplicate, Reorder, Alter)
        match fault:
            case None:
                self._send_now(event.thing, send_it)
            case Lose():
                pass
            case Delay():
                self._later(fault.delay_ms, send_it)
            case Duplicate():
                self._send_now(event.thing, send_it)
                for copy in range(1, fault.copies):
                    self._later(copy * fault.gap_ms, send_it)
            case Reorder():
                self._held.append(_Held(event.thing, fault.behind, send_it))
            case Alter():
                altered_topic, altered = alter(fault, topic, payload)
                self._send_now(event.thing, lambda: send(altered_topic, altered.encode()))

    def _send_now(self, thing: str | None, send: Callable[[], None]) -> None:
        """Send, and then what has now been overtaken by enough."""
        send()
        for held in self._held:
            if held.thing == thing:
                held.behind -= 1
        self._release([held for held in self._held if held.behind <= 0])

    def _later(self, delay_ms: float, send: Callable[[], None]) -> None:
        if delay_ms == 0:
            send()
            return

        def fire() -> None:
            self._timers.discard(timer)
            send()

        timer = asyncio.get_running_loop().call_later(delay_ms / 1000, fire)
        self._timers.add(timer)

    def _release_all(self) -> None:
        self._release(list(self._held))

    def _release(self, due: Iterable[_Held]) -> None:
        for held in due:
            self._held.remove(held)
            held.send()


def alter(fault: Alter, topic: str, payload: Json) -> tuple[str, str]:
    """Topic and payload that are sent instead."""
    members = {name: value for name, value in (payload | dict(fault.members)).items() if value is not None}
    text = payloads.encode(members) if fault.payload is None else fault.payload
    return fault.send_to or topic, text


def rejection(fault: Reject | Throttle) -> Json:
    """Code and message of a refusal, in the words of MQTT."""
    if isinstance(fault, Throttle):
        return {"code": Code.REQUEST_THROTTLED, "message": "Rate exceeded"}
    return {"code": fault.code, "message": fault.message, **fault.members}


def _envelope(payload: bytes, now: float) -> dict[str, Any]:
    """What every reply carries, whatever it says."""
    envelope: Json = {"timestamp": int(now)}
    with suppress(Refused):
        token = payloads.decode_object(payload).get("clientToken")
        if isinstance(token, str):
            envelope["clientToken"] = token
    return envelope
