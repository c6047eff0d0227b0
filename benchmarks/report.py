"""The figures as a Markdown table: medians, targets, and ratios, which travel between machines better than times."""

from typing import Any

from benchmarks.ratios import machine


def table(figures: dict[str, Any]) -> str:
    """The table, with a line about the machine and how busy it was."""
    agent, floor = figures["agent"], figures["floor"]
    rows = [
        ("idle RSS, MB", agent["rss_mb"], floor["rss_mb"], "≤ 1.19 of the floor"),
        ("idle PSS, MB", agent["pss_mb"], floor["pss_mb"], "≤ 1.3 of the floor"),
        ("idle wake-ups/s", agent["wakeups_per_s"], floor["wakeups_per_s"], "≤ 0.2"),
        ("threads", agent["threads"], floor["threads"], ""),
    ]
    if "start" in figures:
        start = figures["start"]
        rows.append(
            ("start to first fetch, ms (floor: imports)", start["first_fetch_ms"], start["imports_ms"], "≤ 400")
        )
        for kind, target in (("executable", "≤ 80"), ("python", "≤ 350")):
            each = figures["turnaround"][kind]
            rows += [
                (
                    f"notification to terminal, {kind}, ms (floor: processes)",
                    each["median_ms"],
                    each["floor_ms"],
                    target,
                ),
                (f"… of it until claimed, {kind}, ms", each["claim_ms"], None, ""),
                (f"… best of {figures['jobs']}, {kind}, ms", each["best_ms"], None, ""),
                (f"… worst of {figures['jobs']}, {kind}, ms", each["worst_ms"], None, ""),
                (f"bytes written for a job, {kind}", each["written_bytes"], None, ""),
            ]
    lines = ["| figure | agent | floor | ratio | target |", "|---|---|---|---|---|"]
    lines += [_line(*row) for row in rows]
    return "\n".join([*lines, "", machine()])


def _line(what: str, ours: float, floor: float | None, target: str) -> str:
    ratio = f"{ours / floor:.3f}" if floor else ""
    return f"| {what} | {ours:g} | {'' if floor is None else f'{floor:g}'} | {ratio} | {target} |"
