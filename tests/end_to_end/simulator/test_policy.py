"""A certificate that is good for one thing only."""

from __future__ import annotations

import json
import stat
import urllib.request
from asyncio import to_thread
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest
import wire

from iot_jobs_simulator.policy import PolicyName
from iot_jobs_simulator.server import running_simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from simulators import Connect

    from iot_jobs_simulator.server import RunningSimulator


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[RunningSimulator]:
    """A simulator with the strict policy and two things."""
    async with running_simulator(certificates=tmp_path, policy=PolicyName.STRICT) as sim:
        for name in ("lamp", "door"):
            sim.operate("CreateThing", thingName=name)
        yield sim


async def connected(sim: RunningSimulator, certificate: str) -> wire.Wire:
    device = await wire.opened(sim.mqtts_port, tls=wire.client_tls(sim.certificates, certificate))
    device.send(wire.connect(certificate))
    return device


async def test_each_thing_has_a_certificate_that_works_for_it(strict: RunningSimulator) -> None:
    assert stat.S_IMODE((strict.certificates / "lamp.key").stat().st_mode) == 0o600
    device = await connected(strict, "lamp")
    assert await device.heard() == b"\x20\x02\x00\x00"
    device.send(wire.subscribe("$aws/things/lamp/jobs/notify"))
    assert (await device.heard())[-1] == 1
    device.send(wire.publish("$aws/things/lamp/jobs/get"))
    assert b"jobs/get/accepted" in await device.heard()
    device.close()


@pytest.mark.parametrize("client_id", ["door", "other", "Lamp"])
async def test_field_a6_a_certificate_cannot_take_another_client_id_over(
    strict: RunningSimulator, client_id: str
) -> None:
    other = await wire.opened(strict.mqtts_port, tls=wire.client_tls(strict.certificates, "door"))
    other.send(wire.connect("door"))
    await other.heard()
    device = await wire.opened(strict.mqtts_port, tls=wire.client_tls(strict.certificates, "lamp"))
    device.send(wire.connect(client_id))
    assert await device.heard() == b""
    other.send(wire.subscribe("$aws/things/door/jobs/notify"))
    assert (await other.heard())[-1] == 1
    for each in (device, other):
        each.close()


@pytest.mark.parametrize("topic", ["$aws/things/door/jobs/get", "anything"])
async def test_publishing_for_another_thing_ends_the_connection(strict: RunningSimulator, topic: str) -> None:
    device = await connected(strict, "lamp")
    await device.heard()
    device.send(wire.publish(topic))
    assert await device.heard() == b""
    assert not strict.received
    device.close()


@pytest.mark.parametrize("topic_filter", ["$aws/things/door/jobs/notify", "$aws/things/+/jobs/notify", "#", "lamp"])
async def test_subscribing_for_another_thing_is_refused(strict: RunningSimulator, topic_filter: str) -> None:
    device = await connected(strict, "lamp")
    await device.heard()
    device.send(wire.subscribe(topic_filter, "$aws/things/lamp/#"))
    assert (await device.heard())[-2:] == b"\x80\x01"
    device.close()


async def test_a_certificate_that_names_no_thing_is_refused(strict: RunningSimulator) -> None:
    device = await connected(strict, "client")
    assert await device.heard() == b""
    device.close()


async def test_over_http_another_thing_is_forbidden(strict: RunningSimulator) -> None:
    def status(thing: str, certificate: str) -> Any:
        url = f"https://localhost:{strict.https_port}/things/{thing}/jobs"
        try:
            with urllib.request.urlopen(
                url, context=wire.client_tls(strict.certificates, certificate), timeout=10
            ) as at:
                return at.status
        except HTTPError as error:
            with error:
                return error.code, error.headers["x-amzn-ErrorType"], json.load(error)["message"]

    assert await to_thread(status, "lamp", "lamp") == 200
    forbidden = (403, "ForbiddenException", "Forbidden")
    assert await to_thread(status, "door", "lamp") == forbidden
    assert await to_thread(status, "lamp", "client") == forbidden


async def test_a_session_of_another_certificate_hears_nothing_of_its_thing(
    strict: RunningSimulator, connect: Connect
) -> None:
    looking_on = await connect(strict, "door", is_secure=False, is_clean=False, client_id="lamp")
    await looking_on.subscribe("notify")
    await looking_on.disconnect()
    device = await wire.opened(strict.mqtts_port, tls=wire.client_tls(strict.certificates, "lamp"))
    device.send(wire.connect("lamp", is_clean=False))
    assert await device.heard() == b"\x20\x02\x01\x00"
    strict.publish("$aws/things/door/jobs/notify", b"{}")
    device.send(b"\xc0\x00")
    assert await device.heard() == b"\xd0\x00"
    device.close()


async def test_certificates_of_the_simulator_are_not_overwritten_by_things_of_their_name(
    strict: RunningSimulator,
) -> None:
    before = (strict.certificates / "server.pem").read_bytes()
    strict.operate("CreateThing", thingName="server")
    strict.operate("CreateThing", thingName="x" * 65)
    assert (strict.certificates / "server.pem").read_bytes() == before
    assert not list(strict.certificates.glob("x*"))


@pytest.mark.parametrize("name", ["ca", "server", "client"])
async def test_field_g12_a_thing_called_like_one_of_our_files_has_a_certificate_and_overwrites_none(
    tmp_path: Path, name: str
) -> None:
    async with running_simulator(certificates=tmp_path, policy=PolicyName.STRICT) as sim:
        ours = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        sim.operate("CreateThing", thingName=name)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if ".thing." not in path.name} == ours
        device = await wire.opened(sim.mqtts_port, tls=wire.client_tls(tmp_path, f"{name}.thing"))
        device.send(wire.connect(name))
        assert await device.heard() == b"\x20\x02\x00\x00"
        device.close()
