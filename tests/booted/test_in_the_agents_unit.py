"""With `launcher = "plain"`, handlers run in the agent's unit, as its user: what that takes, what they outlive."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from installed import COMMAND, Device, blocks_of
from tests.support.on_record import FILES, HOME, aws_document

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),  # in which the simulator runs
    pytest.mark.usefixtures("plain"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def plain(device: Device) -> AsyncIterator[None]:
    await device.configure(launcher="plain")
    yield
    await device.configure()


async def test_check_says_what_the_unit_cannot_write_and_the_drop_in_that_it_names_is_enough(device: Device) -> None:
    config = device.machine.path(f"{HOME}/config.toml")
    text = config.read_text()
    config.write_text(text.replace(f'roots = ["{FILES}/written"]', f'roots = ["/srv/other", "{FILES}/written"]', 1))
    check = f"CREDENTIALS_DIRECTORY={HOME}/credentials " + COMMAND.format("check --offline") + " || true"
    await device.machine.run("install -d -o iot-jobs-agent -g iot-jobs-agent /srv/other")
    said = await device.machine.run(check)
    read_only = "handler.write-file.roots: /srv/other is read-only for the unit iot-jobs-agent (ProtectSystem=strict); "
    assert read_only + "put ReadWritePaths=/srv/other below [Service]" in said
    assert f"roots: {FILES}/" not in said  # which the installation page has made writable
    drop_in = "/etc/systemd/system/iot-jobs-agent.service.d/other.conf"
    device.machine.write(drop_in, "[Service]\nReadWritePaths=/srv/other\n")
    await device.machine.run("systemctl daemon-reload")
    assert "roots: " not in await device.machine.run(check)
    config.write_text(text)
    await device.machine.run(f"rm {drop_in}; rmdir /srv/other; systemctl daemon-reload")


async def test_a_job_restarts_a_service_because_polkit_lets_it(device: Device) -> None:
    document = aws_document(("Restart", "runHandler", {"handler": "restart-services.sh", "args": ["oven.service"]}))
    device.create("not-yet", document)
    await device.ends("not-yet", "FAILED")
    assert "polkit" in device.details("not-yet")["reason"]
    await device.type(blocks_of("Services, reboots and logs")[0])
    await device.machine.run("systemctl restart polkit")
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


async def test_a_job_collects_the_log_of_a_service_once_the_agent_may_read_it(device: Device) -> None:
    device.collect("hidden", "oven.service")
    await device.ends("hidden", "FAILED")
    await device.type(blocks_of("Services, reboots and logs")[-1])
    device.collect("logs", "oven.service")
    await device.ends("logs", "SUCCEEDED")
    assert "warm" in device.collected("logs")


@pytest.mark.parametrize("verb", ["install", "remove"])
async def test_what_needs_root_is_rejected(device: Device, verb: str) -> None:
    document = aws_document((verb, "runHandler", {"handler": f"{verb}-packages.sh", "args": ["strace"]}))
    device.create(f"{verb}-below-the-agent", document)
    await device.ends(f"{verb}-below-the-agent", "REJECTED")
    assert device.details(f"{verb}-below-the-agent")["reason"] == "needs a privileged unit"
