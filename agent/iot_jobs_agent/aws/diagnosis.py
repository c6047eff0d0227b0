"""Finds out why there is no connection, or no list over HTTPS: for `check` and `pending`, and for the log of `run`.

`handshake` asks the server about TLS; this puts that together with what the SDK said. Every answer is one sentence
without its full stop, and names the key and the fix.
"""

from iot_jobs_agent.aws import advice
from iot_jobs_agent.aws.handshake import handshake_problem, https_server, mqtt_server, speaks_http
from iot_jobs_agent.aws.sdk import SdkError
from iot_jobs_agent.config.values import Aws
from iot_jobs_agent.errors import RequestRefused

_UNREACHABLE = ("CONNECTION_REFUSED", "DNS", "NO_ROUTE", "NETWORK_DOWN")  # parts of the SDK's names
_SILENT = {"TimeoutError", "AWS_ERROR_MQTT_TIMEOUT"}  # the latter: there is TLS, but no CONNACK


async def connect_problem(aws: Aws, error: SdkError) -> str:
    """Return why the SDK could not connect over MQTT. Takes up to connect_timeout_s twice, and some seconds."""
    server = mqtt_server(aws)
    if aws.proxy is None and any(part in error.name for part in _UNREACHABLE):
        return f"aws.endpoint: {server} cannot be reached ({error}); check the network, the name and aws.port"
    if aws.tls:
        if problem := await handshake_problem(aws, server, error):
            return problem
        if await speaks_http(aws, server):
            return f"aws.port: {server} speaks HTTPS, not MQTT; set aws.port to {server.usual_ports}"
    if error.name in _SILENT:
        return f"aws.port: {server} does not answer MQTT; set aws.port to a port of AWS IoT, {server.usual_ports}"
    return advice.not_let_in(aws.client_id, str(error))


async def list_problem(aws: Aws, error: Exception) -> str:
    """Return why there is no list over HTTPS. Takes up to connect_timeout_s twice, and some seconds."""
    if isinstance(error, RequestRefused):
        if advice.is_forbidden(error):
            return advice.list_forbidden(error)
        return advice.request_refused(aws.thing_name, error)
    server = https_server(aws)
    cause = error.__cause__ if isinstance(error.__cause__, SdkError) else None
    problem = await handshake_problem(aws, server, cause)
    return problem or f"HTTPS: {server} gives no list ({error}); check {server.port_key}"
