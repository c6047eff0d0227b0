"""What holds for every test, on a developer's machine and where the variable CI is set."""

import subprocess
import sys
from pathlib import Path

import pytest
from cache import cached
from hypothesis import HealthCheck, settings
from tests.support.examples import LARGE
from tests.support.files import ROOT


def test_examples_may_take_long_but_only_tests_that_say_so_may_have_large_ones() -> None:
    assert (settings().deadline, LARGE.deadline) == (None, None)
    assert tuple(settings().suppress_health_check) == (HealthCheck.too_slow,)
    assert HealthCheck.data_too_large in LARGE.suppress_health_check


KILLED = """
import os
from cache import cached
with cached("kind", "key") as (directory, is_new):
    (directory / "half").touch()
    os._exit(9)
"""


def test_what_somebody_who_was_killed_has_left_in_the_cache_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests/qemu"))
    assert subprocess.run([sys.executable, "-c", KILLED], check=False).returncode == 9
    with cached("kind", "key") as (directory, is_new):
        assert is_new
        assert list(directory.iterdir()) == []
    with cached("kind", "key") as (_, is_new):
        assert not is_new
