"""Devices with a kernel of their own, in QEMU: `uv run pytest tests/qemu`. Needs root and qemu-system."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from debian import host_architecture
from device import Device
from disk import HOST_NAME
from moment import READY, Kept, keep
from qemu import BOOT_S, COMMANDS, Machine, running
from tests.support.on_record import THING
from tests.support.packages import run

from iot_jobs_simulator.certificates import provide
from iot_jobs_simulator.server import running_simulator

PREPARE_S, STORY_S = 900, 900  # without KVM, on a machine that does other things too


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("qemu")
    group.addoption("--sample", action="store_true", help="without KVM, leave out what takes minutes")
    group.addoption("--architecture", default=host_architecture(), choices=sorted(COMMANDS), help="of the device")


@pytest.hookimpl(trylast=True)  # what `-k` leaves out is not the first one
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here, preparing_s = Path(__file__).parent, PREPARE_S
    for item in items:
        if item.path.is_relative_to(here):
            cuts = item.config.getoption("--cuts") if "cut_seed" in getattr(item, "fixturenames", ()) else 0
            item.add_marker(pytest.mark.timeout(preparing_s + STORY_S + 2 * BOOT_S * cuts))
            preparing_s = 0  # the first one makes what all start from


@pytest.fixture(scope="session")
def kept(request: pytest.FixtureRequest) -> Kept:
    architecture = request.config.getoption("--architecture")
    if shutil.which(COMMANDS[architecture]) is None:
        pytest.skip(f"there is no {COMMANDS[architecture]}; install qemu-system")
    assert os.geteuid() == 0, "run the tests with QEMU as root, which makes the device's disk"
    made = keep(architecture)
    print(f"qemu: {' '.join(made.accelerator)}")
    return made


@pytest.fixture
def machine(kept: Kept, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A computer that is off, with the saved moment on its disk. Its console is told if the test fails."""
    disk = tmp_path / "disk.qcow2"
    run("cp", "--sparse=always", "--reflink=auto", kept.ready, disk)
    made = Machine(kept.system, disk, kept.accelerator)
    yield made
    request.node.add_report_section("teardown", "console", made.console[-5000:])
    disk.unlink()  # pytest keeps the directories of several runs


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
def takes_minutes(kept: Kept, request: pytest.FixtureRequest) -> None:
    """Of a test that takes that long without KVM."""
    if request.config.getoption("--sample") and not kept.is_fast:
        pytest.skip("it takes minutes without KVM, and the sample leaves it out")
