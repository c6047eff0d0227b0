"""Reasons lead to a configuration that works: the owner of a real device does what each says; the job is sent again."""

from pathlib import Path
from typing import Any

import pytest
from tests.support.advice import Owner, configured, corrected
from tests.support.siblings import SIBLINGS, URL

MOST_REASONS = 5
BY_ID = {sibling.id: sibling.document for sibling in SIBLINGS}
SAMPLE = {  # and what the handler or the program then prints
    "e1-sibling-sentence": f'<run>{{"url": "{URL}"}}',
    "e1-sibling-beyond-sixteen-bits": "<run>{}",
    "e1-sibling-python-file-in-a-step": "<kiosk><v2>",
    "e2-sibling-cmd": '<run>{"cmd": "update"}',
    "e3-sibling-arguments": "<><a>",
    "e3-sibling-run-as-user": "<kiosk>",
    "e4-sibling-sudo": "hello",
}


@pytest.fixture
def owner(device: Any) -> Owner:
    """The owner of the device, who has configured nothing but the connection."""
    made = Owner(device.directory, aws=device.sections["aws"], agent=device.sections["agent"])
    device.sections = made.tables
    return made


async def settled(operator: Any, start_agent: Any, job_id: str, document: Any) -> dict[str, Any]:
    """Let an agent of the present configuration run the document; return the service's record."""
    agent = await start_agent()
    await operator.create(job_id, document)
    await agent.says("settled")
    await agent.stop()
    record: dict[str, Any] = await operator.record(job_id)
    return record


async def advised(document: Any, owner: Owner, operator: Any, start_agent: Any) -> dict[str, Any]:
    """Follow each reason until the job is neither REJECTED nor without may_reboot; return the record."""
    record: dict[str, Any] = {}
    for number in range(MOST_REASONS):
        record = await settled(operator, start_agent, f"job-{number}", document)
        reason = record["details"].get("reason", "")
        if record["status"] == "SUCCEEDED":
            return record
        if "spell it so" in reason or not configured(reason, document, owner):
            better = corrected(reason, document)
            assert better != document, reason
            document = better
    pytest.fail(f"the reasons lead nowhere: {record}")


@pytest.mark.parametrize("sibling", SAMPLE)
async def test_a_job_that_was_rejected_runs_once_its_reasons_were_followed(
    sibling: str, owner: Owner, operator: Any, start_agent: Any
) -> None:
    record = await advised(BY_ID[sibling], owner, operator, start_agent)
    assert record["details"]["stdout"] == SAMPLE[sibling]


@pytest.mark.parametrize("operation", ["write-file", "run-command"])
async def test_the_reasons_of_a_built_in_lead_to_its_settings(
    operation: str, owner: Owner, operator: Any, start_agent: Any, device: Any
) -> None:
    file = Path(device.files) / "a"
    params = {"write-file": {"path": str(file), "content": "x"}, "run-command": {"command": ["touch", str(file)]}}
    await advised({"operation": operation, "params": params[operation]}, owner, operator, start_agent)
    assert file.exists()


async def test_the_reasons_of_a_reboot_lead_to_one(owner: Owner, operator: Any, start_agent: Any) -> None:
    owner.tables["agent"]["reboot_command"] = ["/usr/bin/true"]
    document = {"operation": "reboot"}
    for number in range(2):
        record = await settled(operator, start_agent, f"job-{number}", document)
        assert configured(record["details"]["reason"], document, owner), record
    agent = await start_agent()
    await operator.create("job-2", document)
    await agent.says("reboot wanted")
    await agent.stop()
