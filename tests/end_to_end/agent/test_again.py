"""Handlers that go on later: another try, a reboot, an interruption; and two agents that share a thing."""

import asyncio
import json
import os
import re
import signal
import ssl
from pathlib import Path
from typing import Any

import pytest

from iot_jobs_simulator.certificates import server_context
from iot_jobs_simulator.faults.faults import Delay

BOOT = "IOT_JOBS_AGENT_TEST_BOOT_ID"

# Notes each start outside the agent: attempt, phase, reason, and what it finds in its directory.
NOTED = """#!/bin/sh
echo "$JOB_STEP.$JOB_ATTEMPT $JOB_PHASE $JOB_REASON $(ls "$JOB_DIR")" >> {ledger}
touch "$JOB_DIR/kept"
"""


@pytest.fixture
def ledger(device: Any) -> Path:
    path: Path = device.directory / "ledger"
    return path


def lines(ledger: Path) -> list[str]:
    return [line.strip() for line in ledger.read_text().splitlines()]


async def test_a_handler_that_is_busy_is_tried_again_and_others_run_meanwhile(
    device: Any, start_agent: Any, operator: Any, sim: Any, ledger: Path
) -> None:
    device.add_handler(
        "busy", NOTED.format(ledger=ledger) + f'[ -e {device.directory}/free ] || jobctl retry "dpkg is locked"\n'
    )
    device.add_handler("free", f"#!/bin/sh\ntouch {device.directory}/free\n")
    device.sections["handler.busy"] = {"retry_delay_s": 0.2, "retry_limit": 20}
    agent = await start_agent()
    await operator.create("job-1", {"operation": "busy"})
    await agent.says("delayed")
    await operator.create("job-2", {"operation": "free"})
    record = await operator.wait("job-1", "SUCCEEDED")
    first, *others = lines(ledger)
    assert first == "0.1 run first"
    assert others == [f"0.{n} run retry kept" for n in range(2, len(others) + 2)]
    assert record["details"]["step"] == f"busy, 1/1, attempt {len(others) + 1}"
    updates = [json.loads(payload) for topic, payload in sim.received if topic.endswith("/jobs/job-1/update")]
    told = [update.get("statusDetails", {}).get("reason") for update in updates]
    assert "tried again in 0.2 s: dpkg is locked" in told


async def test_a_handler_that_stays_busy_has_failed(device: Any, start_agent: Any, operator: Any, ledger: Path) -> None:
    device.add_handler("busy", NOTED.format(ledger=ledger) + "jobctl retry busy\n")
    device.sections["handler.busy"] = {"retry_delay_s": 0, "retry_limit": 2}
    await start_agent()
    await operator.create("job-1", {"operation": "busy"})
    record = await operator.wait("job-1", "FAILED")
    assert record["details"]["reason"] == "asked to be tried again beyond its limit: busy"
    assert len(lines(ledger)) == 3


async def test_a_job_that_waits_can_be_cancelled(device: Any, start_agent: Any, operator: Any, ledger: Path) -> None:
    device.add_handler("busy", NOTED.format(ledger=ledger) + "jobctl retry busy\n")
    agent = await start_agent()
    await operator.create("job-1", {"operation": "busy"})
    await agent.says("delayed")
    await operator.cancel("job-1", force=True)
    settled = await agent.says("settled")
    assert settled["status"] == "CANCELED"
    await agent.stop()
    assert not list((device.state / "jobs").iterdir())
    assert len(lines(ledger)) == 1


@pytest.mark.parametrize("again", ["0.2 run killed", "0.2 resume killed kept"], ids=["rerun", "resume"])
async def test_a_handler_whose_shim_was_killed_goes_on_as_it_wants(
    device: Any, start_agent: Any, operator: Any, ledger: Path, again: str
) -> None:
    told = device.directory / "told"
    os.mkfifo(told)
    wait = f"[ $JOB_REASON = first ] || exit 0\necho $PPID > {told}\nexec tail -f /dev/null\n"
    device.add_handler("long", NOTED.format(ledger=ledger) + wait)
    device.sections["handler.long"] = {"on_interrupt": "resume" if "resume" in again else "rerun"}
    await start_agent()
    await operator.create("job-1", {"operation": "long"})
    os.kill(int(await asyncio.to_thread(told.read_text)), signal.SIGKILL)
    await operator.wait("job-1", "SUCCEEDED")
    assert lines(ledger) == ["0.1 run first", again]


async def test_what_is_interrupted_three_times_has_failed(
    device: Any, start_agent: Any, operator: Any, ledger: Path
) -> None:
    device.add_handler("fatal", NOTED.format(ledger=ledger) + "kill -9 $PPID\nexec tail -f /dev/null\n")
    device.sections["handler.fatal"] = {"on_interrupt": "rerun"}
    await start_agent()
    await operator.create("job-1", {"operation": "fatal"})
    record = await operator.wait("job-1", "FAILED")
    assert record["details"]["reason"].startswith("interrupted 3 times")
    assert lines(ledger) == ["0.1 run first", "0.2 run killed", "0.3 run killed"]


@pytest.fixture
def rebooting(device: Any, ledger: Path) -> Path:
    """A handler that asks for a reboot, and a system that says when it was told: in a FIFO."""
    asked: Path = device.directory / "asked"
    os.mkfifo(asked)
    command = device.directory / "reboot"
    command.write_text(f"#!/bin/sh\necho asked > {asked}\n")
    command.chmod(0o755)
    device.sections["agent"]["reboot_command"] = [str(command)]
    device.add_handler(
        "kernel",
        "#!/bin/sh\n[ $1 = describe ] && echo '{\"may_reboot\": true}' && exit 0\n"
        + NOTED.format(ledger=ledger).removeprefix("#!/bin/sh\n")
        + '[ $JOB_PHASE = resume ] || jobctl reboot "new kernel"\n',
    )
    device.sections["handler.kernel"] = {"may_reboot": True}
    return asked


async def test_a_handler_is_resumed_in_the_boot_that_it_asked_for(
    start_agent: Any, operator: Any, ledger: Path, rebooting: Path
) -> None:
    agent = await start_agent(environment={BOOT: "one"})
    await operator.create("job-1", {"operation": "kernel"})
    assert await asyncio.to_thread(rebooting.read_text) == "asked\n"
    await agent.stop(signal.SIGKILL)
    record = await operator.record("job-1")
    assert (record["status"], record["details"]["reason"]) == ("IN_PROGRESS", "reboots: new kernel")
    await start_agent(environment={BOOT: "two"})
    await operator.wait("job-1", "SUCCEEDED")
    assert lines(ledger) == ["0.1 run first", "0.2 resume reboot kept"]


async def test_a_stale_marker_of_a_reboot_that_did_not_happen_is_no_success(
    device: Any, start_agent: Any, operator: Any, ledger: Path, rebooting: Path
) -> None:
    agent = await start_agent(environment={BOOT: "one"})
    await operator.create("job-1", {"operation": "kernel"})
    await asyncio.to_thread(rebooting.read_text)
    await agent.stop(signal.SIGKILL)
    await start_agent(environment={BOOT: "one"})
    await operator.create("job-2", {"operation": "run-command", "params": {"command": ["/bin/echo"]}})
    assert (await operator.record("job-1"))["status"] == "IN_PROGRESS"
    assert lines(ledger) == ["0.1 run first"]


async def test_a_system_that_does_not_reboot_is_told_as_a_failure(
    device: Any, start_agent: Any, operator: Any, rebooting: Path
) -> None:
    Path(device.sections["agent"]["reboot_command"][0]).write_text("#!/bin/sh\necho no permission >&2; exit 1\n")
    await start_agent()
    await operator.create("job-1", {"operation": "kernel"})
    record = await operator.wait("job-1", "FAILED")
    assert record["details"]["reason"].startswith("the reboot did not happen:")
    assert record["details"]["reason"].endswith("ended with 1: no permission")


async def test_an_exclusive_handler_runs_alone(device: Any, start_agent: Any, operator: Any) -> None:
    """Each notes how many run while it does; the exclusive one must be the only one."""
    running = device.directory / "running"
    running.mkdir()
    script = f"#!/bin/sh\ntouch {running}/$JOB_ID\nls {running} | wc -l\nrm {running}/$JOB_ID\n"
    device.add_handler("alone", script)
    device.add_handler("other", script)
    device.sections["handler.alone"] = {"exclusive": True}
    device.sections["agent"]["max_concurrent"] = 4
    for number in range(8):
        await operator.create(f"job-{number}", {"operation": "alone" if number % 4 == 1 else "other"})
    await start_agent()
    records = [await operator.wait(f"job-{number}", "SUCCEEDED") for number in range(8)]
    assert [records[n]["details"]["stdout"] for n in (1, 5)] == ["1", "1"]


@pytest.mark.parametrize("how", ["by job id", "by what is known"])
async def test_two_agents_share_a_thing_without_touching_each_others_jobs(
    device: Any, start_agent: Any, operator: Any, ledger: Path, how: str
) -> None:
    """Each of the two runs its own half of a mixed queue; the head of it is often the other's."""
    for name in ("a", "b"):
        device.add_handler(name, f"#!/bin/sh\necho $JOB_ID >> {ledger}-{name}-$1\n")
    both = device.sections["handlers"]["enabled"]
    for number in range(12):
        name = "ab"[number // 3 % 2]
        await operator.create(f"{name}-{number}", {"operation": name})
    for name in ("a", "b"):
        device.sections["aws"]["client_id"] = f"agent-{name}"
        device.sections["agent"]["state_directory"] = str(device.directory / f"state-{name}")
        if how == "by job id":
            device.sections["agent"]["only"] = f"{name}-*"
        else:
            device.sections["agent"]["unknown"] = "ignore"
            device.sections["handlers"]["enabled"] = [n for n in both if n not in {"a", "b"} - {name}]
        await start_agent()
    for number in range(12):
        await operator.wait(f"{'ab'[number // 3 % 2]}-{number}", "SUCCEEDED")
    assert lines(device.directory / "ledger-a-run") == [f"a-{n}" for n in (0, 1, 2, 6, 7, 8)]
    assert lines(device.directory / "ledger-b-run") == [f"b-{n}" for n in (3, 4, 5, 9, 10, 11)]


async def test_field_d8_an_agent_with_a_copied_id_leaves_what_the_other_runs(
    device: Any, start_agent: Any, operator: Any, ledger: Path
) -> None:
    go_on = device.directory / "go-on"
    os.mkfifo(go_on)
    device.add_handler("waits", f"#!/bin/sh\necho $JOB_ID >> {ledger}\ncat {go_on}\n")
    first = await start_agent()
    await operator.create("job-1", {"operation": "waits"})
    await first.says("claimed")
    copy = device.directory / "copy"
    copy.mkdir(mode=0o700)
    (copy / "agent-id").write_bytes((device.state / "agent-id").read_bytes())
    device.sections["aws"]["client_id"] = "agent-2"
    device.sections["agent"]["state_directory"] = str(copy)
    second = await start_agent()
    left = await second.says("left to another agent")
    assert (left["level"], left["execution"]) == ("warning", "job-1")
    assert "it has the same agent-id but another journal" in left["why"]
    await operator.create("job-2", {"operation": "run-command", "params": {"command": "echo hi"}})
    await operator.wait("job-2", "SUCCEEDED")
    assert (await operator.record("job-1"))["status"] == "IN_PROGRESS"
    await asyncio.to_thread(go_on.write_text, "now")
    await operator.wait("job-1", "SUCCEEDED")
    assert lines(ledger) == ["job-1"]


async def test_a_url_that_expired_on_its_way_is_tried_again_with_a_fresh_one(
    device: Any, start_agent: Any, operator: Any, sim: Any
) -> None:
    """The document is held back until the URL in it is too old."""
    sim.objects.put("firmware", "v1/image.bin", b"new firmware")
    device.sections["handlers"]["enabled"].append("download-file")
    device.sections["handler.download-file"] = {"roots": [str(device.files)], "retry_delay_s": 0.1}
    agent = await start_agent()
    sim.faults.add(Delay(operation="DescribeJobExecution", what="reply", skip=1, times=1, delay_ms=1000))
    document = {
        "operation": "download-file",
        "params": {
            "url": "${aws:iot:s3-presigned-url:https://s3.us-east-1.amazonaws.com/firmware/v1/image.bin}",
            "path": str(device.files / "image.bin"),
        },
    }
    role = {"roleArn": "arn:aws:iam::123456789012:role/presign", "expiresInSec": 60}
    await operator.create("job-1", document, presignedUrlConfig=role)
    await agent.says("claimed")
    await sim.wait_until(lambda: sum(topic.endswith("/job-1/get") for topic, _ in sim.received) == 2)
    await sim.advance_clock(120)
    waiting = await agent.says("delayed")
    assert "the URL has expired" in waiting["why"]
    await operator.wait("job-1", "SUCCEEDED")
    assert (device.files / "image.bin").read_bytes() == b"new firmware"


@pytest.mark.parametrize("final", ["FAILED", "CANCELED"])
async def test_field_d1_a_partial_file_lasts_through_retries_and_goes_with_the_final_outcome(
    device: Any, start_agent: Any, operator: Any, sim: Any, final: str
) -> None:
    """The server breaks off each time; the second attempt continues where the first one was."""
    asked: list[int] = []

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        first = int(re.search(r"Range: bytes=(\d+)-", request)[1]) if "Range" in request else 0
        asked.append(first)
        head = f"HTTP/1.1 206 Partial\r\nContent-Range: bytes {first}-999/1000" if first else "HTTP/1.1 200 OK"
        writer.write(f'{head}\r\nETag: "v1"\r\nContent-Length: {1000 - first}\r\n\r\n'.encode() + b"x" * 10)
        await writer.drain()
        writer.close()

    tls = server_context(sim.certificates)
    tls.verify_mode = ssl.CERT_NONE  # a download shows no certificate
    server = await asyncio.start_server(break_off, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    device.sections["handlers"]["enabled"].append("download-file")
    delay_s = 0.1 if final == "FAILED" else 3600
    device.sections["handler.download-file"] = {
        "roots": [str(device.files)],
        "ca_file": str(sim.certificates / "ca.pem"),
        "retry_limit": 1,
        "retry_delay_s": delay_s,
    }
    agent = await start_agent()
    params = {"url": f"https://localhost:{port}/file", "path": str(device.files / "file")}
    await operator.create("job-1", {"operation": "download-file", "params": params})
    await agent.says("delayed")
    if final == "CANCELED":
        assert len(list(device.files.iterdir())) == 2
        await operator.cancel("job-1", force=True)
    await agent.says("settled", execution="job-1", status=final)
    await agent.stop()
    assert asked == [10 * n for n in range(len(asked))]
    assert len(asked) == (10 if final == "FAILED" else 5)
    assert not list(device.files.iterdir())
    server.close()
