"""Draw what `iot-jobs-agent demo` shows: `uv run python docs/pictures/demo.py` runs it and writes the two pictures.

They are demo-light.svg and demo-dark.svg beside this file, the README shows the one that fits the reader's page.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

HERE = Path(__file__).parent
COLUMNS = 88
COLUMN_PX, LINE_PX, MARGIN_PX = 7.8, 19, 18
FONTS = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
COMMAND = "$ uv run iot-jobs-agent demo"
WORDS = re.compile(r"(IN_PROGRESS|SUCCEEDED|QUEUED|FAILED|^agent\b|^result\b|^\$.*)")


class Colours(NamedTuple):
    """The colours of a terminal."""

    page: str
    edge: str
    text: str
    quiet: str
    busy: str
    good: str
    bad: str


LIGHT = Colours("#ffffff", "#d0d7de", "#1f2328", "#656d76", "#0969da", "#1a7f37", "#cf222e")
DARK = Colours("#0d1117", "#30363d", "#e6edf3", "#8b949e", "#58a6ff", "#3fb950", "#f85149")


def lines() -> list[str]:
    """Run the demonstration; what it printed, each line cut to the picture's width."""
    with tempfile.TemporaryDirectory() as elsewhere:  # so that nothing of this checkout is in the picture
        done = subprocess.run(
            [sys.executable, "-m", "iot_jobs_agent", "demo"], cwd=elsewhere, capture_output=True, text=True, check=True
        )
    shown = [COMMAND, *done.stdout.splitlines()]
    return [line if len(line) <= COLUMNS else f"{line[: COLUMNS - 1]}…" for line in shown]


def svg(shown: list[str], colours: Colours) -> str:
    """Return the lines as a picture of a terminal."""
    width, height = COLUMNS * COLUMN_PX + 2 * MARGIN_PX, len(shown) * LINE_PX + 2 * MARGIN_PX
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img"'
        f' aria-label="What iot-jobs-agent demo prints" font-family="{FONTS}" font-size="13" fill="{colours.text}">'
    )
    page = (
        f'<rect x="0.5" y="0.5" width="{width - 1:g}" height="{height - 1:g}" rx="8"'
        f' fill="{colours.page}" stroke="{colours.edge}"/>'
    )
    texts = []
    for number, line in enumerate(shown):
        y = MARGIN_PX + LINE_PX * (number + 0.75)
        texts.append(f'<text x="{MARGIN_PX}" y="{y:g}" xml:space="preserve">{_line(line, colours)}</text>')
    return "\n".join([head, page, *texts, "</svg>\n"])


def _line(line: str, colours: Colours) -> str:
    return "".join(
        f'<tspan fill="{colour}">{escape(part)}</tspan>' if (colour := _colour(part, colours)) else escape(part)
        for part in WORDS.split(line)
    )


def _colour(word: str, colours: Colours) -> str:
    known = {"IN_PROGRESS": colours.busy, "SUCCEEDED": colours.good, "QUEUED": colours.quiet, "FAILED": colours.bad}
    return known.get(word, colours.quiet if word == "agent" or word.startswith("$") else "")


if __name__ == "__main__":
    printed = lines()
    (HERE / "demo-light.svg").write_text(svg(printed, LIGHT))
    (HERE / "demo-dark.svg").write_text(svg(printed, DARK))
