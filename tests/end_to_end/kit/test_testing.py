"""The pytest plug-in, used as authors use it; and the built-in handlers pass the conformance kit."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from iot_jobs_agent.testing import JobsAgent, assert_handler_conforms
from iot_jobs_handlers import run_command, write_file

GREET = """#!/bin/sh
[ "$1" = describe ] && echo '{"name": "greet", "grace_s": 5}' && exit 0
jobctl detail params "$(cat)"
echo hello
"""


def test_an_agent_runs_a_file_and_the_services_record_is_told(
    author: Any, jobs_agent: Callable[..., JobsAgent]
) -> None:
    agent = jobs_agent(
        author.write("greet.sh", GREET), "run-command", settings={"run-command": {"programs": ["/bin/echo"]}}
    )
    record = agent.run({"operation": "greet", "params": {"n": 1}})
    assert (record.status, record.details["stdout"]) == ("SUCCEEDED", "hello")
    assert json.loads(record.details["details"]) == {"params": '{"n": 1}'}
    assert agent.run({"operation": "run-command", "params": {"command": "echo hi"}}).details["stdout"] == "hi"
    assert agent.run({"operation": "write-file"}).status == "REJECTED"
    listed = agent.simulator.iot.list_job_executions_for_thing(thingName=agent.thing_name)
    assert len(listed["executionSummaries"]) == 3


def test_a_built_in_conforms_write_file(tmp_path: Path) -> None:
    params = {"path": str(tmp_path / "file"), "content": "x"}
    assert_handler_conforms(write_file.HANDLER, params, settings={"roots": [str(tmp_path)]})
    assert (tmp_path / "file").read_text() == "x"


def test_a_built_in_conforms_run_command() -> None:
    assert_handler_conforms("run-command", {"command": ["true"]}, settings={"programs": ["/bin/true"]})
    assert run_command.HANDLER.name == "run-command"


def test_one_that_does_not_conform_is_told_with_each_wrong(author: Any) -> None:
    path = author.write("bad", "#!/bin/sh\nset -e\necho '{}' >&3\n")
    with pytest.raises(AssertionError, match="bad does not conform\nclosed fd 3: ended FAILED"):
        assert_handler_conforms(path, {})


def test_one_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"it cannot be run: .* does not exist"):
        assert_handler_conforms(tmp_path / "none", {})


def test_what_cannot_be_found_by_its_module_is_told() -> None:
    with pytest.raises(TypeError, match="give it as 'module:attribute'"):
        assert_handler_conforms(object(), {})


def pytest_in(directory: Path, text: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run pytest on one file of tests, as somebody does who has our package installed."""
    (directory / "test_it.py").write_text(textwrap.dedent(text))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, "test_it.py"],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
        cwd=directory,
    )


def test_a_project_that_uses_no_fixture_imports_none_of_it(tmp_path: Path) -> None:
    text = """
        import sys

        def test_nothing_heavy_is_here():
            ours = {name for name in sys.modules if name.startswith("iot_jobs_")}
            assert ours == {"iot_jobs_agent", "iot_jobs_agent.testing"}
            assert not {"boto3", "botocore", "pydantic", "structlog", "awscrt", "amqtt", "asyncio"} & sys.modules.keys()
    """
    # asyncio and others come with the plug-ins that our own tests use
    done = pytest_in(tmp_path, text, *("-p", "no:asyncio", "-p", "no:hypothesispytest", "-p", "no:timeout"))
    assert done.returncode == 0, done.stdout


def test_the_handlers_of_a_test_end_with_it_even_if_the_test_fails(tmp_path: Path) -> None:
    text = f"""
        import os
        from pathlib import Path

        def test_it(jobs_agent, tmp_path):
            os.mkfifo(tmp_path / "started")
            handler = tmp_path / "hold"
            handler.write_text(f"#!/bin/sh\\necho > {{tmp_path}}/started\\nexec sleep 1000\\n")
            agent = jobs_agent(handler)
            Path({str(tmp_path)!r}, "state").write_text(str(agent.directory))
            document = '{{"operation": "hold"}}'
            agent.simulator.iot.create_job(jobId="first", targets=[agent.thing_arn], document=document)
            (tmp_path / "started").read_text()
            agent.run({{"operation": "hold"}}, within_s=0.5)
    """
    done = pytest_in(tmp_path, text, "-W", "error", "-p", "no:asyncio")
    assert done.returncode == 1, done.stdout
    assert "-1 is QUEUED after 0.5 s" in done.stdout
    state = (tmp_path / "state").read_text()
    living = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            living += [path] if state.encode() in path.read_bytes() else []
    assert living == []
