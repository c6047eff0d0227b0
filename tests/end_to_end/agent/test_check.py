"""`check` connects, subscribes and asks as the agent does, and each thing that can go wrong has its own sentence."""

from typing import Any

import pytest
import trustme
from agents import run
from tests.support.listeners import listening, say_nothing

from iot_jobs_simulator.faults.faults import (
    CloseOnConnect,
    Disconnect,
    DropPacket,
    Fault,
    Lose,
    RefuseSubscription,
    Reject,
)

JOBS = "$aws/things/pi-kitchen-1/jobs"


async def wrong(device: Any) -> list[str]:
    """What `check` finds wrong; there must be something, or its exit status would be another."""
    checked = await run("check", "--config", str(device.write_config()))
    assert checked.stderr == ""
    found = [line.removeprefix("wrong  ") for line in checked.stdout.splitlines() if line.startswith("wrong  ")]
    assert checked.returncode == (1 if found else 0), checked
    assert all(line.endswith(".") for line in found)
    return found


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (CloseOnConnect(), "iot:Connect with the client id pi-kitchen-1"),
        (CloseOnConnect(return_code=5), "iot:Connect with the client id pi-kitchen-1"),
        (RefuseSubscription(topic=f"{JOBS}/notify-next"), f"refuses the subscription to {JOBS}/notify-next"),
        (
            Disconnect(packet="SUBSCRIBE", direction="in", topic=f"{JOBS}/notify"),
            f"hangs up on the subscription to {JOBS}/notify; let the certificate's policy allow iot:Subscribe",
        ),
        (
            DropPacket(packet="SUBACK", direction="out"),
            f"does not answer the subscription to {JOBS}/get/+",
        ),
        (
            Disconnect(packet="PUBLISH", direction="in", topic=f"{JOBS}/#"),
            f"hangs up on a request on {JOBS}/$next/get; let the certificate's policy allow iot:Publish on it",
        ),
        (
            Lose(what="reply", listener="mqtt"),
            f"nothing comes back for a request on {JOBS}/$next/get; let the certificate's policy allow iot:Receive",
        ),
        (
            Reject(operation="DescribeJobExecution", code="ResourceNotFound"),
            "aws.thing_name: a request for pi-kitchen-1 is refused (ResourceNotFound",
        ),
    ],
)
async def test_field_f3_what_the_broker_does_not_allow_is_named(
    device: Any, sim: Any, thing: str, fault: Fault, said: str
) -> None:
    sim.faults.add(fault)
    device.sections["aws"]["request_timeout_s"] = 1
    [line] = await wrong(device)
    assert said in line


async def test_field_f3_a_thing_that_does_not_exist_is_named(device: Any, sim: Any) -> None:
    found = await wrong(device)
    assert found
    assert all(line.startswith("aws.thing_name: ") and "aws iot create-thing" in line for line in found)


async def test_field_f3_a_wrong_root_ca_is_named_for_both_ports(device: Any, sim: Any, thing: str) -> None:
    root_ca = device.directory / "other-ca.pem"
    trustme.CA().cert_pem.write_to_path(root_ca)
    device.sections["aws"] |= {"root_ca": str(root_ca), "connect_timeout_s": 2}
    mqtt, https = await wrong(device)
    for line in (mqtt, https):
        assert line.startswith(f"aws.root_ca: {root_ca} is not the authority of localhost port")


async def test_field_f3_pending_names_a_wrong_root_ca(device: Any, thing: str) -> None:
    root_ca = device.directory / "other-ca.pem"
    trustme.CA().cert_pem.write_to_path(root_ca)
    device.sections["aws"] |= {"root_ca": str(root_ca), "request_timeout_s": 1}
    answer = await run("pending", "--config", str(device.write_config()))
    assert answer.returncode == 69
    assert f"aws.root_ca: {root_ca} is not the authority of localhost port" in answer.stderr


async def test_field_f3_the_https_port_as_mqtt_port_is_told(device: Any, sim: Any, thing: str) -> None:
    device.sections["aws"] |= {"port": sim.https_port, "connect_timeout_s": 2}
    [line] = await wrong(device)
    assert line.startswith(f"aws.port: localhost port {sim.https_port} speaks HTTPS, not MQTT; set aws.port to 8883")


async def test_field_f3_the_port_for_mqtt_without_tls_is_told(device: Any, sim: Any, thing: str) -> None:
    device.sections["aws"] |= {"port": sim.mqtt_port, "connect_timeout_s": 2}
    [line] = await wrong(device)
    assert line.startswith("aws.port: ")
    assert "8883 or 443" in line


async def test_field_f3_a_port_that_never_speaks_is_told(device: Any, thing: str) -> None:
    with listening(say_nothing) as port:
        device.sections["aws"] |= {"port": port, "connect_timeout_s": 2}
        [line] = await wrong(device)
    assert line.startswith(f"aws.port: localhost port {port} does not speak TLS")


async def test_field_f3_the_https_statement_is_needed_for_further_namespaces_only(
    device: Any, sim: Any, thing: str
) -> None:
    sim.faults.add(Reject(operation="GetPendingJobExecutions", code="Forbidden", status=403, listener="http"))
    checked = await run("check", "--config", str(device.write_config()))
    assert (checked.returncode, "which only `pending` would need" in checked.stdout) == (0, True), checked
    device.namespaces = [{"id": "team-a"}]
    [line] = await wrong(device)
    assert "iotjobsdata:GetPendingJobExecutions" in line


async def test_field_f3_a_running_agent_keeps_its_connection(
    device: Any, sim: Any, thing: str, start_agent: Any
) -> None:
    agent = await start_agent()
    while (await run("status", "--config", str(device.config))).returncode:
        pass  # the status is written half a second after the connection
    checked = await run("check", "--config", str(device.config))
    assert (checked.returncode, "the agent runs and is connected" in checked.stdout) == (0, True), checked
    assert await agent.stop() == 0
    assert not [line for line in agent.log if line["event"] == "connection lost"]
