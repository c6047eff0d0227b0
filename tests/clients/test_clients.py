"""Other people's clients run unmodified: each gets a job, as its makers' samples do, and brings it to its end.

`uv run pytest tests/clients`, or `-m quick` for those that are installed in seconds. docs/simulator.md lists them.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iot_jobs_simulator.server import running_simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from iot_jobs_simulator.server import RunningSimulator

PROGRAMS = Path(__file__).parent / "programs"
PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")
WAIT_S = 40
THING = "lamp"
BOTH = ("3.1.1", "5")
BOTH_OVER_WEBSOCKET = ("3.1.1 over WebSocket", "5 over WebSocket")
ADDRESS_WITH_443 = "127.0.0.9"  # nobody else is likely to listen there


@dataclass(frozen=True)
class Client:
    """A client, its pinned packages, and the program that uses it."""

    name: str
    program: str
    kind: str
    packages: tuple[str, ...]
    versions: tuple[str, ...] = BOTH
    needs_443: bool = False
    ends_itself: bool = True
    job_id: str = "J1"
    details: dict[str, str] = field(default_factory=dict)
    is_quick: bool = True


AWS_SDK = ("awsiotsdk==1.31.0", "awscrt==0.36.1")
MOSQUITTO = ("mosquitto-clients", "libmosquitto1", "libcjson1")
CLIENTS = [
    Client("AWS IoT Device SDK for Python v2", "aws_sdk.py", "pypi", AWS_SDK, (*BOTH, *BOTH_OVER_WEBSOCKET)),
    Client("the same, as its samples connect", "aws_sdk.py", "pypi", AWS_SDK, needs_443=True),
    Client("paho-mqtt", "paho_client.py", "pypi", ("paho-mqtt==2.2.0",)),
    Client("aiomqtt", "aiomqtt_client.py", "pypi", ("aiomqtt==2.5.1", "paho-mqtt==2.2.0")),
    Client("gmqtt", "gmqtt_client.py", "pypi", ("gmqtt==0.8.0",)),
    Client(
        "awsiotclient",
        "awsiotclient_client.py",
        "pypi",
        ("awsiotclient==0.2.2", *AWS_SDK),
        versions=("3.1.1",),
        needs_443=True,
        ends_itself=False,
    ),
    Client(
        "upparat",
        "upparat.sh",
        "pypi",
        ("upparat==1.12", "paho-mqtt==1.6.1", "backoff==2.2.1", "pysm==0.4.1"),
        versions=("3.1.1",),
        needs_443=True,
        ends_itself=False,
        job_id="upparat_1",
        details={"state": "no_installation_hook_provided", "message": "none"},
    ),
    Client("mosquitto_rr", "mosquitto.sh", "debian", MOSQUITTO),
    Client("aws-iot-device-sdk", "sdk_v1.js", "npm", ("aws-iot-device-sdk@2.2.16",), ("3.1.1", BOTH_OVER_WEBSOCKET[0])),
    Client(
        "aws-iot-device-sdk-v2",
        "sdk_v2.js",
        "npm",
        ("aws-iot-device-sdk-v2@1.28.0",),
        (*BOTH, *BOTH_OVER_WEBSOCKET),
        is_quick=False,
    ),
    Client(
        "@aws-sdk/client-iot-jobs-data-plane",
        "data_plane.js",
        "npm",
        ("@aws-sdk/client-iot-jobs-data-plane@3.956.0",),
        versions=("HTTP",),
        is_quick=False,
    ),
]
ROWS = [
    pytest.param(client, version, id=f"{client.name}-{version}", marks=[pytest.mark.quick] * client.is_quick)
    for client in CLIENTS
    for version in client.versions
]


@asynccontextmanager
async def simulator_on_443(certificates: Path) -> AsyncIterator[RunningSimulator]:
    async with running_simulator(certificates=certificates, mqtts_port=443, bind=ADDRESS_WITH_443) as sim:
        yield sim


def environment(sim: RunningSimulator, client: Client, version: str, folder: Path, scratch: Path) -> dict[str, str]:
    host = ADDRESS_WITH_443 if client.needs_443 else "localhost"
    libraries = folder.joinpath("usr", "lib").glob("*-linux-gnu")
    return {
        "PATH": f"{folder / 'usr' / 'bin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        "NODE_PATH": str(folder / "node_modules"),
        "PYTHON": str(folder / "venv" / "bin" / "python"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(scratch),
        "SCRATCH": str(scratch),
        "HOST": host,
        "MQTT_PORT": str(sim.mqtt_port),
        "MQTTS_PORT": str(sim.mqtts_port),
        "HTTP_URL": sim.http_url,
        "NODE_EXTRA_CA_CERTS": str(sim.certificates / "ca.pem"),
        "SSL_CERT_FILE": str(sim.certificates / "ca.pem"),
        "CA": str(sim.certificates / "ca.pem"),
        "CERTIFICATE": str(sim.certificates / "client.pem"),
        "KEY": str(sim.certificates / "client.key"),
        "THING": THING,
        "JOB": client.job_id,
        "CLIENT": client.name,
        "VERSION": version,
    }


def command(client: Client, folder: Path) -> list[str]:
    program = str(PROGRAMS / client.program)
    match Path(program).suffix:
        case ".py":
            return [str(folder / "venv" / "bin" / "python"), program]
        case ".js":
            return ["node", program]
        case _:
            return [program]


@pytest.mark.parametrize(("client", "version"), ROWS)
async def test_it_brings_a_job_to_its_end(
    client: Client,
    version: str,
    install: Callable[..., Path],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = install(client.kind, *client.packages)
    certificates = tmp_path_factory.mktemp("certificates")
    start = simulator_on_443(certificates) if client.needs_443 else running_simulator(certificates=certificates)
    async with start as sim:
        arn = sim.operate("CreateThing", thingName=THING)["thingArn"]
        sim.objects.put("bucket", "file", b"content")
        document = {"operation": "greet", "version": "1", "file": f"{sim.http_url}/_simulator/objects/bucket/file"}
        sim.operate("CreateJob", jobId=client.job_id, targets=[arn], document=json.dumps(document))
        process = await asyncio.create_subprocess_exec(
            *command(client, folder),
            env=environment(sim, client, version, folder, tmp_path),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said = asyncio.ensure_future(process.communicate())
        try:
            if client.ends_itself:
                output, _ = await asyncio.wait_for(asyncio.shield(said), WAIT_S)
                assert process.returncode == 0, output.decode()
            await sim.wait_for_status(THING, client.job_id, "SUCCEEDED", within_s=WAIT_S)
        finally:
            if process.returncode is None:
                process.kill()
            await said
        execution = sim.operate("DescribeJobExecution", jobId=client.job_id, thingName=THING)["execution"]
        details = execution.get("statusDetails", {}).get("detailsMap", {})
        assert details == (client.details or ({"client": client.name} if client.ends_itself else {}))


@pytest.mark.quick
def test_the_page_lists_each_client_with_its_packages() -> None:
    section = PAGE.partition("## Clients that run against it\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", section, re.MULTILINE)[1:])
    assert set(rows) == {client.name for client in CLIENTS}
    for client in CLIENTS:
        package = re.split(r"==|@(?=\d)", client.packages[0])
        assert package[-1] in rows[client.name] or client.kind == "debian", client.name
