"""GetPendingJobExecutions over HTTPS, with the device's certificate. Each request opens a connection of its own."""

import asyncio
from typing import Any
from urllib.parse import quote

from awscrt import http, io

from iot_jobs_agent import logs
from iot_jobs_agent.aws import messages
from iot_jobs_agent.aws.sdk import SdkError, new_bootstrap, proxy_options, sdk_errors, wait_for
from iot_jobs_agent.aws.tls import ALPN_HTTP, TlsContexts
from iot_jobs_agent.config.values import Aws
from iot_jobs_agent.errors import RequestRefused, RequestUnanswered

LARGEST_ANSWER_BYTES = 1024 * 1024


async def list_over_https(
    aws: Aws, namespace: str, client_bootstrap: Any = None, tls: TlsContexts | None = None
) -> messages.Json:
    """Return the answer to GetPendingJobExecutions over HTTPS. May run in any thread that has a loop.

    A caller that asks only once may leave out the SDK's bootstrap and `tls`.

    On port 443, the ALPN name `x-amzn-http-ca` selects this protocol (AWS IoT developer guide, page protocols).

    Raises:
        RequestRefused: the answer is an error.
        RequestUnanswered: there was no answer in time.
        MalformedMessageError: the answer is not a JSON object.
    """
    path = f"/things/{quote(aws.thing_name, safe='')}/jobs"
    if namespace:
        path += f"?namespaceId={quote(namespace, safe='')}"
    logs.get_logger().debug("request sent over HTTPS", path=path)
    try:
        async with asyncio.timeout(aws.request_timeout_s):
            status, body = await _get(aws, path, client_bootstrap, tls or TlsContexts(aws))
    except (TimeoutError, SdkError) as error:
        where = f"https://{aws.https_endpoint}:{aws.https_port}"
        raise RequestUnanswered(f"{where}: {str(error) or 'no answer in time'}") from error
    logs.get_logger().debug("answer received over HTTPS", path=path, status=status, size_bytes=len(body))
    if status != 200:  # noqa: PLR2004 - OK
        raise RequestRefused(f"HTTP {status}", _message_of(body))
    return messages.parse_object(body)


async def _get(aws: Aws, path: str, client_bootstrap: Any, tls: TlsContexts) -> tuple[int, bytes]:
    host, port = aws.https_endpoint, aws.https_port
    with sdk_errors():
        options = tls.make(port, ALPN_HTTP).new_connection_options()
        options.set_server_name(host)
        bootstrap = client_bootstrap or new_bootstrap()
        proxy = proxy_options(aws.proxy)
        connecting = http.HttpClientConnection.new(host, port, bootstrap, io.SocketOptions(), options, proxy)
    connection = await wait_for(connecting)
    try:
        body = bytearray()
        headers = http.HttpHeaders([("Host", host), ("Accept", "application/json")])

        def on_body(chunk: bytes, **_: Any) -> None:
            if len(body) <= LARGEST_ANSWER_BYTES:
                body.extend(chunk)

        with sdk_errors():
            stream = connection.request(http.HttpRequest("GET", path, headers), on_body=on_body)
            stream.activate()
        status = await wait_for(stream.completion_future)
    finally:
        with sdk_errors():
            connection.close()
    return int(status), bytes(body)


def _message_of(body: bytes) -> str:
    """Return the message in an error answer. An answer from a proxy may not be JSON."""
    try:
        return str(messages.parse_object(body).get("message") or "no message")
    except messages.MalformedMessageError:
        return "no message"
