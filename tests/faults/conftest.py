"""The fault matrix with the real agent, simulator and shim: `uv run pytest tests/faults`. Needs root, libfaketime."""

import asyncio
import functools
import os
import random
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from rig import Rig, Watchdog, new_rig
from simulators import certificates_of_run, connect

from iot_jobs_simulator.server import running_simulator

__all__ = ["certificates_of_run", "connect"]

TIMEOUT_S = 240
_started = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--full", action="store_true", help="every case of the matrix, not a sample")
    group.addoption("--seed", type=int, default=random.randrange(1 << 32), metavar="N", help="of the samples")


def pytest_report_header(config: pytest.Config) -> str:
    return f"faults: {'all cases' if config.getoption('--full') else 'a sample'}, --seed {config.getoption('--seed')}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.timeout(TIMEOUT_S if not item.config.getoption("--full") else 7200))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    terminalreporter.write_line(f"faults: {time.monotonic() - _started:.0f} s, --seed {config.getoption('--seed')}")
    for report in terminalreporter.getreports("passed"):
        for name, line in report.user_properties:
            if name == COUNT and report.when == "call":
                terminalreporter.write_line(f"  {line}")


COUNT = "count"


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Notes a line of figures, printed at the end of the run."""
    return functools.partial(record_property, COUNT)


@pytest.fixture
def is_full(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--full"))


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """The chance of a test: the run's seed and its own name, so that a test alone sees what it saw in the run."""
    return random.Random(f"{request.config.getoption('--seed')} {request.node.name}")


@pytest.fixture
async def rigs(certificates_of_run: Path, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Makes rigs, each with a simulator of its own: `await rigs("pi-2", keep_alive_s=5)`."""
    async with AsyncExitStack() as stack:

        async def make(name: str = "pi-1", **aws: Any) -> Rig:
            sim = await stack.enter_async_context(running_simulator(certificates=certificates_of_run))
            return await stack.enter_async_context(new_rig(sim, tmp_path / name, name, **aws))

        yield make


@pytest.fixture
async def rig(rigs: Callable[..., Any]) -> Rig:
    """A thing and its device, over TLS."""
    made: Rig = await rigs()
    return made


@pytest.fixture
async def watchdogs(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Callable[[], Watchdog]]:
    """Makes systemd's ends of notify sockets."""
    made: list[Watchdog] = []

    def make() -> Watchdog:
        made.append(Watchdog(tmp_path_factory.mktemp("w") / "s"))
        return made[-1]

    yield make
    for watchdog in made:
        watchdog.close()


@pytest.fixture
def together() -> Callable[..., Any]:
    """Runs cases side by side, so many at a time: most of a case is waiting."""

    async def run(cases: list[Any], *, at_once: int = 4) -> None:
        free = asyncio.Semaphore(at_once)

        async def one(case: Any) -> None:
            async with free:
                await case

        try:
            async with asyncio.TaskGroup() as group:
                for case in cases:
                    group.create_task(one(case))
        finally:
            for case in cases:
                case.close()  # those that were not begun when one failed

    return run


@pytest.fixture(scope="session")
def faketime() -> str:
    """The library that gives a process another wall clock."""
    found = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    assert found is not None, "install libfaketime"
    return str(found)


@pytest.fixture(scope="session")
def as_root() -> None:
    assert os.geteuid() == 0, "mounting needs root"
    assert shutil.which("mount")
