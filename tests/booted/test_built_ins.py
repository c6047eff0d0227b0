"""The built-ins that need more than a handler has, in the privileged profiles that root's configuration gives them."""

from pathlib import Path

import pytest
from installed import PRESIGNED, Device
from tests.support.on_record import FILES, aws_document
from tests.support.packages import Repository, make_package

pytestmark = pytest.mark.asyncio(loop_scope="session")  # in which the simulator runs

DOOR = {
    "usr/lib/systemd/system/door.service": "[Service]\nExecStart=/bin/sleep infinity\n",
    "etc/door.conf": "closed\n",
    "DEBIAN/conffiles": "/etc/door.conf\n",
    "DEBIAN/postinst": "#!/bin/sh\nset -e\nsystemctl daemon-reload\nsystemctl start door\n",
    "DEBIAN/prerm": "#!/bin/sh\nsystemctl stop door\n",
}


def template(name: str, *args: str) -> dict[str, object]:
    """Make the document of a managed template of AWS's, as its console does."""
    handler = {"Install": "install-packages", "Remove": "remove-packages"}.get(name, f"{name.lower()}-services")
    script = "download-file" if name == "Download-File" else handler
    named = name if name == "Download-File" else f"{name}-Application"
    return aws_document((named, "runHandler", {"handler": f"{script}.sh", "args": [*args], "path": ""}))


async def test_a_job_installs_a_package_with_a_service_and_another_one_removes_it(
    device: Device, repository: Repository, tmp_path: Path
) -> None:
    repository.add(make_package(tmp_path, "door", files=DOOR), make_package(tmp_path, "door-sensor", Depends="door"))
    device.create("install", template("Install", "door-sensor door=1.0"))
    await device.ends("install", "SUCCEEDED")
    assert device.details("install")["details"] == '{"door-sensor":"1.0","door":"1.0"}'
    assert await device.machine.run("systemctl is-active door") == "active\n"
    device.create("remove", template("Remove", "door"))
    await device.ends("remove", "SUCCEEDED")
    assert device.details("remove")["details"] == '{"removed":"door"}'
    state = (
        "dpkg-query --show --showformat '${Package} ${db:Status-Abbrev}\n' 'door*'; systemctl is-active door || true"
    )
    assert (await device.machine.run(state)).split() == ["door", "rc", "inactive"]
    device.create("unknown", template("Install", "window"))
    await device.ends("unknown", "FAILED")
    assert device.details("unknown")["reason"] == "no source has a package named window"


async def test_jobs_stop_start_and_restart_a_service(device: Device) -> None:
    running = set()
    for verb, state in (("Stop", "inactive"), ("Start", "active"), ("Restart", "active")):
        device.create(f"oven-{verb}", template(verb, "oven"))
        await device.ends(f"oven-{verb}", "SUCCEEDED")
        assert device.details(f"oven-{verb}")["details"] == f'{{"oven.service":"{state}"}}'
        assert await device.machine.run("systemctl is-active oven || true") == f"{state}\n"
        running.add(await device.machine.run("systemctl show --property=MainPID --value oven"))
    assert len(running) == 3
    assert "0\n" in running


async def test_files_are_written_and_downloaded_into_a_directory_of_roots(device: Device) -> None:
    written, fetched = f"{FILES}/written/config", f"{FILES}/written/image.bin"
    device.create("write", {"operation": "write-file", "params": {"path": written, "content": "hi", "mode": "0640"}})
    await device.ends("write", "SUCCEEDED")
    device.sim.objects.put("firmware", "image.bin", bytes(range(256)) * 4096)
    url = "${aws:iot:s3-presigned-url:https://s3.us-east-1.amazonaws.com/firmware/image.bin}"
    device.create("download", template("Download-File", url, fetched), presignedUrlConfig=PRESIGNED)
    await device.ends("download", "SUCCEEDED")
    modes = await device.machine.run(f"stat -c '%U %a %s' {written} {fetched}; ls -A {FILES}/written")
    assert modes.splitlines() == ["root 640 2", "root 644 1048576", "config", "image.bin"]
    assert device.machine.path(fetched).read_bytes() == bytes(range(256)) * 4096


async def test_a_job_collects_the_log_of_a_service(device: Device) -> None:
    device.collect("collect", "oven.service")
    await device.ends("collect", "SUCCEEDED")
    assert "warm" in device.collected("collect")


@pytest.mark.parametrize(
    ("job", "operation", "params"),
    [
        ("elsewhere", "write-file", {"path": "/etc/passwd", "content": "hi"}),
        ("beyond", "download-file", {"path": f"{FILES}/written/../x", "url": "https://localhost/x"}),
        ("not-listed", "restart-services", {"services": ["dbus.service"]}),
        ("not-readable", "collect-logs", {"url": "https://localhost/x", "units": ["dbus.service"]}),
    ],
)
async def test_what_roots_configuration_does_not_list_is_rejected(
    device: Device, job: str, operation: str, params: dict[str, object]
) -> None:
    device.create(job, {"operation": operation, "params": params})
    await device.ends(job, "REJECTED")
