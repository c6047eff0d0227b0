"""docs/status-details.md lists every key and every code there is, and none that there is not."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from iot_jobs_agent.core import outcome
from iot_jobs_agent.core.details import StatusFacts, status_details
from iot_jobs_agent.core.job import AttemptResult, Ending, ExecutionStatus

ROOT = Path(__file__).parents[3]
DOC = (ROOT / "docs" / "status-details.md").read_text()


def table(heading: str) -> list[list[str]]:
    """Read the cells of a section's first table, its head left out."""
    lines = DOC.partition(f"## {heading}\n")[2].partition("\n## ")[0].splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row] for row in rows]


def codes_in_calls() -> set[str]:
    """Find the codes that are written out where an Outcome is made."""
    found = set()
    for path in (ROOT / "agent").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Outcome":
                given = [*node.args[2:3], *(word.value for word in node.keywords if word.arg == "code")]
                found |= {each.value for each in given if isinstance(each, ast.Constant)}
    return found


def codes() -> set[str]:
    endings = {outcome.outcome_of(AttemptResult(ending, code=1, signal=9)).code for ending in Ending}
    words = {code for _, code, _ in outcome.BY_WORD.values()}
    return (endings | words | outcome.OWN_CODES | codes_in_calls()) - {""}


def test_codes_are_found_in_calls() -> None:
    assert {"processes-left", "bad-result", "document-changed"} <= codes_in_calls()


def test_every_code_is_listed_once() -> None:
    listed = [row[0] for row in table("Outcome codes")[2:]]
    assert sorted(listed) == sorted({*codes(), "(none)"})


def test_every_code_is_kebab_case() -> None:
    assert [code for code in codes() if not re.fullmatch(r"[a-z]+(-[a-z]+)*", code)] == []


def test_every_key_is_listed_in_order() -> None:
    told = StatusFacts("a", "o", "s", 0, 1, 1, 40.0, "m", "r", "r", "o", "e", {"k": "v"}, (("n", "SUCCEEDED"),))
    keys = [row[0] for row in table("The ten keys")[2:]]
    assert keys[: keys.index("steps") + 1] == list(status_details(told))


@pytest.mark.parametrize(
    "result",
    [
        *({"ending": ending, "code": 1, "signal": 9} for ending in Ending),
        *({"code": 0, "handler_result": {"outcome": word, "reason": "why"}} for word in outcome.KNOWN_OUTCOMES),
        {"code": 0, "leftovers_alive": 2},
        {"code": 0, "stderr_lines": 7, "stderr": "why"},
        {"code": 0, "handler_result": {"outcome": "failed", "code": "internal-error", "reason": "internal error: x"}},
    ],
)
def test_each_code_has_the_status_and_the_reason_that_the_page_says(result: dict[str, Any]) -> None:
    reached = outcome.outcome_of(AttemptResult(**{"ending": Ending.EXITED, **result}), allow_stderr=0)
    (row,) = [row for row in table("Outcome codes") if row[0] == (reached.code or "(none)")]
    assert row[1] == reached.status
    shown = re.sub(r"\bN\b", r"\\d+", row[3].partition("`")[0])
    if reached.status is ExecutionStatus.FAILED and shown != "the handler's words":
        assert re.match(re.sub(r"TYPE.*|9 \(SIGKILL\)", "", shown), reached.reason)
