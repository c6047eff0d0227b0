"""The simulator's own endpoints, below `/_simulator/`: for tests and people, unknown to AWS, unsigned.

`rest` routes to them. Each takes and gives JSON; objects are bytes.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import unquote

from aiohttp import web

from iot_jobs_simulator import payloads
from iot_jobs_simulator.faults.faults import Faults
from iot_jobs_simulator.http.s3 import MAX_OBJECT_BYTES, body_of, whole_body_of
from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.objects import Objects
from iot_jobs_simulator.refusals import Refused, invalid

PREFIX: Final = "/_simulator/"
MAX_ADVANCE_S: Final = 10 * 366 * 86400
_CLOCK_MEMBERS: Final = ("advance_s", "freeze")
_ACTIONS: Final = ("stop", "start", "restart")


class Ports(Protocol):
    """What can be done to the MQTT ports."""

    async def start(self) -> None:
        """Listen."""

    async def stop(self, *, keep_sessions: bool) -> None:
        """Cut all connections."""


class TimeControl(Protocol):
    """The service's time."""

    @property
    def is_frozen(self) -> bool:
        """Whether it stands still."""

    def freeze_clock(self, *, is_frozen: bool) -> None:
        """Have it stand still, or go on."""

    def now(self) -> float:
        """Seconds since the epoch."""

    async def advance_clock(self, seconds: float) -> float:
        """Put it forward; what becomes due happens. The new time. Raises Refused."""


class Controls:
    """`POST`, `GET` `clock`; `POST`, `GET`, `DELETE` `faults`; `POST` `broker`, `publish`; `objects/BUCKET/KEY`."""

    def __init__(
        self, faults: Faults, ports: Ports, publish: Callable[[str, bytes], None], objects: Objects, clock: TimeControl
    ) -> None:
        self._faults = faults
        self._clock = clock
        self._ports = ports
        self._broker_publish = publish
        self._objects = objects
        self._endpoints: Mapping[tuple[str, str], Callable[[Json], Awaitable[Json]]] = {
            ("GET", "clock"): self._tell_time,
            ("POST", "clock"): self._set_clock,
            ("POST", "faults"): self._add_fault,
            ("GET", "faults"): self._list_faults,
            ("DELETE", "faults"): self._clear_faults,
            ("POST", "broker"): self._control_broker,
            ("POST", "publish"): self._publish,
        }

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer a request below the prefix."""
        name, _, rest = request.raw_path.split("?")[0].removeprefix(PREFIX).partition("/")
        if name == "objects":
            return await self._answer_object(request, rest)
        endpoint = self._endpoints.get((request.method, name))
        if endpoint is None:
            return _answer(404, {"message": f"The simulator has no {request.method} {PREFIX}{name}"})
        try:
            members = payloads.decode_object(await whole_body_of(request))
            return _answer(200, await endpoint(members | ({"number": rest} if rest else {})))
        except Refused as refusal:
            return _answer(400, {"message": refusal.message})

    async def _answer_object(self, request: web.BaseRequest, raw_name: str) -> web.Response:
        bucket, _, key = unquote(raw_name).partition("/")
        if not bucket or not key:
            return _answer(404, {"message": f"Objects are at {PREFIX}objects/BUCKET/KEY"})
        match request.method:
            case "PUT":
                content = await body_of(request)
                if content is None:
                    return _answer(413, {"message": f"The simulator keeps objects of {MAX_OBJECT_BYTES} bytes"})
                self._objects.put(bucket, key, content)
                return _answer(200, {})
            case "DELETE":
                self._objects.delete(bucket, key)
                return _answer(200, {})
            case "GET" if (found := self._objects.get(bucket, key)) is not None:
                return web.Response(body=found, headers={"X-Content-Type-Options": "nosniff"})
            case _:
                return _answer(404, {"message": f"The simulator has no object {bucket}/{key}"})

    async def _tell_time(self, _members: Json) -> Json:
        return {"now": self._clock.now(), "is_frozen": self._clock.is_frozen}

    async def _set_clock(self, members: Json) -> Json:
        """Freeze it or let it go first, then put it forward. A request of a wrong form changes nothing."""
        if unknown := sorted(members.keys() - _CLOCK_MEMBERS):
            raise invalid(f"{unknown[0]} is not a member of this request, which has {' and '.join(_CLOCK_MEMBERS)}")
        seconds, is_frozen = members.get("advance_s", 0), members.get("freeze", self._clock.is_frozen)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_ADVANCE_S:
            raise invalid(f"advance_s must be a number from 0 to {MAX_ADVANCE_S}")
        if not isinstance(is_frozen, bool):
            raise invalid("freeze must be true, to have the clock stand still, or false, to let it go on")
        self._clock.freeze_clock(is_frozen=is_frozen)
        await self._clock.advance_clock(seconds)
        return await self._tell_time({})

    async def _add_fault(self, members: Json) -> Json:
        return {"number": self._faults.add(members)}

    async def _list_faults(self, _members: Json) -> Json:
        return {"faults": self._faults.listed()}

    async def _clear_faults(self, members: Json) -> Json:
        number = str(members.get("number", ""))
        if number and not number.isdecimal():
            raise invalid(f"{number} is not the number of a fault")
        self._faults.clear(int(number) if number else None)
        return {}

    async def _control_broker(self, members: Json) -> Json:
        action, keeps = members.get("action"), members.get("keep_sessions", True)
        if action not in _ACTIONS or not isinstance(keeps, bool):
            raise invalid(f"action must be one of {', '.join(_ACTIONS)}, keep_sessions true or false")
        if action != "start":
            await self._ports.stop(keep_sessions=keeps)
        if action != "stop":
            await self._ports.start()
        return {}

    async def _publish(self, members: Json) -> Json:
        topic, payload = members.get("topic"), members.get("payload")
        if not isinstance(topic, str) or payload is None:
            raise invalid("topic must be a string; payload any JSON, or a string that is sent as it is")
        self._broker_publish(topic, (payload if isinstance(payload, str) else payloads.encode(payload)).encode())
        return {}


def _answer(status: int, body: Mapping[str, Any]) -> web.Response:
    return web.json_response(body, status=status, dumps=payloads.encode)
