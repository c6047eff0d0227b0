"""The running service: the pure rules with a clock, a timer, and somebody who sends what became due.

Owns the order of things: the answer first, then its notifications, then the next timer. Everything happens at once,
between two turns of the event loop, so that no other request can come in between.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from iot_jobs_simulator.control_plane import ControlPlane
from iot_jobs_simulator.device_plane import DevicePlane, Reply
from iot_jobs_simulator.jobs import rollout
from iot_jobs_simulator.jobs.notifications import Publication
from iot_jobs_simulator.jobs.store import JobStore, Settings
from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.model import ServiceApi
from iot_jobs_simulator.refusals import Code, Refused

_log = logging.getLogger(__name__)


class Service:
    """One AWS IoT Jobs. `publish` sends one notification and must not block; `created_thing` is told of each thing."""

    def __init__(
        self,
        settings: Settings,
        endpoints: Mapping[str, str],
        publish: Callable[[Publication], None],
        created_thing: Callable[[str], None] = lambda _thing_name: None,
    ) -> None:
        self.control_api = ServiceApi("iot")
        self.data_api = ServiceApi("iot-jobs-data")
        self.store = JobStore(settings=settings)
        self._control = ControlPlane(self.store, self.control_api, endpoints)
        self._device = DevicePlane(self.store, self.data_api, self.control_api)
        self._publish = publish
        self._created_thing = created_thing
        self.rollout_delay_s: Callable[[], float | None] = lambda: None
        self._ahead_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()

    def now(self) -> float:
        """The service's time, in seconds since the epoch."""
        return time.time() + self._ahead_s

    def answer_mqtt(self, topic: str, payload: bytes, reply: Callable[[Reply], None], *, fails: bool = False) -> bool:
        """Answer a message on a request topic; False if the topic is none of ours. `fails` is trouble on demand."""
        try:
            if fails:
                raise RuntimeError("A fault on demand")  # noqa: TRY301 - it is to take the way of any other
            answer = self._device.answer_mqtt(topic, payload, self._catch_up())
        except Exception:  # noqa: BLE001 - a fault of ours is answered as AWS answers its own, and logged
            _log.exception("Fault while answering %s", topic)
            fault: Json = {"code": Code.INTERNAL_ERROR, "message": "Internal error", "timestamp": int(self.now())}
            answer = Reply(f"{topic}/rejected", fault)
        if answer is None:
            return False
        reply(answer)
        self._follow_up()
        return True

    def answer_device(self, operation: str, members: Mapping[str, Any], query: Mapping[str, str]) -> Json:
        """Answer a data plane request over HTTP; raises Refused."""
        answer = self._device.answer_http(operation, members, query, self._catch_up())
        self._follow_up()
        return answer

    def answer_operator(self, operation: str, members: Mapping[str, Any]) -> Json:
        """Answer a control plane request; raises Refused."""
        with self._rollout_delayed(operation):
            answer = self._control.answer(operation, members, self._catch_up())
        if operation == "CreateThing":
            self._created_thing(answer["thingName"])
        self._follow_up()
        return answer

    def advance_clock(self, seconds: float) -> float:
        """Put the clock forward; what becomes due happens before this returns, each at its own time. The new time."""
        self._ahead_s += seconds
        now = self._catch_up()
        self._follow_up()
        return now

    def is_thing(self, name: str) -> bool:
        """Whether a thing of that name is registered."""
        try:
            self.store.registry.find(name)
        except Refused:
            return False
        return True

    async def wait_until(self, is_so: Callable[[], bool], within_s: float) -> None:
        """Return as soon as the fact holds; looks again after every change. TimeoutError when it does not in time."""
        async with asyncio.timeout(within_s):
            while not is_so():
                await self._changed.wait()

    def look_again(self) -> None:
        """Wake all who wait for a fact: something has changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    def stop(self) -> None:
        """Let no timer run any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _catch_up(self) -> float:
        """Do what is due, so that a request that comes after a deadline finds it passed. The time."""
        now = self.now()
        rollout.advance(self.store, now)
        self._publish_due()
        return now

    @contextmanager
    def _rollout_delayed(self, operation: str) -> Iterator[None]:
        """Let the executions of a job that is created meanwhile come later, if somebody wants that."""
        delay_s = self.rollout_delay_s() if operation == "CreateJob" else None
        usual = self.store.settings
        if delay_s is not None:
            self.store.settings = replace(usual, rollout_delay_s=delay_s)
        try:
            yield
        finally:
            self.store.settings = usual

    def _publish_due(self) -> None:
        for publication in self.store.take_publications():
            self._publish(publication)

    def _follow_up(self) -> None:
        self._publish_due()
        self.look_again()
        self.stop()
        due_at = rollout.next_due(self.store)
        if due_at is not None:
            delay_s = max(0.0, due_at - self.now())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._advance)

    def _advance(self) -> None:
        self._catch_up()
        self._follow_up()
