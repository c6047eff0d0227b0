"""The running service: the pure rules with a clock, a timer, and somebody who sends what became due.

Owns the order of things: the answer first, then its notifications, then the next timer. Everything happens at once,
between two turns of the event loop, so that no other request can come in between.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from iot_jobs_simulator.changes import Changes
from iot_jobs_simulator.clock import Clock
from iot_jobs_simulator.control_plane import ControlPlane
from iot_jobs_simulator.device_plane import DevicePlane, Perform, Reply
from iot_jobs_simulator.jobs import batches, rollout
from iot_jobs_simulator.jobs.notifications import Publication
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.model import ServiceApi
from iot_jobs_simulator.refusals import Code
from iot_jobs_simulator.topics import DeviceRequest

# How many things one turn of the event loop does something to, of a batch for many; some milliseconds.
_SLICE = 200
_log = logging.getLogger(__name__)


class Service:
    """One AWS IoT Jobs. `publish` sends one notification and must not block; `on_thing_created` is told of each thing.

    `endpoints` maps an endpoint type to host and port.
    """

    def __init__(
        self,
        store: JobStore,
        *,
        clock: Clock,
        changes: Changes,
        endpoints: Mapping[str, str],
        publish: Callable[[Publication], None],
        on_thing_created: Callable[[str], None],
    ) -> None:
        self.control_api = ServiceApi("iot")
        self.data_api = ServiceApi("iot-jobs-data")
        self.store = store
        self._clock = clock
        self._changes = changes
        self._control = ControlPlane(store, self.control_api, endpoints)
        self._device = DevicePlane(store, self.data_api, self.control_api)
        self._publish = publish
        self._on_thing_created = on_thing_created
        self._timer: asyncio.TimerHandle | None = None
        self._leaps = 0

    def answer_mqtt(
        self, request: DeviceRequest, topic: str, payload: bytes, perform: Perform, reply: Callable[[Reply], None]
    ) -> None:
        """Answer a message on a request topic."""
        try:
            answer = self._device.answer_mqtt(request, topic, payload, self._catch_up(), perform)
        except Exception:  # noqa: BLE001 - a fault of ours is answered as AWS answers its own, and logged
            _log.exception("Fault while answering %s", topic)
            fault: Json = {"code": Code.INTERNAL_ERROR, "message": "Internal error", "timestamp": int(self.now())}
            answer = Reply(f"{topic}/rejected", fault)
        if answer is not None:
            reply(answer)
        self._follow_up()

    def answer_device(self, operation: str, members: Mapping[str, Any], query: Mapping[str, str]) -> Json:
        """Answer a data plane request over HTTP; raises Refused."""
        answer = self._device.answer_http(operation, members, query, self._catch_up())
        self._follow_up()
        return answer

    def answer_operator(self, operation: str, members: Mapping[str, Any]) -> Json:
        """Answer a control plane request; raises Refused."""
        answer = self._control.answer(operation, members, self._catch_up())
        if operation == "CreateThing":
            self._on_thing_created(answer["thingName"])
        self._follow_up()
        return answer

    def now(self) -> float:
        """The service's time, in seconds since the epoch."""
        return self._clock.now()

    @property
    def is_frozen(self) -> bool:
        """Whether the service's time stands still."""
        return self._clock.is_frozen

    def freeze_clock(self, *, is_frozen: bool) -> None:
        """Have the service's time stand still, or go on from where it stands."""
        if is_frozen:
            self._clock.freeze()
        else:
            self._clock.unfreeze()
        self._follow_up()

    async def advance_clock(self, seconds: float) -> float:
        """Put the clock forward; what becomes due happens before this returns, each at its own time. The new time.

        Others are served meanwhile. InvalidRequest if the clock cannot be put forward by that.
        """
        self._clock.put_forward(seconds)
        now = self.now()
        self._leaps += 1
        try:
            while rollout.advance_slice(self.store, now, _SLICE):
                self._publish_due()
                await asyncio.sleep(0)
        finally:
            self._leaps -= 1
        self._follow_up()
        return now

    def stop(self) -> None:
        """Let no timer run any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _catch_up(self) -> float:
        """Do what is due, so that a request after a deadline finds it passed; of batches do a slice. The time."""
        now = self.now()
        if self._leaps:  # in order, or the end of a job would overtake its rollout
            rollout.advance_slice(self.store, now, _SLICE)
        else:
            rollout.advance_soon(self.store, now, _SLICE)
        self._publish_due()
        return now

    def _publish_due(self) -> None:
        for publication in self.store.take_publications():
            self._publish(publication)

    def _follow_up(self) -> None:
        batches.work(self.store, _SLICE)
        self._publish_due()
        self._changes.announce()
        self.stop()
        due_at = rollout.next_due(self.store)
        if due_at is not None and not (self._clock.is_frozen and due_at > self.now()):
            delay_s = max(0.0, due_at - self.now())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._advance)

    def _advance(self) -> None:
        self._catch_up()
        self._follow_up()
