"""What only a kernel of its own can show: memory and processes that run out, a clock that is wrong."""

from device import Device


async def test_a_first_job_succeeds_on_a_device_with_the_package(device: Device) -> None:
    await device.set_up()
    device.create("first", {"operation": "run-command", "params": {"command": "/usr/bin/id"}})
    await device.ends("first", "SUCCEEDED")
    assert "iot-jobs-agent" in device.details("first")["stdout"]
