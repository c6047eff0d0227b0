"""Connects once as the agent does, for `check`: the same client id, session, subscriptions and first request.

It takes over the agent's connection if the agent has one, so `check` leaves it out while the agent runs.
"""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeAlias

from iot_jobs_agent.aws import advice, messages
from iot_jobs_agent.aws.diagnosis import connect_problem, list_problem
from iot_jobs_agent.aws.handshake import Server, https_server, mqtt_server
from iot_jobs_agent.aws.https import list_over_https
from iot_jobs_agent.aws.mqtt import MqttConnection
from iot_jobs_agent.aws.requests import Requests
from iot_jobs_agent.aws.sdk import SdkError, hand_over, new_bootstrap
from iot_jobs_agent.aws.tls import TlsContexts
from iot_jobs_agent.config.values import Aws, Config
from iot_jobs_agent.errors import RequestRefused, RequestUnanswered

Probed: TypeAlias = tuple[bool, str]  # whether it is all right, and one sentence without its full stop

# Of the time that there is: as much as leaves a failure the time to be explained.
_CONNECT_SHARE = 0.4
_REQUEST_SHARE = 0.25
_BETWEEN_CONNECTS_S = 1.0  # AWS IoT Core quotas, "Connect requests per second per client ID"


async def mqtt_and_https(config: Config, limit_s: float, *, is_connected: bool) -> list[Probed]:
    """Try both at the same time; return what was found about MQTT, then about HTTPS. Takes `limit_s` at most.

    With `is_connected`, the agent is connected and MQTT is left alone. Starts nothing and claims nothing.
    """
    aws = config.aws._replace(
        connect_timeout_s=min(config.aws.connect_timeout_s, limit_s * _CONNECT_SHARE),
        request_timeout_s=min(config.aws.request_timeout_s, limit_s * _REQUEST_SHARE),
    )
    limited = config._replace(aws=aws)
    mqtt = _agent_is_connected(aws) if is_connected else _mqtt(limited)
    tried = _within(limit_s, mqtt_server(aws), mqtt), _within(limit_s, https_server(aws), _https(limited))
    return list(await asyncio.gather(*tried))


async def _within(limit_s: float, server: Server, finding: Awaitable[Probed]) -> Probed:
    try:
        async with asyncio.timeout(limit_s):
            return await finding
    except TimeoutError:
        fix = "check the network, or give it more time with --timeout"
        return False, f"{server.host_key}: {server} has not been tried to the end within {limit_s:g} s; {fix}"


async def _agent_is_connected(aws: Aws) -> Probed:
    why_not = "AWS IoT would disconnect it if this command connected too, so stop it first to have everything tried"
    return True, f"MQTT: the agent runs and is connected as {aws.client_id}; {why_not}"


async def _mqtt(config: Config) -> Probed:
    aws = config.aws
    if problem := await _mqtt_problem(config):
        return False, problem
    return True, f"MQTT endpoint {aws.endpoint} port {aws.port} lets {aws.client_id} subscribe and ask for jobs"


async def _https(config: Config) -> Probed:
    """Try what the agent needs over HTTPS.

    Only the lists of further namespaces need it (docs/install.md), so a policy without it may be right.
    """
    aws = config.aws
    try:
        await list_over_https(aws, "")
    except RequestRefused as error:
        if advice.is_forbidden(error) and not config.namespaces:
            return True, f"HTTPS: the list of pending jobs is refused ({error}), which only `pending` would need"
        return False, await list_problem(aws, error)
    except (RequestUnanswered, messages.MalformedMessageError) as error:
        return False, await list_problem(aws, error)
    return True, f"HTTPS endpoint {https_server(aws)} accepts the certificate and lists jobs of {aws.thing_name}"


async def _mqtt_problem(config: Config) -> str:
    """Return why the agent could not work over MQTT; "" if it could.

    What the policy forbids ends a second connection at the same place; another client of the same id does not.
    """
    first, is_lost = await _try_mqtt(config)
    if not is_lost:
        return first
    await asyncio.sleep(_BETWEEN_CONNECTS_S)
    second, is_lost = await _try_mqtt(config)
    return second if second == first or (second and not is_lost) else advice.taken_over(config.aws.client_id)


async def _try_mqtt(config: Config) -> tuple[str, bool]:
    """Return what one connection shows to be wrong, and whether the connection was lost over it."""
    aws = config.aws
    bootstrap, tls = new_bootstrap(), TlsContexts(aws)
    requests = Requests(aws, bootstrap, tls, lambda *_, **__: None)
    loop = asyncio.get_running_loop()
    try:
        connection = MqttConnection(aws, bootstrap, tls, lambda *heard: hand_over(loop, _hear, requests, *heard))
        await connection.open(aws.connect_timeout_s)
    except SdkError as error:
        return await connect_problem(aws, error), False
    requests.connection = connection
    try:
        problem = await _subscribe_problem(config, connection) or await _request_problem(config, connection, requests)
    except BaseException:
        connection.abandon()
        raise
    if problem:
        connection.abandon()  # an orderly end may take as long as the broker likes
    else:
        await connection.close()
    return problem, bool(problem) and connection.lost.is_set()


async def _subscribe_problem(config: Config, connection: MqttConnection) -> str:
    topics = messages.Topics(config.aws.thing_name)
    served = config.namespaces_served
    notifications = topics.notifications(served, with_api_text_form=config.aws.api_text_topics)
    for topic_filter in [*topics.answers(served), *notifications]:
        try:
            is_lost = await _is_lost_first(connection, connection.subscribe(topic_filter))
        except SdkError as error:
            if error.name == "SubscribeError":
                return advice.subscription_refused(topic_filter)
            return advice.subscription_unanswered(topic_filter)
        if is_lost:
            return advice.subscription_closes(topic_filter)
    return ""


async def _request_problem(config: Config, connection: MqttConnection, requests: Requests) -> str:
    topics = messages.Topics(config.aws.thing_name)
    for namespace in config.namespaces_served:
        topic = topics.describe(namespace, "$next")
        try:
            is_lost = await _is_lost_first(connection, requests.describe_next(namespace))
        except RequestRefused as error:
            return advice.request_refused(config.aws.thing_name, error)
        except RequestUnanswered:
            return advice.request_unanswered(topic)
        except messages.MalformedMessageError as error:
            return f"the answer to a request on {topic} makes no sense ({error}); see what else publishes there"
        if is_lost:
            return advice.request_closes(topic)
    return ""


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
