"""`iot-jobs-agent status`: prints the status that the agent last wrote."""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iot_jobs_agent.commands import options, terminal
from iot_jobs_agent.state import directory as state_directory
from iot_jobs_agent.state import status

LABEL = len("connection ")
SHORTEST_LIST = 10  # the most a notification lists (AWS IoT developer guide, "AWS IoT Jobs MQTT API operations")


WATCH_EVERY_S = 1.0
SOON_S = 30 * 86400  # a certificate that expires within this time is worth a word
CLEAR = "\x1b[H\x1b[J"


def main(arguments: Sequence[str]) -> int:
    """Print the status. Return 0 if the agent is running and connected, 1 otherwise."""
    chosen = parser().parse_args(arguments)
    directory = options.owned_state_directory(chosen.config)
    if chosen.watch:
        return _watch(directory, as_json=chosen.json)
    shown = _read(directory)
    print(json.dumps(shown, indent=2) if chosen.json else _text(shown, terminal.width()))
    return 0 if shown["connection"]["is_connected"] else 1


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = options.parser("status")
    options.add_config(made)
    options.add_json(made)
    made.add_argument("--watch", action="store_true", help="show it again whenever it changes, until Ctrl-C")
    return made


def _watch(directory: Path, *, as_json: bool) -> int:
    """Print the status whenever it has changed: on a terminal in the same place, else below; as JSON, one line each."""
    last = ""
    while True:
        shown = _read(directory)
        text = json.dumps(shown) if as_json else _text(shown, columns := terminal.width())
        if text != last:
            print(text if as_json else f"{CLEAR if columns else ''}{text}", flush=True)
            last = text
        terminal.wait(WATCH_EVERY_S)


def _read(directory: Path) -> dict[str, Any]:
    shown = status.read(directory)
    shown["is_running"] = state_directory.is_locked(directory)
    shown["is_paused"] = state_directory.is_paused(directory)
    if not shown["is_running"]:
        shown["connection"] = {"is_connected": False, "since": None}  # the file has outlived the agent
    return shown


def _text(status: dict[str, Any], columns: int | None = None) -> str:
    connection = status["connection"]
    now = time.time()
    lines = [
        f"agent      {'running, pid ' + str(status['pid']) if status['is_running'] else 'not running'}",
        f"thing      {status['thing_name']}",
        f"connection {'up since ' + _when(connection['since']) if connection['is_connected'] else 'down'}",
    ]
    if isinstance(status.get("certificate_expires_at"), int | float):
        lines.append(_expiry(status["certificate_expires_at"], now))
    if status["is_paused"]:
        lines.append("paused     takes no new executions until `iot-jobs-agent resume`")
    if status["degraded"]:
        lines.append(f"degraded   {status['degraded']}")
    if status.get("volatile"):
        lines.append(f"state      does not survive a reboot: {status['volatile']}")
    for queue in status["namespaces"]:
        name = queue["namespace"] or "(default)"
        lines.append(f"namespace  {name}: {_queue(queue)}")
    lines += [f"execution  {_execution(execution, now)}" for execution in status["executions"]]
    for error in status["errors"]:
        facts = ", ".join(f"{key}={value}" for key, value in error.items() if key not in {"at", "what"} and value)
        lines.append(f"problem    {_when(error['at'])}  {error['what']}  {facts}")
    return "\n".join(terminal.wrapped(terminal.one_line(line), columns, LABEL) for line in lines)


def _execution(execution: dict[str, Any], now: float) -> str:
    """Return what is known of an execution that is under way, and for how long it has been."""
    claimed_at = execution.get("claimed_at")
    age = f"for {terminal.duration_in_words(now - claimed_at)}" if isinstance(claimed_at, int | float) else ""
    percent = f"{execution['progress']:g} %" if execution.get("progress") is not None else ""
    shown = [execution["execution"], execution["operation"], execution["phase"], age, percent, execution.get("message")]
    return "  ".join(part for part in shown if part)


def _expiry(expires_at: float, now: float) -> str:
    left_s = expires_at - now
    if left_s <= 0:
        how_long = terminal.duration_in_words(-left_s)
        return f"expired    the certificate, {_when(expires_at)}, {how_long} ago: replace it and restart the agent"
    advice = "; replace it soon" if left_s < SOON_S else ""
    return f"expires    the certificate, {_when(expires_at)}, in {terminal.duration_in_words(left_s)}{advice}"


def _queue(queue: dict[str, Any]) -> str:
    shown = ", ".join(queue["pending"]) or ("nothing pending" if queue["is_known"] else "no list yet")
    if queue["left_alone"]:
        shown += f"; {queue['left_alone']} left to other agents"
    if queue["left_alone"] >= SHORTEST_LIST:
        shown += ", which fill the service's list: what is behind them cannot be seen"
    return shown


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
