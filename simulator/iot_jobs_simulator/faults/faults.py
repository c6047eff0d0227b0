"""Trouble on demand: the words for it, and which piece of it is due. `injection` and the MQTT gate make it happen.

A fault names the events that it is about (filters; one left out means any), lets the first `skip` of them pass, and
acts on the next `times`, or until it is cleared. Of all faults that an event matches, the one added first acts, alone:
a list of faults is a script. Nothing is random.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from iot_jobs_simulator import topics
from iot_jobs_simulator.refusals import invalid

_RATE_WINDOW_S: Final = 1.0
_READS: Final = frozenset({"DescribeJobExecution", "GetPendingJobExecutions"})
_DEVICE_RATE: Final = 200  # General Reference, "AWS IoT Device Management endpoints and quotas"
_CONTROL_RATE: Final = 10
_CONNECTION_RATES: Final = {"publishes": 100, "connects": 1}  # "AWS IoT Core endpoints and quotas"

PacketName: TypeAlias = Literal[
    "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP",
    "DISCONNECT",
]  # fmt: skip
Milliseconds: TypeAlias = Annotated[int, Field(ge=0, le=86_400_000)]


class ListenerName(StrEnum):
    """Where a request came in: devices over MQTT, devices over HTTP, operators."""

    MQTT = "mqtt"
    HTTP = "http"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class TrafficEvent:
    """Something that a fault can be about. What does not apply is None."""

    operation: str | None = None
    thing: str | None = None
    topic: str | None = None
    client_id: str | None = None
    listener: ListenerName | None = None
    what: Literal["reply", "notification"] | None = None
    packet: str | None = None
    direction: Literal["in", "out"] | None = None
    of: Literal["publishes", "connects"] | None = None
    job: str | None = None


class Fault(BaseModel):
    """What all have. Each `kind` below says what it does and which events it can be about."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    times: Annotated[int, Field(ge=1)] | None = None
    skip: Annotated[int, Field(ge=0)] = 0


class _OfRequest(Fault):
    """Filters for requests; `topic` is an MQTT filter on the request's topic, which requests over HTTP have not."""

    operation: str | None = None
    thing: str | None = None
    topic: str | None = None
    client_id: str | None = None
    job: str | None = None
    listener: Annotated[ListenerName, Field(strict=False)] | None = None


class _OfMessage(_OfRequest):
    """The same for what is sent: a reply, by its request's operation, or a notification, by its name (`notify`, …)."""

    what: Literal["reply", "notification"] | None = None


class _OfConnection(Fault):
    client_id: str | None = None


class _OfPacket(_OfConnection):
    """`in` is from the client; `topic` is an MQTT filter on what a PUBLISH, SUBSCRIBE or UNSUBSCRIBE names."""

    packet: PacketName | None = None
    direction: Literal["in", "out"] | None = None
    topic: str | None = None


class Lose(_OfMessage):
    """Never send it. What the request asked for has happened; over HTTP the connection ends without an answer."""

    kind: Literal["lose"] = "lose"


class Delay(_OfMessage):
    """Send it later; what comes after it overtakes it."""

    kind: Literal["delay"] = "delay"
    delay_ms: Milliseconds


class Duplicate(_OfMessage):
    """Send it several times, `gap_ms` apart. MQTT only."""

    kind: Literal["duplicate"] = "duplicate"
    copies: Annotated[int, Field(ge=2, le=100)] = 2
    gap_ms: Milliseconds = 0


class Reorder(_OfMessage):
    """Send it after the next `behind` messages to the same thing; clearing the faults sends what still waits. MQTT."""

    kind: Literal["reorder"] = "reorder"
    behind: Annotated[int, Field(ge=1)] = 1


class Alter(_OfMessage):
    """Forge it: set members of the payload (null removes one), replace all of it, or send it to another topic."""

    kind: Literal["alter"] = "alter"
    members: Mapping[str, Any] = Field(default_factory=dict)
    payload: str | None = None
    send_to: str | None = None


class Reject(_OfRequest):
    """Refuse it, undone: `code` as MQTT spells it, or any exception of AWS over HTTP, with `status` if not modelled."""

    kind: Literal["reject"] = "reject"
    code: str
    message: str = "Refused on demand"
    members: Mapping[str, Any] = Field(default_factory=dict)
    status: Annotated[int, Field(ge=400, le=599)] | None = None


class Throttle(_OfRequest):
    """Refuse, as throttled, what is more than `per_second`; without a number, more than AWS takes."""

    kind: Literal["throttle"] = "throttle"
    per_second: Annotated[int, Field(ge=0)] | None = None


class Silence(_OfRequest):
    """Neither do it nor answer; over HTTP the connection ends."""

    kind: Literal["silence"] = "silence"


class Crash(_OfRequest):
    """Fail inside: InternalError over MQTT, InternalFailureException 500 over HTTP."""

    kind: Literal["crash"] = "crash"


class EmptyNext(_OfRequest):
    """Say that nothing is pending to a request for `$next`, for `for_ms` after each notify, else each time."""

    kind: Literal["empty-next"] = "empty-next"
    for_ms: Milliseconds | None = None

    def covers(self, since_notify_ms: float) -> bool:
        """Whether it is still that soon after the thing's last notify."""
        return self.for_ms is None or since_notify_ms < self.for_ms


class DelayRollout(Fault):
    """Let executions of a job that is created come later."""

    kind: Literal["delay-rollout"] = "delay-rollout"
    delay_ms: Milliseconds


class CloseOnConnect(_OfConnection):
    """End the connection once its CONNECT is there; with a `return_code`, say so in a CONNACK first."""

    kind: Literal["close-on-connect"] = "close-on-connect"
    return_code: Annotated[int, Field(ge=1, le=5)] | None = None


class Disconnect(_OfPacket):
    """End the connection before or after a packet, or after that many bytes of one that goes out."""

    kind: Literal["disconnect"] = "disconnect"
    when: Literal["before", "after"] = "before"
    after_bytes: Annotated[int, Field(ge=0)] | None = None


class DropPacket(_OfPacket):
    """Lose a packet but keep the connection; without a packet's name, all of them: a half-open connection."""

    kind: Literal["drop-packet"] = "drop-packet"


class RefuseSubscription(_OfConnection):
    """Answer a SUBSCRIBE to exactly this filter with 0x80."""

    kind: Literal["refuse-subscription"] = "refuse-subscription"
    topic: str


class SessionPresent(_OfConnection):
    """Say this in CONNACK, whether or not there is a session."""

    kind: Literal["session-present"] = "session-present"
    says: bool


class Rate(_OfConnection):
    """Beyond AWS's rate or another one: publishes are discarded silently, connections of one client id closed."""

    kind: Literal["rate"] = "rate"
    of: Literal["publishes", "connects"]
    per_second: Annotated[int, Field(ge=0)] | None = None


AnyFault: TypeAlias = (
    Lose | Delay | Duplicate | Reorder | Alter | Reject | Throttle | Silence | Crash | EmptyNext | DelayRollout
    | CloseOnConnect | Disconnect | DropPacket | RefuseSubscription | SessionPresent | Rate
)  # fmt: skip

_ADAPTER: Final[TypeAdapter[AnyFault]] = TypeAdapter(Annotated[AnyFault, Field(discriminator="kind")])
_FILTERS: Final = tuple(each.name for each in fields(TrafficEvent) if each.name != "topic")  # that one is matched


@dataclass(slots=True)
class _Entry:
    fault: Fault
    number: int
    seen: int = 0
    done: int = 0
    recent: defaultdict[str | None, deque[float]] = field(default_factory=lambda: defaultdict(deque))

    @property
    def is_over(self) -> bool:
        return self.fault.times is not None and self.done >= self.fault.times


class Faults:
    """All faults that are switched on. `on_cleared` is called whenever some were switched off.

    `clock` gives seconds of any origin.
    """

    def __init__(
        self, on_cleared: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._on_cleared = on_cleared
        self._clock = clock
        self._entries: list[_Entry] = []
        self._added = 0

    def add(self, fault: Fault | Mapping[str, Any]) -> int:
        """Switch a fault on; JSON is welcome. Its number. InvalidRequest, in a sentence, if it is not one."""
        if not isinstance(fault, Fault):
            try:
                fault = _ADAPTER.validate_python(dict(fault))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise invalid(f"{where + ': ' if where else ''}{first['msg']}") from None
        self._added += 1
        self._entries.append(_Entry(fault, self._added))
        return self._added

    def clear(self, number: int | None = None) -> None:
        """Switch one fault off, or all; messages that a fault still holds back are sent."""
        self._entries = [entry for entry in self._entries if number not in (None, entry.number)]
        self._on_cleared()

    def listed(self) -> list[dict[str, Any]]:
        """All faults as JSON, those that are used up included; `seen` and `done` count events."""
        return [
            {"number": entry.number, **entry.fault.model_dump(exclude_defaults=True), "kind": _kind(entry.fault)}
            | {"seen": entry.seen, "done": entry.done}
            for entry in self._entries
        ]

    def take(self, event: TrafficEvent, *kinds: type[Fault], when: Callable[[Any], bool] = lambda _fault: True) -> Any:
        """The first fault of these kinds that is about the event and due, which counts as done then; else None."""
        for entry in self._entries:
            fault = entry.fault
            if not isinstance(fault, kinds) or entry.is_over or not _is_about(fault, event) or not when(fault):
                continue
            if isinstance(fault, Throttle | Rate) and not self._is_too_fast(entry, event):
                continue
            entry.seen += 1
            if entry.seen > fault.skip:
                entry.done += 1
                return fault
        return None

    def _is_too_fast(self, entry: _Entry, event: TrafficEvent) -> bool:
        """Count the event; True if more came within a second than may."""
        group, most = _rate(entry.fault, event)
        recent, now = entry.recent[group], self._clock()
        while recent and recent[0] <= now - _RATE_WINDOW_S:
            recent.popleft()
        if len(recent) >= most:
            return True
        recent.append(now)
        return False


def _is_about(fault: Fault, event: TrafficEvent) -> bool:
    for name in _FILTERS:
        wanted = getattr(fault, name, None)
        if wanted is not None and wanted != getattr(event, name):
            return False
    wanted_topic = getattr(fault, "topic", None)
    if wanted_topic is None:
        return True
    if isinstance(fault, RefuseSubscription):
        return bool(wanted_topic == event.topic)
    return event.topic is not None and topics.matches(wanted_topic, event.topic)


def _rate(fault: Fault, event: TrafficEvent) -> tuple[str | None, int]:
    """What is counted together, and how many of it a second may bring."""
    if isinstance(fault, Rate):
        return event.client_id, _CONNECTION_RATES[fault.of] if fault.per_second is None else fault.per_second
    if isinstance(fault, Throttle) and fault.per_second is not None:
        return None, fault.per_second
    if event.listener is ListenerName.CONTROL:
        return event.operation, _CONTROL_RATE
    return "read" if event.operation in _READS else "write", _DEVICE_RATE


def _kind(fault: Fault) -> str:
    return str(getattr(fault, "kind", ""))
