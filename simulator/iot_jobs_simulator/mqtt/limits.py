"""What AWS IoT Core takes from an MQTT client (General Reference, "AWS IoT Core endpoints and quotas"). Pure.

Its rates are not here: they are off unless a fault switches them on, so that a fast test is not disconnected.
"""

from dataclasses import dataclass
from typing import Final

from iot_jobs_simulator.mqtt.packets import Connect, Kind, Packet
from iot_jobs_simulator.mqtt.reasons import Problem, Reason

UNACCEPTABLE_VERSION: Final = 1  # return codes of CONNACK (MQTT 3.1.1, 3.2.2.3)
IDENTIFIER_REJECTED: Final = 2
_VERSIONS: Final = (4, 5)
_FROM_CLIENTS: Final = frozenset(
    {Kind.PUBLISH, Kind.PUBACK, Kind.SUBSCRIBE, Kind.UNSUBSCRIBE, Kind.PINGREQ, Kind.DISCONNECT}
)


@dataclass(frozen=True, slots=True)
class Limits:
    """The sizes and counts. A test that cannot wait lowers `min_keep_alive_s`; AWS raises what is below to 30 s.

    Those of MQTT 5 alone are topic aliases, sizes of properties and the longest expiry of a session.
    """

    max_payload_bytes: int = 128 * 1024
    max_packet_bytes: int = 146 * 1024
    max_topic_bytes: int = 256
    max_slashes: int = 7
    max_client_id_bytes: int = 128
    max_filters_in_packet: int = 8
    max_subscriptions: int = 50
    max_unacknowledged: int = 100
    max_topic_aliases: int = 8
    max_user_properties_bytes: int = 8 * 1024
    max_correlation_data_bytes: int = 8 * 1024
    max_session_expiry_s: int = 3600
    min_keep_alive_s: float = 30
    max_keep_alive_s: float = 1200
    connect_within_s: float = 10
    max_unsent_bytes: int = 4 * 1024 * 1024

    def keep_alive_s(self, asked_s: int) -> float:
        """What becomes of a keep-alive: 0 stands for the most."""
        if asked_s == 0:
            return self.max_keep_alive_s
        return min(max(asked_s, self.min_keep_alive_s), self.max_keep_alive_s)

    def silence_s(self, asked_s: int) -> float:
        """How long a client may be silent: 1.5 times its keep-alive (MQTT 3.1.1, 3.1.2.10)."""
        return 1.5 * self.keep_alive_s(asked_s)

    def connect_refusal(self, connect: Connect) -> tuple[int, str] | None:
        """The return code with which a CONNECT is refused, and why; None if it is taken."""
        if connect.version not in _VERSIONS:
            return UNACCEPTABLE_VERSION, f"it speaks MQTT of the level {connect.version}; 4 (3.1.1) and 5 are served"
        if len(connect.client_id.encode()) > self.max_client_id_bytes:
            return IDENTIFIER_REJECTED, f"a client id of more than {self.max_client_id_bytes} bytes"
        return None

    def connect_problem(self, connect: Connect) -> Problem | None:
        """Why a CONNECT ends the connection: a will is held to what holds for any message."""
        if connect.will is None:
            return None
        return self._message_problem(connect.will.topic, connect.will.qos, is_retained=connect.will.is_retained)

    def packet_problem(self, packet: Packet) -> Problem | None:
        """Why a packet is not let in, None if it is.

        Nine filters in one SUBSCRIBE do: were they all answered with 0x80, the client would take it for its policy.
        """
        if packet.problem is not None:
            return packet.problem
        if packet.kind not in _FROM_CLIENTS:
            words = f"{packet.kind.name} is not for clients to send, or belongs to QoS 2"
            return Problem(words, Reason.PROTOCOL_ERROR)
        if packet.kind is Kind.SUBSCRIBE and len(packet.topics) > self.max_filters_in_packet:
            words = f"{len(packet.topics)} filters in one SUBSCRIBE, at most {self.max_filters_in_packet} are allowed"
            return Problem(words, Reason.QUOTA_EXCEEDED)
        if packet.kind is not Kind.PUBLISH:
            return None
        if packet.payload_bytes > self.max_payload_bytes:
            words = f"a payload of {packet.payload_bytes} bytes, at most {self.max_payload_bytes} are allowed"
            return Problem(words, Reason.PACKET_TOO_LARGE)
        return self._message_problem(packet.topics[0], packet.qos, is_retained=packet.is_retained)

    def properties_problem(self, user_properties_bytes: int, correlation_data_bytes: int) -> Problem | None:
        """Why a message of MQTT 5 is not let in for what it has besides topic and payload."""
        for what, size, most in (
            ("user properties", user_properties_bytes, self.max_user_properties_bytes),
            ("correlation data", correlation_data_bytes, self.max_correlation_data_bytes),
        ):
            if size > most:
                return Problem(f"{what} of {size} bytes, at most {most} are allowed", Reason.QUOTA_EXCEEDED)
        return None

    def takes_topic(self, topic: str) -> bool:
        """Whether a topic or filter is neither too long nor too deep. A filter that is gets its SUBACK 0x80."""
        return len(topic.encode()) <= self.max_topic_bytes and topic.count("/") <= self.max_slashes

    def _message_problem(self, topic: str, qos: int, *, is_retained: bool) -> Problem | None:
        if not self.takes_topic(topic):
            words = f"a topic of {len(topic.encode())} bytes with {topic.count('/')} slashes"
            return Problem(words, Reason.TOPIC_NAME_INVALID)
        if qos > 1:
            return Problem("QoS 2", Reason.QOS_NOT_SUPPORTED)
        if is_retained and topic.startswith("$"):
            return Problem("a retained message on a reserved topic", Reason.RETAIN_NOT_SUPPORTED)
        return None
