"""The share of updated devices over time as a picture, a line for each plan. Needs matplotlib."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from iot_jobs_simulator.rehearsal.answers import PERCENTS
from iot_jobs_simulator.rehearsal.summary import Summary

_HOUR_S = 3600


def draw_plot(summaries: Sequence[Summary], path: Path) -> None:
    """Write the picture, as the file's suffix says; ValueError for one that matplotlib does not know, OSError."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for summary in summaries:
        middle = [_hours(each.middle) for each in summary.done_after_s]
        low = [_hours(each.low) for each in summary.done_after_s]
        high = [_hours(each.high) for each in summary.done_after_s]
        (line,) = axes.plot(middle, PERCENTS, label=summary.title)
        axes.fill_betweenx(PERCENTS, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set(xlabel="hours since the job was created", ylabel="% of the devices updated", ylim=(0, 100))
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    with mpl.rc_context({"svg.hashsalt": "rehearsal"}):  # the same picture from the same figures
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _hours(seconds: float | None) -> float:
    return float("nan") if seconds is None else seconds / _HOUR_S
