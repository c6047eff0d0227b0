"""docs/simulator-coverage.md is true, and knows every member that botocore's models have."""

from __future__ import annotations

import ast
import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from tests.member_coverage import model, page
from tests.member_coverage.examples import device_requests, requests
from tests.member_coverage.model import CONTROL, DEVICE, FAMILIES, Member
from tests.member_coverage.page import NEVER, NOT_YET, SERVED, Row
from tests.member_coverage.probe import Findings, probed

from iot_jobs_simulator import control_plane

if TYPE_CHECKING:
    from conftest import Cloud

HINT = "run `uv run python -m tests.member_coverage` and look at what it writes"


@pytest.fixture(scope="module")
def said() -> dict[Member, Row]:
    """What the page says."""
    return page.read(page.PAGE.read_text())


@pytest.fixture(scope="module")
def found() -> Findings:
    """What the simulator does."""
    return probed()


def named(members: Any) -> list[str]:
    return sorted(f"{member.service} {member.operation} {member.way} {member.path}" for member in members)


def test_the_page_knows_every_member_that_the_models_have_and_no_other(said: dict[Member, Row]) -> None:
    everything = set(page.all_members())
    assert (named(everything - said.keys()), named(said.keys() - everything)) == ([], []), HINT


def test_a_member_that_a_newer_botocore_brings_is_named(said: dict[Member, Row]) -> None:
    newer = copy.deepcopy(Loader().load_service_model(CONTROL, "service-2"))
    newer["shapes"]["TimeoutConfig"]["members"]["patience"] = {"shape": "JobId"}
    newer["operations"]["PauseJob"] = newer["operations"]["DeleteJob"] | {"name": "PauseJob"}
    brought = set(model.members(ServiceModel(newer, CONTROL))) - said.keys()
    assert "iot CreateJob in timeoutConfig.patience" in named(brought)
    assert "iot DescribeJob out job.timeoutConfig.patience" in named(brought)
    assert "iot PauseJob in force" in named(brought)


def test_every_operation_of_jobs_is_tried() -> None:
    tried = {CONTROL: requests(0), DEVICE: device_requests()}
    for service, asked in tried.items():
        assert sorted(asked) == sorted(model.operations(model.service_model(service)))


def test_every_member_of_a_request_is_sent(said: dict[Member, Row], found: Findings) -> None:
    sent = found.taken | found.refused.keys()
    assert named(member for member in said if member.way == "in" and member not in sent) == []


def test_the_page_says_of_requests_what_the_simulator_does(said: dict[Member, Row], found: Findings) -> None:
    of_requests = {member: row for member, row in said.items() if member.way == "in"}
    assert named(member for member, row in of_requests.items() if row.served == SERVED) == named(
        of_requests.keys() & found.taken
    ), HINT
    assert {member: row.shown_by for member, row in of_requests.items() if row.shown_by} == {
        member: shown for member, shown in found.shown.items() if member in of_requests
    }, HINT


def test_the_page_says_of_answers_no_less_than_was_seen(said: dict[Member, Row], found: Findings) -> None:
    unseen = [member for member, row in said.items() if member.way == "out" and row.served in (NOT_YET, NEVER)]
    assert named(member for member in unseen if member in found.taken) == [], HINT


def test_what_is_not_served_is_refused_by_name(found: Findings) -> None:
    not_taken = {member: words for member, words in found.refused.items() if member not in found.taken}
    assert {words for words in not_taken.values() if "is not supported by this simulator" not in words} == set()


def test_everything_that_is_served_has_a_vector_that_exists(said: dict[Member, Row]) -> None:
    served = {member: row.vector for member, row in said.items() if row.served == SERVED}
    assert named(member for member, vector in served.items() if not vector) == []
    existing = {name for path in Path(__file__).parent.glob("test_*.py") for name in vectors_in(path)}
    assert sorted(set(served.values()) - existing) == [], HINT


def vectors_in(path: Path) -> Any:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            yield from (f"{path.name}::{node.name}::{each.name}" for each in node.body if hasattr(each, "name"))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path.name}::{node.name}"


@pytest.mark.parametrize("words", FAMILIES.values(), ids=FAMILIES)
def test_other_families_are_refused_by_name_and_on_the_page(cloud: Cloud, words: str) -> None:
    operations = model.family(model.service_model(CONTROL), words)
    assert operations
    for operation in operations:
        assert operation not in control_plane.SUPPORTED
        assert cloud.refused(operation) == ("InvalidRequest", f"{operation} is not supported by this simulator")
        assert operation in page.PAGE.read_text().partition("## Other families")[2]
