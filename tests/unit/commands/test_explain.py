"""The command `explain`: what a device would do with a document, judged by the agent's own judge; nothing runs."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.configs import toml_of

from iot_jobs_agent.commands.explain import main
from iot_jobs_agent.errors import UsageError

Explain = Callable[..., tuple[int, str]]
STEPS = {
    "version": "1.0",
    "steps": [
        {"action": {"name": "Say", "type": "runCommand", "input": {"command": "/bin/echo,hi there"}}},
        {"action": {"name": "Go", "type": "runHandler", "input": {"handler": "deploy"}, "ignoreStepFailure": True}},
    ],
}


@pytest.fixture
def explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Explain:
    """Explain a document on a device with a handler `deploy` that must never run."""
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "deploy").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (tmp_path / "handlers" / "deploy").chmod(0o755)

    def run(document: Any, *options: str, agent: Any = None, **handlers: str) -> tuple[int, str]:
        enabled = {"enabled": ["run-command", "write-file", "reboot", "deploy"]}
        sections = {
            "aws": {"endpoint": "localhost", "thing_name": "pi", "certificate": "/c", "private_key": "/k"},
            "agent": {"state_directory": str(tmp_path / "state")} | (agent or {}),
            "handlers": enabled | {"directories": [str(tmp_path / "handlers")], **handlers},
            "handler.run-command": {"programs": ["/bin/echo"], "retry_limit": 0, "max_timeout_s": 7200},
            "handler.write-file": {"roots": [str(tmp_path / "files")]},
            "handler.reboot": {"may_reboot": True},
        }
        (tmp_path / "config.toml").write_text(toml_of({**sections, "namespaces": [{"id": "fw", "handler": "deploy"}]}))
        (tmp_path / "document").write_text(document if isinstance(document, str) else json.dumps(document))
        status = main([str(tmp_path / "document"), "--config", str(tmp_path / "config.toml"), *options])
        assert not (tmp_path / "ran").exists()
        return status, capsys.readouterr().out

    return run


def test_each_step_is_told_with_its_limits(explain: Explain, tmp_path: Path) -> None:
    status, said = explain(STEPS)
    assert status == 0
    assert (
        said
        == f"""It would run: 2 steps.
1. Say
   handler     run-command (built in)
   command     /bin/echo "hi there"
   user        the agent's
   time        1 h, 2 h if it asks, and 30 s to stop
   disk        256 MiB
   interrupted it fails
2. Go
   handler     deploy ({tmp_path}/handlers/deploy)
   command     {tmp_path}/handlers/deploy ""
   user        the agent's
   time        1 h, and 30 s to stop
   disk        256 MiB
   interrupted it fails
   failure     the next step runs all the same
"""
    )


def test_a_reboot_is_told_and_that_nothing_runs_beside_it(explain: Explain) -> None:
    status, said = explain({"operation": "reboot"}, agent={"only": "fleet-*", "reboots_without_state": True})
    assert status == 0
    lines = said.splitlines()
    assert lines[0] == "It would run, with nothing else beside it: 1 step."
    assert lines[1] == "But only if the job's id matches fleet-* (agent.only)."
    assert "   interrupted it is resumed where it left off" in lines
    assert "   tries       3 more if it asks, 1 min apart" in lines
    assert "   reboot      it may reboot this device" in lines


def test_a_refusal_is_told_in_the_words_that_the_service_would_get(explain: Explain) -> None:
    status, said = explain({"operation": "absent"})
    assert status == 1
    assert said.startswith('REJECTED: operation: handler "absent" is not enabled on this device; install it there and ')
    status, said = explain({"colour": 1}, "--json", agent={"unknown": "ignore"})
    assert status == 1
    assert json.loads(said)["status"] == "left to another agent"


def test_params_that_a_python_handler_does_not_know_are_doubted_unless_aws_replaces_something_in_them(
    explain: Explain,
) -> None:
    params = {"path": "/x", "content": "y", "contents": "z"}
    status, said = explain({"operation": "write-file", "params": params})
    assert status == 1
    doubt = "It would probably be refused at step 1: params.contents: is not known to the handler; leave it out"
    assert said.splitlines()[-1] == doubt
    params["content"] = "${aws:iot:s3-presigned-url:https://s3.region.amazonaws.com/bucket/key}"
    assert explain({"operation": "write-file", "params": params})[0] == 0


def test_the_document_may_stand_on_the_command_line(
    explain: Explain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    explain({})
    assert main(['{"operation": "deploy"}', "--config", str(tmp_path / "config.toml")]) == 0
    assert capsys.readouterr().out.startswith("It would run: 1 step.")
    with pytest.raises(UsageError, match="DOCUMENT is not JSON"):
        main(['{"operation"'])


def test_a_namespace_has_its_handler_or_is_not_served(explain: Explain) -> None:
    status, said = explain({"any": "thing"}, "--namespace", "fw", "--json")
    assert (status, json.loads(said)["steps"][0]["handler"]) == (0, "deploy")
    with pytest.raises(UsageError, match="does not serve namespace 'other'; add it as"):
        explain({}, "--namespace", "other")


@pytest.mark.parametrize(("text", "words"), [("{", "is not JSON: "), ("[" * 100000, "is not JSON: ")])
def test_what_is_not_json_is_wrong_usage(explain: Explain, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        explain(text)


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file or directory; give a file, the document itself"):
        main([str(tmp_path / "absent")])


def test_in_a_unit_the_profile_and_its_limits_are_told(
    explain: Explain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what systemd 252 answers on a booted device; one profile that it has not loaded has no limits."""
    shown = """RuntimeMaxUSec=1w 1d
CPUQuotaPerSecUSec=1s
MemoryMax=268435456
MemorySwapMax=0
TasksMax=128
Id=iot-job-network@000000000000000000000000.service
FragmentPath=/lib/systemd/system/iot-job-network@.service
"""
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\ncat << 'END'\n{shown}\nEND\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    status, said = explain({"operation": "deploy"}, launcher="units")
    assert status == 0
    lines = said.splitlines()
    user = "   user        one of its own, in a unit of the profile network (iot-job-network@.service)"
    limits = "   limits      MemoryMax=256M, MemorySwapMax=0, TasksMax=128, CPUQuota=100%, RuntimeMaxSec=1w 1d"
    assert [line for line in lines if line in {user, limits}] == [user, limits]
    status, said = explain({"operation": "deploy"}, launcher="units", profile="isolated")
    assert "limits" not in said
