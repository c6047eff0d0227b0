"""Other ways to the same broker: a TLS port that serves two protocols, and WebSocket with a signed handshake."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import wire
import wire5
from awscrt import auth, mqtt5, mqtt_request_response
from awsiot import iotjobs

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from iot_jobs_simulator.server import RunningSimulator

WAIT_S = 10
THING_ARN = "arn:aws:iot:us-east-1:123456789012:thing/lamp"
SIGNED = {
    "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
    "X-Amz-Credential": "AKID/20261201/us-east-1/iotdevicegateway/aws4_request",
    "X-Amz-Date": "20261201T000000Z",
    "X-Amz-SignedHeaders": "host",
    "X-Amz-Signature": "0" * 64,
}


def device_tls(sim: RunningSimulator, *protocols: str) -> ssl.SSLContext:
    context = wire.client_tls(sim.certificates, "client")
    context.set_alpn_protocols(list(protocols))
    return context


@pytest.mark.parametrize("name", ["x-amzn-mqtt-ca", "mqtt", "h2"])
async def test_a_client_that_names_mqtt_or_nothing_known_gets_mqtt(sim: RunningSimulator, name: str) -> None:
    device = await wire5.opened(sim.mqtts_port, tls=device_tls(sim, name))
    chosen = device.writer.get_extra_info("ssl_object").selected_alpn_protocol()
    assert chosen == (None if name == "h2" else name)
    assert (await device.ask(wire5.connect())).codes == [0]
    device.close()


async def test_a_client_that_names_https_gets_the_data_plane(sim: RunningSimulator) -> None:
    sim.operate("CreateThing", thingName="lamp")
    url = f"https://localhost:{sim.mqtts_port}/things/lamp/jobs"
    connector = aiohttp.TCPConnector(ssl=device_tls(sim, "x-amzn-http-ca"))
    async with aiohttp.ClientSession(connector=connector) as session:
        for _ in range(2):  # on the same connection
            async with session.get(url) as answer:
                assert (answer.status, await answer.json()) == (200, {"inProgressJobs": [], "queuedJobs": []})
    await sim.restart_broker()
    device = await wire5.opened(sim.mqtts_port, tls=device_tls(sim, "x-amzn-mqtt-ca"))
    assert (await device.ask(wire5.connect())).codes == [0]
    device.close()


async def test_a_certificate_is_needed_whatever_is_named(sim: RunningSimulator) -> None:
    context = device_tls(sim, "x-amzn-http-ca")
    plain = type(context)(context.protocol)
    plain.load_verify_locations(sim.certificates / "ca.pem")
    plain.set_alpn_protocols(["x-amzn-http-ca"])
    with pytest.raises((aiohttp.ClientError, OSError)):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=plain)) as session:
            await session.get(f"https://localhost:{sim.mqtts_port}/things/lamp/jobs")


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def upgraded(
    sim: RunningSimulator, session: aiohttp.ClientSession, protocols: tuple[str, ...] = ("mqtt",), **changed: Any
) -> aiohttp.ClientWebSocketResponse:
    query = {name: value for name, value in (SIGNED | changed).items() if value is not None}
    return await session.ws_connect(f"{sim.http_url}/mqtt", params=query, protocols=protocols)


async def test_mqtt_is_spoken_over_a_websocket_in_frames_of_any_size(
    sim: RunningSimulator, session: aiohttp.ClientSession
) -> None:
    socket = await upgraded(sim, session)
    assert socket.protocol == "mqtt"
    sent = wire.connect("ws") + wire.subscribe("a") + wire.publish("a", b"x" * 100_000, qos=1) + b"\xc0\x00"
    for at in range(0, len(sent), 7777):
        await socket.send_bytes(sent[at : at + 7777])
    heard = b""
    while not (b"\xd0\x00" in heard and b"x" * 100_000 in heard):
        heard += (await socket.receive(WAIT_S)).data
    assert heard.startswith(b"\x20\x02\x00\x00")
    await socket.send_bytes(b"\xe0\x00")
    assert (await socket.receive(WAIT_S)).type is aiohttp.WSMsgType.CLOSE
    await socket.close()


async def test_the_end_of_either_side_is_the_end_of_both(sim: RunningSimulator, session: aiohttp.ClientSession) -> None:
    ended, cut, silent = [await upgraded(sim, session) for _ in range(3)]
    await ended.send_bytes(wire5.connect("ended") + wire5.subscribe("ended") + wire5.publish("a/+"))
    heard = b""
    while (message := await ended.receive(WAIT_S)).type is aiohttp.WSMsgType.BINARY:
        heard += message.data
    assert b"MQTT 5: a packet has no valid topic" in heard
    await cut.send_bytes(wire.connect("cut") + wire.subscribe("cut"))
    await sim.wait_for_subscription("cut")
    await cut.close()
    await sim.wait_until(lambda: not sim.has_subscription("cut"))
    await silent.send_str("text")
    assert (await silent.receive(WAIT_S)).type is aiohttp.WSMsgType.CLOSE
    for each in (ended, silent):
        await each.close()
    assert sim._mqtt._connections == {}


@pytest.mark.parametrize(
    ("changed", "words"),
    [({name: None}, f"no {name}") for name in SIGNED]
    + [
        ({"X-Amz-Algorithm": "HMAC"}, "X-Amz-Algorithm does not have the form"),
        ({"X-Amz-Credential": "AKID/20261201/us-east-1/iot/aws4_request"}, "X-Amz-Credential"),
        ({"X-Amz-Date": "today"}, "X-Amz-Date"),
        ({"X-Amz-SignedHeaders": "date"}, "X-Amz-SignedHeaders"),
        ({"X-Amz-Signature": "secret"}, "X-Amz-Signature"),
    ],
)
async def test_a_handshake_that_is_not_signed_is_forbidden_in_words(
    sim: RunningSimulator, session: aiohttp.ClientSession, changed: dict[str, Any], words: str
) -> None:
    query = {name: value for name, value in (SIGNED | changed).items() if value is not None}
    async with session.get(f"{sim.http_url}/mqtt", params=query) as answer:
        assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (403, "ForbiddenException")
        message = json.loads(await answer.text())["message"]
    assert words in message
    assert "secret" not in message


async def test_a_handshake_without_the_subprotocol_or_without_an_upgrade_is_refused(
    sim: RunningSimulator, session: aiohttp.ClientSession
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
        await upgraded(sim, session, protocols=("amqp",))
    assert raised.value.status == 400
    async with session.get(f"{sim.http_url}/mqtt", params=SIGNED) as answer:
        assert (answer.status, "mqtt" in await answer.text()) == (400, True)


async def test_the_sdk_signs_and_works_off_a_job(sim: RunningSimulator) -> None:
    sim.operate("CreateThing", thingName="lamp")
    sim.operate("CreateJob", jobId="J1", targets=[THING_ARN], document="{}")
    connected, stopped, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()

    def sign(transform_args: mqtt5.WebsocketHandshakeTransformArgs) -> None:
        config = auth.AwsSigningConfig(
            algorithm=auth.AwsSigningAlgorithm.V4,
            signature_type=auth.AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS,
            credentials_provider=auth.AwsCredentialsProvider.new_static("AKID", "secret", "token"),
            region="us-east-1",
            service="iotdevicegateway",
            omit_session_token=True,
        )
        signing = auth.aws_sign_request(transform_args.http_request, config)
        signing.add_done_callback(lambda done: transform_args.set_done(done.exception()))

    address = urlsplit(sim.http_url)
    client = mqtt5.Client(
        mqtt5.ClientOptions(
            host_name=address.hostname,
            port=address.port,
            websocket_handshake_transform=sign,
            connect_options=mqtt5.ConnectPacket(client_id="lamp"),
            on_lifecycle_event_connection_success_fn=lambda _: loop.call_soon_threadsafe(connected.set),
            on_lifecycle_event_stopped_fn=lambda _: loop.call_soon_threadsafe(stopped.set),
        )
    )
    client.start()
    await asyncio.wait_for(connected.wait(), WAIT_S)
    jobs = iotjobs.IotJobsClientV2(client, mqtt_request_response.ClientOptions(2, 2, WAIT_S))
    request = iotjobs.UpdateJobExecutionRequest(thing_name="lamp", job_id="J1", status="SUCCEEDED")
    await asyncio.wrap_future(jobs.update_job_execution(request))
    await sim.wait_for_status("lamp", "J1", "SUCCEEDED")
    client.stop()
    await asyncio.wait_for(stopped.wait(), WAIT_S)


async def test_only_a_page_of_this_machine_opens_a_websocket(
    sim: RunningSimulator, session: aiohttp.ClientSession
) -> None:
    for origin, status in (("https://evil.example", 403), ("null", 403), ("http://localhost:3000", 101)):
        headers = {"Origin": origin, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        headers |= {"Sec-WebSocket-Key": "A" * 22 + "==", "Sec-WebSocket-Protocol": "mqtt"}
        async with session.get(f"{sim.http_url}/mqtt", params=SIGNED, headers=headers) as answer:
            assert answer.status == status, origin
