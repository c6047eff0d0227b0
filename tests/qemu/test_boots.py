"""What ends with a boot: a reboot that a job asks for, power that fails, a root file system that forgets."""

import random

import pytest
from device import COMMAND, UP_S, Device
from moment import READY, Kept
from qemu import Machine, overlay, running
from tests.support.on_record import HOME, aws_document, echo

pytestmark = pytest.mark.usefixtures("takes_minutes")


@pytest.fixture
def cut_seed(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--cut-seed"))


async def test_a_reboot_in_the_middle_of_a_job_is_one_of_the_kernel(device: Device) -> None:
    await device.set_up()
    before = (await device.machine.do("cat /proc/sys/kernel/random/boot_id")).strip()
    device.create(
        "reboot",
        aws_document(
            ("Before", "runCommand", {"command": "/bin/echo,still up"}),
            ("Reboot", "runHandler", {"handler": "reboot.sh"}),
            ("After", "runCommand", {"command": "/bin/echo,up again"}),
        ),
    )
    await device.machine.has_booted(1)
    await device.ends("reboot", "SUCCEEDED")
    assert device.details("reboot")["steps"] == "Before=SUCCEEDED, Reboot=SUCCEEDED, After=SUCCEEDED"
    assert device.details("reboot")["stdout"] == "up again"
    assert len(device.machine.boots) == 1
    assert device.machine.boots[0] != before


async def test_a_power_cut_loses_what_was_not_synced_and_nothing_else(machine: Machine) -> None:
    """The instrument itself: without this, the next test would show no more than a container's."""
    async with running(machine, moment=READY):
        await machine.do("echo kept > synced; sync synced; echo lost > not-synced")
        await machine.cut_power()
        await machine.start()
        assert await machine.do("cat synced") == "kept\n"
        assert (await machine.run("cat not-synced")).stdout == ""


async def test_power_fails_at_random_moments_nothing_is_started_twice_and_no_outcome_is_lost(
    device: Device, cut_seed: int, request: pytest.FixtureRequest
) -> None:
    """D, O, T: after so many messages of the device's, the computer is gone; its disk stays."""
    chance = random.Random(cut_seed)
    await device.set_up()
    ended: dict[str, str] = {}
    for number in range(request.config.getoption("--cuts")):
        jobs = [f"cut-{number}-{name}" for name in ("patient", "again", "onward", "quick")]
        known, wanted = len(device.sim.received), chance.randrange(1, 12)
        for job in jobs:
            name = job.rpartition("-")[2]
            device.create(job, echo("hi") if name == "quick" else {"operation": name})
        if chance.random() < 0.5:  # else all that waits at the gate is cut short
            await device.open_gate()

        def is_time(known: int = known, wanted: int = wanted, jobs: list[str] = jobs) -> bool:
            settled = sum(device.status(job) in {"SUCCEEDED", "FAILED"} for job in jobs)
            return len(device.sim.received) >= known + wanted or settled >= 2

        await device.sim.wait_until(is_time, within_s=UP_S)
        await device.machine.cut_power()
        await device.machine.start()
        for _ in jobs:  # whoever is at the gate may take any of the words
            await device.open_gate()
        for job in jobs:
            ended[job] = await device.is_over(job)
        await device.close_gates()
        print(f"cut {number}: after {wanted} messages: {[ended[job] for job in jobs]}")
    assert (await device.known()).items() >= ended.items()


async def test_field_c7_a_root_that_forgets_is_told_before_a_job_relies_on_it(device: Device, kept: Kept) -> None:
    """An overlay with its upper layer in memory, as raspi-config makes it; a job may not reboot such a device."""
    await device.machine.cut_power()
    device.machine.disk.unlink()
    overlay(kept.fresh, device.machine.disk)
    await device.machine.start(words="test.overlay")
    await device.set_up(start=False)
    said = await device.machine.run(f"CREDENTIALS_DIRECTORY={HOME}/credentials {COMMAND.format('check')}")
    assert said.status != 0
    assert "so nothing there survives a reboot" in said.stdout + said.stderr
    await device.machine.do("systemctl start iot-jobs-agent")
    device.create("reboot", {"operation": "reboot"})
    await device.ends("reboot", "REJECTED")
    assert "state would be lost" in device.details("reboot")["reason"]
    assert "does not survive a reboot" in await device.machine.do(COMMAND.format("status"))
    assert len(device.machine.boots) == 1
