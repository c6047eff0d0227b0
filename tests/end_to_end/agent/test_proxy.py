"""A device behind an HTTP proxy, which is a real one and wants a password."""

from collections.abc import Iterator
from typing import Any

import pytest
from agents import run, served_through
from tests.support.proxies import running_proxy


@pytest.fixture
def proxy_port() -> Iterator[int]:
    with running_proxy("device:pass:word") as port:
        yield port


async def test_field_f7_mqtt_and_https_go_through_the_proxy(
    device: Any, sim: Any, operator: Any, start_agent: Any, proxy_port: int
) -> None:
    proxy = f"http://device:pass%3Aword@127.0.0.1:{proxy_port}"
    agent, checked = await served_through(proxy, device, operator, start_agent)
    pending = await run("pending", "--config", str(device.config))
    assert pending.stdout == "nothing pending\n"
    assert await agent.stop() == 0
    assert "pass:word" not in agent.told + checked.stdout


async def test_field_f7_a_proxy_that_cannot_reach_the_endpoint_is_named(
    device: Any, thing: str, proxy_port: int
) -> None:
    device.sections["aws"] |= {"proxy": f"http://device:pass%3Aword@127.0.0.1:{proxy_port}", "port": 1}
    checked = await run("check", "--config", str(device.write_config()))
    assert checked.returncode == 1, checked
    assert f"aws.proxy: 127.0.0.1 port {proxy_port} does not connect to localhost:1" in checked.stdout, checked
