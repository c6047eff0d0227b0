"""One name for one thing: a class, a type or a function that is imported by its name alone has it to itself."""

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ["agent/iot_jobs_agent", "handlers/iot_jobs_handlers", "simulator/iot_jobs_simulator"]
# `Outcome` is what an author's function returns, and how an execution ended; both docstrings say so.
# `Params` is what every built-in calls its own, as the guide tells authors to; nothing else imports them.
SHARED = {"Outcome", "Params"}
# Functions that are always called with their module's name in front, or that start a process or a command.
WITH_MODULE = {"cancel", "check", "deadlines", "delete", "end", "lock", "main", "parser", "read", "update"}


def modules(package: str) -> dict[str, ast.Module]:
    """Parse a package: its modules by their dotted names."""
    top = ROOT / package
    paths = [path for path in top.rglob("*.py") if "skeletons" not in path.parts]
    return {".".join(path.relative_to(top.parent).with_suffix("").parts): ast.parse(path.read_text()) for path in paths}


def types(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
            yield ast.unparse(node.target)


def functions(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node.name


def imported(module: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def shared(package: str, names_of: Callable[[ast.Module], Iterator[str]]) -> dict[str, set[str]]:
    """Return the names that more than one module of the package defines, with those modules."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, module in modules(package).items():
        for each in names_of(module):
            found[each].add(name)
    assert len(found) > 5
    return {name: places for name, places in found.items() if len(places) > 1}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_classes_or_types_of_a_package_have_one_name(package: str) -> None:
    assert {name: places for name, places in shared(package, types).items() if name not in SHARED} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_functions_of_a_package_have_one_name(package: str) -> None:
    assert {name: places for name, places in shared(package, functions).items() if name not in WITH_MODULE} == {}


def test_functions_that_share_a_name_are_called_with_their_modules_name_wherever_they_are_used() -> None:
    several = {name: places for package in PACKAGES for name, places in shared(package, functions).items()}
    assert several.keys() == WITH_MODULE
    assert [
        f"{name} imports {function} from {origin}"
        for package in PACKAGES
        for name, module in modules(package).items()
        for origin, function in imported(module)
        if origin in several.get(function, ())
    ] == []
