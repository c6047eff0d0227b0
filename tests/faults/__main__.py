"""`uv run python -m tests.faults`: look for lost outcomes and double starts, and print what was tried.

Without names all harnesses run; `--full` runs them whole. Exit 1 on a violation, or if a known-bad control was missed.
"""

import argparse
import importlib
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.harness import Options, Report

HARNESSES = {  # modules, each with `run(options) -> Report`
    "model": "tests.faults.model.runs",
    "crash": "tests.faults.crash.explore",
    "kill": "tests.faults.kill.loop",
    "soak": "tests.faults.soak",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Runs the fault harnesses.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones: {', '.join(HARNESSES)} (default: all)")
    parser.add_argument("--full", action="store_true", help="all there is, not a sample")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), metavar="N", help="of the sample")
    parser.add_argument("--replay", default="", metavar="TEXT", help="one case alone, as a violation printed it")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - HARNESSES.keys():
        parser.error(f"no such harness: {', '.join(sorted(unknown))}")
    reports = [_run(name, chosen) for name in chosen.names or HARNESSES]
    return 0 if all(report.is_good for report in reports) else 1


def _run(name: str, chosen: argparse.Namespace) -> Report:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="iot-jobs-faults-") as scratch:
        options = Options(Path(scratch), chosen.seed, chosen.full, chosen.replay)
        report: Report = importlib.import_module(HARNESSES[name]).run(options)
    counts = ", ".join(f"{count:,} {what}" for what, count in report.counts.items())
    print(f"{name}: {counts}; seed {chosen.seed}, {time.monotonic() - started:.0f} s")
    for control, is_caught in report.controls.items():
        print(f"  {'caught' if is_caught else 'MISSED'}: {control}")
    for violation in report.violations:
        print(f"  VIOLATION {violation}")
    print(f"  {len(report.violations)} violations", flush=True)
    return report


if __name__ == "__main__":
    sys.exit(main())
