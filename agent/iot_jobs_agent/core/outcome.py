"""Turns the ending of an attempt into an outcome. This is the only place that decides what counts as success.

An attempt has succeeded if it exited by itself with code 0, left no process alive, wrote no more to stderr than its
document allows, and its handler did not say otherwise.
"""

import json
import signal
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, assert_never

from iot_jobs_agent.core.details import LIMIT, cut
from iot_jobs_agent.core.job import AttemptResult, Ending, ExecutionStatus, Outcome

KNOWN_OUTCOMES = ("succeeded", "failed", "rejected", "retry", "reboot")
OWN_CODES = frozenset({"internal-error"})  # given by our worker on a handler's behalf
BY_WORD = {
    "succeeded": (ExecutionStatus.SUCCEEDED, "", ""),
    "failed": (ExecutionStatus.FAILED, "failed", ""),
    "rejected": (ExecutionStatus.REJECTED, "rejected", ""),
    "retry": (ExecutionStatus.FAILED, "retry-limit", "asked to be tried again beyond its limit: "),
    "reboot": (
        ExecutionStatus.FAILED,
        "reboot-not-allowed",
        "asked for a reboot, but may_reboot is not true in both its manifest and its configuration: ",
    ),
}


class Followup(StrEnum):
    """What a handler can ask for instead of ending its step."""

    RETRY = "retry"
    REBOOT = "reboot"


def followup_of(result: AttemptResult) -> Followup | None:
    """Return the follow-up that the handler asked for. It counts only after exit code 0, with no process left alive."""
    has_exited_well = result.ending is Ending.EXITED and result.code == 0 and not result.leftovers_alive
    if not has_exited_well or result.bad_result or _result_problem(result.handler_result):
        return None
    word = _text(result.handler_result, "outcome")
    return Followup(word) if word in set(Followup) else None


def reason_given(result: AttemptResult) -> str:
    """Return the handler's reason for not succeeding, or for the follow-up that it asked for."""
    return _text(result.handler_result, "reason") or _last_line(result.stderr) or "the handler gave no reason"


def outcome_of(result: AttemptResult, allow_stderr: int | None = None) -> Outcome:
    """Judge the last attempt of a step. If it asks for a retry or a reboot, it fails, because neither was granted.

    `allow_stderr` is how many lines a success may write to stderr; None: any number (`allowStdErr` of AWS documents).
    """
    outcome = _by_ending(result)
    if outcome.status is not ExecutionStatus.SUCCEEDED:
        return outcome
    if result.leftovers_alive:
        reason = f"{_processes(result.leftovers_alive)} of it could not be killed"
        return Outcome(ExecutionStatus.FAILED, reason, "processes-left", outcome.details)
    if allow_stderr is not None and result.stderr_lines > allow_stderr:
        lines = "1 line" if result.stderr_lines == 1 else f"{result.stderr_lines} lines"
        reason = f"exited with code 0, but wrote {lines} to stderr, more than allowStdErr permits"
        reason = ": ".join(filter(None, [reason, _last_line(result.stderr)]))
        return Outcome(ExecutionStatus.FAILED, reason, "stderr", outcome.details)
    return outcome


def ending_in_words(result: AttemptResult) -> str:
    """Return the status detail `result`: how an attempt ended, how long it took and what it left behind."""
    words = [_ending(result)]
    if result.ending not in {Ending.LOST, Ending.CANNOT_START}:
        words.append(f"after {result.duration_s:.1f} s")
    extra = [f"{_processes(result.leftovers_killed)} left behind and killed"] if result.leftovers_killed else []
    extra += [f"{_processes(result.leftovers_alive)} could not be killed"] if result.leftovers_alive else []
    return "; ".join([" ".join(words), *extra, *result.notes])


def _ending(result: AttemptResult) -> str:
    match result.ending:
        case Ending.EXITED:
            return f"exited with code {result.code}"
        case Ending.SIGNALED:
            return f"killed by {_signal(result.signal or 0)}"
        case Ending.OOM:
            return "killed by the kernel's out-of-memory killer"
        case Ending.DEADLINE:
            return "stopped at its deadline"
        case Ending.STOPPED:
            return "stopped on a request that was not the agent's"
        case Ending.QUOTA:
            return "stopped over its disk quota"
        case Ending.CANNOT_START:
            return "could not be started"
        case Ending.LOST:
            return "interrupted"
    assert_never(result.ending)


def _by_ending(result: AttemptResult) -> Outcome:
    if result.ending is Ending.EXITED and result.code == 0:
        return _by_word(result)
    said = _text(result.handler_result, "reason")
    if result.ending is Ending.EXITED:
        said = said or _last_line(result.stderr)
    reason = ": ".join(filter(None, [_ending(result), result.reason, said]))
    code = {Ending.EXITED: "exit-code", Ending.SIGNALED: "signal"}.get(result.ending, result.ending.value)
    return Outcome(ExecutionStatus.FAILED, reason, code, _details(result.handler_result))


def _by_word(result: AttemptResult) -> Outcome:
    """Judge an attempt that exited with code 0 by the handler's result file."""
    wrong = result.bad_result or _result_problem(result.handler_result)
    if wrong:
        return Outcome(ExecutionStatus.FAILED, wrong, "bad-result")
    word = _text(result.handler_result, "outcome") or "succeeded"
    status, code, prefix = BY_WORD[word]
    said = _text(result.handler_result, "reason")
    if status is not ExecutionStatus.SUCCEEDED:
        said = prefix + reason_given(result)
    own = _text(result.handler_result, "code")
    if word == "failed" and own in OWN_CODES:
        code = own
    return Outcome(status, said, code, _details(result.handler_result))


def _result_problem(said: Mapping[str, Any] | None) -> str:
    """Return what is wrong with a handler's result, or "" if nothing is."""
    if said is None:
        return ""
    if said.get("outcome", "succeeded") not in KNOWN_OUTCOMES:
        return f"the result file's outcome is none of {', '.join(KNOWN_OUTCOMES)}"
    if not isinstance(said.get("reason", ""), str):
        return "the result file's reason is not a string"
    if not isinstance(said.get("details", {}), dict):
        return "the result file's details are not an object"
    return ""


def _text(said: Mapping[str, Any] | None, member: str) -> str:
    value = (said or {}).get(member)
    return cut(_writable(value).strip(), LIMIT) if isinstance(value, str) else ""


def _details(said: Mapping[str, Any] | None) -> dict[str, str]:
    details = (said or {}).get("details")
    if not isinstance(details, dict):
        return {}
    return {
        cut(_writable(key), LIMIT): cut(_writable(value) if isinstance(value, str) else _json(value), LIMIT)
        for key, value in details.items()
    }


def _writable(text: str) -> str:
    """Replace unpaired surrogates, which JSON can spell but no file, journal or message can hold."""
    return text.encode(errors="replace").decode()


def _json(value: Any) -> str:
    try:
        return json.dumps(value)
    except RecursionError:
        return "nested too deeply"


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines()]
    return cut(next((line for line in reversed(lines) if line), ""), LIMIT)


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _signal(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
