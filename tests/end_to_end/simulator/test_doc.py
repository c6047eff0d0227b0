"""docs/simulator.md is true: its commands and programs run, against a simulator on other ports."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from simulators import SimulatorProcess

DOC = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text()
PROGRAMS = Path(sys.executable).parent
WAIT_S = 25

Example = Callable[[str, str], str]


@pytest.fixture
def example(simulator: "SimulatorProcess", tmp_path: Path) -> Example:
    """Take a section's example in some language, with the addresses of this simulator."""
    addresses = {
        "http://127.0.0.1:8080": simulator.http_url,
        "port = 8883": f"port = {simulator.mqtts_port}",
        "port=8883": f"port={simulator.mqtts_port}",
        "https_port = 8443": f"https_port = {simulator.https_port}",
        "/tmp/simulator": str(simulator.certificates),
        "/tmp/lamp": str(tmp_path / "lamp"),
    }

    def found(heading: str, language: str) -> str:
        section = DOC.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        (text,) = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        for written, real in addresses.items():
            text = text.replace(written, real)
        return text

    return found


def run(*argv: str, directory: Path) -> str:
    environment = {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "HOME": str(directory)}
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=WAIT_S, env=environment, cwd=directory
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(90)  # the AWS CLI takes seconds to start, five times
def test_the_cli_creates_what_the_sdk_sees_and_the_agent_runs(
    simulator: "SimulatorProcess", example: Example, tmp_path: Path
) -> None:
    for command in example("The AWS CLI", "sh").replace("\\\n", "").splitlines()[1:]:
        exports = example("The AWS CLI", "sh").splitlines()[0]
        assert run("sh", "-euc", f"{exports}\n{command}", directory=tmp_path)
    sdk = example("The AWS IoT Device SDK", "python")
    assert run(sys.executable, "-c", sdk, directory=tmp_path) == "['greet']\n"
    assert run(sys.executable, "-c", sdk + example("MQTT 5", "python"), directory=tmp_path) == "['greet']\n['greet']\n"
    (tmp_path / "config.toml").write_text(example("The agent", "toml"))
    check, once, jobs = example("The agent", "sh").splitlines()
    assert "wrong" not in run("sh", "-euc", check, directory=tmp_path)
    run("sh", "-euc", once, directory=tmp_path)
    assert "SUCCEEDED" in run("sh", "-euc", jobs, directory=tmp_path)
    execution = simulator.iot.describe_job_execution(jobId="greet", thingName="lamp")["execution"]
    assert execution["statusDetails"]["detailsMap"]["stdout"] == "hello"


def test_a_managed_template_makes_a_job(simulator: "SimulatorProcess", example: Example, tmp_path: Path) -> None:
    simulator.create_thing("lamp")
    exports = example("The AWS CLI", "sh").splitlines()[0]
    assert run("sh", "-euc", f"{exports}\n{example('Templates', 'sh')}", directory=tmp_path)
    document = simulator.iot.get_job_document(jobId="hello")["document"]
    simulator.iot.delete_job(jobId="hello", force=True)
    assert '"input":{"command":"echo"}' in document


def test_boto3_creates_a_job(example: Example, tmp_path: Path) -> None:
    assert run(sys.executable, "-c", example("boto3", "python"), directory=tmp_path) == "QUEUED\n"


async def test_the_example_of_a_test_is_one(example: Example) -> None:
    names: dict[str, object] = {}
    exec(example("In tests", "python"), names)  # noqa: S102 - that is what the page is for
    test = names["test_something"]
    assert callable(test)
    await test()
