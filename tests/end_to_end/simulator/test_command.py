"""The command: one line when ready, files with the right modes, a quick and quiet end."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

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


def test_a_port_in_use_is_told_in_a_sentence(command: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = command("--http-port", str(taken.getsockname()[1]))
        stdout, stderr = process.communicate(timeout=WAIT_S)
    assert (process.returncode, stdout) == (1, "")
    assert stderr.count("\n") == 1
    assert "in use" in stderr
