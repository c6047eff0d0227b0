"""What the shim reads and writes without `json`, `signal` and `ctypes`: the same as with them, and they stay out."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_jobs_agent.installation import ROOT
from iot_jobs_agent.shim import lean

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda of: st.lists(of, max_size=4) | st.dictionaries(st.text(), of, max_size=4),
    max_leaves=12,
)
HEAVY = ("json", "re", "enum", "functools", "ctypes", "signal", "socket", "typing", "subprocess")


@pytest.fixture(params=["the interpreter's own", "the ordinary modules"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Read and write with and without what is private to CPython."""
    if request.param == "the ordinary modules":
        monkeypatch.setattr(lean, "_scan", None)
    return str(request.param)


@given(value=VALUES, is_ascii=st.booleans())
def test_what_is_written_is_what_json_would_write(value: Any, is_ascii: bool) -> None:
    text = lean.dumps(value, ensure_ascii=is_ascii)
    assert text == json.dumps(value, ensure_ascii=is_ascii)
    assert lean.loads(text) == json.loads(text)
    assert lean.loads(f" \t\n\r{text}\n".encode("utf-8", "surrogatepass")) == json.loads(text)


TEXTS = [
    *(
        "",
        " ",
        "{",
        "[1",
        '"a',
        "nul",
        "1 2",
        "{} {}",
        "[1,]",
        "{'a': 1}",
        "\ufeff{}",
        "\v1",
        "1\f",
        '"\n"',
        "+1",
        "01",
    ),
    *(
        "NaN",
        "-Infinity",
        "1e400",
        "-0",
        '"\\ud800"',
        "1.0",
        "tru",
        '{"a": 1, "a": 2}',
        "/**/1",
        "1\x00",
        "[" * 100_000,
    ),
]


@pytest.mark.parametrize("text", TEXTS)
def test_what_json_refuses_is_refused_and_what_it_takes_is_taken(text: str, way: str) -> None:
    def read(loads: Any) -> Any:
        try:
            return repr(loads(text))
        except (ValueError, RecursionError) as error:
            return ValueError if isinstance(error, ValueError) else RecursionError

    assert read(lean.loads) == read(json.loads), way


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", {"a": object()}, [Path("a")], {(1, 2): 3}])
def test_what_has_no_json_is_a_type_error(value: Any, way: str) -> None:
    with pytest.raises(TypeError):
        lean.dumps(value)
    assert lean.dumps({"a": 1}) == '{"a": 1}', way


def test_bytes_that_are_not_utf_8_are_a_value_error(way: str) -> None:
    with pytest.raises(ValueError, match="decode"):
        lean.loads(b'"\xff"')


@pytest.mark.parametrize("text", ["", "{", '{"a": 1', "[1", "nul", '"a', "1 2", "[" * 100_000])
def test_what_is_no_json_is_told_although_json_is_not_there_yet(text: str) -> None:
    program = """
from iot_jobs_agent.shim.lean import loads
assert "json" not in sys.modules
try:
    loads(sys.stdin.read())
except (ValueError, RecursionError) as error:
    print(type(error).__name__)
"""
    assert run(program, text) in {"JSONDecodeError", "RecursionError"}


@pytest.mark.parametrize("hidden", ["", "_ctypes"])
def test_a_property_of_the_process_is_set(hidden: str) -> None:
    hide = f"import _ctypes, ctypes; sys.modules[{hidden!r}] = None\n" if hidden else ""
    set_it = "from iot_jobs_agent.shim.lean import prctl\nprctl(36, 1)\n"  # PR_SET_CHILD_SUBREAPER
    read_it = "import ctypes; n = ctypes.c_int(); ctypes.CDLL(None).prctl(37, ctypes.byref(n), 0, 0, 0); print(n.value)"
    assert run(hide + set_it + read_it) == "1"


@pytest.mark.parametrize("program", ["supervisor", "entry"])
def test_a_start_imports_nothing_heavy(program: str) -> None:
    listed = run(f"from iot_jobs_agent.shim import {program}; print(*sys.modules)")
    assert set(HEAVY) & set(listed.split()) == set()


def test_signals_are_those_of_the_module_signal() -> None:
    names = [name for name in dir(lean.signal) if name.startswith("SIG") and name.isupper()]
    assert {"SIGTERM", "SIGKILL", "SIGCHLD", "SIG_DFL"} <= set(names)
    assert all(getattr(lean.signal, name) == getattr(signal, name) for name in names)


def run(code: str, given: str = "") -> str:
    """Run Python code as a shim is run, and return what it printed."""
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(ROOT)!r})\n{code}"]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout.strip()
