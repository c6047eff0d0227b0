"""The limits of CONTRIBUTING.md: a file has at most 400 lines, and a function of the product fits on one screen."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.files import ROOT, tracked

LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 40
PRODUCT = ("agent", "handlers", "simulator")


def long_functions(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LINES_OF_A_FUNCTION:
                yield f"{node.name} has {length} lines"


def programs() -> list[Path]:
    return [path for path in tracked() if path.suffix in {".py", ".sh"} or path.parent == ROOT / ".ci"]


def test_no_program_has_more_than_400_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in programs()}
    assert {name.partition("/")[0] for name in lengths} >= {*PRODUCT, "tests", "benchmarks", "docs"}
    assert {name: length for name, length in lengths.items() if length > LINES_OF_A_FILE} == {}


def test_no_function_of_the_product_has_more_than_40_lines() -> None:
    product = [path for path in programs() if path.relative_to(ROOT).parts[0] in PRODUCT]
    assert len(product) > 100
    assert {f"{path.name}: {each}" for path in product for each in long_functions(path.read_text())} == set()


def test_a_function_of_41_lines_is_noticed() -> None:
    body = "    pass\n" * 39
    assert list(long_functions(f"def fits():\n{body}")) == []
    assert list(long_functions(f"async def too_long():\n{body}    pass\n")) == ["too_long has 41 lines"]
