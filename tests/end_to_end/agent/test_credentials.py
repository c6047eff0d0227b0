"""The certificate's files, wrong or half replaced: each command says which, and a running agent goes on."""

from pathlib import Path
from typing import Any

import pytest
import trustme
from agents import run
from tests.support.credentials import cut, encrypted, new_pair

ECHO = {"operation": "run-command", "params": {"command": "echo hi"}}


@pytest.fixture
def own_files(device: Any, sim: Any) -> Path:
    """The device's credentials, copied to where a test may change them."""
    for key, name in {"certificate": "client.pem", "private_key": "client.key", "root_ca": "ca.pem"}.items():
        path = device.directory / name
        path.write_bytes((sim.certificates / name).read_bytes())
        path.chmod(0o600)
        device.sections["aws"][key] = str(path)
    return device.directory


def spoil_key(directory: Path) -> str:
    (directory / "client.key").write_bytes(encrypted((directory / "client.key").read_bytes(), older_form=False))
    return f"aws.private_key: {directory}/client.key is encrypted"


def exchange_key(directory: Path) -> str:
    (directory / "client.key").write_bytes(new_pair(trustme.CA()).private_key)
    return f"aws.private_key: {directory}/client.key is not the key of the certificate {directory}/client.pem"


def cut_root_ca(directory: Path) -> str:
    (directory / "ca.pem").write_bytes(cut((directory / "ca.pem").read_bytes()))
    return f"aws.root_ca: {directory}/ca.pem is cut off"


@pytest.mark.parametrize("spoil", [spoil_key, exchange_key, cut_root_ca])
async def test_field_f1_pending_names_the_file_in_one_sentence(
    own_files: Path, device: Any, thing: str, spoil: Any
) -> None:
    said = spoil(own_files)
    pending = await run("pending", "--config", str(device.write_config()))
    assert (pending.returncode, pending.stderr.count("\n")) == (78, 1)
    assert said in pending.stderr


async def test_field_f1_run_says_it_too_and_connects_once_the_file_is_repaired(
    own_files: Path, device: Any, thing: str, start_agent: Any
) -> None:
    whole = (own_files / "client.key").read_bytes()
    said = exchange_key(own_files)
    agent = await start_agent(is_connected=False)
    line = await agent.says("cannot connect, trying again")
    assert said in line["why"]
    (own_files / "client.key").write_bytes(whole)
    await agent.says("connected")


async def test_field_f2_a_running_agent_outlasts_a_half_replaced_pair(
    own_files: Path, device: Any, sim: Any, start_agent: Any, operator: Any
) -> None:
    device.namespaces = [{"id": "team-a"}]
    device.sections["agent"]["poll_interval_s"] = 1
    agent = await start_agent()
    authority = trustme.CA.from_pem(
        (sim.certificates / "ca.pem").read_bytes(), (sim.certificates / "ca.key").read_bytes()
    )
    new = new_pair(authority, "any-thing.invalid")
    (own_files / "client.key").write_bytes(new.private_key)
    told = await agent.says("the credentials on disk cannot be used")
    assert "is not the key of the certificate" in told["why"]
    await operator.create("job-1", ECHO, namespaceId="team-a")
    await operator.wait("job-1", "SUCCEEDED")
    (own_files / "client.pem").write_bytes(new.certificate)
    await sim.stop_broker()
    await agent.says("connection lost")
    await sim.start_broker()
    await agent.says("connected", times=2)
    assert await agent.stop() == 0
    assert not [line for line in agent.log if line["event"] == "the list over HTTPS failed, asking for its head"]
