"""Values of a job document appear nowhere but in the attempt; and a handler's own words never stop the agent."""

import json
from typing import Any

import pytest

CANARY = "canary-5f3a"
URL = f"https://bucket.s3.amazonaws.com/image?X-Amz-Signature={CANARY}"
DOCUMENTS = {
    "succeeded": {"operation": "quiet", "params": {"url": URL}},
    "failed": {"operation": "failing", "params": {"url": URL}},
    "flat": {"operation": "quiet", "url": URL, "nested": {"secret": [CANARY]}},
    "rejected": {"operation": URL, "params": {"url": URL}},
    "rejected-params": {"operation": "write-file", "params": {"path": URL, "content": 7, "other": CANARY}},
    "rejected-value": {"operation": "write-file", "params": {"path": CANARY, "content": CANARY, "mode": CANARY}},
    "aws-step": {
        "version": "1.0",
        "steps": [{"action": {"name": "Run", "type": "runCommand", "input": {"command": f"/no/such,{URL}"}}}],
    },
    "aws-missing": {
        "version": "1.0",
        "steps": [{"action": {"name": "Run", "type": "runCommand", "input": {"command": f"/bin/sh,-c,exit 3,{URL}"}}}],
    },
}


async def test_no_value_of_a_document_is_written_told_or_logged(device: Any, start_agent: Any, operator: Any) -> None:
    device.add_handler("quiet", "#!/bin/sh\ncat > /dev/null\n")
    device.add_handler("failing", "#!/bin/sh\ncat > /dev/null\nexit 3\n")
    device.sections["agent"]["log_level"] = "debug"
    agent = await start_agent()
    told = []
    for job_id, document in DOCUMENTS.items():
        await operator.create(job_id, document)
        settled = await agent.says("settled", execution=job_id)
        told.append(await operator.record(job_id))
        assert settled["service_accepted"] is True
    assert await agent.stop() == 0
    assert CANARY not in json.dumps(told, default=str)
    assert CANARY not in agent.told
    holders = [path for path in device.state.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert holders == []


@pytest.mark.parametrize("result", [r'{"outcome": "failed", "reason": "\ud800"}', r'{"details": {"\udc00": "\ud800"}}'])
async def test_half_a_surrogate_pair_in_a_result_is_told_as_well_as_can_be(
    device: Any, start_agent: Any, operator: Any, result: str
) -> None:
    device.add_handler("odd", f"#!/bin/sh\ncat > /dev/null\nprintf '%s' '{result}' > \"$JOB_RESULT_FILE\"\n")
    agent = await start_agent()
    await operator.create("job-1", {"operation": "odd"})
    settled = await agent.says("settled")
    assert settled["status"] == ("FAILED" if "failed" in result else "SUCCEEDED")
    assert await agent.stop() == 0
