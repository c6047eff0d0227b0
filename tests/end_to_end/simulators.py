"""Fixtures with a simulator in them. Two kinds, and a raw MQTT client for either.

`simulator`: a process, one for the whole run, with boto3 clients; for tests that may block. Nothing is cleaned up
between tests, so take names from `new_name`.
`sim`: in the test's own event loop, fresh for each test, for tests that are coroutines; it lets a test look into the
service, wait for facts, publish as the broker and stop and start the broker.
`connect`: raw MQTT 3.1.1 clients (`RawDevice`) over either port.
"""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from awscrt import mqtt
from awsiot import mqtt_connection_builder
from tests.support.clients import boto3_client

from iot_jobs_simulator.server import RunningSimulator, running_simulator

WAIT_S = 10
_counter = itertools.count(1)


@dataclass(frozen=True)
class SimulatorProcess:
    """A simulator that runs as a process of its own, and the operator's clients for it."""

    process: subprocess.Popen[str]
    mqtt_port: int
    mqtts_port: int
    http_url: str
    https_port: int
    certificates: Path
    iot: Any = field(repr=False)
    jobs_data: Any = field(repr=False)

    def create_thing(self, name: str) -> str:
        """Create a thing; its ARN."""
        return self.iot.create_thing(thingName=name)["thingArn"]

    def create_job(self, job_id: str, thing_arn: str, document: Any, **members: Any) -> str:
        """Create a job for one thing, the document any JSON value; the job's id."""
        self.iot.create_job(jobId=job_id, targets=[thing_arn], document=json.dumps(document), **members)
        return job_id

    def put_object(self, bucket: str, key: str, content: bytes) -> None:
        """Put an object behind presigned URLs and document sources."""
        url = f"{self.http_url}/_simulator/objects/{bucket}/{key}"
        request = urllib.request.Request(url, content, method="PUT")  # noqa: S310 - the simulator's own address
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:  # noqa: S310 - as above
            assert answer.status == 200

    def stop(self) -> int:
        """End the process as systemd would; its exit status."""
        self.iot.close()
        self.jobs_data.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)


def _start(*arguments: str) -> SimulatorProcess:
    process = subprocess.Popen(
        [sys.executable, "-m", "iot_jobs_simulator", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"LC_ALL": "C"},
    )
    assert process.stdout is not None
    with process.stdout:
        ready = json.loads(process.stdout.readline())
    ready["certificates"] = Path(ready["certificates"])
    iot, jobs_data = (boto3_client(service, ready["http_url"]) for service in ("iot", "iot-jobs-data"))
    return SimulatorProcess(process=process, iot=iot, jobs_data=jobs_data, **ready)


@pytest.fixture(scope="session")
def simulator() -> Iterator[SimulatorProcess]:
    """A simulator process for the whole run. Other tests use it too: take names from `new_name`."""
    running = _start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="session")
def simulator_starter() -> Callable[..., SimulatorProcess]:
    """Starts a simulator process with arguments of the command; who starts it stops it."""
    return _start


@pytest.fixture
def start_simulator() -> Iterator[Callable[..., SimulatorProcess]]:
    """Starts further simulator processes, with arguments of the command, and ends those that still run."""
    started: list[SimulatorProcess] = []

    def start(*arguments: str) -> SimulatorProcess:
        started.append(_start(*arguments))
        return started[-1]

    yield start
    for running in started:
        running.stop()


@pytest.fixture(scope="session")
def certificates_of_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates for every in-process simulator, made once."""
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture
async def sim(certificates_of_run: Path) -> AsyncIterator[RunningSimulator]:
    """A fresh simulator in this event loop. Do not block the loop: boto3 belongs into `asyncio.to_thread`.

    `sim.operate("CreateJob", jobId=…)` does without boto3; `await sim.wait_for_status(thing, job, "SUCCEEDED")` waits.
    """
    async with running_simulator(certificates=certificates_of_run) as running:
        yield running


@pytest.fixture
def new_name() -> Callable[[str], str]:
    """Gives names for things and jobs that no other test uses."""
    return lambda prefix: f"{prefix}-{next(_counter)}"


class RawDevice:
    """An MQTT 3.1.1 client that hears everything it is sent, in order, subscribed or not."""

    def __init__(self, thing_name: str, connection: mqtt.Connection) -> None:
        self.prefix = f"$aws/things/{thing_name}/jobs/"
        self.connection = connection
        self.messages: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.session_was_present = False
        self.is_connected = False
        loop = asyncio.get_running_loop()

        def heard(topic: str, payload: bytes, **_more: Any) -> None:
            loop.call_soon_threadsafe(self.messages.put_nowait, (topic.removeprefix(self.prefix), json.loads(payload)))

        connection.on_message(heard)

    async def connect(self) -> None:
        answer = await asyncio.wrap_future(self.connection.connect())
        self.session_was_present = answer["session_present"]
        self.is_connected = True

    async def subscribe(self, *filters: str, qos: mqtt.QoS = mqtt.QoS.AT_LEAST_ONCE) -> None:
        """Subscribe below the thing's Jobs topics; returns when the broker has agreed to all."""
        for topic_filter in filters:
            future, _ = self.connection.subscribe(self.prefix + topic_filter, qos)
            granted = await asyncio.wrap_future(future)
            assert granted["qos"] is not None

    async def send(self, request: str, payload: bytes) -> None:
        """Publish below the thing's Jobs topics."""
        future, _ = self.connection.publish(self.prefix + request, payload, mqtt.QoS.AT_LEAST_ONCE)
        await asyncio.wrap_future(future)

    async def ask(self, request: str, **members: Any) -> dict[str, Any]:
        """Send a request; its answer, which must be the next message heard and an acceptance."""
        await self.send(request, json.dumps(members).encode())
        topic, answer = await self.heard()
        assert topic == f"{request}/accepted", (topic, answer)
        return answer

    async def heard(self) -> tuple[str, Any]:
        """The next message: its topic below the thing's Jobs topics, and its payload."""
        async with asyncio.timeout(WAIT_S):
            return await self.messages.get()

    async def disconnect(self) -> None:
        """Say goodbye; does nothing the second time."""
        if self.is_connected:
            self.is_connected = False
            await asyncio.wrap_future(self.connection.disconnect())


Connect = Callable[..., Any]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connects raw devices: `await connect(sim, "lamp")`, with TLS unless `is_secure=False`. Disconnects them all."""
    devices: list[RawDevice] = []

    async def connect_device(
        simulator: RunningSimulator | SimulatorProcess,
        thing_name: str,
        *,
        is_secure: bool = True,
        is_clean: bool = True,
        client_id: str = "",
    ) -> RawDevice:
        connection = _connection(simulator, client_id or thing_name, is_secure=is_secure, is_clean=is_clean)
        device = RawDevice(thing_name, connection)
        await device.connect()
        devices.append(device)
        return device

    yield connect_device
    for device in devices:
        await device.disconnect()


@pytest.fixture
def device_connection() -> Connect:
    """Makes connections of the AWS SDK, not yet connected: `device_connection(simulator, client_id)`."""
    return _connection


def _connection(
    simulator: RunningSimulator | SimulatorProcess, client_id: str, *, is_secure: bool = True, is_clean: bool = True
) -> mqtt.Connection:
    if not is_secure:
        client = mqtt.Client()
        return mqtt.Connection(
            client, client_id=client_id, host_name="127.0.0.1", port=simulator.mqtt_port, clean_session=is_clean
        )
    return mqtt_connection_builder.mtls_from_path(
        endpoint="localhost",
        port=simulator.mqtts_port,
        ca_filepath=str(simulator.certificates / "ca.pem"),
        cert_filepath=str(simulator.certificates / "client.pem"),
        pri_key_filepath=str(simulator.certificates / "client.key"),
        client_id=client_id,
        clean_session=is_clean,
    )
