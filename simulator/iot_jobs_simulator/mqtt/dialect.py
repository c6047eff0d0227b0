"""Which version of MQTT a client speaks: told by its CONNECT, and the same until the connection ends."""

from collections.abc import Callable
from typing import Protocol

from iot_jobs_simulator.mqtt.five import OPENING, MqttFive
from iot_jobs_simulator.mqtt.limits import Limits
from iot_jobs_simulator.mqtt.packets import Connect, Kind, Packet
from iot_jobs_simulator.mqtt.reasons import Problem
from iot_jobs_simulator.mqtt.three import MqttThree


class Dialect(Protocol):
    """What stands between bytes and packets. Each method says what it does in `MqttThree` and `MqttFive`."""

    @property
    def name(self) -> str:
        """As people know it."""

    def read(self, first: int, body: bytes) -> Packet:
        """Read a packet, or Malformed."""

    def connect(self, body: bytes) -> Connect:
        """Read a CONNECT, or Malformed."""

    def write(self, packet: Packet) -> bytes:
        """The bytes of what is sent to the client."""

    def refusal(self, packet: Packet, problem: Problem) -> bytes | None:
        """Answer a packet that is not let in, None if the connection has to end."""

    def farewell(self, problem: Problem) -> bytes:
        """Say why the connection ends."""

    def can_send(self, size: int) -> bool:
        """Whether the client takes a packet of that size."""


def dialect_of(first: int, body: bytes, limits: Limits, now: Callable[[], float]) -> Dialect:
    """The dialect of a client whose first packet this is."""
    is_five = first >> 4 == Kind.CONNECT and body.startswith(OPENING)
    return MqttFive(limits, now) if is_five else MqttThree()
