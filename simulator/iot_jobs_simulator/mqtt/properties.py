"""The properties of MQTT 5's packets, by their names without spaces. Pure; the only file that knows paho."""

from collections.abc import Mapping
from typing import Any, Final

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from iot_jobs_simulator.mqtt.packets import NO_PROPERTIES, Fields, Kind, Malformed, with_length
from iot_jobs_simulator.mqtt.reasons import Reason

WILL: Final = int(PacketTypes.WILLMESSAGE)


def read_properties(packet_type: int, fields: Fields) -> dict[str, Any]:
    """Read the properties of a packet of that kind, or of a will; user properties are a list of pairs."""
    size = fields.length()
    if not size:
        return {}
    block = fields.take(size)
    try:
        read, _ = Properties(packet_type).unpack(with_length(block))  # type: ignore[no-untyped-call] # paho has types elsewhere
    except Exception as error:  # noqa: BLE001 - a dozen kinds, from MQTTException to struct.error, for a client's bytes
        raise Malformed(f"has properties that cannot be read: {error}") from None
    names = (name.replace(" ", "") for name in read.names)
    return {name: getattr(read, name) for name in names if hasattr(read, name)}


def written_properties(packet_type: int, values: Mapping[str, Any]) -> bytes:
    """Return them with their length before them."""
    if not values:
        return NO_PROPERTIES
    made = Properties(packet_type)  # type: ignore[no-untyped-call] # as above
    for name, value in values.items():
        setattr(made, name, value)
    return bytes(made.pack())  # type: ignore[no-untyped-call] # as above


def can_have(kind: Kind, code: int) -> bool:
    """Whether MQTT 5 has the reason code for packets of that kind."""
    try:
        ReasonCode(kind, identifier=code)
    except (KeyError, ValueError):
        return False
    return True


def check_reason(kind: Kind, code: int) -> None:
    """Malformed unless a packet of that kind may have the reason code."""
    if not can_have(kind, code):
        raise Malformed(f"has the reason code {code}, which a {kind.name} cannot have", Reason.PROTOCOL_ERROR)
