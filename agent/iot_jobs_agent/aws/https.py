"""GetPendingJobExecutions over HTTPS, with the device's certificate. Owns no connection: each request makes its own."""

import asyncio
from typing import Any
from urllib.parse import quote

from awscrt import exceptions, http, io

from iot_jobs_agent.aws import messages
from iot_jobs_agent.aws.sdk import bootstrap, outcome, reason
from iot_jobs_agent.config.keys import Aws
from iot_jobs_agent.errors import RequestRefused, RequestUnanswered

HTTPS_ALPN_PORT = 443
LARGEST_ANSWER_BYTES = 1024 * 1024


async def list_over_https(aws: Aws, namespace: str, client_bootstrap: Any = None) -> messages.Json:
    """Return what GetPendingJobExecutions answers over HTTPS, with the device certificate (any thread's loop).

    Port 443 is told apart by ALPN `x-amzn-http-ca` (developer guide, page protocols).

    Raises:
        RequestRefused: an error answer; RequestUnanswered: no answer in time.
    """
    path = f"/things/{quote(aws.thing_name, safe='')}/jobs"
    if namespace:
        path += f"?namespaceId={quote(namespace, safe='')}"
    try:
        async with asyncio.timeout(aws.request_timeout_s):
            status, body = await _https_get(aws, path, client_bootstrap or bootstrap())
    except (OSError, exceptions.AwsCrtError) as error:  # OSError: silence, or the certificate's files
        raise RequestUnanswered(f"https://{aws.https_endpoint}:{aws.https_port}: {reason(error)}") from None
    if status != 200:  # noqa: PLR2004 - OK
        raise RequestRefused(f"HTTP {status}", _said(body))
    return messages.parse_object(body)


async def _https_get(aws: Aws, path: str, client_bootstrap: Any) -> tuple[int, bytes]:
    options = io.TlsContextOptions.create_client_with_mtls_from_path(str(aws.certificate), str(aws.private_key))
    options.override_default_trust_store_from_path(None, str(aws.root_ca))
    if aws.https_port == HTTPS_ALPN_PORT:
        options.alpn_list = ["x-amzn-http-ca"]
    tls = io.ClientTlsContext(options).new_connection_options()
    tls.set_server_name(aws.https_endpoint)
    connection = await outcome(
        http.HttpClientConnection.new(aws.https_endpoint, aws.https_port, client_bootstrap, io.SocketOptions(), tls)
    )
    try:
        body = bytearray()
        headers = http.HttpHeaders([("Host", aws.https_endpoint), ("Accept", "application/json")])

        def on_body(chunk: bytes, **_: Any) -> None:
            if len(body) <= LARGEST_ANSWER_BYTES:
                body.extend(chunk)

        stream = connection.request(http.HttpRequest("GET", path, headers), on_body=on_body)
        stream.activate()
        status = await outcome(stream.completion_future)
    finally:
        connection.close()
    return int(status), bytes(body)


def _said(body: bytes) -> str:
    """Return the message of an error answer; a proxy's is no JSON."""
    try:
        return str(messages.parse_object(body).get("message") or "no message")
    except messages.MalformedMessageError:
        return "no message"
