"""The command: one line when ready, files with the right modes, a quick and quiet end."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
import wire
from tests.support.clients import boto3_client

from iot_jobs_simulator.arguments import parser
from iot_jobs_simulator.jobs.settings import ServiceSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from simulators import SimulatorProcess


WAIT_S = 10


@pytest.fixture
def command() -> Any:
    """Starts the command; whatever still runs afterwards is killed."""
    running = []

    def start(*arguments: Any) -> Any:
        process = subprocess.Popen(
            [sys.executable, "-m", "iot_jobs_simulator", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_one_line_and_ends_quietly_on_a_signal(command: Callable[..., Any], number: int) -> None:
    process = command()
    ready = json.loads(process.stdout.readline())
    assert set(ready) == {"mqtt_port", "mqtts_port", "http_url", "https_port", "certificates"}
    with (
        socket.create_connection(("127.0.0.1", ready["mqtt_port"])),
        socket.create_connection(("127.0.0.1", ready["https_port"])),
    ):
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=WAIT_S)
    assert (process.returncode, stdout, stderr) == (0, "", "")


def test_it_takes_ports_and_a_directory_whose_certificates_it_keeps(
    command: Callable[..., Any], start_simulator: Callable[..., SimulatorProcess], tmp_path: Path
) -> None:
    directory = tmp_path / "certificates"
    first = start_simulator("--certificates", str(directory))
    assert first.certificates == directory
    assert stat.S_IMODE((directory / "client.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((directory / "server.key").stat().st_mode) == 0o600
    authority = (directory / "ca.pem").read_bytes()
    assert first.stop() == 0
    second = command(
        "--certificates", str(directory), "--mqtt-port", str(first.mqtt_port), "--mqtts-port", str(first.mqtts_port)
    )
    ready = json.loads(second.stdout.readline())
    assert (ready["mqtt_port"], ready["mqtts_port"]) == (first.mqtt_port, first.mqtts_port)
    assert (directory / "ca.pem").read_bytes() == authority


def refused(command: Callable[..., Any], *arguments: str) -> tuple[int, str]:
    """What the command says in its last line, and its exit status; it prints nothing on stdout."""
    process = command(*arguments)
    stdout, stderr = process.communicate(timeout=WAIT_S)
    assert (stdout, "Traceback" in stderr) == ("", False)
    return process.returncode, stderr.splitlines()[-1]


def test_field_g12_a_port_in_use_is_told_in_a_sentence(command: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, said = refused(command, "--http-port", str(port))
    advice = "end the program that uses it, or choose another port (0: any)"
    assert (status, said) == (1, f"iot-jobs-simulator: port {port} of 127.0.0.1 is in use; {advice}")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--http-port", "99999"), 2, "argument --http-port: 99999 is not a port; give a number from 1 to 65535, or 0"),
        (("--mqtt-port", "-1"), 2, "argument --mqtt-port: -1 is not a port; give a number from 1 to 65535, or 0"),
        (("--retry-delay-s", "nan"), 2, "argument --retry-delay-s: nan is not a number of seconds; give 0 or more"),
        (("--list-cap", "0"), 2, "argument --list-cap: 0 is not a count; give a whole number from 1 on"),
        (("--bind", "192.0.2.1"), 1, "iot-jobs-simulator: 192.0.2.1 is not an address of this machine"),
        (("--bind", "a..b"), 1, "iot-jobs-simulator: a..b is neither an address nor a name of this machine"),
        (("--certificates", "/dev/null/x"), 1, "iot-jobs-simulator: /dev/null/x: Not a directory"),
    ],
)
def test_field_g12_an_argument_that_cannot_be_used_is_told_in_a_sentence(
    command: Callable[..., Any], arguments: tuple[str, ...], status: int, said: str
) -> None:
    code, line = refused(command, *arguments)
    assert (code, said in line) == (status, True), line


@pytest.mark.parametrize("package", ["aiohttp", "amqtt", "botocore", "trustme"])
def test_field_g11_without_the_extra_it_says_what_to_install(package: str) -> None:
    without = (
        f"import sys; sys.modules[{package!r}] = None; from iot_jobs_simulator.__main__ import main; sys.exit(main([]))"
    )
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"iot-jobs-simulator: needs {package}, which is not installed here: pip install 'iot-jobs-agent[simulator]'\n",
    )


def test_field_g11_another_module_that_is_missing_is_not_blamed_on_the_extra() -> None:
    without = "import sys; sys.modules['uuid'] = None; from iot_jobs_simulator.__main__ import main; sys.exit(main([]))"
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert (done.returncode, "ModuleNotFoundError" in done.stderr) == (1, True)


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
def test_field_g12_it_listens_on_ipv6(start_simulator: Callable[..., SimulatorProcess]) -> None:
    running = start_simulator("--bind", "::1")
    assert running.http_url.startswith("http://[::1]:")
    running.create_thing("lamp")
    assert running.iot.list_things()["things"][0]["thingName"] == "lamp"
    tls = ssl.create_default_context(cafile=running.certificates / "ca.pem")
    tls.load_cert_chain(running.certificates / "client.pem", running.certificates / "client.key")
    with (
        socket.create_connection(("::1", running.mqtts_port)) as plain,
        tls.wrap_socket(plain, server_hostname="::1") as secure,
    ):
        assert secure.version() is not None


def test_field_g12_its_certificate_names_the_address_that_it_listens_on(
    start_simulator: Callable[..., SimulatorProcess], tmp_path: Path
) -> None:
    start_simulator("--certificates", str(tmp_path)).stop()
    authority = (tmp_path / "ca.pem").read_bytes()
    running = start_simulator("--certificates", str(tmp_path), "--bind", "127.0.0.2")
    assert running.http_url.startswith("http://127.0.0.2:")
    endpoint = running.iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    assert endpoint == f"127.0.0.2:{running.mqtts_port}"
    tls = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    tls.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
    with (
        socket.create_connection(("127.0.0.2", running.https_port)) as plain,
        tls.wrap_socket(plain, server_hostname="127.0.0.2") as secure,
    ):
        assert secure.version() is not None
    assert (tmp_path / "ca.pem").read_bytes() == authority


def test_field_g12_each_switch_has_a_help_text_and_there_is_a_version(command: Callable[..., Any]) -> None:
    process = command("--version")
    assert process.communicate(timeout=WAIT_S)[0].strip() == version("iot-jobs-agent")
    assert [action.dest for action in parser()._actions if not action.help] == []
    assert {field.name for field in fields(ServiceSettings)} <= {action.dest for action in parser()._actions}


def test_field_g12_verbose_gives_one_line_for_each_request(start_verbose: Callable[[], Any]) -> None:
    process, ready = start_verbose()
    iot = boto3_client("iot", ready["http_url"])
    arn = iot.create_thing(thingName="lamp")["thingArn"]
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_job(jobId="none")
    iot.create_job(jobId="greet", targets=[arn], document="{}")
    iot.close()
    with socket.create_connection(("127.0.0.1", ready["mqtt_port"])) as device:
        device.sendall(wire.connect("lamp") + wire.publish("$aws/things/lamp/jobs/greet/update", b'{"status": "X"}'))
        lines = []
        while not lines or " update" not in lines[-1].lower():
            lines.append(process.stderr.readline().rstrip())
    assert all(re.match(r"[0-9:]{8}\.[0-9]{3} (http|mqtt)  ", line) for line in lines), lines
    assert [line.split(" ", 1)[1] for line in lines] == [
        "http  CreateThing POST /things/lamp: 200",
        "http  DescribeJob GET /jobs/none: 404 ResourceNotFoundException",
        "http  CreateJob PUT /jobs/greet: 200",
        "mqtt  notification $aws/things/lamp/jobs/notify",
        "mqtt  notification $aws/things/lamp/jobs/notify-next",
        "mqtt  lamp connects with MQTT 3.1.1",
        "mqtt  lamp UpdateJobExecution greet: rejected InvalidRequest",
    ]


@pytest.fixture
def start_verbose(command: Callable[..., Any]) -> Callable[[], Any]:
    """Starts the command with --verbose; the process and what its first line says."""

    def start() -> Any:
        process = command("--verbose")
        return process, json.loads(process.stdout.readline())

    return start
