"""Checks what a shim wrote before we believe it: it went through another process and a disk, and could be forged.

The checks are written by hand: pydantic is only for what comes from outside the agent (docs/decisions.md). Pure
functions: bytes in, values out.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from iot_jobs_agent.core.job import AttemptResult, Ending

_BY_SHIM = frozenset(Ending) - {Ending.LOST}  # the endings that a shim may write
# The names in results of shims up to the build of 2026-11-22: one may still be running when its agent is upgraded.
_OLD_MEMBERS = {"swept": "leftovers_killed", "unswept": "leftovers_alive"}
_OLD_ENDINGS = {"unstartable": "cannot-start"}


class SaidLine(NamedTuple):
    """One line of `events.jsonl`: what the handler said. `deadline` is in monotonic seconds."""

    progress: float | None = None
    message: str | None = None
    details: Mapping[str, str] = {}
    deadline: float | None = None

    def then(self, later: "SaidLine") -> "SaidLine":
        """Return the line updated with the members of a later one."""
        return SaidLine(
            self.progress if later.progress is None else later.progress,
            self.message if later.message is None else later.message,
            {**self.details, **later.details},
            self.deadline if later.deadline is None else later.deadline,
        )


def parse_said_line(line: bytes) -> SaidLine:
    """Parse one line of `events.jsonl`. Members of a later version are ignored.

    Raises:
        ValueError: the line is not an object, or a member is invalid.
    """
    members = parse_json_object(line)
    details = members.get("details", {})
    if not isinstance(details, dict):
        raise ValueError("details")  # noqa: TRY004 - one kind of error for every bad line
    for key, value in details.items():
        _check_text("details", key)
        _check_text("details", value)
    return SaidLine(
        _number(members, "progress", 0, 100),
        _text(members, "message"),
        details,
        _number(members, "deadline", -math.inf, math.inf),
    )


def parse_result(text: bytes) -> AttemptResult:
    """Parse `result.json` into how the attempt ended, without its output. Members of a later version are ignored.

    Raises:
        ValueError: the text is not an object, a member is invalid, or the members contradict each other.
    """
    members = {_OLD_MEMBERS.get(name, name): value for name, value in parse_json_object(text).items()}
    word = _text(members, "ending") or ""
    ending = Ending(_OLD_ENDINGS.get(word, word))
    code, signal = _whole(members, "code", 0, 255), _whole(members, "signal", 1, 64)
    by_signal = ending in {Ending.SIGNALED, Ending.OOM}
    if ending not in _BY_SHIM or (ending is Ending.EXITED) != (code is not None) or by_signal != (signal is not None):
        raise ValueError("ending")
    notes = members.get("notes", [])
    if not isinstance(notes, list):
        raise ValueError("notes")  # noqa: TRY004 - as above
    for note in notes:
        _check_text("notes", note)
    handler_result, problem = parse_handler_result(_text(members, "handler_result"))
    return AttemptResult(
        ending=ending,
        code=code,
        signal=signal,
        duration_s=_number(members, "duration_s", 0, math.inf) or 0.0,
        leftovers_killed=_whole(members, "leftovers_killed", 0) or 0,
        leftovers_alive=_whole(members, "leftovers_alive", 0) or 0,
        stderr_lines=_whole(members, "stderr_lines", 0) or 0,
        handler_result=handler_result,
        bad_result=_text(members, "bad_result") or problem,
        reason=_text(members, "reason") or "",
        notes=tuple(notes),
    )


def parse_handler_result(text: str | None) -> tuple[Mapping[str, Any] | None, str]:
    """Return the handler's own result (None without one), and why it cannot be read ("" if it can)."""
    if text is None:
        return None, ""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None, "the result file is not JSON"
    return (parsed, "") if isinstance(parsed, dict) else (None, "the result file is not a JSON object")


def parse_json_object(text: bytes) -> dict[str, Any]:
    """Return the JSON object that `text` is.

    Raises:
        ValueError: `text` is anything else.
    """
    try:
        members = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(members, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one kind of error for every bad file
    return members


def _text(members: Mapping[str, Any], name: str) -> str | None:
    if name not in members:
        return None
    value: str = members[name]
    _check_text(name, value)
    return value


def _check_text(name: str, value: object) -> None:
    """Raise ValueError if `value` is not text, or has an unpaired surrogate, which no journal or message can hold."""
    if not isinstance(value, str):
        raise ValueError(name)  # noqa: TRY004 - as above
    value.encode()


def _number(members: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    if name not in members:
        return None
    value = members[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:  # NaN is neither
        raise ValueError(name)
    try:
        number = float(value)
    except OverflowError:  # of a whole number beyond 1.8e308, which JSON can spell
        raise ValueError(name) from None
    if not math.isfinite(number):
        raise ValueError(name)
    return number


def _whole(members: Mapping[str, Any], name: str, least: int, most: int = 2**63 - 1) -> int | None:
    if name not in members:
        return None
    value = members[name]
    if type(value) is not int or not least <= value <= most:
        raise ValueError(name)
    return value
