"""Figures of two builds that took turns, and their ratios, which travel between machines better than times."""

import os
import platform
import statistics
from collections import defaultdict

TARGETS = {  # of the ratio, what has been asked for; by how the figure's name begins
    "idle RSS, later": "≤ 0.65",
    "idle PSS, later": "≤ 0.8",
    "start to first fetch, later": "≤ 0.6, goal 0.5",
    "turnaround, executable": "≤ 0.45",
    "turnaround, Python": "≤ 0.35",
    "jobs/s": "≥ 1.5, goal 2.5",
    "CPU of the agent": "≤ 0.6",
    "bytes written": "≤ 0.6",
    "`status`": "≤ 0.4",
    "`jobs`": "≤ 0.4",
    "`jobctl`": "≤ 0.5",
}


class Ratios:
    """The figures so far: for each name, those of the build of then and those of now, in the order of the rounds."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, list[float]]] = defaultdict(lambda: {"then": [], "now": []})

    def add(self, figure: str, build: str, value: float) -> None:
        """Add one round's figure of `build`, "then" or "now"."""
        self._found[figure][build].append(value)

    def figures(self) -> dict[str, dict[str, list[float]]]:
        """Return everything that was measured, to be written as JSON."""
        return dict(self._found)

    def table(self) -> str:
        """Return a Markdown table: medians, the median of the rounds' ratios, and between which ratios they lie."""
        lines = ["| figure | then | now | ratio | least to most | target |", "|---|---|---|---|---|---|"]
        for figure, found in self._found.items():
            then, now = found["then"], found["now"]
            target = next((target for start, target in TARGETS.items() if figure.startswith(start)), "")
            each = sorted(new / old for old, new in zip(then, now, strict=True) if old)
            shown = f"{statistics.median(each):.2f} | {each[0]:.2f} to {each[-1]:.2f}" if each else "|"
            lines.append(
                f"| {figure} | {statistics.median(then):.5g} | {statistics.median(now):.5g} | {shown} | {target} |"
            )
        return "\n".join([*lines, "", machine()])


def machine() -> str:
    """Return a line about this machine and how busy it is."""
    one, _, fifteen = os.getloadavg()
    return (
        f"{platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} CPUs, load {one:.1f} now and "
        f"{fifteen:.1f} over 15 minutes; the machine is shared, so trust the ratios more than the times."
    )
