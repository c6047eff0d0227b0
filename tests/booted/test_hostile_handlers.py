"""What handlers that mean harm find in their units: nothing that runs out for everybody, and no way to become root."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from installed import Device
from tests.support.on_record import HOME

pytestmark = pytest.mark.asyncio(loop_scope="session")  # in which the simulator runs

CONFIG_FILE = f"{HOME}/config.toml"
TEMPLATE = "/etc/systemd/system/iot-job-as-kiosk@.service"
PROFILES = ("network", "light", "isolated", "logs")
# Each line that one prints is something that it could, but should not. Numbers of system calls this new are the same on
# all machines.
HOSTILE = r"""#!/usr/bin/python3 -I
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
IO_URING_SETUP = 425

def attempt(what, do):
    try:
        do()
    except OSError:
        return
    print("could: " + what)

def uring():
    if libc.syscall(IO_URING_SETUP, 8, ctypes.create_string_buffer(120)) < 0:
        raise OSError(ctypes.get_errno(), "")

def write_to_run():
    if not os.statvfs("/run").f_flag & os.ST_RDONLY:
        print("could: write to /run, if it were root")

attempt("take pseudo-terminals", os.openpty)
attempt("ask for things that no filter sees", uring)
attempt("flood systemd", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect("/run/systemd/notify"))
write_to_run()
print(os.readlink("/proc/self/ns/ipc"))
"""
# As root, but in the profile "files".
ROOT = """#!/bin/sh
try() { "$@" > /dev/null 2>&1 && echo "could: $*"; }
try systemd-run --wait true
try busctl list
try systemctl list-units
try touch /run/systemd/x
try touch /run/x
try ls /run/credentials
try ls /var/lib/private/iot-jobs
try touch /var/lib/x
ls /run/systemd
touch /srv/iot-jobs/allowed
"""
TELLS = """#!/bin/sh
echo words > /dev/stderr
echo more >> /dev/stdout
"""
USER_CONFIG = 'run_as_users = ["kiosk"]\nlauncher = "units"'


def tables() -> str:
    listed = [f'[handler.hostile-{each}]\nprofile = "{each}"\n' for each in PROFILES if each != "network"]
    return "".join(listed) + '[handler.root]\nprofile = "files"\n[handler.root-services]\nprofile = "services"\n'


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def units(device: Device) -> AsyncIterator[Device]:
    """The device with these handlers, and a user of its own; afterwards it is as it was."""
    machine = device.machine
    hostile = [f"hostile-{profile}" for profile in PROFILES]
    for name in (*hostile, "as-a-user"):
        machine.write(f"{HOME}/handlers/{name}", HOSTILE, 0o755)
    for name in ("root", "root-services"):
        machine.write(f"{HOME}/handlers/{name}", ROOT, 0o755)
    machine.write(f"{HOME}/handlers/tells", TELLS, 0o755)
    await device.configure(
        enabled=[*hostile, "as-a-user", "root", "root-services", "tells"], tables=tables(), restart=False
    )
    config = machine.path(CONFIG_FILE)
    config.write_text(config.read_text().replace('launcher = "units"', USER_CONFIG, 1))
    await machine.run(f"""
        useradd --create-home kiosk
        sed s/USER/kiosk/g /usr/share/iot-jobs-agent/iot-job-as-USER@.service > {TEMPLATE}
        systemctl daemon-reload; systemctl restart iot-jobs-agent""")
    yield device
    await machine.run(f"rm {TEMPLATE}; systemctl daemon-reload; userdel --remove kiosk")
    await device.configure()


async def said(units: Device, job: str, document: object) -> list[str]:
    """Run a job that succeeds, and return what it printed, word by word."""
    units.create(job, document)
    await units.ends(job, "SUCCEEDED")
    return units.details(job)["stdout"].split()


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_handler_can_neither_take_what_all_share_nor_get_past_its_filters(units: Device, profile: str) -> None:
    words = await said(units, f"hostile-{profile}", {"operation": f"hostile-{profile}"})
    assert len(words) == 1, words
    assert words[0] not in await units.machine.run("readlink /proc/1/ns/ipc")


async def test_a_step_that_runs_as_a_user_can_do_neither(units: Device) -> None:
    action = {"runAsUser": "kiosk", "name": "hostile", "type": "runHandler", "input": {"handler": "as-a-user"}}
    words = await said(units, "hostile-user", {"version": "1.0", "steps": [{"action": action}]})
    assert len(words) == 1, words
    assert words[0] not in await units.machine.run("readlink /proc/1/ns/ipc")


async def test_a_handler_with_the_profile_files_is_no_root_beyond_its_files(units: Device) -> None:
    assert await said(units, "root", {"operation": "root"}) in ([], ["incoming"])
    assert units.machine.path("/srv/iot-jobs/allowed").exists()


async def test_a_handler_with_the_profile_services_leaves_no_unit(units: Device) -> None:
    units.create("root-services", {"operation": "root-services"})
    await units.is_over("root-services")
    assert "could: touch" not in units.details("root-services")["stdout"]


async def test_a_handler_writes_to_its_outputs_by_their_names(units: Device) -> None:
    assert await said(units, "tells", {"operation": "tells"}) == ["more"]
    assert units.details("tells")["stderr"] == "words"
