"""Documents as fleets write them, by a real agent and the service's record."""

import json
import re
import subprocess
import sys
from typing import Any

ROLE = {"roleArn": "arn:aws:iam::123456789012:role/presign"}
COUNT = """#!/bin/sh
cat > params.json
echo "$(grep -o X-Amz-Signature params.json | wc -l) URLs"
test "$(wc -c < params.json)" -gt 40000
"""


async def test_field_e7_what_the_service_delivers_is_taken_however_long_its_urls_are(
    device: Any, start_agent: Any, operator: Any
) -> None:
    device.add_handler("count", COUNT)
    source = "https://s3.us-east-1.amazonaws.com/firmware/v1/a-longer-name-of-a-file-for-device-{:03}.bin"
    urls = [f"${{aws:iot:s3-presigned-url:{source.format(number)}}}" for number in range(120)]
    document = {"operation": "count", "urls": urls}
    assert 13_000 < len(json.dumps(document)) < 15_000
    await start_agent()
    await operator.create("many", document, presignedUrlConfig=ROLE)
    record = await operator.wait("many", "SUCCEEDED")
    assert record["details"]["stdout"] == "120 URLs"


async def test_field_e5_what_is_not_ours_stays_queued_under_ignore(
    device: Any, start_agent: Any, operator: Any
) -> None:
    device.sections["agent"]["unknown"] = "ignore"
    agent = await start_agent()
    foreign: dict[str, Any] = {
        "no-version": {"steps": [{"action": {"type": "runCommand", "input": {"command": "echo,a"}}}]},
        "other-schema": {"version": "1.0", "steps": [{"name": "a", "type": "runHandler", "input": {}}]},
        "array": [{"operation": "reboot"}],
        "by-member": {"afr_ota": {"files": []}},
    }
    for job_id, document in foreign.items():
        await operator.create(job_id, document)
    await agent.says("left to another agent", times=len(foreign))
    for job_id in foreign:
        await operator.wait(job_id, "QUEUED")


async def test_field_e2_a_document_without_an_operation_reaches_the_handler_that_the_configuration_names(
    device: Any, start_agent: Any, operator: Any
) -> None:
    device.add_handler("ota_update", '#!/bin/sh\necho "$1: $(cat)"\n')
    device.sections["documents"] = [{"has": "afr_ota", "handler": "ota_update"}]
    device.sections["operations"] = {"update": "ota_update"}
    await start_agent()
    for job_id, document in {"member": {"afr_ota": {"files": []}}, "mapped": {"operation": "update"}}.items():
        await operator.create(job_id, document)
        record = await operator.wait(job_id, "SUCCEEDED")
        params = document if job_id == "member" else {}
        assert record["details"]["stdout"] == f"run: {json.dumps(params)}"


def test_field_e1_the_list_of_handlers_has_the_files_with_unusable_names(device: Any) -> None:
    device.add_handler("Foo.py", "#!/bin/sh\n")
    device.add_handler("my script.sh", "#!/bin/sh\n")
    device.sections["handlers"]["enabled"].remove("my script")
    command = [sys.executable, "-m", "iot_jobs_agent", "handlers", "--config", str(device.write_config())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=55, check=True)
    assert re.search(r"^Foo\.py +yes ", done.stdout, re.MULTILINE)
    listed = re.search(r"^my script\.sh +no +- +/.*\n    unavailable: (.*)$", done.stdout, re.MULTILINE)
    assert listed is not None
    assert listed[1] == "its name cannot be that of a handler; rename it, for example to my-script.sh"


async def test_field_e8_params_that_the_schema_forbids_are_rejected_before_the_handler_starts(
    device: Any, start_agent: Any, operator: Any
) -> None:
    schema = {"type": "object", "properties": {"mb": {"type": "integer"}}, "required": ["mb"]}
    ledger = device.directory / "ledger"
    device.add_handler("free-space", f"#!/bin/sh\necho started >> {ledger}\ncat\n")
    beside = device.directory / "handlers" / "free-space.manifest.json"
    beside.write_text(json.dumps({"name": "free-space", "params": schema}))
    beside.chmod(0o644)
    await start_agent()
    await operator.create("wrong", {"operation": "free-space", "params": {"mb": "100"}})
    record = await operator.wait("wrong", "REJECTED")
    assert record["details"]["reason"] == "params.mb: should be a whole number, and is a string"
    assert not ledger.exists()
    await operator.create("right", {"operation": "free-space", "params": {"mb": 100}})
    record = await operator.wait("right", "SUCCEEDED")
    assert record["details"]["stdout"] == '{"mb": 100}'
    assert ledger.read_text() == "started\n"
