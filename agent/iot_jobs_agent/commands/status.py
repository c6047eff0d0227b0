"""`iot-jobs-agent status`: prints the status that the agent last wrote."""

import json
import time
from collections.abc import Sequence
from typing import Any

from iot_jobs_agent.commands import options
from iot_jobs_agent.commands.terminal import one_line
from iot_jobs_agent.state import directory as state_directory
from iot_jobs_agent.state import status

SHORTEST_LIST = 10  # the most a notification lists (AWS IoT developer guide, "AWS IoT Jobs MQTT API operations")


def main(arguments: Sequence[str]) -> int:
    """Print the status. Return 0 if the agent is running and connected, 1 otherwise."""
    parser = options.parser("status")
    options.add_config(parser)
    options.add_json(parser)
    chosen = parser.parse_args(arguments)
    directory = options.owned_state_directory(chosen.config)
    shown = status.read(directory)
    shown["is_running"] = state_directory.is_locked(directory)
    shown["is_paused"] = state_directory.is_paused(directory)
    if not shown["is_running"]:
        shown["connection"] = {"is_connected": False, "since": None}  # the file has outlived the agent
    print(json.dumps(shown, indent=2) if chosen.json else _text(shown))
    return 0 if shown["connection"]["is_connected"] else 1


def _text(status: dict[str, Any]) -> str:
    connection = status["connection"]
    lines = [
        f"agent      {'running, pid ' + str(status['pid']) if status['is_running'] else 'not running'}",
        f"thing      {status['thing_name']}",
        f"connection {'up since ' + _when(connection['since']) if connection['is_connected'] else 'down'}",
    ]
    if status["is_paused"]:
        lines.append("paused     takes no new executions until `iot-jobs-agent resume`")
    if status["degraded"]:
        lines.append(f"degraded   {status['degraded']}")
    if status.get("volatile"):
        lines.append(f"state      does not survive a reboot: {status['volatile']}")
    for queue in status["namespaces"]:
        name = queue["namespace"] or "(default)"
        lines.append(f"namespace  {name}: {_queue(queue)}")
    for execution in status["executions"]:
        percent = f"{execution['progress']:g} %" if execution.get("progress") is not None else ""
        shown = [execution["execution"], execution["operation"], execution["phase"], percent, execution.get("message")]
        lines.append(f"execution  {'  '.join(part for part in shown if part)}")
    for error in status["errors"]:
        facts = ", ".join(f"{key}={value}" for key, value in error.items() if key not in {"at", "what"} and value)
        lines.append(f"problem    {_when(error['at'])}  {error['what']}  {facts}")
    return "\n".join(one_line(line) for line in lines)


def _queue(queue: dict[str, Any]) -> str:
    shown = ", ".join(queue["pending"]) or ("nothing pending" if queue["is_known"] else "no list yet")
    if queue["left_alone"]:
        shown += f"; {queue['left_alone']} left to other agents"
    if queue["left_alone"] >= SHORTEST_LIST:
        shown += ", which fill the service's list: what is behind them cannot be seen"
    return shown


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
