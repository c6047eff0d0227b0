"""`iot-jobs-agent pause`: sets a maintenance lock that survives restarts of the agent and of the device."""

import argparse
import select
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iot_jobs_agent.commands import options
from iot_jobs_agent.state import directory as state_directory
from iot_jobs_agent.state import status

LOOK_S = 0.2
JUST_BEGUN: dict[str, Any] = {"is_paused": False, "executions": [], "degraded": ""}


def main(arguments: Sequence[str]) -> int:
    """Set the pause. Return 0, with --wait only once nothing is under way; 1 if it cannot see that in time."""
    chosen = parser().parse_args(arguments)
    if chosen.timeout is not None and not chosen.wait:
        parser().error("--timeout says how long to wait: add --wait")
    directory = options.owned_state_directory(chosen.config)
    state_directory.set_paused(directory, is_paused=True)
    if not chosen.wait:
        print("paused: no new executions are taken until `iot-jobs-agent resume`")
        return 0
    return _wait(directory, chosen.timeout)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = options.parser("pause")
    options.add_config(made)
    made.add_argument("--wait", action="store_true", help="return once nothing is under way any more")
    options.add_timeout(made, "with --wait: give up after so many seconds")
    return made


def _wait(directory: Path, timeout_s: float | None) -> int:
    until = None if timeout_s is None else time.monotonic() + timeout_s
    shown = ""
    while True:
        if not state_directory.is_locked(directory):
            print("paused, but the agent does not run: what it left under way cannot be seen until it does")
            return 1
        told = status.read(directory) if (directory / state_directory.STATUS).exists() else JUST_BEGUN
        if told["is_paused"] and not told["executions"]:
            print("paused: nothing is under way")
            return 0
        if (now := _under_way(told)) != shown:
            shown = now
            print(f"waiting for {shown}", flush=True)
        if until is not None and time.monotonic() > until:
            print(f"paused, but after {timeout_s:g} s still under way: {shown}")
            return 1
        select.select([], [], [], LOOK_S)


def _under_way(told: dict[str, Any]) -> str:
    idle = f"the agent, which is degraded: {told['degraded']}" if told["degraded"] else "the agent to take notice"
    return ", ".join(f"{e['execution']} ({e['phase']})" for e in told["executions"]) or idle
