"""Devices with a kernel of their own, in QEMU: `uv run pytest tests/qemu`. Needs root and qemu-system.

A story starts from a moment that was saved once: the device is up, and the agent is installed. All of it is kept in the
user's cache directory until something that it was made from changes.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from cache import cached, hash_of
from debian import Debian, debian, host_architecture, run
from device import HANDLERS, THING, Device, build_package, install, sources
from disk import HOST_NAME, make_disk, recipe
from qemu import COMMANDS, SLOW, Machine, fastest, overlay, running

from iot_jobs_simulator.certificates import provide
from iot_jobs_simulator.server import running_simulator

TIMEOUT_S = 600  # without KVM, on a machine that does other things too
PREPARE_S = 900
READY = "ready"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("qemu")
    group.addoption("--sample", action="store_true", help="leave out what boots, unless KVM makes that quick")
    group.addoption("--architecture", default=host_architecture(), choices=sorted(COMMANDS), help="of the device")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here, first = Path(__file__).parent, True
    for item in items:
        if item.path.is_relative_to(here):
            cuts = item.config.getoption("--cuts") if "cut_seed" in getattr(item, "fixturenames", ()) else 0
            item.add_marker(pytest.mark.timeout(TIMEOUT_S + 2 * 240 * cuts + (PREPARE_S if first else 0)))
            first = False


@dataclass(frozen=True)
class Kept:
    """What every device starts from: a disk that was never booted, and one with a moment of a running system."""

    system: Debian
    accelerator: tuple[str, ...]
    directory: Path

    @property
    def fresh(self) -> Path:
        return self.directory / "disk"

    @property
    def ready(self) -> Path:
        return self.directory / "ready.qcow2"

    @property
    def is_fast(self) -> bool:
        return self.accelerator != SLOW


@pytest.fixture(scope="session")
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    architecture = request.config.getoption("--architecture")
    if shutil.which(COMMANDS[architecture]) is None:
        pytest.skip(f"there is no {COMMANDS[architecture]}; install qemu-system")
    assert os.geteuid() == 0, "run the tests with QEMU as root, which makes the device's disk"
    system = debian(architecture)
    accelerator = asyncio.run(fastest(system)) if architecture == host_architecture() else SLOW
    print(f"qemu: {' '.join(accelerator)}")
    with cached("package", hash_of(architecture.encode(), sources())) as (packages, is_new):
        if is_new:
            build_package(architecture, packages)
    (package,) = packages.glob("*.deb")
    made_from = (package.read_bytes(), recipe(), repr((HANDLERS, accelerator, str(system))).encode())
    with cached("moment", hash_of(*made_from)) as (directory, is_new):
        made = Kept(system, accelerator, directory)
        if is_new:
            make_disk(system, made.fresh, install(package))
            asyncio.run(_make_ready(made))
    return made


async def _make_ready(kept: Kept) -> None:
    """Boot once, read once what the agent's start reads, and keep that moment."""
    overlay(kept.fresh, kept.ready)
    async with running(Machine(kept.system, kept.ready, kept.accelerator)) as machine:
        await machine.do("systemctl is-system-running --wait")
        await machine.run("iot-jobs-agent check --offline --config /usr/share/doc/iot-jobs-agent/examples/config.toml")
        await machine.do("sync")
        await machine.save(READY)


@pytest.fixture
def machine(kept: Kept, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A computer that is off, with the saved moment on its disk. Its console is told if the test fails."""
    disk = tmp_path / "disk.qcow2"
    run("cp", "--sparse=always", "--reflink=auto", kept.ready, disk)
    made = Machine(kept.system, disk, kept.accelerator)
    yield made
    request.node.add_report_section("teardown", "console", made.console[-5000:])


@pytest_asyncio.fixture
async def device(machine: Machine, tmp_path: Path) -> AsyncIterator[Device]:
    """A device that is up; its agent is not set up yet."""
    provide(tmp_path / "certificates", HOST_NAME)
    async with (
        running_simulator(certificates=tmp_path / "certificates") as sim,
        running(machine, moment=READY),
    ):
        yield Device(machine, sim, sim.operate("CreateThing", thingName=THING)["thingArn"])


@pytest.fixture
def boots(kept: Kept, request: pytest.FixtureRequest) -> None:
    """Of a test in which the device boots: no part of the sample where that takes a minute each time."""
    if request.config.getoption("--sample") and not kept.is_fast:
        pytest.skip("it boots, and without KVM a sample leaves that out")
