"""One name for one thing: a class or a type of a package has its name to itself."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# `Outcome` is what an author's function returns, and how an execution ended; both docstrings say so.
SHARED = {"Outcome"}


def names(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
            yield ast.unparse(node.target)


@pytest.mark.parametrize("package", ["agent/iot_jobs_agent", "simulator/iot_jobs_simulator"])
def test_no_two_classes_or_types_of_a_package_have_one_name(package: str) -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for path in (ROOT / package).rglob("*.py"):
        if "skeletons" not in path.parts:
            for name in names(ast.parse(path.read_text())):
                found[name].append(path.name)
    assert len(found) > 50
    assert {name: files for name, files in found.items() if len(files) > 1 and name not in SHARED} == {}
