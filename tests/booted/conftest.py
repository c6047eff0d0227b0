"""A device that was set up as docs/install.md says, and booted: `uv run pytest tests/booted`. Needs root.

Skipped, with the reason, where a container cannot boot.
"""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from installed import REPOSITORY, SOURCE, Device, blocks_of
from machine import Machine, why_no_container_boots
from tests.support.on_record import CREDENTIALS, THING
from tests.support.packages import Repository, build_package

from iot_jobs_simulator.server import running_simulator

TIMEOUT_S = 200


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("booted")
    group.addoption("--deb", type=Path, metavar="FILE", help="the package to try; default: one of this checkout")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            cuts = item.config.getoption("--cuts")
            item.add_marker(pytest.mark.timeout(TIMEOUT_S + 60 * cuts))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bare(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Device]:
    """A device as it is bought, and a thing that it is to be."""
    directory = tmp_path_factory.mktemp("booted")
    if why := why_no_container_boots(tmp_path_factory.mktemp("probe")):
        pytest.skip(f"no container can be booted here: {why}")
    machine = Machine(directory / "device")
    async with running_simulator() as sim:
        try:
            machine.prepare()
            await machine.boot()
            made = Device(machine, sim, sim.operate("CreateThing", thingName=THING)["thingArn"])
            yield made
            made.close_gates()
        finally:
            await machine.close()


@pytest.fixture(scope="session")
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package that the device gets."""
    return request.config.getoption("--deb") or build_package(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="session")
def repository(bare: Device, package: Path) -> Iterator[Repository]:
    """The repository that the device gets it from: the only one that its apt knows."""
    for path in (bare.machine.path("/etc/apt/sources.list"), bare.machine.path("/etc/apt/sources.list.d")):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for name in ("/etc/apt/sources.list.d", "/etc/apt/keyrings"):
        bare.machine.path(name).mkdir(exist_ok=True)
    made = Repository(bare.machine.path(REPOSITORY))
    made.add(package)
    yield made
    made.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def device(bare: Device, repository: Repository) -> Device:
    """The device, set up as the page says, with handlers of its own."""
    machine, sim = bare.machine, bare.sim
    bare.files_before = await bare.files()
    for given, name in CREDENTIALS.items():
        machine.write(f"{SOURCE}/{name}", (sim.certificates / given).read_text())
    await bare.install()
    await bare.equip()
    await bare.configure()
    await bare.type(blocks_of("3. Set it up")[1])
    return bare
