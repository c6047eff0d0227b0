"""What AWS IoT Core takes from an MQTT client (General Reference, "AWS IoT Core endpoints and quotas"). Pure.

Its rates are not here: they are off unless a fault switches them on, so that a fast test is not disconnected.
"""

from dataclasses import dataclass
from typing import Final

from iot_jobs_simulator.mqtt.packets import MQTT_3_1_1, Connect, Kind, Packet

UNACCEPTABLE_VERSION: Final = 1  # return codes of CONNACK (MQTT 3.1.1, 3.2.2.3)
IDENTIFIER_REJECTED: Final = 2
_FROM_CLIENTS: Final = frozenset(
    {Kind.PUBLISH, Kind.PUBACK, Kind.SUBSCRIBE, Kind.UNSUBSCRIBE, Kind.PINGREQ, Kind.DISCONNECT}
)


@dataclass(frozen=True, slots=True)
class Limits:
    """The sizes and counts. A test that cannot wait lowers `min_keep_alive_s`; AWS raises what is below to 30 s."""

    max_payload_bytes: int = 128 * 1024
    max_topic_bytes: int = 256
    max_slashes: int = 7
    max_client_id_bytes: int = 128
    max_filters_in_packet: int = 8
    max_subscriptions: int = 50
    min_keep_alive_s: float = 30
    max_keep_alive_s: float = 1200
    connect_within_s: float = 10
    max_unsent_bytes: int = 4 * 1024 * 1024

    @property
    def max_body_bytes(self) -> int:
        """No packet is longer: the largest payload with its topic, its identifier, and room to say what is too long."""
        return self.max_payload_bytes + 4 * self.max_topic_bytes

    def silence_s(self, keep_alive_s: int) -> float:
        """How long a client may be silent: 1.5 times its keep-alive (MQTT 3.1.1, 3.1.2.10), 0 standing for the most."""
        if keep_alive_s == 0:
            return 1.5 * self.max_keep_alive_s
        return 1.5 * min(max(keep_alive_s, self.min_keep_alive_s), self.max_keep_alive_s)

    def connect_refusal(self, connect: Connect) -> int | None:
        """The return code with which a CONNECT is refused, None if it is taken."""
        if connect.version != MQTT_3_1_1:
            return UNACCEPTABLE_VERSION
        if len(connect.client_id.encode()) > self.max_client_id_bytes:
            return IDENTIFIER_REJECTED
        return None

    def connect_problem(self, connect: Connect) -> str | None:
        """Why a CONNECT ends the connection: a will is held to what holds for any message."""
        if connect.will_topic is None:
            return None
        return self._message_problem(connect.will_topic, connect.will_qos, is_retained=connect.is_will_retained)

    def packet_problem(self, packet: Packet) -> str | None:
        """Why a packet ends the connection, None if it does not.

        Nine filters in one SUBSCRIBE do: were they all answered with 0x80, the client would take it for its policy.
        """
        if packet.kind not in _FROM_CLIENTS:
            return f"{packet.kind.name} is not for clients to send, or belongs to QoS 2"
        if packet.kind is Kind.SUBSCRIBE and len(packet.topics) > self.max_filters_in_packet:
            return f"{len(packet.topics)} filters in one SUBSCRIBE, at most {self.max_filters_in_packet} are allowed"
        if packet.kind is not Kind.PUBLISH:
            return None
        if packet.payload_bytes > self.max_payload_bytes:
            return f"a payload of {packet.payload_bytes} bytes, at most {self.max_payload_bytes} are allowed"
        return self._message_problem(packet.topics[0], packet.qos, is_retained=packet.is_retained)

    def takes_topic(self, topic: str) -> bool:
        """Whether a topic or filter is neither too long nor too deep. A filter that is gets its SUBACK 0x80."""
        return len(topic.encode()) <= self.max_topic_bytes and topic.count("/") <= self.max_slashes

    def _message_problem(self, topic: str, qos: int, *, is_retained: bool) -> str | None:
        if not self.takes_topic(topic):
            return f"a topic of {len(topic.encode())} bytes with {topic.count('/')} slashes"
        if qos > 1:
            return "QoS 2"
        if is_retained and topic.startswith("$"):
            return "a retained message on a reserved topic"
        return None
