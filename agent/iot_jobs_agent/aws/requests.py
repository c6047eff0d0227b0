"""Requests to AWS IoT Jobs, and their answers. Over MQTT, an answer is matched by its clientToken and its topic."""

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from iot_jobs_agent import logs
from iot_jobs_agent.aws import advice, messages
from iot_jobs_agent.aws.https import list_over_https
from iot_jobs_agent.aws.sdk import SdkError
from iot_jobs_agent.aws.tls import TlsContexts
from iot_jobs_agent.chance import random_hex
from iot_jobs_agent.config.values import Aws
from iot_jobs_agent.core.effects import Update
from iot_jobs_agent.core.job import ExecutionId
from iot_jobs_agent.errors import AgentError, RequestRefused, RequestUnanswered

if TYPE_CHECKING:
    from iot_jobs_agent.aws.mqtt import MqttConnection


SILENT_IN_A_ROW = 2  # AWS IoT drops what a policy does not let a client receive, and says nothing


class Requests:
    """The requests of one thing. `connection` is the connection to send on, or None while there is none."""

    def __init__(self, aws: Aws, client_bootstrap: Any, tls: TlsContexts, warn: Callable[..., Any]) -> None:
        self.connection: MqttConnection | None = None
        self._aws = aws
        self._bootstrap = client_bootstrap
        self._tls = tls
        self._warn = warn
        self._log = logs.get_logger()
        self._topics = messages.Topics(aws.thing_name)
        self._silent_requests = 0  # in a row, without any answer in between
        self._awaiting: dict[str, tuple[str, asyncio.Future[tuple[str, messages.Json]]]] = {}  # topic, answer

    async def pending(self, namespace: str, *, is_complete: bool) -> tuple[tuple[ExecutionId, ...], bool]:
        """Return the pending executions of a namespace, and whether they are the whole list or only its head.

        The default namespace is listed over MQTT, the others over HTTPS, because no shipped client lists a namespace
        over MQTT. Each stands in for the other: HTTPS for a list that MQTT did not answer, and `$next` over MQTT (the
        head only) for a list that HTTPS did not give.

        Raises:
            RequestRefused, RequestUnanswered: there was no answer, either way.
            MalformedMessageError: the answer made no sense.
        """
        if namespace:
            if is_complete:
                try:
                    return await self._list_over_https(namespace), True
                except (RequestRefused, RequestUnanswered) as error:
                    facts = {"namespace": namespace, "why": str(error), **self.hint(error)}
                    self._warn("the list over HTTPS failed, asking for its head", **facts)
            head = await self.describe_next(namespace)
            return ((head.id,) if head else ()), False
        try:
            message = await self._send(self._topics.get, {})
        except RequestUnanswered:
            return await self._list_over_https(namespace), True
        return messages.parse_pending(message, namespace), True

    async def describe(self, execution: ExecutionId, *, with_document: bool = True) -> messages.ServiceExecution:
        """Return an execution as the service describes it.

        Raises:
            RequestRefused, RequestUnanswered: the service refused to describe it, or did not answer.
            MalformedMessageError: the answer made no sense, or is about another execution.
        """
        body = messages.describe_request(execution.execution_number, with_document=with_document)
        found = await self._describe(execution.namespace, execution.job_id, body)
        if found is None or found.id != execution:
            raise messages.MalformedMessageError(f"the answer about {execution} is about something else")
        return found

    async def describe_next(self, namespace: str) -> messages.ServiceExecution | None:
        """Return the execution that the service would give next, without its document; None if nothing is pending.

        Raises:
            RequestRefused, RequestUnanswered: the service refused to tell, or did not answer.
            MalformedMessageError: the answer made no sense.
        """
        return await self._describe(namespace, "$next", messages.describe_request(0, with_document=False))

    async def update(self, update: Update) -> None:
        """Send an update of an execution.

        Raises:
            RequestRefused: the update was refused.
            RequestUnanswered: the update may or may not have been applied.
            MalformedMessageError: the answer was not a JSON object; the update may or may not have been applied.
        """
        topic = self._topics.update(update.execution.namespace, update.execution.job_id)
        await self._send(topic, messages.update_request(update))

    def hint(self, error: AgentError) -> dict[str, str]:
        """Return the fact `hint` for a log line about a request that failed, in the words of `check`; else nothing."""
        if isinstance(error, RequestRefused):
            if advice.is_forbidden(error):
                return {"hint": advice.list_forbidden(error)}
            if advice.is_thing_missing(error):
                return {"hint": advice.request_refused(self._aws.thing_name, error)}
        return {}

    def on_answer(self, topic: str, message: messages.Json) -> None:
        """Hand an answer to the request that waits for it. Ignore it if there is none, or its topic does not match."""
        self._silent_requests = 0
        asked, awaiting = self._awaiting.get(str(message.get("clientToken", "")), ("", None))
        if awaiting is not None and not awaiting.done() and topic.rpartition("/")[0] == asked:
            awaiting.set_result((topic, message))

    def fail(self, error: AgentError, topic: str = "") -> None:
        """Fail the requests that were sent on `topic`, or all of them if it is empty, because the connection ended."""
        if not topic:
            self._silent_requests = 0
        for asked, awaiting in self._awaiting.values():
            if not awaiting.done() and topic in ("", asked):
                awaiting.set_exception(error)

    async def _describe(self, namespace: str, job_id: str, body: dict[str, Any]) -> messages.ServiceExecution | None:
        message = await self._send(self._topics.describe(namespace, job_id), body)
        return messages.parse_execution(message, namespace, body.get("executionNumber", 1))

    async def _list_over_https(self, namespace: str) -> tuple[ExecutionId, ...]:
        message = await list_over_https(self._aws, namespace, self._bootstrap, self._tls)
        return messages.parse_pending(message, namespace)

    async def _send(self, topic: str, body: dict[str, Any]) -> messages.Json:
        """Publish a request and return the answer. After a time-out, it may not even have been sent."""
        connection = self.connection
        if connection is None:
            raise RequestUnanswered(f"{topic}: not connected")
        token = random_hex()
        awaiting: asyncio.Future[tuple[str, messages.Json]] = asyncio.get_running_loop().create_future()
        self._awaiting[token] = topic, awaiting
        connection.unanswered[token] = topic
        try:
            payload = json.dumps({**body, "clientToken": token})
            self._log.debug("request sent", topic=topic, size_bytes=len(payload))
            connection.publish(topic, payload)
            async with asyncio.timeout(self._aws.request_timeout_s):
                answered, message = await awaiting
        except SdkError as error:
            raise RequestUnanswered(f"{topic}: {error}") from None
        except TimeoutError:
            self._note_silence(connection, topic)
            raise RequestUnanswered(f"{topic}: no answer in time") from None
        finally:
            self._awaiting.pop(token)
            connection.unanswered.pop(token)
        if answered.endswith("/rejected"):
            raise messages.refusal(message)
        return message

    def _note_silence(self, connection: "MqttConnection", topic: str) -> None:
        """Warn of the second request in a row without any answer, as long as the connection is the same and lives."""
        if connection is not self.connection or connection.lost.is_set():
            return
        self._silent_requests += 1
        if self._silent_requests == SILENT_IN_A_ROW:
            hint = advice.request_unanswered(topic)
            self._warn("requests stay unanswered on a connection that works", topic=topic, hint=hint)
