"""Port 443 needs root to listen on, hence here: MQTT and HTTPS are told apart by ALPN (developer guide, protocols)."""

import asyncio
import sys
from pathlib import Path

from tests.support.configs import toml_of

from iot_jobs_simulator import certificates

FILES = {"certificate": "client.pem", "private_key": "client.key", "root_ca": "ca.pem"}


async def offered(scratch: Path, command: str) -> str | None:
    """Return the protocol that the command's connection to port 443 agreed on."""
    directory = scratch / "certificates"
    certificates.provide(directory)
    context = certificates.server_context(directory)
    context.set_alpn_protocols(["x-amzn-mqtt-ca", "x-amzn-http-ca"])
    agreed: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not agreed.done():
            agreed.set_result(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 443, ssl=context)
    async with server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "iot_jobs_agent", command, "--config", config(scratch)
        )
        try:
            async with asyncio.timeout(20):
                return await agreed
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def config(directory: Path) -> str:
    path = directory / "config.toml"
    files = {name: str(directory / "certificates" / file) for name, file in FILES.items()}
    aws = {"endpoint": "localhost", "port": 443, "https_port": 443, "thing_name": "pi-kitchen-1", **files}
    path.write_text(toml_of({"aws": aws, "agent": {"state_directory": str(directory / "state")}}))
    return str(path)


async def test_mqtt_on_443_asks_for_x_amzn_mqtt_ca(tmp_path: Path) -> None:
    protocol = await offered(tmp_path, "run")
    assert protocol == "x-amzn-mqtt-ca"


async def test_https_on_443_asks_for_x_amzn_http_ca(tmp_path: Path) -> None:
    protocol = await offered(tmp_path, "pending")
    assert protocol == "x-amzn-http-ca"
