"""docs/device-client-compatibility.md is true: its script, configuration and documents are used as they stand there."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

from iot_jobs_agent.device import device_facts

DOC = (Path(__file__).parents[3] / "docs" / "device-client-compatibility.md").read_text()
EXAMPLES = dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL))


def install(device: Any) -> None:
    """Do what the page says, but for where the scripts lie."""
    sections = tomllib.loads(EXAMPLES["config"])
    directory = device.directory / "handlers"
    device.sections["handlers"] = {**sections["handlers"], "directories": [str(directory)]}
    del device.sections["handler.write-file"]
    for name, keys in sections["handler"].items():
        device.sections[f"handler.{name}"] = keys
    (directory / "install-rule.sh").write_text(EXAMPLES["install-rule"])
    (directory / "install-rule.sh").chmod(0o755)


def test_every_example_has_a_name() -> None:
    assert DOC.count("\n```") == 2 * len(EXAMPLES)
    assert EXAMPLES.keys() == {"steps", "older", "config", "install-rule"}


async def test_the_examples_work_together(device: Any, start_agent: Any, operator: Any) -> None:
    install(device)
    await start_agent()
    document = json.loads(EXAMPLES["steps"])
    document["conditions"][0]["value"].append(device_facts()["operatingSystem"])  # wherever the tests run
    await operator.create("steps", document)
    record = await operator.wait("steps", "SUCCEEDED")
    assert record["details"]["steps"] == "Install-Rule=SUCCEEDED, Say=SUCCEEDED, Uptime=SUCCEEDED"
    assert "load average" in record["details"]["stdout"]
    await operator.create("older", EXAMPLES["older"])
    record = await operator.wait("older", "SUCCEEDED")
    assert record["details"]["stdout"] == "rule day for nobody: 06-21"


def test_the_script_works_as_the_device_client_calls_it(tmp_path: Path) -> None:
    script = tmp_path / "install-rule.sh"
    script.write_text(EXAMPLES["install-rule"])
    script.chmod(0o700)
    done = subprocess.run([script, "root", "night", "21-06"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("rule night for root: 21-06\n", "")


def test_the_page_lists_the_conditions_that_there_are() -> None:
    rows = DOC.partition("## Conditions")[2].splitlines()
    keys = [row.split("`")[1] for row in rows if row.startswith("| `") and "device's value" not in row]
    assert keys == list(device_facts())
