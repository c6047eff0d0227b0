"""The agent as systemd sees it: the notify protocol of a real agent, against a socket of ours (sd_notify(3))."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

WAIT_S = 15


class Manager:
    """What systemd's end of the socket hears."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self.socket.bind(str(path))
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
        self.heard: list[str] = []

    async def hears(self, line: str, *, times: int = 1) -> None:
        """Return once a line that begins so was heard so often since the last call."""
        loop, count = asyncio.get_running_loop(), 0
        async with asyncio.timeout(WAIT_S):
            while count < times:
                message = (await loop.sock_recv(self.socket, 4096)).decode()
                self.heard.append(message)
                count += sum(told.startswith(line) for told in message.split("\n"))


@pytest.fixture
def manager(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Manager(tmp_path_factory.mktemp("m") / "s")
    yield made
    made.socket.close()


async def test_ready_comes_with_the_journal_not_with_the_connection(
    manager: Manager, start_agent: Any, sim: Any
) -> None:
    await sim.stop_broker()
    agent = await start_agent(is_connected=False, environment=manager.environment)
    await manager.hears("READY=1")
    assert not any(line["event"] == "connected" for line in agent.log)
    await manager.hears("STATUS=not connected")
    await sim.start_broker()
    await manager.hears("STATUS=connected")


async def test_the_watchdog_is_fed_and_the_end_announced(manager: Manager, start_agent: Any) -> None:
    agent = await start_agent(environment=manager.environment)
    await manager.hears("WATCHDOG=1", times=5)
    ended = asyncio.create_task(agent.stop())
    await manager.hears("STOPPING=1")
    assert await ended == 0


async def test_a_degraded_agent_is_ready_and_says_why(manager: Manager, device: Any, start_agent: Any) -> None:
    (device.state / "journal.sqlite").mkdir(parents=True)
    await start_agent(environment=manager.environment)
    await manager.hears("READY=1")
    await manager.hears("STATUS=degraded: ")
