"""Real jobs: a real agent process, the real SDK over mutual TLS, real handlers, and the service's record."""

import json
import os
from typing import Any

import pytest

THING = "pi-kitchen-1"

GREET = """#!/bin/sh
read -r params
echo "got $params"
echo '{"progress": 40, "message": "half way"}' >&3
echo '{"details": {"slot": "B"}}' >&3
echo "$JOB_ID $JOB_EXECUTION_NUMBER $JOB_NAMESPACE $JOB_THING_NAME $JOB_PHASE $JOB_REASON"
"""


def run_command(command: str, **action: Any) -> dict[str, Any]:
    """AWS-Run-Command as the AWS console produces it, optional parameters empty."""
    return {
        "version": "1.0",
        "steps": [
            {
                "action": {
                    "name": "Run-Command",
                    "type": "runCommand",
                    "input": {"command": command},
                    "runAsUser": "",
                    **action,
                }
            }
        ],
    }


async def test_an_executable_gets_its_params_and_its_outcome_is_in_the_service_record(
    device: Any, start_agent: Any, operator: Any
) -> None:
    device.add_handler("greet", GREET)
    await start_agent()
    await operator.create("job-1", {"operation": "greet", "params": {"word": "hello"}})
    record = await operator.wait("job-1", "SUCCEEDED")
    details = record["details"]
    assert details["stdout"] == f'got {{"word": "hello"}} job-1 1 {THING} run first'
    assert details["operation"] == "greet"
    assert details["step"] == "greet, 1/1, attempt 1"
    assert details["progress"] == "40 % half way"
    assert json.loads(details["details"]) == {"slot": "B"}
    assert details["result"].startswith("exited with code 0")
    assert details["agent"] == ".".join((device.state / f).read_text().strip() for f in ("agent-id", "journal-ids"))


async def test_a_job_that_was_pending_before_the_agent_came_is_run(
    device: Any, start_agent: Any, operator: Any
) -> None:
    await operator.create("job-1", run_command("echo,hello"))
    await start_agent()
    record = await operator.wait("job-1", "SUCCEEDED")
    assert record["details"]["stdout"] == "hello"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("#!/bin/sh\necho broken >&2\nexit 3\n", "broken"),
        ("#!/bin/sh\nexit 127\n", "127"),
        ("#!/bin/sh\nkill -KILL $$\n", "SIGKILL"),
        ("#!/bin/sh\nkill -SEGV $$\n", "SIGSEGV"),
    ],
)
async def test_what_did_not_exit_with_0_is_failed_with_the_reason(
    device: Any, start_agent: Any, operator: Any, script: str, reason: str
) -> None:
    device.add_handler("broken", script)
    await start_agent()
    await operator.create("job-1", {"operation": "broken"})
    record = await operator.wait("job-1", "FAILED")
    assert reason in " ".join([record["details"]["reason"], record["details"]["result"]])


async def test_a_handler_past_its_deadline_is_failed(device: Any, start_agent: Any, operator: Any) -> None:
    device.add_handler("slow", "#!/bin/sh\nexec tail -f /dev/null\n")
    device.sections["handler.slow"] = {"timeout_s": 0.2, "grace_s": 1}
    await start_agent()
    await operator.create("job-1", {"operation": "slow"})
    record = await operator.wait("job-1", "FAILED")
    assert "deadline" in record["details"]["result"]


async def test_both_built_ins_run_in_their_namespaces(device: Any, start_agent: Any, operator: Any) -> None:
    device.namespaces = [{"id": "team-a"}, {"id": "team-b", "handler": "write-file"}]
    await start_agent()
    first, second = device.files / "a", device.files / "b"
    await operator.create(
        "job-a", {"operation": "write-file", "params": {"path": str(first), "content": "A"}}, namespaceId="team-a"
    )
    await operator.create("job-b", {"path": str(second), "content": "B"}, namespaceId="team-b")
    await operator.create("job-c", {"operation": "run-command", "params": {"command": ["/bin/echo", "C"]}})
    await operator.wait("job-a", "SUCCEEDED")
    await operator.wait("job-b", "SUCCEEDED")
    record = await operator.wait("job-c", "SUCCEEDED")
    assert (first.read_text(), second.read_text(), record["details"]["stdout"]) == ("A", "B", "C")


async def test_namespaced_jobs_that_were_pending_are_found_over_https(
    device: Any, start_agent: Any, operator: Any
) -> None:
    device.namespaces = [{"id": "team-a"}]
    device.sections["aws"]["default_namespace"] = False
    for number in range(3):
        document = {"operation": "write-file", "params": {"path": str(device.files / str(number)), "content": "x"}}
        await operator.create(f"job-{number}", document, namespaceId="team-a")
    await operator.create("not-ours", run_command("echo,hello"))
    await start_agent()
    for number in range(3):
        await operator.wait(f"job-{number}", "SUCCEEDED")
    assert (await operator.record("not-ours"))["status"] == "QUEUED"


@pytest.mark.parametrize(
    "document",
    [
        {"operation": "greet", "params": {"word": "ours"}},
        {"operation": "greet", "word": "flat"},
        {"operation": "greet.sh", "args": ["old"], "path": ""},
        {"operation": "greet", "args": ["old"], "includeStdOut": True},
        {
            "version": "1.0",
            "includeStdOut": "true",
            "steps": [
                {"action": {"name": "One", "type": "runHandler", "input": {"handler": "greet.sh", "args": ["a b"]}}},
                {"action": {"name": "Two", "type": "runCommand", "input": {"command": "echo two"}}},
            ],
            "finalStep": {"action": {"name": "Last", "type": "runCommand", "input": {"command": "echo,last"}}},
        },
    ],
    ids=["params", "flat", "old with .sh", "old with args", "steps"],
)
async def test_every_form_of_document_runs(device: Any, start_agent: Any, operator: Any, document: Any) -> None:
    device.add_handler("greet", "#!/bin/sh\necho hello\n")
    await start_agent()
    await operator.create("job-1", document)
    await operator.wait("job-1", "SUCCEEDED")


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"operation": "format-disk"}, "format-disk"),
        (run_command("rm,-rf,/"), "programs"),
        (run_command("/bin/cat,/etc/shadow"), "programs"),
        (run_command("echo,hi", runAsUser="nobody"), "run_as_users"),
        ([1, 2], "object"),
        ("7", "object"),
        ({}, "operation"),
        ({"operation": "greet", "params": {"padding": "x" * 32_700}}, "greet"),
        ('{"operation": "greet", "n": 1e400}', "number"),
    ],
    ids=["unknown", "program", "path", "user", "array", "number", "empty", "large", "infinite"],
)
async def test_what_may_not_run_is_rejected_with_a_reason(
    start_agent: Any, operator: Any, document: Any, reason: str
) -> None:
    await start_agent()
    await operator.create("bad", document)
    record = await operator.wait("bad", "REJECTED")
    assert reason in record["details"]["reason"]
    await operator.create("good", run_command("echo,still here"))
    await operator.wait("good", "SUCCEEDED")


async def test_a_document_of_32_kib_is_run(device: Any, start_agent: Any, operator: Any) -> None:
    device.add_handler("count", "#!/bin/sh\nwc -c\n")
    await start_agent()
    document = {"operation": "count", "padding": ""}
    document["padding"] = "x" * (32_768 - len(json.dumps(document)))
    assert len(json.dumps(document)) == 32_768
    await operator.create("job-1", document)
    record = await operator.wait("job-1", "SUCCEEDED")
    assert int(record["details"]["stdout"]) > 32_700


async def test_params_that_the_handler_refuses_are_rejected(start_agent: Any, operator: Any) -> None:
    await start_agent()
    await operator.create("job-1", {"operation": "write-file", "params": {"path": 7}})
    record = await operator.wait("job-1", "REJECTED")
    assert "path" in record["details"]["reason"]


async def test_more_jobs_than_a_list_shows_are_all_run_in_order(device: Any, start_agent: Any, operator: Any) -> None:
    ledger = device.directory / "ledger"
    device.add_handler("note", f'#!/bin/sh\necho "$JOB_ID" >> {ledger}\n')
    for number in range(20):
        await operator.create(f"job-{number:02}", {"operation": "note"})
    await start_agent()
    await operator.wait("job-19", "SUCCEEDED")
    assert ledger.read_text().split() == [f"job-{number:02}" for number in range(20)]


async def test_no_more_than_max_concurrent_run_at_once(device: Any, start_agent: Any, operator: Any) -> None:
    device.sections["agent"]["max_concurrent"] = 2
    gate, ledger = device.directory / "gate", device.directory / "ledger"
    device.add_handler("wait", f'#!/bin/sh\necho "$JOB_ID" >> {ledger}\nread -r _ < {gate}\n')
    os.mkfifo(gate)
    for number in range(3):
        await operator.create(f"job-{number}", {"operation": "wait"})
    agent = await start_agent()
    await agent.says("started", times=2)
    await operator.wait("job-1", "IN_PROGRESS")
    assert (await operator.record("job-2"))["status"] == "QUEUED"
    opened = os.open(gate, os.O_RDWR)
    os.write(opened, b"go\n" * 3)
    for number in range(3):
        await operator.wait(f"job-{number}", "SUCCEEDED")
    os.close(opened)


async def test_a_cancelled_execution_is_stopped_with_all_its_processes_and_nothing_is_reported(
    device: Any, start_agent: Any, operator: Any
) -> None:
    device.add_handler("stubborn", "#!/bin/sh\ntrap '' TERM\nsetsid tail -f /dev/null &\necho $! >&2\nwait\n")
    device.sections["handler.stubborn"] = {"grace_s": 0.2}
    agent = await start_agent()
    await operator.create("job-1", {"operation": "stubborn"})
    await agent.says("started")
    await operator.cancel("job-1", force=True)
    await agent.says("stopping")
    settled = await agent.says("settled")
    assert settled["status"] == "CANCELED"
    record = await operator.record("job-1")
    assert record["status"] == "CANCELED"
    assert "result" not in record["details"]


async def test_what_another_agent_works_on_is_left_alone(
    device: Any, start_agent: Any, operator: Any, connect: Any, sim: Any
) -> None:
    await operator.create("theirs", run_command("echo,theirs"))
    other = await connect(sim, THING, client_id="other-agent")
    await other.ask("theirs/update", status="IN_PROGRESS", statusDetails={"agent": "someone"})
    await operator.create("ours", run_command("echo,ours"))
    agent = await start_agent()
    await operator.wait("ours", "SUCCEEDED")
    await agent.says("left to another agent", execution="theirs")
    assert (await operator.record("theirs"))["details"] == {"agent": "someone"}


async def test_an_execution_of_ours_that_the_journal_does_not_know_is_failed(
    device: Any, start_agent: Any, operator: Any, connect: Any, sim: Any
) -> None:
    agent = await start_agent()
    await agent.stop()
    own_id = (device.state / "agent-id").read_text().strip()
    await operator.create("job-1", run_command("echo,once"))
    other = await connect(sim, THING, client_id="earlier-self")
    await other.ask("job-1/update", status="IN_PROGRESS", statusDetails={"agent": own_id})
    await start_agent()
    record = await operator.wait("job-1", "FAILED")
    assert "journal" in record["details"]["reason"]


async def test_field_g9_debug_tells_each_request_answer_and_decision_of_a_job_without_its_values(
    device: Any, start_agent: Any, operator: Any
) -> None:
    device.sections["agent"]["log_level"] = "debug"
    device.namespaces = [{"id": "team-a"}]
    agent = await start_agent()
    await operator.create("job-1", {"operation": "run-command", "params": {"command": "echo canary"}})
    await agent.says("settled")
    update = f"$aws/things/{THING}/jobs/job-1/update"
    sent = [e for e in agent.log if e["event"] == "request sent" and e["topic"] == update]
    answered = [e for e in agent.log if e["event"] == "answer received" and e["topic"] == f"{update}/accepted"]
    assert (len(sent), len(answered)) == (2, 2) or len(sent) == len(answered) > 2
    assert all(e["size_bytes"] > 40 for e in (*sent, *answered))
    assert await agent.says("notification received", topic=f"$aws/things/{THING}/jobs/notify")
    decided = [e["phases"] for e in agent.log if e["event"] == "decided" and "phases" in e]
    assert [each["job-1"] for each in decided] == [
        "- -> judging",
        "judging -> claiming",
        "claiming -> preparing",
        "preparing -> running",
        "running -> reporting",
        "reporting -> -",
    ]
    started = next(e for e in agent.log if e["event"] == "decided" and "StartAttempt" in e.get("effects", []))
    assert (started["event"], "Save" in started["effects"]) == ("decided", True)
    ended = next(e for e in agent.log if e["event"] == "decided" and e.get("what") == "AttemptEnded")
    assert ended["execution"] == "job-1"
    assert await agent.says("answer received over HTTPS", path=f"/things/{THING}/jobs?namespaceId=team-a", status=200)
    assert "canary" not in agent.told


async def test_field_g9_without_debug_none_of_it_is_logged(device: Any, start_agent: Any, operator: Any) -> None:
    agent = await start_agent()
    await operator.create("job-1", {"operation": "run-command", "params": {"command": "echo hi"}})
    await agent.says("settled")
    assert {e["level"] for e in agent.log} <= {"info", "warning"}
