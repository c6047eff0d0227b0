"""A device behind Debian's tinyproxy, which wants a password and lets CONNECT through to the service's ports only."""

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from agents import run, served_through

WAIT_S = 15
PROGRAM = shutil.which("tinyproxy") or ""
pytestmark = pytest.mark.skipif(not PROGRAM, reason="install tinyproxy")


@contextlib.contextmanager
def tinyproxy(directory: Path, allowed: Sequence[int]) -> Iterator[tuple[int, Path]]:
    """Run a proxy for CONNECT to these ports; its port, and its log."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as unused:
        port = unused.getsockname()[1]
    lines = [f"Port {port}", "Listen 127.0.0.1", "Timeout 600", "MaxClients 20", "Allow 127.0.0.1", "LogLevel Info"]
    lines += ["BasicAuth device pass-word", *(f"ConnectPort {each}" for each in allowed)]
    config, log = directory / "tinyproxy.conf", directory / "tinyproxy.log"
    config.write_text("\n".join(lines) + "\n")
    log.touch()
    with log.open("w") as output, subprocess.Popen([PROGRAM, "-d", "-c", config], stdout=output) as process:
        try:
            while process.poll() is None and "Accepting connections" not in log.read_text():
                pass  # it has a port, or it ends
            assert process.poll() is None, log.read_text()
            yield port, log
        finally:
            process.terminate()
            process.wait(WAIT_S)


async def test_field_f7_mqtt_and_https_go_through_tinyproxy(
    device: Any, sim: Any, operator: Any, start_agent: Any, tmp_path: Path
) -> None:
    with tinyproxy(tmp_path, [sim.mqtts_port, sim.https_port]) as (port, log):
        proxy = f"http://device:pass-word@127.0.0.1:{port}"
        agent, checked = await served_through(proxy, device, operator, start_agent)
        assert await agent.stop() == 0
        told = log.read_text()
    for each in (sim.mqtts_port, sim.https_port):
        assert f"CONNECT localhost:{each} HTTP/1." in told
    assert "pass-word" not in agent.told + checked.stdout


async def test_field_f7_what_tinyproxy_does_not_allow_is_named_by_check_and_run(
    device: Any, sim: Any, thing: str, start_agent: Any, tmp_path: Path
) -> None:
    with tinyproxy(tmp_path, [sim.https_port]) as (port, _):
        device.sections["aws"]["proxy"] = f"http://device:pass-word@127.0.0.1:{port}"
        said = f"aws.proxy: 127.0.0.1 port {port} does not connect to localhost:{sim.mqtts_port} (HTTP 403); let"
        checked = await run("check", "--config", str(device.write_config()))
        assert (checked.returncode, checked.stdout.count(said)) == (1, 1), checked
        agent = await start_agent(is_connected=False)
        await agent.explains(said)
        assert await agent.stop() == 0
