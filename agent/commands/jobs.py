"""`iot-jobs-agent jobs`: the history, from the journal."""

import json
import time
from collections.abc import Sequence

from agent.commands import options
from agent.config import load_handlers
from agent.journal import HISTORY_KEPT, HistoryEntry, read_history


def main(arguments: Sequence[str]) -> int:
    """Print the last executions, newest first."""
    parser = options.parser("jobs", "List the last executions with outcome, duration and reason, newest first.")
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help=f"at most N (default 20, kept {HISTORY_KEPT})"
    )
    chosen = parser.parse_args(arguments)
    entries = read_history(load_handlers(chosen.config).agent.state_directory, max(0, chosen.limit))
    if chosen.json:
        print(json.dumps([_facts(entry) for entry in entries], indent=2))
    elif not entries:
        print("no execution has been settled here yet")
    else:
        for entry in entries:
            print(_line(entry))
    return 0


def _facts(entry: HistoryEntry) -> dict[str, object]:
    return {
        "job_id": entry.execution.job_id,
        "namespace": entry.execution.namespace,
        "execution_number": entry.execution.execution_number,
        "operation": entry.operation,
        "status": entry.outcome.status.value,
        "reason": entry.outcome.reason,
        "code": entry.outcome.code,
        "service_accepted": entry.was_accepted,
        "settled_at": round(entry.settled_at, 3),
        "duration_s": _duration_s(entry),
    }


def _duration_s(entry: HistoryEntry) -> float | None:
    """Claim to settlement by the wall clock, which may have been set meanwhile: never less than 0."""
    return round(max(0.0, entry.settled_at - entry.claimed_at), 3) if entry.claimed_at else None


def _line(entry: HistoryEntry) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.settled_at))
    duration_s = _duration_s(entry)
    took = "-" if duration_s is None else f"{duration_s:.1f} s"
    outcome = entry.outcome
    return f"{when}  {outcome.status:<9}  {took:>8}  {entry.execution}  {entry.operation}  {outcome.reason}".rstrip()
