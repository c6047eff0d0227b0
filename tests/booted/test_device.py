"""What only a booted device can show: the shipped unit at work, reboots, power cuts, systemd's and polkit's part."""

import gzip
import random

import pytest
from installed import COMMAND, THING, Device, blocks_of
from tests.support.on_record import aws_document

pytestmark = pytest.mark.asyncio(loop_scope="session")  # in which the simulator runs


async def test_the_installation_page_leads_from_a_bare_system_to_a_job_that_succeeds(device: Device) -> None:
    assert device.said["state"] == "disabled\ninactive\n"  # until it is set up
    assert "so nothing there survives a reboot" in device.said["refused"]
    assert "The agent was not started" in device.said["refused"]
    assert "kept   /etc/iot-jobs-agent/credentials/private.key" in device.said["setup"]
    assert "Active: active (running)" in device.said["setup"]
    device.create("job-1", aws_document(("Who", "runCommand", {"command": "/usr/bin/id"})))
    await device.ends("job-1", "SUCCEEDED")
    assert "iot-jobs-agent" in device.details("job-1")["stdout"]
    assert "connected" in await device.shows("StatusText")


async def test_check_says_what_the_unit_cannot_write_and_the_drop_in_that_it_names_is_enough(device: Device) -> None:
    config = device.machine.path("/etc/iot-jobs-agent/config.toml")
    text = config.read_text()
    write_file = '[handler.write-file]\nroots = ["/srv/other", "/srv/iot-jobs/written"]\n'
    config.write_text(text.replace("enabled = [", 'enabled = ["write-file", ') + write_file)
    check = "CREDENTIALS_DIRECTORY=/etc/iot-jobs-agent/credentials " + COMMAND.format("check --offline") + " || true"
    await device.machine.run("install -d -o iot-jobs-agent -g iot-jobs-agent /srv/other /srv/iot-jobs/written")
    said = await device.machine.run(check)
    read_only = "handler.write-file.roots: /srv/other is read-only for the unit iot-jobs-agent (ProtectSystem=strict); "
    assert read_only + "put ReadWritePaths=/srv/other below [Service]" in said
    assert "roots: /srv/iot-jobs/" not in said  # which the installation page has made writable
    drop_in = "/etc/systemd/system/iot-jobs-agent.service.d/other.conf"
    device.machine.write(drop_in, "[Service]\nReadWritePaths=/srv/other\n")
    await device.machine.run("systemctl daemon-reload")
    assert "roots: " not in await device.machine.run(check)
    config.write_text(text)
    await device.machine.run(f"rm {drop_in}; rmdir /srv/other /srv/iot-jobs/written; systemctl daemon-reload")


async def test_a_job_restarts_a_service_because_polkit_lets_it(device: Device) -> None:
    document = aws_document(("Restart", "runHandler", {"handler": "restart-services.sh", "args": ["oven.service"]}))
    await device.machine.run("systemctl start iot-jobs-agent")
    device.create("not-yet", document)
    await device.ends("not-yet", "FAILED")
    assert "polkit" in device.details("not-yet")["reason"]
    await device.type(blocks_of("Services, reboots and logs")[0])
    device.configure(may_reboot=True)
    await device.machine.run("systemctl restart polkit iot-jobs-agent")
    before = await device.machine.run("systemctl show --property=MainPID oven")
    device.create("now", document)
    await device.ends("now", "SUCCEEDED")
    assert await device.machine.run("systemctl show --property=MainPID oven") != before


async def test_a_handler_outlives_a_restart_and_a_violent_death_of_its_agent(device: Device) -> None:
    device.create("long", {"operation": "patient"})
    await device.is_up("long")
    await device.machine.run("systemctl restart iot-jobs-agent")
    await device.machine.run("systemctl kill --kill-whom=main --signal=KILL iot-jobs-agent")
    device.open_gate()
    await device.ends("long", "SUCCEEDED")
    assert [line for line in device.ledger if line.startswith("long ")] == ["long 1 run first"]
    assert device.details("long")["stdout"] == "opened"


async def test_field_c2_a_stray_sigterm_does_not_take_the_device_offline(device: Device) -> None:
    before = await device.shows("MainPID")
    await device.machine.run("systemctl kill --kill-whom=main --signal=TERM iot-jobs-agent")
    device.create("after", {"operation": "run-command", "params": {"command": "/bin/echo hi"}})
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
    await device.machine.run(f"rm {impatient}; systemctl daemon-reload; systemctl restart iot-jobs-agent")


async def test_a_job_reboots_the_device_and_goes_on_in_the_next_boot(device: Device) -> None:
    boots, before = device.machine.boots, await device.machine.boot_id()
    after = ("After", "runCommand", {"command": "/bin/echo,up again"})
    device.create("reboot", aws_document(("Reboot", "runHandler", {"handler": "reboot.sh"}), after))
    await device.machine.has_booted(boots + 1)
    await device.ends("reboot", "SUCCEEDED")
    assert device.details("reboot")["steps"] == "Reboot=SUCCEEDED, After=SUCCEEDED"
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


async def test_a_job_collects_the_log_of_a_service(device: Device) -> None:
    await device.type(blocks_of("Services, reboots and logs")[-1])
    params = {"url": "${aws:iot:s3-presigned-url-upload}", "units": ["oven.service"]}
    device.create(
        "logs",
        {"operation": "collect-logs", "params": params},
        presignedUrlConfig={"roleArn": "arn:aws:iam::123456789012:role/upload", "expiresInSec": 600},
    )
    await device.ends("logs", "SUCCEEDED")
    uploaded = device.sim.objects.get("uploads", f"logs/{THING}/1")
    assert uploaded is not None
    assert "warm" in gzip.decompress(uploaded).decode()
