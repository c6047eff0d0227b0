"""What only a kernel of its own can show, without a boot: memory and processes that run out, a clock that is wrong."""

import re
import time

import pytest
from device import Device
from tests.support.on_record import FILES, echo

SLICE = "/sys/fs/cgroup/system.slice/system-iotjobs.slice"


DYNAMIC = range(61184, 65520)  # users that systemd makes up, systemd.exec(5)


async def test_a_first_job_succeeds_on_a_device_with_the_package(device: Device) -> None:
    await device.set_up()
    device.create("first", {"operation": "run-command", "params": {"command": "/usr/bin/id -u"}})
    await device.ends("first", "SUCCEEDED")
    assert int(device.details("first")["stdout"]) in DYNAMIC


async def has_another_job(device: Device, **options: str) -> tuple[str, str]:
    """Set the device up, and begin a job that is to go on whatever another one does; what is to stay as it is."""
    await device.set_up(**options)
    device.create("beside", {"operation": "patient"})
    await device.is_up("beside")
    return await device.shows("MainPID"), await device.shows("NRestarts")


async def goes_on(device: Device, agent: tuple[str, str]) -> None:
    """The other job ends well, the next one begins, and the agent is the one that it was."""
    await device.open_gate()
    await device.ends("beside", "SUCCEEDED")
    device.create("after", echo("hi"))
    await device.ends("after", "SUCCEEDED")
    assert (await device.shows("MainPID"), await device.shows("NRestarts")) == agent
    assert await device.handlers() == ""


async def eats_all_memory_alone(device: Device, launcher: str = "units") -> dict[str, str]:
    """A handler takes memory until the kernel kills it, and nothing else. Its details."""
    agent = await has_another_job(device, launcher=launcher)
    device.create("eats", {"operation": "eater"})
    await device.ends("eats", "FAILED")
    await goes_on(device, agent)
    return device.details("eats")


async def test_a_handler_that_eats_the_memory_of_its_unit_dies_alone(device: Device) -> None:
    await device.limit("MemoryMax=64M")
    details = await eats_all_memory_alone(device)
    assert details["reason"] == "killed by the kernel's out-of-memory killer"
    assert "it had 64 MiB at most, as its profile allows" in details["result"]
    assert (await device.known("code"))["eats"] == "oom"
    assert "Memory cgroup out of memory" in await device.machine.do("dmesg")


async def test_what_all_handlers_take_together_leaves_memory_to_the_device(device: Device) -> None:
    """Whatever a profile allows its handlers: one that may take all there is meets the limit of their slice."""
    await device.limit("MemoryMax=infinity")
    details = await eats_all_memory_alone(device)
    assert details["reason"] == "killed by the kernel's out-of-memory killer"
    assert "less than its profile allows" in details["result"]
    (killed,) = re.findall("^.*oom-kill:.*$", await device.machine.do("dmesg"), re.MULTILINE)
    assert "oom_memcg=/system.slice/system-iotjobs.slice," in killed


async def test_a_handler_that_eats_the_memory_of_the_agents_unit_dies_alone(device: Device) -> None:
    """Where all handlers share the agent's unit, it is the kernel's choice, which the agent has made for it."""
    await device.limit(f"MemoryMax=160M\\nReadWritePaths={FILES}", "iot-jobs-agent")
    assert "signal 9" in (await eats_all_memory_alone(device, "plain"))["reason"]
    assert "Memory cgroup out of memory" in await device.machine.do("dmesg")


@pytest.mark.usefixtures("takes_minutes")
async def test_a_handler_that_eats_the_memory_of_the_device_dies_alone(device: Device) -> None:
    """Without a limit of its own: a unit's, as shipped, does not let it come so far."""
    await device.limit(f"ReadWritePaths={FILES}", "iot-jobs-agent")
    assert "signal 9" in (await eats_all_memory_alone(device, "plain"))["reason"]
    assert "Out of memory" in await device.machine.do("dmesg")


async def test_beside_a_fork_bomb_another_job_goes_on(device: Device) -> None:
    """TasksMax= of its unit ends its growth, and once it is canceled, nothing of it is left."""
    await device.limit("TasksMax=40")  # of the profile's 128, which take longer to start without KVM
    agent = await has_another_job(device)
    device.create("bomb", {"operation": "bomb"})
    await device.is_up("bomb")
    events = (await device.machine.do(f"cat {SLICE}/*.service/pids.events")).split()
    others, refused = sorted(map(int, events[1::2]))
    assert others == 0
    assert refused > 0  # it was refused one, as meant
    device.sim.operate("CancelJob", jobId="bomb", force=True)
    await goes_on(device, agent)
    assert await device.alive("bomb") == ""


async def test_a_handler_that_fills_the_disk_is_ended_at_its_quota(device: Device) -> None:
    agent = await has_another_job(device)
    device.create("fills", {"operation": "filler"})
    await device.ends("fills", "FAILED")
    said = r"stopped over its disk quota: JOB_DIR with /tmp took \d+\.\d MiB or more, quota_mb is 8"
    assert re.fullmatch(said, device.details("fills")["reason"])
    await goes_on(device, agent)
    gone = 'until [ -z "$(find /var/lib/private/iot-jobs -name full)" ]; do sleep 1; done'
    await device.machine.do(gone)
    assert (await device.known("code"))["fills"] == "quota"


async def test_with_a_clock_that_says_1970_it_comes_up_says_so_and_works_once_the_clock_is_right(
    device: Device,
) -> None:
    await device.set_up(start=False)
    since_boot_s = "$(cut -d . -f 1 /proc/uptime)"  # the kernel knows no earlier time than that it was switched on
    await device.machine.do(f"date --set=@$(({since_boot_s} + 60)); systemctl start iot-jobs-agent")
    await device.logs("let the clock synchronise")
    assert "not connected" in await device.shows("StatusText")
    device.create("late", echo("hi"))
    await device.machine.do(f"date --set=@{time.time():.0f}")
    await device.ends("late", "SUCCEEDED")
    assert await device.shows("NRestarts") == "0"
