"""What only a booted device can show: the shipped unit at work, reboots, power cuts, systemd's and polkit's part."""

import random
import re

import pytest
from installed import Device
from tests.support.on_record import aws_document, echo

pytestmark = pytest.mark.asyncio(loop_scope="session")  # in which the simulator runs


async def test_the_installation_page_leads_from_a_bare_system_to_a_job_that_succeeds(device: Device) -> None:
    assert device.said["state"] == "disabled\ninactive\n"  # until it is set up
    assert "so nothing there survives a reboot" in device.said["refused"]
    assert "The agent was not started" in device.said["refused"]
    assert "kept   /etc/iot-jobs-agent/credentials/private.key" in device.said["setup"]
    assert "Active: active (running)" in device.said["setup"]
    device.create("job-1", aws_document(("Who", "runCommand", {"command": "/usr/bin/id,-un"})))
    await device.ends("job-1", "SUCCEEDED")
    assert re.fullmatch(r"j-[0-9a-f]{24}", device.details("job-1")["stdout"])
    assert "connected" in await device.shows("StatusText")


async def test_field_c2_a_stray_sigterm_does_not_take_the_device_offline(device: Device) -> None:
    before = await device.shows("MainPID")
    await device.machine.run("systemctl kill --kill-whom=main --signal=TERM iot-jobs-agent")
    device.create("after", echo("hi"))
    await device.ends("after", "SUCCEEDED")
    assert await device.shows("MainPID") != before
    await device.machine.run("systemctl stop iot-jobs-agent")
    assert await device.shows("ActiveState") == "inactive"
    await device.machine.run("systemctl start iot-jobs-agent")


async def test_the_watchdog_ends_an_agent_that_hangs_and_the_next_one_goes_on(device: Device) -> None:
    impatient = "/etc/systemd/system/iot-jobs-agent.service.d/impatient.conf"
    device.machine.write(impatient, "[Service]\nWatchdogSec=2\nRestartSec=100ms\n")
    await device.machine.run("systemctl daemon-reload && systemctl restart iot-jobs-agent")
    device.create("hung", {"operation": "patient"})
    await device.is_up("hung")
    await device.machine.run("systemctl kill --kill-whom=main --signal=STOP iot-jobs-agent")
    device.open_gate()
    await device.ends("hung", "SUCCEEDED")
    assert int(await device.shows("NRestarts")) == 1
    assert [line for line in device.ledger if line.startswith("hung ")] == ["hung 1 run first"]
    await device.machine.run(f"rm {impatient}; systemctl daemon-reload; systemctl restart iot-jobs-agent")


async def test_a_job_reboots_the_device_and_goes_on_in_the_next_boot(device: Device) -> None:
    boots, before = device.machine.boots, await device.machine.boot_id()
    before_it = ("Before", "runCommand", {"command": "/bin/echo,still up"})
    after_it = ("After", "runCommand", {"command": "/bin/echo,up again"})
    device.create("reboot", aws_document(before_it, ("Reboot", "runHandler", {"handler": "reboot.sh"}), after_it))
    await device.machine.has_booted(boots + 1)
    await device.ends("reboot", "SUCCEEDED")
    assert device.details("reboot")["steps"] == "Before=SUCCEEDED, Reboot=SUCCEEDED, After=SUCCEEDED"
    assert device.details("reboot")["stdout"] == "up again"
    assert await device.machine.boot_id() != before
    assert device.machine.boots == boots + 1


async def test_each_handler_goes_on_after_a_power_cut_as_it_wants(device: Device) -> None:
    for job in ("patient", "again", "onward"):
        device.create(job, {"operation": job})
        await device.is_up(job)
    await device.machine.cut_power()
    await device.machine.boot()
    await device.ends("patient", "FAILED")
    await device.ends("again", "SUCCEEDED")
    await device.ends("onward", "SUCCEEDED")
    assert "interrupted" in device.details("patient")["reason"]
    assert {line for line in device.ledger if line.endswith("power-loss")} == {
        "again 2 run power-loss",
        "onward 2 resume power-loss",
    }


async def test_power_fails_at_random_moments_and_each_job_has_one_end(
    device: Device, request: pytest.FixtureRequest
) -> None:
    """D, O, T: after so many messages of the device's, whichever they are, everything ends at once."""
    chance = random.Random(request.config.getoption("--cut-seed"))
    ended = {}
    for job in [f"cut-{number}" for number in range(request.config.getoption("--cuts"))]:
        device.open_gate()
        known, wanted = len(device.sim.received), chance.randrange(1, 8)
        device.create(job, {"operation": chance.choice(["patient", "again", "onward"])})

        def is_time(known: int = known, wanted: int = wanted, job: str = job) -> bool:
            return len(device.sim.received) >= known + wanted or device.status(job) == "SUCCEEDED"

        await device.sim.wait_until(is_time, within_s=60)
        await device.machine.cut_power()
        await device.machine.boot()
        ended[job] = await device.is_over(job)
        device.close_gates()
    assert (await device.known()).items() >= ended.items()


async def test_a_handler_that_fills_the_disk_is_ended_and_another_goes_on(device: Device) -> None:
    device.create("beside", {"operation": "patient"})
    await device.is_up("beside")
    agent = await device.shows("MainPID")
    device.create("fills", {"operation": "filler"})
    await device.ends("fills", "FAILED")
    assert re.fullmatch(
        r"stopped over its disk quota: JOB_DIR with /tmp took \d+\.\d MiB or more, quota_mb is 8",
        device.details("fills")["reason"],
    )
    device.open_gate()
    await device.ends("beside", "SUCCEEDED")
    assert await device.shows("MainPID") == agent
    left = "find /var/lib/private/iot-jobs -name full"
    await device.machine.run(f'until [ -z "$({left})" ]; do sleep 0.1; done')
