"""What becomes of a document that the service described: a plan, or a refusal that repeats no secret."""

from pathlib import Path
from typing import Any

import pytest
from tests.support.configs import config_of

from iot_jobs_agent.aws.messages import ServiceExecution
from iot_jobs_agent.catalog.catalog import Catalog
from iot_jobs_agent.core.job import ExecutionId, ExecutionStatus, Plan, Refusal
from iot_jobs_agent.judge import HALF_A_PAIR, UNREADABLE, Judge


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """A judge of a device where run-command is allowed, and write-file bound to the namespace `files`."""
    tmp_path = tmp_path_factory.mktemp("judge")  # one for all tests, since it asks its handlers only once
    config = config_of(
        tmp_path,
        namespaces=[{"id": "files", "handler": "write-file"}],
        handlers={"enabled": ["run-command", "write-file"]},
        handler={"run-command": {"programs": ["/bin/echo"]}, "write-file": {"roots": [str(tmp_path)]}},
    )
    return Judge(config, Catalog(config))


def found(document: Any, namespace: str = "") -> ServiceExecution:
    return ServiceExecution(ExecutionId(namespace, "job-1", 1), ExecutionStatus.QUEUED, 1, "", document)


async def test_a_document_that_is_allowed_becomes_a_plan_and_is_called_by_its_steps(judge: Judge) -> None:
    verdict, operation = await judge.verdict(found({"operation": "run-command", "params": {"command": "echo hi"}}))
    assert isinstance(verdict, Plan)
    assert operation == "run-command"


async def test_a_namespace_gives_its_documents_to_its_handler(judge: Judge) -> None:
    verdict, operation = await judge.verdict(found({"anything": 1}, "files"))
    assert isinstance(verdict, Plan)
    assert operation == "write-file"


async def test_a_handler_that_does_not_answer_is_asked_again_for_its_own_documents_only(tmp_path: Path) -> None:
    directory, ledger = tmp_path / "handlers", tmp_path / "ledger"
    directory.mkdir()
    for name, script in (("babbler", f": describe\necho asked >> {ledger}\nexec yes\n"), ("fine", "cat\n")):
        (directory / name).write_text(f"#!/bin/sh\n{script}")
        (directory / name).chmod(0o755)
    config = config_of(tmp_path, handlers={"enabled": ["babbler", "fine"], "directories": [str(directory)]})
    judge = Judge(config, Catalog(config))
    for _ in range(3):
        verdict, _ = await judge.verdict(found({"operation": "fine"}))
        assert isinstance(verdict, Plan)
    assert ledger.read_text() == "asked\n"
    verdict, _ = await judge.verdict(found({"operation": "babbler"}))
    assert isinstance(verdict, Refusal)
    assert "said more than" in verdict.reason
    assert ledger.read_text() == "asked\n" * 2


@pytest.mark.parametrize(
    ("document", "operation"),
    [
        ({"operation": "fly", "params": {}}, "fly"),
        ({"operation": "x" * 300, "params": {}}, ""),
        ({"operation": "a\nb", "params": {}}, ""),
        ({"operation": 7}, ""),
        ([1], ""),
        (None, ""),
        ({"operation": "run-command", "params": {"a": "x" * 140_000}}, "run-command"),
    ],
)
async def test_a_document_that_is_not_is_refused_under_the_name_that_it_gave(
    judge: Judge, document: Any, operation: str
) -> None:
    verdict, called = await judge.verdict(found(document))
    assert isinstance(verdict, Refusal)
    assert called == operation


async def test_what_no_message_can_hold_is_unreadable(judge: Judge) -> None:
    assert await judge.verdict(found({"operation": "\ud800"})) == (HALF_A_PAIR, "")
    deep: Any = {}
    for _ in range(20_000):
        deep = {"a": deep}
    assert await judge.verdict(found(deep)) == (UNREADABLE, "")


@pytest.mark.parametrize("member", ["operation", "path", "command", "args", "steps"])
async def test_a_refusal_never_repeats_the_query_of_an_address(judge: Judge, member: str) -> None:
    url = "https://bucket.s3.amazonaws.com/x?X-Amz-Signature=canary"
    for document in (
        {"operation": "fly", member: url},
        {member: url},
        {"operation": url, "args": [url]},
        {member: [url]},
    ):
        verdict, operation = await judge.verdict(found(document))
        assert isinstance(verdict, Refusal)
        assert "canary" not in f"{verdict} {operation}", document


@pytest.mark.parametrize("is_allowed", [True, False])
async def test_field_c7_what_may_reboot_is_refused_if_the_agents_state_would_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_allowed: bool
) -> None:
    monkeypatch.setattr("iot_jobs_agent.judge.why_volatile", lambda _: "/ is a tmpfs")
    config = config_of(
        tmp_path,
        agent={"reboots_without_state": is_allowed},
        handlers={"enabled": ["reboot", "run-command"]},
        handler={"reboot": {"may_reboot": True}, "run-command": {"programs": ["/bin/echo"]}},
    )
    judge = Judge(config, Catalog(config))
    verdict, operation = await judge.verdict(found({"operation": "reboot"}))
    assert operation == "reboot"
    if is_allowed:
        assert isinstance(verdict, Plan)
    else:
        assert isinstance(verdict, Refusal)
        assert "/ is a tmpfs, so the agent's state would be lost" in verdict.reason
    other, _ = await judge.verdict(found({"operation": "run-command", "params": {"command": "echo hi"}}))
    assert isinstance(other, Plan)
