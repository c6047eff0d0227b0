"""The documents that fleets already have, each through the real judge with the configuration that maps it.

`forms.json` has the documents: what runs (`command` is a plain command, `handler` gets params), or the reason why none
can. docs/documents.md shows the same to people. Placeholders are neutral, `…` stands for any text.
"""

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.support.advice import ANY_HANDLER, Owner, configured

from iot_jobs_agent.aws.messages import ServiceExecution
from iot_jobs_agent.built_ins import BUILT_INS
from iot_jobs_agent.catalog.catalog import Catalog
from iot_jobs_agent.config.config import load_handlers
from iot_jobs_agent.core.job import ExecutionId, ExecutionStatus, Plan, Refusal
from iot_jobs_agent.judge import Judge

FORMS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("forms.json").read_text())
MOST_REASONS = 8
PAGE = Path(__file__).parents[3] / "docs" / "documents.md"
MAPPED = [form for form in FORMS if "runs" in form]
REJECTED = [form for form in FORMS if "rejected" in form]
# What a reason can ask the device's owner to configure.
KEYS = ("handlers.enabled", "[operations]", "[[documents]]", "handler.run-command.programs", "handlers.run_as_users")


def number(form: dict[str, Any]) -> str:
    return f"{form['form']:02}"


class Fleet:
    """One device for all forms, so that each built-in is asked for its manifest only once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("handlers", "bin", "state"):
            (directory / name).mkdir()
        self.program("bin/REBOOT")

    def program(self, name: str) -> None:
        path = self.directory / name
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)

    async def verdict(self, form: dict[str, Any], lines: list[str]) -> Plan | Refusal:
        for old in (self.directory / "handlers").iterdir():
            old.unlink()
        for name in form["files"]:
            self.program(f"handlers/{name}")
        text = "\n".join([*lines, f'agent.state_directory = "{self.directory}/state"', ""])
        path = self.directory / "config.toml"
        path.write_text(text.replace('"/opt/', f'"{self.directory}/'))
        config = load_handlers(path)
        document = json.loads(json.dumps(form["document"]).replace('"/opt/', f'"{self.directory}/'))
        found = ServiceExecution(ExecutionId("", "job-1", 1), ExecutionStatus.QUEUED, 1, "", document)
        return (await Judge(config, Catalog(config)).verdict(found))[0]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return Fleet(tmp_path_factory.mktemp("fleet"))


def test_all_58_forms_are_here() -> None:
    assert [form["form"] for form in FORMS] == list(range(1, 59))


@pytest.mark.parametrize("form", MAPPED, ids=number)
async def test_a_form_runs_with_the_configuration_that_maps_it(fleet: Fleet, form: dict[str, Any]) -> None:
    judged = await fleet.verdict(form, form["configuration"])
    assert isinstance(judged, Plan), judged
    assert [f"{step.kind.value} {step.handler}" for step in judged.steps] == form["runs"]


@pytest.mark.parametrize("form", REJECTED, ids=number)
async def test_a_form_that_cannot_run_as_it_is_written_is_refused_with_the_fix(
    fleet: Fleet, form: dict[str, Any]
) -> None:
    judged = await fleet.verdict(form, form["configuration"])
    assert isinstance(judged, Refusal), judged
    assert form["rejected"] in judged.reason
    assert judged.is_unknown is form["left_alone"]


@pytest.mark.parametrize("form", MAPPED, ids=number)
async def test_without_its_configuration_the_reason_names_the_key_that_maps_it(
    fleet: Fleet, form: dict[str, Any]
) -> None:
    judged = await fleet.verdict(form, ["handlers.enabled = []"])
    assert isinstance(judged, Refusal)
    assert any(key in judged.reason for key in KEYS)
    lines = [line for line in form["configuration"] if "enabled" in line or "directories" in line]
    if lines != form["configuration"]:  # enabling the handler is not enough: the next reason leads on
        judged = await fleet.verdict(form, lines)
        assert isinstance(judged, Plan) or any(key in judged.reason for key in KEYS)


@pytest.mark.parametrize("form", MAPPED, ids=number)
async def test_whoever_follows_each_reason_gets_a_configuration_with_which_the_form_runs(
    form: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Owner(tmp_path)
    for name in [*form["files"], "REBOOT"]:  # the last one is a program that is found with PATH
        (owner.handlers / name).write_text("#!/bin/sh\n")
        (owner.handlers / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(owner.handlers), prepend=os.pathsep)
    for _ in range(MOST_REASONS):
        config = load_handlers(owner.write())
        found = ServiceExecution(ExecutionId("", "job-1", 1), ExecutionStatus.QUEUED, 1, "", form["document"])
        verdict = (await Judge(config, Catalog(config)).verdict(found))[0]
        if isinstance(verdict, Plan):
            break
        assert configured(verdict.reason, form["document"], owner), verdict.reason
    else:
        pytest.fail(f"the reasons lead nowhere: {verdict}")
    runs = [f"{step.kind.value} {step.handler}" for step in verdict.steps]
    is_mapped = any(line.startswith(("documents", "operations")) for line in form["configuration"])
    assert runs == ([re.sub(" .*", f" {ANY_HANDLER}", run) for run in form["runs"]] if is_mapped else form["runs"])


@pytest.mark.parametrize("form", FORMS, ids=number)
def test_the_page_shows_each_form_and_its_configuration(form: dict[str, Any]) -> None:
    row = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| {form['form']:02} |"))
    assert f"`{json.dumps(form['document'], ensure_ascii=False)}`" in row
    if "rejected" in form:
        assert form["rejected"] in row
        assert ("left alone" in row) is form["left_alone"]
        return
    for line in form["configuration"]:
        assert f"`{line}`" in row or line.startswith("handlers.directories"), line


def test_configurations_are_toml_and_enable_only_what_is_there() -> None:
    for form in FORMS:
        tables = tomllib.loads("\n".join(form["configuration"]))
        files = {name.removesuffix(".sh") for name in form["files"]}
        assert set(tables["handlers"]["enabled"]) <= files | set(BUILT_INS)
