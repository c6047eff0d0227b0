"""docs/rehearsal.md is true: its commands print what it says, and its fleet is the file that they read."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest
from tests.support.files import ROOT

from iot_jobs_simulator import __main__ as simulator

if TYPE_CHECKING:
    from pathlib import Path

DOCS = ROOT / "docs"
PAGE = (DOCS / "rehearsal.md").read_text()
EXAMPLES = re.findall(
    r"^```sh\niot-jobs-simulator (rehearse .*?)\n```\n\n```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
)


def test_the_page_has_its_stories() -> None:
    assert len(EXAMPLES) == 5


@pytest.mark.parametrize(("command", "printed"), EXAMPLES)
def test_the_commands_on_the_page_print_what_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, printed: str
) -> None:
    monkeypatch.chdir(DOCS / "rehearsal")
    assert simulator.main(shlex.split(command.replace("\\\n", ""))) == 0
    assert capsys.readouterr().out == printed


def test_the_fleet_on_the_page_is_the_one_that_the_commands_read() -> None:
    assert f"```toml\n{(DOCS / 'rehearsal' / 'fleet.toml').read_text()}```" in PAGE


def test_the_picture_is_what_its_script_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DOCS / "rehearsal")
    drawn = tmp_path / "rehearsal.svg"
    jobs = "--job night-europe.json --job night-america.json --job night-asia.json --build good --at 2026-12-06T20:00"
    assert simulator.main(["rehearse", "fleet.toml", *jobs.split(), "--plot", str(drawn)]) == 0
    assert drawn.read_text() == (DOCS / "pictures" / "rehearsal.svg").read_text()
