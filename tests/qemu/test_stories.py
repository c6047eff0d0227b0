"""What only a kernel of its own can show, without a boot: memory and processes that run out, a clock that is wrong."""

import time

import pytest
from device import Device

CGROUP = "/sys/fs/cgroup/system.slice/iot-jobs-agent.service"
ECHO = {"operation": "run-command", "params": {"command": "/bin/echo hi"}}


async def test_a_first_job_succeeds_on_a_device_with_the_package(device: Device) -> None:
    await device.set_up()
    device.create("first", {"operation": "run-command", "params": {"command": "/usr/bin/id"}})
    await device.ends("first", "SUCCEEDED")
    assert "iot-jobs-agent" in device.details("first")["stdout"]


async def eats_all_memory_alone(device: Device) -> None:
    """A handler takes memory until the kernel kills it: the agent and another job outlive it."""
    await device.set_up()
    device.create("beside", {"operation": "patient"})
    await device.is_up("beside")
    agent = await device.shows("MainPID")
    device.create("eats", {"operation": "eater"})
    await device.ends("eats", "FAILED")
    assert "signal 9" in device.details("eats")["reason"]
    await device.open_gate()
    await device.ends("beside", "SUCCEEDED")
    device.create("after", ECHO)
    await device.ends("after", "SUCCEEDED")
    assert (await device.shows("MainPID"), await device.shows("NRestarts")) == (agent, "0")


async def test_a_handler_that_eats_the_memory_of_its_unit_dies_alone(device: Device) -> None:
    await device.limit("MemoryMax=160M")
    await eats_all_memory_alone(device)
    assert "Memory cgroup out of memory" in await device.machine.do("dmesg")


@pytest.mark.usefixtures("takes_minutes")
async def test_a_handler_that_eats_the_memory_of_the_device_dies_alone(device: Device) -> None:
    await eats_all_memory_alone(device)
    assert "Out of memory" in await device.machine.do("dmesg")


async def test_beside_a_fork_bomb_another_job_goes_on(device: Device) -> None:
    """TasksMax= of the unit ends its growth. Once it is canceled there is room again, and what waited starts."""
    await device.limit("TasksMax=150")  # of the unit's 512, which take minutes to start without KVM
    await device.set_up()
    device.create("beside", {"operation": "patient"})
    await device.is_up("beside")
    agent = await device.shows("MainPID")
    device.create("bomb", {"operation": "bomb"})
    await device.is_up("bomb")
    assert int((await device.machine.do(f"cat {CGROUP}/pids.events")).split()[1]) > 0  # it was refused one, as meant
    await device.open_gate()
    await device.ends("beside", "SUCCEEDED")
    device.sim.operate("CancelJob", jobId="bomb", force=True)
    device.create("after", ECHO)
    await device.ends("after", "SUCCEEDED")
    assert await device.alive("bomb") == ""
    assert (await device.shows("MainPID"), await device.shows("NRestarts")) == (agent, "0")


async def test_with_a_clock_that_says_1970_it_comes_up_says_so_and_works_once_the_clock_is_right(
    device: Device,
) -> None:
    await device.set_up(start=False)
    await device.machine.do("date --set=@60; systemctl start iot-jobs-agent")
    await device.logs("let the clock synchronise")
    assert "not connected" in await device.shows("StatusText")
    device.create("late", ECHO)
    await device.machine.do(f"date --set=@{time.time():.0f}")
    await device.ends("late", "SUCCEEDED")
    assert await device.shows("NRestarts") == "0"
