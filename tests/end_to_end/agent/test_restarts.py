"""The agent stops, dies, restarts; the broker does; handlers go on, and outcomes are told once."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.end_to_end.histories import Witness

THING = "pi-kitchen-1"


@pytest.fixture
def gate(device: Any) -> Path:
    """A FIFO that the handler `gated` waits for, having noted its start in `ledger`."""
    path = device.directory / "gate"
    os.mkfifo(path)
    script = f'#!/bin/sh\necho started >> {device.directory / "ledger"}\nread -r line < {path}\necho "$line"\n'
    device.add_handler("gated", script)
    return path


def open_gate(gate: Path) -> None:
    """Let the handler go on; it is known to have the FIFO open, or to be about to."""
    with gate.open("w") as opened:
        opened.write("opened\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_a_handler_outlives_the_agent_and_the_next_agent_reports_it(
    device: Any, start_agent: Any, operator: Any, gate: Path, number: int
) -> None:
    first = await start_agent()
    await operator.create("job-1", {"operation": "gated"})
    await first.says("started")
    status = await first.stop(number)
    assert status == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    second = await start_agent()
    await second.says("started", execution="job-1")
    await asyncio.to_thread(open_gate, gate)
    record = await operator.wait("job-1", "SUCCEEDED")
    assert record["details"]["stdout"] == "opened"
    assert (device.directory / "ledger").read_text() == "started\n"


async def test_a_handler_that_ended_while_no_agent_ran_is_reported_by_the_next(
    device: Any, start_agent: Any, operator: Any, gate: Path
) -> None:
    first = await start_agent()
    await operator.create("job-1", {"operation": "gated"})
    await first.says("started")
    await first.stop()
    await asyncio.to_thread(open_gate, gate)
    await start_agent()
    await operator.wait("job-1", "SUCCEEDED")
    assert (device.directory / "ledger").read_text() == "started\n"


async def test_an_attempt_whose_supervisor_was_killed_is_failed_and_nothing_of_it_lives(
    device: Any, start_agent: Any, operator: Any
) -> None:
    told = device.directory / "told"
    os.mkfifo(told)
    device.add_handler(
        "daemon", f"#!/bin/sh\nsetsid tail -f /dev/null &\necho $PPID $$ $! > {told}\nexec tail -f /dev/null\n"
    )
    await start_agent()
    await operator.create("job-1", {"operation": "daemon"})
    shim, *others = map(int, (await asyncio.to_thread(told.read_text)).split())
    os.kill(shim, signal.SIGKILL)
    record = await operator.wait("job-1", "FAILED")
    assert "interrupted" in record["details"]["result"]
    for pid in others:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_an_outcome_is_kept_until_the_broker_is_back(
    device: Any, start_agent: Any, operator: Any, sim: Any, gate: Path
) -> None:
    agent = await start_agent()
    await operator.create("job-1", {"operation": "gated"})
    await agent.says("started")
    await sim.stop_broker()
    await agent.says("connection lost")
    await asyncio.to_thread(open_gate, gate)
    await agent.says("succeeded")
    assert (await operator.record("job-1"))["status"] == "IN_PROGRESS"
    await sim.start_broker()
    await operator.wait("job-1", "SUCCEEDED")
    assert (device.directory / "ledger").read_text() == "started\n"


async def test_a_job_created_while_the_broker_was_away_is_run_afterwards(
    start_agent: Any, operator: Any, sim: Any
) -> None:
    agent = await start_agent()
    await sim.stop_broker()
    await agent.says("connection lost")
    await operator.create("job-1", {"operation": "run-command", "params": {"command": "echo hi"}})
    await sim.start_broker()
    await operator.wait("job-1", "SUCCEEDED")


async def test_a_broker_that_is_down_at_start_is_waited_for(start_agent: Any, operator: Any, sim: Any) -> None:
    await sim.stop_broker()
    await operator.create("job-1", {"operation": "run-command", "params": {"command": "echo hi"}})
    agent = await start_agent(is_connected=False)
    said = await agent.says("cannot connect, trying again")
    assert (said["endpoint"], said["attempt"]) == ("localhost", 1)
    await sim.start_broker()
    await operator.wait("job-1", "SUCCEEDED")


async def test_sigterm_ends_an_agent_that_cannot_connect(start_agent: Any, sim: Any) -> None:
    await sim.stop_broker()
    agent = await start_agent(is_connected=False)
    await agent.says("cannot connect, trying again")
    assert await agent.stop() == 0


MALFORMED = [
    b"", b"[1, 2]", b"{bad", b"\xff\xfe", b'{"jobs": 7}', b'{"jobs": {"QUEUED": [7]}}', b'{"execution": []}',
    b'{"jobs": {"QUEUED": [{"jobId": "../x"}]}}', b'{"execution": {"jobId": "a", "executionNumber": "x"}}',
    b'{"a": NaN}', b"[" * 100_000, b'{"jobs": {"QUEUED": [{"jobId": "never-created"}]}}',
]  # fmt: skip


async def test_malformed_notifications_are_logged_once_a_topic_and_never_stop_the_agent(
    device: Any, start_agent: Any, operator: Any, sim: Any
) -> None:
    device.namespaces = [{"id": "team-a"}]
    agent = await start_agent()
    topics = ["notify", "notify-next", "notify-namespace-team-a", "notify-next-namespace-team-a"]
    topics += ["job-9/notify-namespace-team-a/", "get/accepted", "job-1/get/rejected", "job-1/update/accepted"]
    for topic in topics:
        for payload in MALFORMED:
            sim.publish(f"$aws/things/{THING}/jobs/{topic}", payload)
    await operator.create("job-1", {"operation": "run-command", "params": {"command": "echo hi"}})
    await operator.wait("job-1", "SUCCEEDED")
    ignored = [line["topic"] for line in agent.log if line["event"] == "malformed message ignored"]
    assert len(ignored) == len(set(ignored))
    assert len(ignored) >= 5


async def test_answers_to_somebody_else_are_no_answers_to_us(
    device: Any, start_agent: Any, operator: Any, sim: Any, gate: Path
) -> None:
    agent = await start_agent()
    await operator.create("job-1", {"operation": "gated"})
    await agent.says("started")
    token = json.loads(next(payload for topic, payload in sim.received if topic.endswith("/job-1/update")))[
        "clientToken"
    ]
    forged = {"code": "ResourceNotFound", "message": "forged", "clientToken": token}
    for topic in ("job-1/update", "job-1/get", "get", "job-2/update"):
        sim.publish(f"$aws/things/{THING}/jobs/{topic}/rejected", json.dumps(forged).encode())
        sim.publish(f"$aws/things/{THING}/jobs/{topic}/rejected", json.dumps({**forged, "clientToken": "x"}).encode())
        sim.publish(f"$aws/things/{THING}/jobs/{topic}/accepted", b"{}")
    await asyncio.to_thread(open_gate, gate)
    await operator.wait("job-1", "SUCCEEDED")


async def test_a_second_agent_on_the_same_state_directory_is_refused(device: Any, start_agent: Any) -> None:
    await start_agent()
    second = await start_agent(is_connected=False)
    assert await second.ended() == 73
    assert any("another agent runs on" in line["event"] for line in second.log)


@pytest.mark.parametrize("spoiled", ["journal.sqlite", "agent-id"])
async def test_an_unusable_state_directory_degrades_the_agent_instead_of_ending_it(
    device: Any, start_agent: Any, operator: Any, spoiled: str
) -> None:
    (device.state / spoiled).mkdir(parents=True)
    await operator.create("job-1", {"operation": "run-command", "params": {"command": "echo hi"}})
    agent = await start_agent()
    await agent.says("degraded: the state directory cannot be used")
    assert (await operator.record("job-1"))["status"] == "QUEUED"
    assert await agent.stop() == 0


async def test_an_outcome_that_the_history_lacks_is_noticed_by_these_tests(
    device: Any, start_agent: Any, operator: Any, sim: Any
) -> None:
    agent = await start_agent()
    await operator.create("job-1", {"operation": "run-command", "params": {"command": "echo hi"}})
    await operator.wait("job-1", "SUCCEEDED")
    await agent.says("settled", execution="job-1")
    await agent.stop()
    witness = Witness(sim, THING, device.state)
    assert witness.unsettled() == []
    for path in device.state.glob("journal.sqlite*"):
        path.unlink()
    assert witness.unsettled() == ["job-1"]


async def test_the_state_of_one_thing_is_not_used_for_another(device: Any, start_agent: Any, operator: Any) -> None:
    first = await start_agent()
    await first.stop()
    (device.state / "thing-name").write_text("lamp\n")
    await operator.create("job-1", {"operation": "run-command", "params": {"command": "echo hi"}})
    agent = await start_agent()
    said = await agent.says("degraded: the state directory cannot be used")
    assert "knows the jobs of the thing lamp: correct aws.thing_name" in said["why"]
    assert (await operator.record("job-1"))["status"] == "QUEUED"


async def test_a_damaged_journal_is_set_aside_and_what_it_held_is_stopped_and_failed(
    device: Any, start_agent: Any, operator: Any
) -> None:
    told = device.directory / "told"
    os.mkfifo(told)
    device.add_handler("endless", f"#!/bin/sh\necho $$ > {told}\nexec tail -f /dev/null\n")
    first = await start_agent()
    await operator.create("job-1", {"operation": "endless"})
    handler = int(await asyncio.to_thread(told.read_text))
    await first.stop()
    (device.state / "journal.sqlite").write_bytes(b"no database at all" * 1000)
    second = await start_agent()
    await second.says("journal damaged, set aside")
    record = await operator.wait("job-1", "FAILED")
    assert "journal" in record["details"]["reason"]
    assert list(device.state.glob("journal.sqlite.damaged-*"))
    with pytest.raises(ProcessLookupError):
        os.kill(handler, 0)


async def test_without_tls_a_loopback_broker_serves(device: Any, start_agent: Any, operator: Any, sim: Any) -> None:
    device.sections["aws"] |= {
        "tls": False,
        "port": sim.mqtt_port,
        "endpoint": "127.0.0.1",
        "https_endpoint": "localhost",
    }
    await operator.create("job-1", {"operation": "run-command", "params": {"command": "echo hi"}})
    await start_agent()
    await operator.wait("job-1", "SUCCEEDED")


async def test_the_journal_stays_locked_so_that_a_reader_leaves_it_alone(
    device: Any, start_agent: Any, operator: Any
) -> None:
    agent = await start_agent()
    await operator.create("job-1", {"operation": "run-command", "params": {"command": "echo hi"}})
    await operator.wait("job-1", "SUCCEEDED")
    inode = (device.state / "journal.sqlite-shm").stat().st_ino
    owners = [line.split()[4] for line in Path("/proc/locks").read_text().splitlines() if f":{inode} " in line]
    assert str(agent.process.pid) in owners


@pytest.fixture
def surprise(device: Any) -> Any:
    """Lets an agent meet an error that nobody foresees: Python code that runs at its start; its environment."""

    def prepare(code: str) -> dict[str, str]:
        (device.directory / "sitecustomize.py").write_text(code)
        return {"PYTHONPATH": str(device.directory)}

    return prepare


async def test_an_unforeseen_error_of_a_task_ends_the_agent_with_70(start_agent: Any, surprise: Any) -> None:
    code = "import sys; sys.addaudithook(lambda event, _: 1 / 0 if event == 'sqlite3.connect' else None)"
    agent = await start_agent(is_connected=False, environment=surprise(code))
    assert await agent.ended() == 70
    assert "ZeroDivisionError" in agent.told


async def test_an_unforeseen_error_of_a_callback_ends_the_agent_and_the_next_one_goes_on(
    device: Any, start_agent: Any, operator: Any, surprise: Any, gate: Path
) -> None:
    agent = await start_agent(environment=surprise("import os\ndel os.pidfd_open"))
    await operator.create("job-1", {"operation": "gated"})
    assert await agent.ended() == 70
    await start_agent()
    await asyncio.to_thread(open_gate, gate)
    await operator.wait("job-1", "SUCCEEDED")
    assert (device.directory / "ledger").read_text() == "started\n"
