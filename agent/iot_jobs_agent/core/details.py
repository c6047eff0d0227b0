"""Status details: what we tell the service about an execution besides its status, in a form that it accepts.

The service accepts at most ten pairs. A value has 1 to 1,024 characters and none of Unicode's category C, which rules
out line breaks (AWS IoT Jobs data plane API, DetailsValue). New details replace all old ones, so we always send all.
"""

import json
import unicodedata
from collections.abc import Mapping

from iot_jobs_agent.core.value import dataclass, field

LIMIT = 1024
ELLIPSIS = "…"
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class StatusFacts:
    """The facts about an execution that its status details show to people. Empty ones and None are left out.

    `step` counts from 0, `steps` are (name, result) of the steps that ended, `details` are the handler's own.
    """

    agent: str = ""
    operation: str = ""
    step_name: str = ""
    step: int = 0
    step_count: int = 1
    attempt: int = 1
    progress: float | None = None
    message: str = ""
    result: str = ""
    reason: str = ""
    stdout: str = ""
    stderr: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[tuple[str, str], ...] = ()


def legal(text: str, keeps_end: bool = False) -> str:
    """Make any text acceptable to the service. A text that is too long loses its end, or its beginning if `keeps_end`.

    A run of forbidden characters becomes one space. We count UTF-16 code units, so that the text fits however the
    service counts.
    """
    words = "".join(" " if unicodedata.category(each)[0] == "C" else each for each in text)
    return cut(" ".join(words.split()), LIMIT, keeps_end=keeps_end) or NOTHING


def cut(text: str, limit: int, keeps_end: bool = False) -> str:
    """Shorten a text to `limit` UTF-16 code units, with an ellipsis in place of the part that is missing."""
    if units(text) <= limit:
        return text
    kept: list[str] = []
    room = limit - units(ELLIPSIS)
    for each in reversed(text) if keeps_end else text:
        room -= units(each)
        if room >= 0:
            kept.append(each)
    return ELLIPSIS + "".join(reversed(kept)) if keeps_end else "".join(kept) + ELLIPSIS


def units(text: str) -> int:
    """Count the UTF-16 code units of a text."""
    return sum(2 if each > "\uffff" else 1 for each in text)


def status_details(facts: StatusFacts) -> dict[str, str]:
    """Compose the status details of an update: at most ten pairs, each one legal. Output is cut to its end."""
    pairs = {
        "agent": legal(facts.agent) if facts.agent else "",
        "operation": legal(facts.operation) if facts.operation else "",
        "step": _step(facts),
        "progress": _progress(facts),
        "result": legal(facts.result) if facts.result else "",
        "reason": legal(facts.reason) if facts.reason else "",
        "stdout": legal(facts.stdout, keeps_end=True) if facts.stdout.strip() else "",
        "stderr": legal(facts.stderr, keeps_end=True) if facts.stderr.strip() else "",
        "details": _object(facts.details) if facts.details else "",
        "steps": legal(", ".join(f"{name}={result}" for name, result in facts.steps)) if facts.steps else "",
    }
    return {key: value for key, value in pairs.items() if value}


def _step(facts: StatusFacts) -> str:
    if not facts.step_name:
        return ""
    return legal(f"{cut(facts.step_name, 256)}, {facts.step + 1}/{facts.step_count}, attempt {facts.attempt}")


def _progress(facts: StatusFacts) -> str:
    percent = f"{facts.progress:g} %" if facts.progress is not None else ""
    return legal(f"{percent} {facts.message}") if percent or facts.message else ""


def _object(details: Mapping[str, str]) -> str:
    """Write the handler's own details as one JSON object, which stays valid if it has to be shortened."""
    kept: dict[str, str] = {}
    for number, (key, value) in enumerate(details.items()):
        grown = kept | {legal(key): legal(value)}
        missing = {ELLIPSIS: f"{len(details) - number} more"}
        if units(_json(grown)) > LIMIT - units(_json(missing)):
            return _json(kept | missing)
        kept = grown
    return _json(kept)


def _json(details: Mapping[str, str]) -> str:
    return json.dumps(details, ensure_ascii=False, separators=(",", ":"))
