"""What clients publish on the request topics of Jobs: performed, faults permitting, and answered."""

import logging
from collections import deque
from typing import Final

from iot_jobs_simulator import topics
from iot_jobs_simulator.device_plane import Reply
from iot_jobs_simulator.faults.faults import ListenerName, TrafficEvent
from iot_jobs_simulator.faults.injection import FaultInjector, Send
from iot_jobs_simulator.message_log import MessageLog
from iot_jobs_simulator.service import Service

_log = logging.getLogger(__name__)
_MAX_RECEIVED: Final = 10_000


class MqttRequests:
    """`received` holds the last messages that clients published, topic and payload, the oldest first.

    `messages` keeps those about one execution, with what answered them.
    """

    def __init__(self, service: Service, injector: FaultInjector, messages: MessageLog) -> None:
        self.received: deque[tuple[str, bytes]] = deque(maxlen=_MAX_RECEIVED)
        self._service = service
        self._injector = injector
        self._messages = messages

    def answer(self, client_id: str, topic: str, payload: bytes, send: Send) -> bool:
        """Answer a message that a client published; False if its topic is none of Jobs."""
        self.received.append((topic, payload))
        request = topics.parse(topic)
        if request is None:
            return False
        event = TrafficEvent(
            operation=request.operation,
            thing=request.thing_name,
            topic=topic,
            client_id=client_id,
            listener=ListenerName.MQTT,
            job=request.job_id,
        )
        answered = self._messages.add_request(client_id, topic, payload, request.thing_name, request.job_id)

        def send_and_note(reply_topic: str, reply_payload: bytes) -> None:
            answered(reply_topic, reply_payload)
            send(reply_topic, reply_payload)

        what = " ".join(filter(None, [client_id, request.operation, request.job_id]))

        def reply(reply: Reply) -> None:
            code = reply.payload.get("code", "") if reply.topic.endswith("/rejected") else ""
            _log.info("mqtt  %s: %s %s", what, reply.topic.rpartition("/")[2], code)
            self._injector.send_reply(event, reply.topic, reply.payload, send_and_note)

        self._service.answer_mqtt(
            request, topic, payload, lambda operate: self._injector.perform(event, operate), reply
        )
        return True
