"""How fast rehearsals are: `uv run benchmarks/rehearsal.py`. Prints seconds; never a test.

One seed of 10,000 devices through the rules themselves, and 200 seeds of 100,000 devices with arrays on all
processors, without and with maintenance windows. `--seeds N` takes fewer.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]  # or we import ourselves
from iot_jobs_simulator.model import ServiceApi  # noqa: E402 - the path comes first
from iot_jobs_simulator.rehearsal.fleet import Fleet, fleet_of  # noqa: E402 - same
from iot_jobs_simulator.rehearsal.plan import plan_of  # noqa: E402 - same
from iot_jobs_simulator.rehearsal.seeds import Engine, answers_of  # noqa: E402 - same

CREATED_AT = 1_796_083_200.0  # 2026-12-01
DAYS_S = 30 * 86400
JOB: dict[str, Any] = {
    "targets": ["arn:aws:iot:us-east-1:123456789012:thinggroup/all"],
    "timeoutConfig": {"inProgressTimeoutInMinutes": 60},
    "jobExecutionsRetryConfig": {"criteriaList": [{"failureType": "ALL", "numberOfRetries": 2}]},
    "abortConfig": {
        "criteriaList": [
            {"failureType": "ALL", "action": "CANCEL", "thresholdPercentage": 60, "minNumberOfExecutedThings": 100}
        ]
    },
}
NIGHTS = {
    "targetSelection": "CONTINUOUS",
    "schedulingConfig": {
        "startTime": "2026-12-01T12:00",
        "maintenanceWindows": [{"startTime": "cron(0 1 * * ? *)", "durationInMinutes": 180}],
    },
}


def fleet(size: int) -> Fleet:
    """Devices with everything that can happen to them."""
    group = {
        "size": size,
        "duration_min": {"p0": 1, "p50": 4, "p100": 90},
        "offline": {"share": 0.2, "back_after_h": {"p0": 1, "p50": 8, "p100": 70}},
        "never_online_share": 0.01,
        "sites": {"size": 50, "offline_share": 0.02, "back_after_h": {"p0": 4, "p100": 72}},
        "failures": [
            {"cause": "disk full", "share": 0.02},
            {"cause": "stuck", "share": 0.01, "status": "SILENT"},
            {"cause": "too old", "share": 0.01, "status": "REJECTED", "persists": True},
        ],
    }
    return fleet_of({"groups": {"all": group}})


def measure(name: str, engine: Engine, size: int, seeds: int, **more: Any) -> None:
    """Time one rehearsal, and print it."""
    plan = plan_of(JOB | more, fleet(size), CREATED_AT, DAYS_S, ServiceApi("iot"))
    started, cpu_s = time.perf_counter(), _cpu_s()
    answers = answers_of(plan, range(1, seeds + 1), engine, lambda: None)
    took_s = time.perf_counter() - started
    cpu_s = _cpu_s() - cpu_s
    times = f"{took_s:7.2f} s, CPU {cpu_s:7.2f} s"
    updated = answers[0].endings["updated"]
    print(f"{name:20} {seeds:4} x {size:7,} devices {times}  {updated:,} updated")


def _cpu_s() -> float:
    """CPU time of this process and of those that it has waited for, to compare on a busy machine."""
    return sum(os.times()[:4])


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="How fast rehearsals are.")
    parser.add_argument("--seeds", type=int, default=200, metavar="N", help="seeds with arrays (default: %(default)s)")
    seeds = parser.parse_args().seeds
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    measure("core", Engine.CORE, 10_000, 1)
    measure("core, with windows", Engine.CORE, 10_000, 1, **NIGHTS)
    measure("arrays", Engine.ARRAYS, 100_000, seeds)
    measure("arrays, with windows", Engine.ARRAYS, 100_000, seeds, **NIGHTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
