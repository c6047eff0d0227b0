"""MQTT 5 on the wire: a thin dialect between the socket and everything else, which goes on seeing 3.1.1.

Owns what a connection of MQTT 5 has to remember: topic aliases, what the client can take, what it was not told yet.
Limits, policy, faults, sessions and delivery are not decided here. To be removed once amqtt speaks MQTT 5 itself.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import uuid4

from iot_jobs_simulator.mqtt.limits import Limits
from iot_jobs_simulator.mqtt.packets import (
    MAX_QOS,
    PLAIN,
    Connect,
    Extras,
    Fields,
    Kind,
    Malformed,
    Packet,
    Will,
    kind_of,
    written,
    written_text,
)
from iot_jobs_simulator.mqtt.properties import WILL, can_have, check_reason, read_properties, written_properties
from iot_jobs_simulator.mqtt.reasons import OF_RETURN_CODES, Problem, Reason
from iot_jobs_simulator.mqtt.three import check_flags, published_topic, skip_credentials

VERSION: Final = 5
OPENING: Final = written_text("MQTT") + bytes([VERSION])  # of a CONNECT, by which a client of MQTT 5 is known
NO_LOCAL: Final = 0x04  # options of a subscription (MQTT 5, 3.8.3.1)
RETAIN_AS_PUBLISHED: Final = 0x08
_RESERVED_OPTIONS: Final = 0xC0
_AUTH: Final = 15
# What a message has for its receiver, as it is.
_PASSED_ON: Final = ("PayloadFormatIndicator", "ContentType", "ResponseTopic", "CorrelationData", "UserProperty")


class ClientGone(Exception):  # noqa: N818 - it says what has happened
    """The client has left without taking its will back."""


class MqttFive:
    """Reads and writes one connection. `now` is the service's time, in seconds since the epoch."""

    name = "MQTT 5"

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self.session_expiry_s = 0
        self._limits = limits
        self._now = now
        self._aliases: dict[int, str] = {}
        self._unacknowledged: set[int] = set()
        self._is_accepted = False
        self._max_packet_bytes: int | None = None
        self._takes_words = True
        self._greeting: dict[str, Any] = {}

    def read(self, first: int, body: bytes) -> Packet:
        """Read a packet, or Malformed; ClientGone instead of a DISCONNECT that leaves the will."""
        if first >> 4 == _AUTH:
            raise Malformed("AUTH is not supported: there is no authentication by messages", Reason.PROTOCOL_ERROR)
        kind, flags, fields = kind_of(first), first & 0x0F, Fields(body)
        match kind:
            case Kind.PUBLISH:
                return self._publish(flags, fields)
            case Kind.SUBSCRIBE | Kind.UNSUBSCRIBE:
                check_flags(flags)
                return _subscription(kind, body)
            case _ if flags:
                raise Malformed("has wrong flags")
            case Kind.PUBACK:
                packet_id = fields.take(2)
                self._code_and_properties(kind, fields)
                return Packet(kind, flags, packet_id)
            case Kind.PINGREQ if body:
                raise Malformed("is too long")
            case Kind.DISCONNECT:
                self._leave(fields)
                return Packet(kind, flags, b"")
            case _:
                return Packet(kind, flags, body)

    def connect(self, body: bytes) -> Connect:
        """Read a CONNECT, or Malformed."""
        fields = Fields(body.removeprefix(OPENING))
        flags, keep_alive_s = fields.number(1), fields.number(2)
        if flags & 1 or (not flags & 0x04 and flags & 0x38) or (flags >> 3) & 3 > MAX_QOS:
            raise Malformed("has wrong flags")
        asked = read_properties(Kind.CONNECT, fields)
        client_id = fields.text()
        will = self._will(flags, fields) if flags & 0x04 else None
        skip_credentials(flags, fields)
        if "AuthenticationMethod" in asked:
            words = "there is no authentication by messages (AUTH), only by certificate"
            raise Malformed(words, Reason.BAD_AUTHENTICATION_METHOD)
        self._agree(asked, keep_alive_s)
        return Connect(
            VERSION,
            client_id or self._assign_client_id(),
            keep_alive_s,
            is_clean=bool(flags & 0x02),
            session_expiry_s=self.session_expiry_s,
            receive_maximum=asked.get("ReceiveMaximum", 65535),
            will=will,
        )

    def write(self, packet: Packet) -> bytes:
        """The bytes of what is sent to the client."""
        body = packet.body
        match packet.kind:
            case Kind.CONNACK:
                return self._connack(body[0], OF_RETURN_CODES.get(body[1], Reason.SUCCESS), {})
            case Kind.PUBLISH:
                body = body[: packet.payload_at] + self._for_receiver(packet.extras) + body[packet.payload_at :]
            case Kind.PUBACK:
                self._unacknowledged.discard(packet.packet_id)
            case Kind.SUBACK | Kind.UNSUBACK:
                failures = sorted({Reason(code) for code in body[2:] if code >= Reason.UNSPECIFIED_ERROR})
                words = ", ".join(reason.name.replace("_", " ").lower() for reason in failures)
                body = body[:2] + self._words(packet.kind, words) + body[2:]
            case _:
                pass
        return written(packet.kind, packet.flags, body)

    def refusal(self, packet: Packet, problem: Problem) -> bytes | None:
        """Answer a packet that is not let in, None if the connection has to end."""
        words, reason = problem
        if packet.kind is Kind.PUBLISH and packet.qos and can_have(Kind.PUBACK, reason):
            self._unacknowledged.discard(packet.packet_id)
            body = packet.packet_id.to_bytes(2, "big") + bytes([reason]) + self._words(Kind.PUBACK, words)
            return written(Kind.PUBACK, 0, body)
        if packet.kind is Kind.SUBSCRIBE and can_have(Kind.SUBACK, reason):
            body = packet.body[:2] + self._words(Kind.SUBACK, words) + bytes([reason]) * len(packet.topics)
            return written(Kind.SUBACK, 0, body)
        return None

    def farewell(self, problem: Problem) -> bytes:
        """Say why the connection ends."""
        words, reason = problem
        kind = Kind.DISCONNECT if self._is_accepted else Kind.CONNACK
        reason = reason if can_have(kind, reason) else Reason.UNSPECIFIED_ERROR
        if kind is Kind.CONNACK:
            return self._connack(0, reason, {"ReasonString": f"{self.name}: {words}"})
        return written(kind, 0, bytes([reason]) + self._words(kind, words))

    def can_send(self, size: int) -> bool:
        """Whether the client takes a packet of that size."""
        return self._max_packet_bytes is None or size <= self._max_packet_bytes

    def _publish(self, flags: int, fields: Fields) -> Packet:
        topic, packet_id = published_topic(flags, fields)
        said = read_properties(Kind.PUBLISH, fields)
        if "SubscriptionIdentifier" in said:
            raise Malformed("has a subscription identifier, which only servers send", Reason.PROTOCOL_ERROR)
        topic = self._topic(topic, said.get("TopicAlias"))
        payload = fields.rest()
        body = written_text(topic) + packet_id + payload
        packet = Packet(Kind.PUBLISH, flags, body, (topic,), self._extras(said), self._problem(said, payload))
        if packet.qos:
            self._unacknowledged.add(packet.packet_id)
            if len(self._unacknowledged) > self._limits.max_unacknowledged:
                words = f"has more than {self._limits.max_unacknowledged} messages that were not acknowledged yet"
                raise Malformed(words, Reason.RECEIVE_MAXIMUM_EXCEEDED)
        return packet

    def _topic(self, topic: str, alias: int | None) -> str:
        """Return the topic that a PUBLISH means. An alias lasts as long as the connection."""
        if alias is None:
            if not topic:
                raise Malformed("has neither a topic nor an alias of one", Reason.PROTOCOL_ERROR)
            return topic
        if alias > self._limits.max_topic_aliases:
            words = f"has the topic alias {alias}, at most {self._limits.max_topic_aliases} are allowed"
            raise Malformed(words, Reason.TOPIC_ALIAS_INVALID)
        if topic:
            self._aliases[alias] = topic
        elif alias not in self._aliases:
            raise Malformed(f"has the topic alias {alias}, which stands for no topic yet", Reason.PROTOCOL_ERROR)
        return self._aliases[alias]

    def _extras(self, said: Mapping[str, Any]) -> Extras:
        if any(sign in said.get("ResponseTopic", "") for sign in "+#"):
            raise Malformed("has a response topic with wildcards", Reason.PROTOCOL_ERROR)
        if not said:
            return PLAIN
        kept = {name: said[name] for name in _PASSED_ON if name in said}
        expiry_s = said.get("MessageExpiryInterval")
        properties = written_properties(Kind.PUBLISH, kept)
        return Extras(properties) if expiry_s is None else Extras(properties, self._now() + expiry_s)

    def _problem(self, said: Mapping[str, Any], payload: bytes) -> Problem | None:
        if said.get("PayloadFormatIndicator") and not _is_text(payload):
            return Problem("a payload that is announced as text and is not UTF-8", Reason.PAYLOAD_FORMAT_INVALID)
        user_bytes = sum(len(text.encode()) for pair in said.get("UserProperty", ()) for text in pair)
        return self._limits.properties_problem(user_bytes, len(said.get("CorrelationData", b"")))

    def _for_receiver(self, extras: Extras) -> bytes:
        """Return the properties of a message that is sent: it may have waited since it came."""
        if extras.ends_at == PLAIN.ends_at:
            return extras.properties
        said = read_properties(Kind.PUBLISH, Fields(extras.properties))
        left_s = max(0, round(extras.ends_at - self._now()))
        return written_properties(Kind.PUBLISH, said | {"MessageExpiryInterval": left_s})

    def _will(self, flags: int, fields: Fields) -> Will:
        extras = self._extras(read_properties(WILL, fields))
        return Will(fields.text(), fields.binary(), (flags >> 3) & 3, bool(flags & 0x20), extras)

    def _assign_client_id(self) -> str:
        self._greeting["AssignedClientIdentifier"] = assigned = f"assigned-{uuid4()}"
        return assigned

    def _agree(self, asked: Mapping[str, Any], keep_alive_s: int) -> None:
        """Note what the client can take, and what it is told with the CONNACK."""
        limits = self._limits
        self._max_packet_bytes = asked.get("MaximumPacketSize")
        self._takes_words = asked.get("RequestProblemInformation", 1) == 1
        wanted_s = asked.get("SessionExpiryInterval", 0)
        self.session_expiry_s = min(wanted_s, limits.max_session_expiry_s)
        if self.session_expiry_s != wanted_s:
            self._greeting["SessionExpiryInterval"] = self.session_expiry_s
        if (granted_s := round(limits.keep_alive_s(keep_alive_s))) != keep_alive_s:
            self._greeting["ServerKeepAlive"] = granted_s
        self._greeting |= {
            "ReceiveMaximum": limits.max_unacknowledged,
            "MaximumQoS": 1,
            "MaximumPacketSize": limits.max_packet_bytes,
            "TopicAliasMaximum": limits.max_topic_aliases,
            "SubscriptionIdentifierAvailable": 0,
            "SharedSubscriptionAvailable": 0,
        }

    def _connack(self, flags: int, reason: Reason, said: Mapping[str, Any]) -> bytes:
        self._is_accepted = not reason.is_failure
        properties = written_properties(Kind.CONNACK, said if reason.is_failure else self._greeting)
        return written(Kind.CONNACK, 0, bytes([flags, reason]) + properties)

    def _leave(self, fields: Fields) -> None:
        code, said = self._code_and_properties(Kind.DISCONNECT, fields)
        if "SessionExpiryInterval" in said:
            wanted_s = said["SessionExpiryInterval"]
            if wanted_s and not self.session_expiry_s:
                raise Malformed("asks for a session to be kept that was to end", Reason.PROTOCOL_ERROR)
            self.session_expiry_s = min(wanted_s, self._limits.max_session_expiry_s)
        if code != Reason.SUCCESS:
            raise ClientGone  # MQTT 5, 3.14.4: only a normal end takes the will back

    def _code_and_properties(self, kind: Kind, fields: Fields) -> tuple[int, dict[str, Any]]:
        """Read the reason code and the properties with which a packet ends; both may be left out."""
        code = 0 if fields.is_at_end else fields.number(1)
        check_reason(kind, code)
        said = {} if fields.is_at_end else read_properties(kind, fields)
        if not fields.is_at_end:
            raise Malformed("ends too late")
        return code, said

    def _words(self, kind: Kind, words: str) -> bytes:
        """Return the properties of a packet that says why, if the client wants to know."""
        said = {"ReasonString": f"{self.name}: {words}"} if words else {}
        wants = self._takes_words or kind is Kind.DISCONNECT
        properties = written_properties(kind, said if wants else {})
        return properties if self.can_send(len(properties) + 100) else written_properties(kind, {})


def _is_text(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _subscription(kind: Kind, body: bytes) -> Packet:
    fields = Fields(body)
    packet_id = fields.packet_id().to_bytes(2, "big")
    if "SubscriptionIdentifier" in read_properties(kind, fields):
        words = "has a subscription identifier; as on AWS, there are none"
        raise Malformed(words, Reason.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED)
    filters, rest = [], b""
    while not fields.is_at_end:
        filters.append(fields.text())
        rest += written_text(filters[-1])
        if kind is Kind.SUBSCRIBE:
            options = fields.number(1)
            if options & _RESERVED_OPTIONS or options & 3 > MAX_QOS or (options >> 4) & 3 > MAX_QOS:
                raise Malformed("has no valid options for a subscription")
            rest += bytes([options])
    if not filters or "" in filters:
        raise Malformed("has no filter, or an empty one", Reason.PROTOCOL_ERROR)
    return Packet(kind, 2, packet_id + rest, tuple(filters))
