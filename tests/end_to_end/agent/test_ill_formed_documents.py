"""Documents that make no sense, sent as they are: each ends, and the agent lives and runs the next good job."""

import json
from typing import Any

THING = "pi-kitchen-1"
ROOT = f"$aws/things/{THING}/jobs"
CANARY = "canary-33ab"
DEEP = 10_000
GREET = '{"operation": "greet", "params": %s}'

# What CreateJob takes, as text, and what becomes of it.
ACCEPTED = {
    "null": ("null", "REJECTED"),
    "string": (f'"{CANARY}"', "REJECTED"),
    "number": ("7", "REJECTED"),
    "empty": ("{}", "REJECTED"),
    "duplicate-keys": ('{"operation": "format-disk", "operation": "greet"}', "SUCCEEDED"),
    "duplicate-unsafe": ('{"operation": "greet", "operation": "format-disk"}', "REJECTED"),
    "infinite": (GREET % '{"a": 1e400}', "REJECTED"),
    "huge-integer": (GREET % ("{" + f'"a": {"9" * 4000}' + "}"), "REJECTED"),
    "half-a-pair": (GREET % '{"a": "\\ud800"}', "REJECTED"),
    "half-a-pair-name": ('{"operation": "\\udfff"}', "REJECTED"),
    "nul-in-params": (GREET % '{"a": "\\u0000"}', "SUCCEEDED"),
    "nul-in-name": ('{"operation": "greet\\u0000"}', "REJECTED"),
    "nul-in-args": ('{"operation": "greet.sh", "args": ["a\\u0000b"]}', "REJECTED"),
    "newline-in-args": ('{"operation": "greet.sh", "args": ["a\\nb; rm -rf /", "$(id)", "`id`"]}', "SUCCEEDED"),
    "nested": (GREET % ('{"a": ' + "[" * 450 + "]" * 450 + "}"), "REJECTED"),
    "long-name": (json.dumps({"operation": "x" * 30_000}), "REJECTED"),
    "parent": ('{"operation": "../greet"}', "REJECTED"),
    "program": ('{"operation": "/bin/sh", "args": ["-c", "id"]}', "REJECTED"),
    "look-alike": ('{"operation": "gr\\u0435et"}', "REJECTED"),
    "full-width": ('{"operation": "\\uff47reet"}', "REJECTED"),
    "case": ('{"operation": "Greet"}', "REJECTED"),
    "shell": ('{"operation": "greet; id"}', "REJECTED"),
}

NEVER = [
    "NaN",
    "-Infinity",
    '{"a": NaN}',
    "[" * DEEP + "]" * DEEP,
    "9" * 5000,
    f'{{"{CANARY}"',
    "\ufeff{}",
    '"\x00"',
    f"'{CANARY}'",
    "",
]


async def test_every_ill_formed_document_ends_and_the_next_good_one_runs(
    device: Any, start_agent: Any, operator: Any
) -> None:
    ledger = device.directory / "ledger"
    device.add_handler("greet.sh", f'#!/bin/sh\necho "$JOB_ID" >> {ledger}\n')
    agent = await start_agent()
    for name, (text, _) in ACCEPTED.items():
        await operator.create(name, text)
    await operator.create("good", GREET % "{}")
    await operator.wait("good", "SUCCEEDED")
    records = {name: await operator.record(name) for name in ACCEPTED}
    assert {name: record["status"] for name, record in records.items()} == {
        name: status for name, (_, status) in ACCEPTED.items()
    }
    started = [name for name, (_, status) in ACCEPTED.items() if status == "SUCCEEDED"]
    assert ledger.read_text().split() == [*started, "good"]
    assert CANARY not in agent.told + json.dumps(records, default=str)
    assert all(record["details"]["reason"] for record in records.values() if record["status"] == "REJECTED")


async def test_what_the_service_never_delivers_is_ignored(
    device: Any, start_agent: Any, operator: Any, sim: Any
) -> None:
    device.add_handler("greet", "#!/bin/sh\n")
    agent = await start_agent()
    execution = '{"jobId": "forged", "status": "QUEUED", "executionNumber": 1, "versionNumber": 1, "jobDocument": %s}'
    for document in NEVER:
        message = f'{{"timestamp": 1, "execution": {execution % document}}}'.encode()
        sim.publish(f"{ROOT}/notify-next", message)
        sim.publish(f"{ROOT}/forged/get/accepted", message)
    for topic in ("notify-next", "forged/get/accepted"):
        await agent.says("malformed message ignored", topic=f"{ROOT}/{topic}")
    await operator.create("good", GREET % "{}")
    await operator.wait("good", "SUCCEEDED")
    assert agent.process.returncode is None
    assert CANARY not in agent.told
