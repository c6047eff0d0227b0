"""The last messages about the executions that were spoken of last: topic, payload and what was answered. Bounded.

Only what is about one execution is kept: requests that name or get one, and `notify-next`. It is kept by thing and job,
so the attempts of a retried execution share it. Payloads are cut, and what has been quiet for longest goes first.
"""

import re
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from iot_jobs_simulator import topics

Answered: TypeAlias = Callable[[str, bytes], None]

MAX_EXECUTIONS: Final = 1000
MAX_MESSAGES: Final = 50
MAX_PAYLOAD_BYTES: Final = 4096
MAX_BYTES: Final = 16 * 1024 * 1024
_NOTIFY_NEXT: Final = "notify-next"
# Our own payloads have the id before anything that a device or an operator chose.
_JOB_ID: Final = re.compile(rb'"jobId":"([A-Za-z0-9_-]{1,64})"')
_HEAD_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class _Sent:
    """A topic, or over HTTP what stands in its place, and the beginning of a payload."""

    at: float
    topic: str
    payload: bytes
    size_bytes: int

    def shown(self) -> dict[str, Any]:
        text = self.payload.decode("utf-8", "replace")
        return {"at": round(self.at, 3), "topic": self.topic, "payload": text, "sizeBytes": self.size_bytes}


@dataclass(slots=True, eq=False)
class _Message:
    """A request with its answers, or a notification, of which `client` is empty."""

    client: str
    sent: _Sent
    answers: list[_Sent] = field(default_factory=list)
    is_kept: bool = False

    @property
    def kept_bytes(self) -> int:
        return len(self.sent.payload) + sum(len(each.payload) for each in self.answers)


class MessageLog:
    """Messages by thing and job. `now` is the service's time, and `is_execution` says whether there is one."""

    def __init__(self, now: Callable[[], float], is_execution: Callable[[str, str], bool]) -> None:
        self._now = now
        self._is_execution = is_execution
        self._messages: OrderedDict[tuple[str, str], deque[_Message]] = OrderedDict()
        self._bytes = 0

    def add_request(self, client: str, topic: str, payload: bytes, thing_name: str, job_id: str | None) -> Answered:
        """Keep a request. What is returned keeps each answer to it, by topic and payload.

        A request that names no job, or `$next`, is kept if its answer says which job it got.
        """
        message = _Message(client, self._cut(topic, payload))
        if job_id is not None:
            self._add(message, thing_name, job_id)

        def answered(answer_topic: str, answer: bytes) -> None:
            found = None if message.is_kept else _JOB_ID.search(answer, 0, _HEAD_BYTES)
            if found is not None:
                self._add(message, thing_name, found[1].decode())
            message.answers.append(sent := self._cut(answer_topic, answer))
            if message.is_kept:
                self._bytes += len(sent.payload)
                self._forget()

        return answered

    def add_notification(self, topic: str, payload: bytes) -> None:
        """Keep a notification, if it is about one execution."""
        thing_name, name = topics.notification(topic) or ("", "")
        found = _JOB_ID.search(payload, 0, _HEAD_BYTES) if name == _NOTIFY_NEXT else None
        if found is not None:
            self._add(_Message("", self._cut(topic, payload)), thing_name, found[1].decode())

    def noting(self, send: Callable[[str, bytes], None]) -> Callable[[str, bytes], None]:
        """The same as `send`, which sends notifications, but what it sends is kept."""

        def send_and_note(topic: str, payload: bytes) -> None:
            self.add_notification(topic, payload)
            send(topic, payload)

        return send_and_note

    def listed(self, thing_name: str, job_id: str) -> list[dict[str, Any]]:
        """What is kept of a job on a thing, the oldest first."""
        kept = self._messages.get((thing_name, job_id), ())
        return [
            message.sent.shown() | {"client": message.client, "answers": [answer.shown() for answer in message.answers]}
            for message in kept
        ]

    def _cut(self, topic: str, payload: bytes) -> _Sent:
        return _Sent(self._now(), topic, payload[:MAX_PAYLOAD_BYTES], len(payload))

    def _add(self, message: _Message, thing_name: str, job_id: str) -> None:
        place = (thing_name, job_id)
        messages = self._messages.get(place)
        if messages is None:
            if not self._is_execution(thing_name, job_id):
                return
            messages = self._messages[place] = deque()
        self._messages.move_to_end(place)
        message.is_kept = True
        messages.append(message)
        self._bytes += message.kept_bytes
        if len(messages) > MAX_MESSAGES:
            self._drop(messages.popleft())
        self._forget()

    def _forget(self) -> None:
        while len(self._messages) > MAX_EXECUTIONS or (self._bytes > MAX_BYTES and len(self._messages) > 1):
            _, messages = self._messages.popitem(last=False)
            for message in messages:
                self._drop(message)

    def _drop(self, message: _Message) -> None:
        message.is_kept = False
        self._bytes -= message.kept_bytes
