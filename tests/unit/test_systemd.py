import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iot_jobs_agent.systemd import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """systemd's side: a datagram socket, and what it received next."""
    name = f"@iot-jobs-{secrets.token_hex(8)}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0", 1))
        receiver.settimeout(5)
        yield name, lambda: receiver.recv(4096).decode()


async def test_ready_status_watchdog_and_stopping_reach_systemd(manager: tuple[str, Callable[[], str]]) -> None:
    address, received = manager
    notifier = Notifier.from_environ({"NOTIFY_SOCKET": address})
    assert await notifier.ready("connected")
    assert received() == "READY=1\nSTATUS=connected"
    assert notifier.status("two\nREADY=0\nlines")
    assert received() == "STATUS=two READY=0 lines"
    assert await notifier.watchdog()
    assert received() == "WATCHDOG=1"
    assert notifier.stopping()
    assert received() == "STOPPING=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
async def test_without_a_socket_nothing_is_sent_and_nothing_fails(environ: dict[str, str]) -> None:
    notifier = Notifier.from_environ(environ)
    assert not await notifier.ready("x")
    assert notifier.watchdog_interval_s == 0.0


async def test_a_socket_that_is_gone_is_not_an_error(tmp_path: Path) -> None:
    notifier = Notifier.from_environ({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert not notifier.status("x")
    assert not await notifier.watchdog()


async def test_what_a_full_socket_does_not_take_is_lost_but_what_systemd_insists_on_waits(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(5)
        notifier = Notifier(str(tmp_path / "notify"))
        taken = 0
        while notifier.status("flood"):
            taken += 1
        insisting = [asyncio.create_task(notifier.ready("up")), asyncio.create_task(notifier.watchdog())]
        tried, _ = await asyncio.wait(insisting, timeout=0)
        assert not tried
        assert {receiver.recv(64) for _ in range(taken)} == {b"STATUS=flood"}
        assert await asyncio.wait_for(asyncio.gather(*insisting), 5) == [True, True]
        assert {receiver.recv(64) for _ in range(2)} == {b"READY=1\nSTATUS=up", b"WATCHDOG=1"}


@pytest.mark.parametrize(
    ("watchdog", "interval_s"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "\u0663"}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_watchdog_interval_is_half_of_what_systemd_allows_this_process(
    watchdog: dict[str, str], interval_s: float
) -> None:
    assert Notifier.from_environ({"NOTIFY_SOCKET": "/x", **watchdog}).watchdog_interval_s == interval_s
