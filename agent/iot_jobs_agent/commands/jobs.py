"""`iot-jobs-agent jobs`: shows the history in the journal, or everything that was kept of one job."""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from iot_jobs_agent.commands import options
from iot_jobs_agent.commands.terminal import printable, table, wait, width
from iot_jobs_agent.core.job import AttemptResult
from iot_jobs_agent.core.outcome import ending_in_words
from iot_jobs_agent.core.state import SETTLED_KEPT
from iot_jobs_agent.errors import AgentError
from iot_jobs_agent.state.journal import HistoryEntry, read_history

HEADER = ("SETTLED", "STATUS", f"{'TOOK':>8}", "EXECUTION", "OPERATION", "REASON")
FOLLOW_EVERY_S = 1.0


def main(arguments: Sequence[str]) -> int:
    """Print the last executions, newest first, or the executions of one job. Return 0."""
    chosen = parser().parse_args(arguments)
    if chosen.follow and chosen.job is not None:
        parser().error("--follow lists all jobs: leave out JOB_ID")
    state_directory = options.owned_state_directory(chosen.config)
    if chosen.job is not None:
        return _show(state_directory, chosen.job, as_json=chosen.json)
    if chosen.follow:
        return _follow(state_directory, chosen.limit, as_json=chosen.json)
    entries = read_history(state_directory, chosen.limit)
    if chosen.json:
        print(json.dumps([_facts(entry) for entry in entries], indent=2))
    elif not entries:
        print("no execution has been settled here yet")
    else:
        print("\n".join(table([HEADER, *map(_cells, entries)], width())))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = options.parser("jobs")
    options.add_config(made)
    options.add_json(made)
    made.add_argument(
        "--limit", type=options.count, default=20, metavar="N", help=f"at most N (default 20, kept {SETTLED_KEPT})"
    )
    made.add_argument(
        "job", nargs="?", metavar="JOB_ID", help="show this job's executions with each step's result and output"
    )
    made.add_argument(
        "--follow", action="store_true", help="print the oldest first, and then each that is settled, until Ctrl-C"
    )
    return made


def _follow(state_directory: Path, limit: int, *, as_json: bool) -> int:
    """Print the last executions, oldest first, then each one that is settled. As JSON, one line each."""
    seen: set[tuple[object, ...]] = set()
    is_first = True
    while True:
        entries = read_history(state_directory, SETTLED_KEPT)
        fresh = entries[:limit] if is_first else entries
        new = [entry for entry in reversed(fresh) if _key(entry) not in seen]
        if as_json:
            lines = [json.dumps(_facts(entry)) for entry in new]
        else:
            lines = table([HEADER, *map(_cells, new)], width())[0 if is_first else 1 :]
        if lines:
            print("\n".join(lines), flush=True)
        seen = {_key(entry) for entry in entries}
        is_first = False
        wait(FOLLOW_EVERY_S)


def _key(entry: HistoryEntry) -> tuple[object, ...]:
    return entry.execution, entry.queued_at, entry.settled_at


def _show(state_directory: Path, asked: str, *, as_json: bool) -> int:
    """Print what is known of a job, given its id or an execution in the form of the list (`team-a/job-1#2`)."""
    found = [e for e in read_history(state_directory) if asked in {e.execution.job_id, str(e.execution)}]
    if not found:
        raise AgentError(
            f"no execution of {asked} is among the last {SETTLED_KEPT} that were settled here;"
            " `iot-jobs-agent status` shows what is under way"
        )
    from iot_jobs_agent.attempts import results  # noqa: PLC0415 - slow to import, and a list needs none

    kept = [(entry, results.read(state_directory, entry.execution)) for entry in found]
    if as_json:
        shown = [_facts(entry) | {"attempts": [_attempt(*each) for each in attempts]} for entry, attempts in kept]
        print(json.dumps(shown, indent=2))
        return 0
    for position, (entry, attempts) in enumerate(kept):
        print("\n" * bool(position) + "\n".join(table([_cells(entry)], width())))
        for step, number, result in attempts:
            print(f"\nstep {step + 1}, attempt {number}: {printable(_ending(result))}")
            if result.handler_result is not None:
                print(f"result: {json.dumps(result.handler_result)}")
            for name, text in (("stdout", result.stdout), ("stderr", result.stderr)):
                if text:
                    print(f"--- {name}\n{printable(text.rstrip())}")
        if not attempts:
            print("\nnothing was started, or nothing of it was kept")
    return 0


def _ending(result: AttemptResult) -> str:
    return ": ".join(filter(None, [ending_in_words(result), result.reason, result.bad_result]))


def _attempt(step: int, number: int, result: AttemptResult) -> dict[str, object]:
    return {
        "step": step + 1,
        "attempt": number,
        "ending": result.ending.value,
        "code": result.code,
        "signal": result.signal,
        "duration_s": result.duration_s,
        "leftovers_killed": result.leftovers_killed,
        "leftovers_alive": result.leftovers_alive,
        "reason": result.reason,
        "notes": list(result.notes),
        "handler_result": result.handler_result,
        "bad_result": result.bad_result,
        "stdout": result.stdout,
        "stderr": result.stderr,
    }


def _facts(entry: HistoryEntry) -> dict[str, object]:
    return {
        "job_id": entry.execution.job_id,
        "namespace": entry.execution.namespace,
        "execution_number": entry.execution.execution_number,
        "operation": entry.operation,
        "status": entry.outcome.status.value,
        "reason": entry.outcome.reason,
        "code": entry.outcome.code,
        "service_accepted": entry.service_accepted,
        "settled_at": round(entry.settled_at, 3),
        "duration_s": _duration_s(entry),
    }


def _duration_s(entry: HistoryEntry) -> float | None:
    """Return the time from claim to settlement by the wall clock. That may have been set meanwhile, so at least 0."""
    return round(max(0.0, entry.settled_at - entry.claimed_at), 3) if entry.claimed_at else None


def _cells(entry: HistoryEntry) -> list[str]:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.settled_at))
    duration_s = _duration_s(entry)
    took = "-" if duration_s is None else f"{duration_s:.1f} s"
    outcome = entry.outcome
    return [when, outcome.status.value, f"{took:>8}", str(entry.execution), entry.operation, outcome.reason]
