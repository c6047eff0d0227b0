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


def test_ready_status_watchdog_and_stopping_reach_systemd(manager: tuple[str, Callable[[], str]]) -> None:
    address, received = manager
    notifier = Notifier.from_environ({"NOTIFY_SOCKET": address})
    assert notifier.ready("connected")
    assert received() == "READY=1\nSTATUS=connected"
    assert notifier.status("two\nREADY=0\nlines")
    assert received() == "STATUS=two READY=0 lines"
    assert notifier.watchdog()
    assert received() == "WATCHDOG=1"
    assert notifier.stopping()
    assert received() == "STOPPING=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_a_socket_nothing_is_sent_and_nothing_fails(environ: dict[str, str]) -> None:
    notifier = Notifier.from_environ(environ)
    assert not notifier.ready("x")
    assert notifier.watchdog_interval_s == 0.0


def test_a_socket_that_is_gone_is_not_an_error(tmp_path: Path) -> None:
    assert not Notifier.from_environ({"NOTIFY_SOCKET": str(tmp_path / "gone")}).status("x")


def test_a_full_socket_loses_the_message_and_never_blocks(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        notifier = Notifier(str(tmp_path / "notify"))
        assert not all(notifier.watchdog() for _ in range(10_000))


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
