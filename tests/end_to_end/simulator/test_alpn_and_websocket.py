"""Other ways to the same broker: a TLS port that serves two protocols, and WebSocket with a signed handshake."""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import wire
import wire5
from awscrt import auth, mqtt5, mqtt_request_response
from awsiot import iotjobs, mqtt5_client_builder
from tests.support.clients import boto3_client
from tests.support.turns import at_each_turn

from iot_jobs_simulator.server import running_simulator
from iot_jobs_simulator.sockets import listen
from iot_jobs_simulator.tls_or_plain import TlsOrPlain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

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


@pytest.mark.parametrize("protocol", ["mqtt", "mqttv3.1"])
async def test_mqtt_is_spoken_over_a_websocket_in_frames_of_any_size(
    sim: RunningSimulator, session: aiohttp.ClientSession, protocol: str
) -> None:
    client = await upgraded(sim, session, ("other", protocol))
    assert client.protocol == protocol
    sent = wire.connect("ws") + wire.subscribe("a") + wire.publish("a", b"x" * 100_000, qos=1) + b"\xc0\x00"
    for at in range(0, len(sent), 7777):
        await client.send_bytes(sent[at : at + 7777])
    heard = b""
    while not (b"\xd0\x00" in heard and b"x" * 100_000 in heard):
        heard += (await client.receive(WAIT_S)).data
    assert heard.startswith(b"\x20\x02\x00\x00")
    await client.send_bytes(b"\xe0\x00")
    assert (await client.receive(WAIT_S)).type is aiohttp.WSMsgType.CLOSE
    await client.close()


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
    assert (await silent.receive(WAIT_S / 2)).type is aiohttp.WSMsgType.CLOSE
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


def signed_client(sim: RunningSimulator, **callbacks: Any) -> mqtt5.Client:
    """The SDK's own way to a WebSocket with TLS, and without a certificate."""
    return mqtt5_client_builder.websockets_with_default_aws_signing(
        region="us-east-1",
        credentials_provider=auth.AwsCredentialsProvider.new_static("AKID", "secret", "token"),
        endpoint="localhost",
        port=urlsplit(sim.http_url).port,
        ca_filepath=str(sim.certificates / "ca.pem"),
        client_id="lamp",
        **callbacks,
    )


async def test_the_sdk_signs_and_works_off_a_job(sim: RunningSimulator) -> None:
    sim.operate("CreateThing", thingName="lamp")
    sim.operate("CreateJob", jobId="J1", targets=[THING_ARN], document="{}")
    connected, stopped, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()
    client = signed_client(
        sim,
        on_lifecycle_connection_success=lambda _: loop.call_soon_threadsafe(connected.set),
        on_lifecycle_stopped=lambda _: loop.call_soon_threadsafe(stopped.set),
    )
    client.start()
    await asyncio.wait_for(connected.wait(), WAIT_S)
    jobs = iotjobs.IotJobsClientV2(client, mqtt_request_response.ClientOptions(2, 2, WAIT_S))
    request = iotjobs.UpdateJobExecutionRequest(thing_name="lamp", job_id="J1", status="SUCCEEDED")
    await asyncio.wrap_future(jobs.update_job_execution(request))
    await sim.wait_for_status("lamp", "J1", "SUCCEEDED")
    client.stop()
    await asyncio.wait_for(stopped.wait(), WAIT_S)


async def test_the_http_port_takes_tls_without_a_certificate(sim: RunningSimulator, tmp_path: Path) -> None:
    url = f"https://localhost:{urlsplit(sim.http_url).port}"
    iot = boto3_client("iot", url, verify=str(sim.certificates / "ca.pem"))
    arn = (await asyncio.to_thread(iot.create_thing, thingName="lamp"))["thingArn"]
    iot.close()
    assert arn == THING_ARN
    async with aiohttp.ClientSession() as plain, plain.get(f"{sim.http_url}/_simulator/clock") as answer:
        assert answer.status == 200


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", b"GET /"])
async def test_a_connection_to_the_http_port_that_says_too_little_ends_with_the_simulator(
    certificates_of_run: Path, sent: bytes
) -> None:
    async with running_simulator(certificates=certificates_of_run) as sim:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(sim.http_url).port)
        writer.write(sent)
        assert sim.operate("CreateThing", thingName="lamp")["thingArn"] == THING_ARN
    async with asyncio.timeout(WAIT_S):
        with suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()


async def test_a_connection_that_says_nothing_is_closed() -> None:
    bound = listen(("127.0.0.1", 0))
    acceptor = TlsOrPlain(bound, ssl.create_default_context(), asyncio.Protocol, silence_s=0.05)
    acceptor.start(backlog=1)
    reader, writer = await asyncio.open_connection(*bound.getsockname())
    async with asyncio.timeout(WAIT_S):
        assert await reader.read() == b""
    writer.close()
    await acceptor.stop()


async def test_only_a_page_of_this_machine_opens_a_websocket(
    sim: RunningSimulator, session: aiohttp.ClientSession
) -> None:
    for origin, status in (("https://evil.example", 403), ("null", 403), ("http://localhost:3000", 101)):
        headers = {"Origin": origin, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        headers |= {"Sec-WebSocket-Key": "A" * 22 + "==", "Sec-WebSocket-Protocol": "mqtt"}
        async with session.get(f"{sim.http_url}/mqtt", params=SIGNED, headers=headers) as answer:
            assert answer.status == status, origin


async def test_a_websocket_whose_client_does_not_read_ends_with_its_connection(
    sim: RunningSimulator, session: aiohttp.ClientSession
) -> None:
    deaf = await upgraded(sim, session)
    await deaf.send_bytes(wire.connect("deaf") + wire.subscribe("a"))
    await sim.wait_for_subscription("a")
    [gate] = sim._mqtt._connections.values()
    deaf._conn.transport.pause_reading()
    other, _ = await wire5.connected(sim, "other")
    async with asyncio.timeout(WAIT_S):
        while gate._writer.transport.get_write_buffer_size() < 100_000:  # until nothing goes anywhere any more
            sim.publish("a", b"x" * 100_000)
            assert await other.is_served()
        newer = await wire.connected(sim, client_id="deaf")
    gone = asyncio.Event()
    async with asyncio.timeout(WAIT_S):  # aiohttp announces nothing
        await at_each_turn(gone.wait(), lambda: sim._rest._signed.connections or gone.set())
    for each in (newer, other):
        each.close()
    deaf._conn.transport.abort()
