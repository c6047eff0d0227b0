"""Connects once as the agent does, for `check`: the same client id, session, subscriptions and first request.

It takes over the agent's connection if the agent has one, so `check` leaves it out while the agent runs.
"""

import asyncio
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any

from iot_jobs_agent.aws import messages
from iot_jobs_agent.aws.handshake import handshake_problem, https_server, mqtt_server, speaks_http
from iot_jobs_agent.aws.https import list_over_https
from iot_jobs_agent.aws.mqtt import MqttConnection
from iot_jobs_agent.aws.requests import Requests
from iot_jobs_agent.aws.sdk import SdkError, hand_over, new_bootstrap
from iot_jobs_agent.aws.tls import TlsContexts
from iot_jobs_agent.config.values import Aws, Config
from iot_jobs_agent.errors import RequestRefused, RequestUnanswered


async def mqtt_problem(config: Config) -> str:
    """Return why the agent could not work over MQTT, in one sentence without its full stop; "" if it could.

    Takes the durations of [aws] for the connection, each subscription and each namespace, and some seconds for
    finding out about TLS. Starts nothing and claims nothing.
    """
    aws = config.aws
    bootstrap, tls = new_bootstrap(), TlsContexts(aws)
    requests = Requests(aws, bootstrap, tls, lambda *_, **__: None)
    loop = asyncio.get_running_loop()
    try:
        connection = MqttConnection(aws, bootstrap, tls, lambda *heard: hand_over(loop, _hear, requests, *heard))
        await connection.open(aws.connect_timeout_s)
    except SdkError as error:
        return await _connect_problem(aws, error)
    requests.connection = connection
    try:
        return await _subscribe_problem(config, connection) or await _request_problem(config, connection, requests)
    finally:
        await connection.close()


async def https_finding(config: Config) -> tuple[bool, str]:
    """Return whether what the agent needs over HTTPS works, and one sentence about it.

    Only the lists of further namespaces need it (docs/install.md), so a policy without it may be right.
    """
    aws = config.aws
    server = https_server(aws)
    try:
        await list_over_https(aws, "")
    except RequestRefused as error:
        if error.code != f"HTTP {HTTPStatus.FORBIDDEN}":
            return False, f"aws.thing_name: https://{server.host}:{server.port} refuses the list ({error}); {_CREATE}."
        if config.namespaces:
            return False, f"HTTPS: the list of pending jobs is refused ({error}); {_ALLOW_LIST}."
        return True, f"HTTPS: the list of pending jobs is refused ({error}), which only `pending` would need"
    except (RequestUnanswered, messages.MalformedMessageError) as error:
        problem = await handshake_problem(aws, server, _sdk_error(error))
        return False, f"{problem or f'HTTPS: {server} gives no list ({error}); check {server.port_key}'}."
    return True, f"HTTPS endpoint {server} accepts the certificate and lists jobs of {aws.thing_name}"


async def _connect_problem(aws: Aws, error: SdkError) -> str:
    server = mqtt_server(aws)
    if aws.tls:
        if problem := await handshake_problem(aws, server, error):
            return problem
        if await speaks_http(aws, server):
            return f"aws.port: {server} speaks HTTPS, not MQTT; set aws.port to {server.usual_ports}"
    if "CONNECTION_REFUSED" in error.name or "DNS" in error.name:
        return f"aws.endpoint: {server} cannot be reached ({error}); check the network, the name and aws.port"
    if error.name == "TimeoutError":
        return f"aws.port: {server} does not answer MQTT; set aws.port to a port of AWS IoT, {server.usual_ports}"
    return (
        f"aws.client_id: the broker does not take the connection ({error}); let the certificate's policy allow "
        f"iot:Connect with the client id {aws.client_id}, and see that the certificate is active"
    )


async def _subscribe_problem(config: Config, connection: MqttConnection) -> str:
    topics = messages.Topics(config.aws.thing_name)
    served = config.namespaces_served
    notifications = topics.notifications(served, with_api_text_form=config.aws.api_text_topics)
    for topic_filter in [*topics.answers(served), *notifications]:
        try:
            is_lost = await _is_lost_first(connection, connection.subscribe(topic_filter))
        except SdkError as error:
            why = "refuses" if error.name == "SubscribeError" else "does not answer"
            return f"the broker {why} the subscription to {topic_filter}; {_allow('iot:Subscribe', topics)}"
        if is_lost:
            return f"the broker hangs up on the subscription to {topic_filter}; {_allow('iot:Subscribe', topics)}"
    return ""


async def _request_problem(config: Config, connection: MqttConnection, requests: Requests) -> str:
    topics = messages.Topics(config.aws.thing_name)
    for namespace in config.namespaces_served:
        topic = topics.describe(namespace, "$next")
        try:
            is_lost = await _is_lost_first(connection, requests.describe_next(namespace))
        except RequestRefused as error:
            return f"aws.thing_name: a request for {config.aws.thing_name} is refused ({error}); {_CREATE}"
        except RequestUnanswered:
            return f"nothing comes back for a request on {topic}; {_allow('iot:Receive', topics)}"
        except messages.MalformedMessageError as error:
            return f"the answer to a request on {topic} makes no sense ({error}); see what else publishes there"
        if is_lost:
            return f"the broker hangs up on a request on {topic}; let the certificate's policy allow iot:Publish on it"
    return ""


_ALLOW_LIST = "let the policy allow iotjobsdata:GetPendingJobExecutions, which lists the further namespaces"
_CREATE = "create the thing (`aws iot create-thing`), or correct aws.thing_name"


def _allow(action: str, topics: messages.Topics) -> str:
    return f"let the certificate's policy allow {action} on {topics.root}/*"


def _sdk_error(error: Exception) -> SdkError | None:
    return error.__cause__ if isinstance(error.__cause__, SdkError) else None


async def _is_lost_first(connection: MqttConnection, work: Coroutine[Any, Any, object]) -> bool:
    """Wait for `work` while the connection lasts, and raise what it raises. Return whether the connection was lost."""
    working, losing = asyncio.ensure_future(work), asyncio.ensure_future(connection.lost.wait())
    await asyncio.wait({working, losing}, return_when=asyncio.FIRST_COMPLETED)
    is_lost = connection.lost.is_set()
    (working if is_lost else losing).cancel()
    await asyncio.wait({working, losing})
    if not is_lost:
        working.result()
    return is_lost


def _hear(requests: Requests, topic: str, payload: bytes) -> None:
    if not messages.is_answer(topic):
        return
    try:
        message = messages.parse_object(payload)
    except messages.MalformedMessageError as error:
        requests.fail(error, topic.rpartition("/")[0])
        return
    requests.on_answer(topic, message)
