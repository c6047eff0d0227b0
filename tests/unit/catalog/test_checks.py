"""What is valid of the things that handlers declare: from pydantic here, or from a child whose answers are kept."""

import json
import sys
from pathlib import Path

import pytest
from tests.support.catalog import Device, describing

from iot_jobs_agent.catalog import checks
from iot_jobs_agent.catalog.catalog import Catalog
from iot_jobs_agent.catalog.checks import Checks
from iot_jobs_agent.core.job import OnInterrupt

MANIFESTS = [
    {"name": "plain"},
    {"name": "all", "params": {"type": "object"}, "timeout_s": 5.0, "on_interrupt": "rerun", "quota_mb": 7},
    {"name": "bad", "timeout_s": -1},
    {"name": "worse", "unknown": 1},
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "checks.json"


async def test_a_child_says_the_same_as_pydantic_here(file: Path) -> None:
    here, child = await Checks().check(MANIFESTS), await Checks(file).check(MANIFESTS)
    assert child == here
    assert [each.problem.partition(":")[0] for each in child] == [
        *("", ""),
        *("its manifest is wrong at timeout_s", "its manifest is wrong at unknown"),
    ]
    assert child[1].members["on_interrupt"] is OnInterrupt.RERUN
    assert child[2].members == {**child[0].members, "name": "bad"}


async def test_no_manifests_are_no_answers(file: Path) -> None:
    assert await Checks(file).check([]) == []
    assert not file.exists()


async def test_answers_are_kept_and_those_that_nobody_needs_any_more_are_not(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await Checks(file).check(MANIFESTS)
    monkeypatch.setattr(checks, "CHECK", ("/bin/false",))
    monkeypatch.setattr(checks, "_ask_here", lambda texts: pytest.fail(f"asked about {texts}"))
    assert await Checks(file).check(MANIFESTS) == first
    monkeypatch.undo()
    await Checks(file).check([{"name": "new"}])
    assert list(json.loads(file.read_bytes().partition(b"\n")[2])["checked"]) == ['{"name": "new"}']


async def test_answers_to_another_definition_are_not_believed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await Checks(file).check(MANIFESTS)
    monkeypatch.setattr(checks, "definition_hash", lambda: "another")
    assert Checks(file)._known == {}


@pytest.mark.parametrize(
    "command",
    [("/nowhere/python",), ("/bin/false",), ("/bin/echo", "[]"), ("/bin/echo", "no JSON"), ("/bin/echo", "{}")],
    ids=["cannot start", "fails", "another number", "no JSON", "no list"],
)
async def test_a_child_that_does_not_answer_costs_only_time(
    file: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(checks, "CHECK", command)
    assert await Checks(file).check(MANIFESTS) == await Checks().check(MANIFESTS)


async def test_a_child_that_hangs_is_killed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CHECK", (sys.executable, "-c", "import signal; signal.pause()"))
    monkeypatch.setattr(checks, "WITHIN_S", 0.1)
    assert await Checks(file).check(MANIFESTS) == await Checks().check(MANIFESTS)


async def test_a_handler_is_the_same_to_the_running_agent_and_to_a_command(device: Device) -> None:
    device.install("good", describing(timeout_s=5, params={"type": "object"}))
    device.install("wrong", describing(timeout_s="soon"))
    config = device.catalog("good", "wrong", "write-file")._config
    found = []
    for keeps_checks in (False, True, True):
        catalog = Catalog(config, worker=device.worker, describe_timeout_s=5.0, keeps_checks=keeps_checks)
        await catalog.refresh()
        found.append(catalog.enabled())
    assert found[0] == found[1] == found[2]
    assert "its manifest is wrong at timeout_s" in found[0]["wrong"].unavailable
