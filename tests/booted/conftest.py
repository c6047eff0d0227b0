"""A device that was set up as docs/install.md says, and booted: `uv run pytest tests/booted`. Needs root.

Skipped, with the reason, where a container cannot boot.
"""

import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from installed import (
    CONTAINER,
    CONTAINER_FILES,
    FILES,
    OVEN,
    PATIENT,
    SOURCE,
    THING,
    Device,
    blocks_of,
    by_itself,
)
from machine import Machine, NoBootError, copy_checkout

from iot_jobs_simulator.server import running_simulator

TIMEOUT_S = 200


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
    machine = Machine(directory / "device")
    async with running_simulator() as sim:
        try:
            try:
                machine.prepare()
                await machine.boot()
            except (OSError, subprocess.CalledProcessError, NoBootError) as error:
                pytest.skip(f"no container can be booted here: {error}")
            made = Device(machine, sim, sim.operate("CreateThing", thingName=THING)["thingArn"])
            yield made
            made.close_gates()
        finally:
            await machine.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def device(bare: Device, tmp_path_factory: pytest.TempPathFactory) -> Device:
    """The device, set up as the page says, with handlers of its own."""
    machine, sim = bare.machine, bare.sim
    bare.files_before = await bare.files()
    release, install = blocks_of("2. Install the program")
    workstation = tmp_path_factory.mktemp("workstation")
    copy_checkout(workstation)
    subprocess.run(["sh", "-ec", by_itself(release)], cwd=workstation, check=True)
    shutil.copytree(workstation / "dist", machine.path(SOURCE).parent, dirs_exist_ok=True)
    await bare.type(install, directory=str(Path(SOURCE).parent))
    names = {"client.pem": "certificate.pem", "client.key": "private.key", "ca.pem": "root-ca.pem"}
    for given, name in names.items():
        machine.write(f"{SOURCE}/{name}", (sim.certificates / given).read_text())
    for name in ("patient", "again", "onward"):
        machine.write(f"/etc/iot-jobs-agent/handlers/{name}", PATIENT, 0o755)
    await bare.follow("3. Make the user and the directories")
    await bare.follow("4. Give it the credentials and the configuration")
    bare.configure(may_reboot=False)  # polkit allows it later
    machine.write(f"{FILES}/ca.pem", (sim.certificates / "ca.pem").read_text())
    machine.write("/etc/systemd/system/oven.service", OVEN)
    machine.write("/etc/systemd/system/iot-jobs-agent.service.d/container.conf", CONTAINER)
    machine.write("/etc/tmpfiles.d/container.conf", CONTAINER_FILES)
    await machine.run(f"""
        chgrp iot-jobs-agent /etc/iot-jobs-agent/config.toml
        mkfifo --mode=666 {FILES}/gate
        systemd-tmpfiles --create container.conf
        systemctl daemon-reload
        systemctl enable --now oven""")
    return bare
