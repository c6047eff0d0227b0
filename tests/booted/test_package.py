"""The package on a booted device: `packaging/try-deb` runs these stories alone, and shows what they print."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from installed import ENDPOINT, SOURCE, Device, blocks_of, by_itself, replaced
from machine import copy_checkout
from tests.support.files import ROOT
from tests.support.on_record import FILES, echo
from tests.support.packages import Repository, version_of, with_version

pytestmark = pytest.mark.asyncio(loop_scope="session")  # in which the simulator runs
PAGE = (ROOT / "docs/install.md").read_text()
APPENDIX = "Appendix: without the package"
# Never has the same pid for long, so that who looks for it first, and kills it then, comes too late.
ESCAPES = """
import os, select, signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    if os.fork():
        os._exit(0)
    select.select([], [], [], 0.001)
"""


def saw(what: str) -> None:
    print(f"saw: {what}")


async def test_apt_installs_it_from_the_signed_repository_and_asks_and_starts_nothing(
    device: Device, package: Path
) -> None:
    assert await device.version() == version_of(package)
    assert device.said["state"] == "disabled\ninactive\n"
    saw(f"apt-get install of {await device.version()}; before setup the unit was {device.said['state'].split()}")
    assert await device.machine.run("iot-jobs-agent --version") == "0.1.0\n"
    assert "0640 root iot-jobs-agent" in await device.machine.run("stat -c '%#a %U %G' /etc/iot-jobs-agent/config.toml")
    pages = await device.machine.run("man --where iot-jobs-agent iot-jobs-agent.toml")
    assert pages.split() == [f"/usr/share/man/man{n}/iot-jobs-agent{s}.{n}.gz" for n, s in ((1, ""), (5, ".toml"))]
    await device.sim.wait_until(lambda: device.sim.received != [], within_s=30)
    status = await device.machine.run("iot-jobs-agent status")
    assert "connection up" in status
    saw(f"after setup: {await device.shows('ActiveState')}, {await device.shows('StatusText')}")


async def test_apt_refuses_a_repository_that_somebody_changed(
    device: Device, repository: Repository, package: Path
) -> None:
    architecture = package.stem.rpartition("_")[2]
    listed = repository.directory / f"dists/stable/main/binary-{architecture}/Packages"
    text, packed = listed.read_text(), listed.with_suffix(".gz").read_bytes()
    listed.write_text(text.replace("Description: ", "Description: other "))
    listed.with_suffix(".gz").unlink()
    changed = "rm -rf /var/lib/apt/lists/*; if apt-get update 2>&1; then exit 1; fi"
    said = await device.machine.run(changed)
    listed.write_text(text)
    listed.with_suffix(".gz").write_bytes(packed)
    assert "Hash Sum mismatch" in said or "unexpected size" in said
    await device.machine.run("apt-get update")
    saw("apt-get update refused a list that was changed")


async def under_way(device: Device, job: str) -> list[str]:
    """Begin a job below the agent, and one in a unit of its own, to which the owner has changed meanwhile."""
    jobs = []
    for launcher in ("plain", "units"):
        await device.configure(launcher=launcher)
        jobs.append(f"{job}-{launcher}")
        device.create(jobs[-1], {"operation": "patient"})
        await device.is_up(jobs[-1])
    return jobs


@pytest.mark.parametrize("way", ["upgrade", "downgrade"])
async def test_another_version_disturbs_no_handler(
    device: Device, repository: Repository, package: Path, tmp_path: Path, way: str
) -> None:
    here = version_of(package)
    jobs = await under_way(device, f"over-the-{way}")
    before = await device.shows("MainPID")
    if way == "upgrade":
        wanted = repository.add(with_version(package, f"{here}+newer", tmp_path))
        await device.type(blocks_of("Upgrade and remove")[0])
    else:
        wanted = here
        await device.machine.run(f"apt-get install --yes --allow-downgrades iot-jobs-agent={here}")
    assert await device.version() == wanted
    assert await device.shows("ActiveState") == "active"
    assert await device.shows("MainPID") not in {before, "0"}
    for _ in jobs:
        device.open_gate()
    for job in jobs:
        await device.ends(job, "SUCCEEDED")
        assert [line for line in device.ledger if line.startswith(f"{job} ")] == [f"{job} 1 run first"]
    saw(f"{way} to {wanted}: another agent, the handlers that ran went on to their ends, each started once")


async def test_handlers_of_python_packages_are_found_where_the_page_says(device: Device) -> None:
    (directory,) = re.findall(r"--target (\S+) PACKAGE", PAGE)
    device.machine.write(
        f"{directory}/greeting-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1\n"
    )
    points = "[iot_jobs_agent.handlers]\ngreet = greeting:HANDLER\n"
    device.machine.write(f"{directory}/greeting-1.dist-info/entry_points.txt", points)
    listed = await device.machine.run(f"iot-jobs-agent handlers; rm -r {directory}")
    assert re.search(r"^greet +no +1 +package greeting$", listed, re.MULTILINE), listed
    saw(f"a handler of a package in {directory}")


async def test_an_agent_that_was_stopped_stays_so_over_an_upgrade(device: Device) -> None:
    await device.machine.run("systemctl stop iot-jobs-agent && apt-get install --yes --reinstall iot-jobs-agent")
    assert await device.shows("ActiveState") == "inactive"
    await device.machine.run("systemctl start iot-jobs-agent")
    saw("an agent that was stopped stayed so")


async def test_a_removal_keeps_what_is_the_devices_own_and_a_new_installation_goes_on(device: Device) -> None:
    kept = "find /etc/iot-jobs-agent -type f | sort | xargs sha256sum; ls /var/lib/iot-jobs-agent/journal.sqlite"
    before = await device.machine.run(kept)
    await device.machine.run("apt-get remove --yes iot-jobs-agent")
    assert await device.machine.run(kept) == before
    ours = await device.files() - device.files_before
    assert [file for file in ours if file.startswith("/usr/")] == []
    assert await device.shows("ActiveState") == "inactive"
    await device.machine.run("apt-get install --yes iot-jobs-agent")
    assert await device.machine.run(kept) == before
    assert await device.shows("ActiveState") == "active"
    device.create("after-removal", echo("hi"))
    await device.ends("after-removal", "SUCCEEDED")
    saw("remove kept configuration, credentials and journal; after a new installation a job SUCCEEDED")


async def test_a_purge_leaves_nothing(device: Device) -> None:
    jobs = await under_way(device, "left")
    device.machine.write(f"{FILES}/escapes.py", ESCAPES)
    agent = "setpriv --reuid=iot-jobs-agent --regid=iot-jobs-agent --clear-groups"
    await device.machine.run(f"{agent} setsid python3 -I {FILES}/escapes.py > /dev/null 2>&1 &")
    await device.type(blocks_of("Upgrade and remove")[1])
    assert await device.files() == device.files_before
    assert "iot-jobs-agent" not in await device.machine.run("cat /etc/passwd /etc/group")
    assert [device.alive(job) for job in jobs] == [[], []]
    assert await device.handlers() == []
    assert await device.machine.run("grep -l '[e]scapes.py' /proc/[0-9]*/cmdline || true") == ""
    saw("purge left no file, no user, no process")


async def test_the_appendix_leads_from_a_bare_system_to_a_job_and_back(device: Device, tmp_path: Path) -> None:
    machine = device.machine
    release, install, upgrade, remove = blocks_of(APPENDIX)
    copy_checkout(tmp_path)
    subprocess.run(["sh", "-ec", by_itself(release)], cwd=tmp_path, check=True)
    shutil.copytree(tmp_path / "dist", machine.path(SOURCE).parent, dirs_exist_ok=True)
    await device.type(install, directory=str(Path(SOURCE).parent))
    await device.equip(has_units=False)
    await device.configure(launcher="plain", restart=False)
    ports = f"localhost --port {device.sim.mqtts_port} --https-port {device.sim.https_port}"
    setup = replaced(blocks_of("3. Set it up")[0], {ENDPOINT: ports, "iot-jobs-agent setup": "COMMAND setup"})
    said = await device.type(setup.replace("COMMAND", "/opt/iot-jobs-agent/bin/iot-jobs-agent"))
    assert "Active: active (running)" in said
    device.create("patient-in-a-venv", {"operation": "patient"})
    await device.is_up("patient-in-a-venv")
    await device.type(upgrade)
    device.open_gate()
    await device.ends("patient-in-a-venv", "SUCCEEDED")
    await device.type(remove)
    assert await device.files() == device.files_before
    assert "iot-jobs-agent" not in await machine.run("cat /etc/passwd /etc/group")
    saw("the appendix: a job SUCCEEDED over an upgrade, and nothing was left")
