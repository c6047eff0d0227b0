"""docs/reliability.md names tests that exist, and every promise and fault once."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reliability.md").read_text()
ROW = re.compile(r"^\| ([CNDTHMSX]\d+) \|(.*)\|$", re.MULTILINE)
DEFINED = re.compile(r"^ *(?:async )?def (test_\w+)", re.MULTILINE)


def rows() -> dict[str, list[str]]:
    """Return the tests that each fault names."""
    return {fault: re.findall(r"`(test_\w+)`", row.rpartition("|")[2]) for fault, row in ROW.findall(PAGE)}


def defined() -> list[str]:
    return [name for path in (ROOT / "tests").rglob("test_*.py") for name in DEFINED.findall(path.read_text())]


def test_every_fault_names_tests_that_exist_or_says_that_there_is_none() -> None:
    known = set(defined())
    for fault, row in ROW.findall(PAGE):
        tests = rows()[fault]
        assert tests or row.rpartition("|")[2].strip() == "none here", fault
        assert [name for name in tests if name not in known] == [], fault


def test_every_fault_stands_once_and_every_test_of_the_matrix_under_its_own() -> None:
    found = [fault for fault, _ in ROW.findall(PAGE)]
    assert len(found) == len(set(found)) > 25
    for path in (ROOT / "tests/faults").glob("test_*.py"):
        for name in DEFINED.findall(path.read_text()):
            own = re.sub(r"field_[a-g]\d+[a-z]?_", "", name)  # a row of what was found from outside
            faults = [part.upper() for part in re.findall(r"(?<=_)[cndth]\d(?=_)", own)]
            assert faults, name
            assert all(name in rows()[fault] for fault in faults), name


def test_every_promise_is_one_that_the_page_makes() -> None:
    promises = set(re.findall(r"^\| \*\*([A-Z])\*\* ", PAGE, re.MULTILINE))
    assert promises == set("DOTSLRXPABW")
    for fault, row in ROW.findall(PAGE):
        claimed = row.split("|")[-2].strip()
        assert claimed == "all" or set(claimed.split()) <= promises, fault


def test_every_row_that_was_found_from_outside_names_its_own_tests() -> None:
    known = set(defined())
    found = re.findall(r"^\| field-([a-g]\d+[a-z]?) \|.*\| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert len(found) > 50
    for row, cell in found:
        tests = re.findall(r"`(test_\w+)`", cell)
        assert tests, row
        assert set(tests) <= known, row
        assert row == "a5" or all(f"field_{row}_" in name for name in tests), row
    written = set(re.findall(r"field_([a-g]\d+[a-z]?)_", " ".join(known)))
    assert written <= {row for row, _ in found}


def test_every_claim_of_the_security_model_names_tests_that_exist() -> None:
    page = (ROOT / "docs/security.md").read_text().partition("## Who could attack")[2].partition("\n## ")[0]
    rows = [line.rpartition(" | ") for line in page.splitlines() if line.startswith("| ")][1:]
    before = ""
    for _, _, shown in rows:
        named = shown.removesuffix(" |")
        before = before if named == "the same" else named
        tests = re.findall(r"`(test_\w+)`", before)
        assert tests or "`tests/" in before, before
        assert [name for name in tests if name not in defined()] == []
        assert [path for path in re.findall(r"`(tests/[^`]+)`", before) if not (ROOT / path).exists()] == []
    assert len(rows) > 8
