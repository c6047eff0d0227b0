"""Requests to AWS IoT Jobs over MQTT, and their answers: an answer is known by its clientToken and its topic."""

import asyncio
import json
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from iot_jobs_agent.aws import messages
from iot_jobs_agent.aws.https import list_over_https
from iot_jobs_agent.aws.sdk import SdkError
from iot_jobs_agent.config.values import Aws
from iot_jobs_agent.core.effects import Update
from iot_jobs_agent.core.job import ExecutionId
from iot_jobs_agent.errors import AgentError, RequestRefused, RequestUnanswered

if TYPE_CHECKING:
    from iot_jobs_agent.aws.mqtt import MqttConnection


class Requests:
    """The requests of one thing. `connection` is the one to send on, None while there is none."""

    def __init__(self, aws: Aws, client_bootstrap: Any, warn: Callable[..., Any]) -> None:
        self.connection: MqttConnection | None = None
        self._aws = aws
        self._bootstrap = client_bootstrap
        self._warn = warn
        self._topics = messages.Topics(aws.thing_name)
        self._awaiting: dict[str, tuple[str, asyncio.Future[tuple[str, messages.Json]]]] = {}  # topic, answer

    async def pending(self, namespace: str, *, is_complete: bool) -> tuple[tuple[ExecutionId, ...], bool]:
        """Return the pending executions of a namespace, and whether they are the whole list or only its head.

        The default namespace is listed over MQTT, a named one over HTTPS: over MQTT there is no such request that any
        shipped client uses. Each stands in for the other: HTTPS for an unanswered list, the head over MQTT where HTTPS
        fails.

        Raises:
            RequestRefused, RequestUnanswered: neither way led to an answer.
        """
        if namespace:
            if is_complete:
                try:
                    return await self._list_over_https(namespace), True
                except (RequestRefused, RequestUnanswered) as error:
                    self._warn("the list over HTTPS failed, asking for its head", namespace=namespace, why=str(error))
            head = await self._describe(namespace, "$next", messages.describe_request(0, with_document=False))
            return ((head.id,) if head else ()), False
        try:
            message = await self._send(self._topics.get, {})
        except RequestUnanswered:
            return await self._list_over_https(namespace), True
        return messages.parse_pending(message, namespace), True

    async def describe(self, execution: ExecutionId, *, with_document: bool = True) -> messages.ServiceExecution:
        """Return what the service says about an execution.

        Raises:
            RequestRefused, RequestUnanswered, messages.MalformedMessageError: it said no, nothing, or nonsense.
        """
        body = messages.describe_request(execution.execution_number, with_document=with_document)
        found = await self._describe(execution.namespace, execution.job_id, body)
        if found is None or found.id != execution:
            raise messages.MalformedMessageError(f"the answer about {execution} is about something else")
        return found

    async def update(self, update: Update) -> None:
        """Report a status.

        Raises:
            RequestRefused, RequestUnanswered: it was refused, or may or may not have been applied.
        """
        topic = self._topics.update(update.execution.namespace, update.execution.job_id)
        await self._send(topic, messages.update_request(update))

    def on_answer(self, topic: str, message: messages.Json) -> None:
        """Hand an answer to whoever waits for it; one to nobody's request, or to another request, is ignored."""
        asked, awaiting = self._awaiting.get(str(message.get("clientToken", "")), ("", None))
        if awaiting is not None and not awaiting.done() and topic.rpartition("/")[0] == asked:
            awaiting.set_result((topic, message))

    def fail(self, error: AgentError, topic: str = "") -> None:
        """Fail the requests that wait for an answer on `topic`, or all of them."""
        for asked, awaiting in self._awaiting.values():
            if not awaiting.done() and topic in ("", asked):
                awaiting.set_exception(error)

    async def _describe(self, namespace: str, job_id: str, body: dict[str, Any]) -> messages.ServiceExecution | None:
        message = await self._send(self._topics.describe(namespace, job_id), body)
        return messages.parse_execution(message, namespace, body.get("executionNumber", 1))

    async def _list_over_https(self, namespace: str) -> tuple[ExecutionId, ...]:
        message = await list_over_https(self._aws, namespace, self._bootstrap)
        return messages.parse_pending(message, namespace)

    async def _send(self, topic: str, body: dict[str, Any]) -> messages.Json:
        """Publish a request and return the answer. A time-out may mean that it was never sent."""
        connection = self.connection
        if connection is None:
            raise RequestUnanswered(f"{topic}: not connected")
        token = uuid.uuid4().hex
        awaiting: asyncio.Future[tuple[str, messages.Json]] = asyncio.get_running_loop().create_future()
        self._awaiting[token] = topic, awaiting
        connection.unanswered[token] = topic
        try:
            connection.publish(topic, json.dumps({**body, "clientToken": token}))
            async with asyncio.timeout(self._aws.request_timeout_s):
                answered, message = await awaiting
        except (TimeoutError, SdkError) as error:
            raise RequestUnanswered(f"{topic}: {str(error) or 'no answer in time'}") from None
        finally:
            self._awaiting.pop(token)
            connection.unanswered.pop(token)
        if answered.endswith("/rejected"):
            raise messages.refusal(message)
        return message
