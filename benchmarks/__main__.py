"""`uv run python -m benchmarks`: measure the agent as it is on a device, beside the floor. See benchmarks/README.md.

`--gate` measures memory alone and fails if the agent's RSS is more than 1.19 times the floor's; for CI, under a minute.
`--against` compares this checkout with an older commit instead of the floor, and takes five to ten minutes.
Times never fail anything: the machine is shared.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import against, device, idle, latency, report
from iot_jobs_simulator.server import running_simulator

MEMORY_LIMIT = 1.19  # times the floor's RSS
YARDSTICK = "7d226eb"  # the build of 2026-11-22
GATE_WINDOW_S = 2.0
GATE_TIMES = 3  # RSS varies by half a percent from start to start


def main() -> int:
    """Measure, print a Markdown table, and with `--json` leave the figures in a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures the agent beside the floor.")
    parser.add_argument("--gate", action="store_true", help="memory only; exit 1 above 1.19 times the floor's RSS")
    parser.add_argument("--window", type=float, default=30.0, metavar="S", help="idle seconds observed (default: 30)")
    parser.add_argument("--jobs", type=int, default=20, metavar="N", help="jobs of each kind (default: 20)")
    parser.add_argument("--starts", type=int, default=10, metavar="N", help="starts of the agent (default: 10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there, as JSON")
    older = f"compare with a commit (default: {YARDSTICK})"
    parser.add_argument("--against", nargs="?", const=YARDSTICK, metavar="REVISION", help=older)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="iot-jobs-benchmarks-") as scratch:
        if chosen.against:
            ratios = asyncio.run(against.compare(chosen.against, Path(scratch), jobs=chosen.jobs))
            table, figures = ratios.table(), ratios.figures()
        else:
            figures = asyncio.run(_measure(Path(scratch), chosen))
            table = report.table(figures)
    print(table)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n")
    return _gate(figures) if chosen.gate and not chosen.against else 0


async def _measure(scratch: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    installed = await asyncio.to_thread(device.install, scratch)
    async with running_simulator() as simulator:
        window_s = GATE_WINDOW_S if chosen.gate else chosen.window
        times = GATE_TIMES if chosen.gate else 1
        agent, floor = await idle.measure(installed, simulator, scratch, window_s=window_s, times=times)
        figures: dict[str, Any] = {"window_s": window_s, "agent": asdict(agent), "floor": asdict(floor)}
        if not chosen.gate:
            start = await latency.measure_start(installed, simulator, scratch, times=chosen.starts)
            turnarounds = await latency.measure_turnaround(installed, simulator, scratch, times=chosen.jobs)
            figures |= {"starts": chosen.starts, "start": asdict(start), "jobs": chosen.jobs}
            figures["turnaround"] = {kind: asdict(each) for kind, each in turnarounds.items()}
    return figures


def _gate(figures: dict[str, Any]) -> int:
    agent_mb, floor_mb = figures["agent"]["rss_mb"], figures["floor"]["rss_mb"]
    is_over = agent_mb > MEMORY_LIMIT * floor_mb
    verdict = "more than" if is_over else "within"
    print(
        f"\nmemory gate: RSS {agent_mb:.1f} MB is {agent_mb / floor_mb:.3f} x the floor's {floor_mb:.1f} MB, "
        f"{verdict} the {MEMORY_LIMIT} x allowed",
        file=sys.stderr if is_over else sys.stdout,
    )
    return int(is_over)


if __name__ == "__main__":
    sys.exit(main())
