import asyncio
import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from iot_jobs_agent.aws import nodelay
from iot_jobs_agent.aws.nodelay import keep_tcp_nodelay, set_tcp_nodelay


def is_immediate(connection: socket.socket) -> bool:
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def open_descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def test_only_connections_to_the_port_set_tcp_nodelay() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_connection(server.getsockname()) as ours,
        socket.create_connection(other.getsockname()) as another,
    ):
        assert set_tcp_nodelay(server.getsockname()[1]) == 1
        assert is_immediate(ours)
        assert not is_immediate(another)


def test_whatever_else_is_open_is_left_alone_and_nothing_is_left_open() -> None:
    reader, writer = os.pipe()
    here, there = socket.socketpair()
    with here, there, socket.socket(socket.AF_INET, socket.SOCK_DGRAM):
        before = open_descriptors()
        assert set_tcp_nodelay(1) == 0
        assert open_descriptors() == before
    os.close(reader)
    os.close(writer)


def test_locks_on_files_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "locked"
    with path.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        set_tcp_nodelay(1)
        code = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        other = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert "BlockingIOError" in other.stderr


async def test_a_connection_that_is_made_meanwhile_sets_it_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = asyncio.Event()
    monkeypatch.setattr(nodelay, "set_tcp_nodelay", lambda port: set_tcp_nodelay(port) and found.set())
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        keeping = asyncio.create_task(keep_tcp_nodelay(server.getsockname()[1]))
        for _ in range(2):
            with (
                socket.create_connection(other.getsockname()) as another,
                socket.create_connection(server.getsockname()) as ours,
            ):
                found.clear()
                await asyncio.wait_for(found.wait(), 10)
                assert is_immediate(ours)
                assert not is_immediate(another)
        keeping.cancel()
