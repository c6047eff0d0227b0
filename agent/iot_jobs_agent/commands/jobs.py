"""`iot-jobs-agent jobs`: shows the history in the journal, or everything that was kept of one job."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from iot_jobs_agent.attempts import results
from iot_jobs_agent.commands import options
from iot_jobs_agent.commands.terminal import one_line, printable
from iot_jobs_agent.core.job import AttemptResult
from iot_jobs_agent.core.outcome import ending_in_words
from iot_jobs_agent.core.state import SETTLED_KEPT
from iot_jobs_agent.errors import AgentError
from iot_jobs_agent.state.journal import HistoryEntry, read_history


def main(arguments: Sequence[str]) -> int:
    """Print the last executions, newest first, or the executions of one job. Return 0."""
    parser = options.parser("jobs")
    options.add_config(parser)
    options.add_json(parser)
    parser.add_argument(
        "--limit", type=options.count, default=20, metavar="N", help=f"at most N (default 20, kept {SETTLED_KEPT})"
    )
    parser.add_argument(
        "job", nargs="?", metavar="JOB_ID", help="show this job's executions with each step's result and output"
    )
    chosen = parser.parse_args(arguments)
    state_directory = options.owned_state_directory(chosen.config)
    if chosen.job is not None:
        return _show(state_directory, chosen.job, as_json=chosen.json)
    entries = read_history(state_directory, chosen.limit)
    if chosen.json:
        print(json.dumps([_facts(entry) for entry in entries], indent=2))
    elif not entries:
        print("no execution has been settled here yet")
    else:
        for entry in entries:
            print(_line(entry))
    return 0


def _show(state_directory: Path, asked: str, *, as_json: bool) -> int:
    """Print what is known of a job, given its id or an execution in the form of the list (`team-a/job-1#2`)."""
    found = [e for e in read_history(state_directory) if asked in {e.execution.job_id, str(e.execution)}]
    if not found:
        raise AgentError(
            f"no execution of {asked} is among the last {SETTLED_KEPT} that were settled here;"
            " `iot-jobs-agent status` shows what is under way"
        )
    kept = [(entry, results.read(state_directory, entry.execution)) for entry in found]
    if as_json:
        shown = [_facts(entry) | {"attempts": [_attempt(*each) for each in attempts]} for entry, attempts in kept]
        print(json.dumps(shown, indent=2))
        return 0
    for position, (entry, attempts) in enumerate(kept):
        print("\n" * bool(position) + _line(entry))
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


def _line(entry: HistoryEntry) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.settled_at))
    duration_s = _duration_s(entry)
    took = "-" if duration_s is None else f"{duration_s:.1f} s"
    outcome = entry.outcome
    line = f"{when}  {outcome.status:<9}  {took:>8}  {entry.execution}  {entry.operation}  {outcome.reason}"
    return one_line(line).rstrip()
