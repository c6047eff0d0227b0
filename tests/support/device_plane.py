"""The simulator's data plane, without a network."""

from iot_jobs_simulator import topics
from iot_jobs_simulator.device_plane import DevicePlane, Reply


def perform_mqtt(data: DevicePlane, topic: str, payload: bytes, now: float) -> Reply | None:
    """The reply to a device's message where nothing disturbs it."""
    request = topics.parse(topic)
    assert request is not None
    return data.answer_mqtt(request, topic, payload, now, lambda operate: operate())
