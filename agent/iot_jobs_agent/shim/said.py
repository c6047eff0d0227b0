"""What the handler says on fd 3: which lines are valid, and how they reach the agent without filling the disk."""

from __future__ import annotations

import os

from iot_jobs_agent.shim.files import EVENTS, wake, write_all
from iot_jobs_agent.shim.lean import dumps, loads
from iot_jobs_agent.shim.protocol import LINE_BYTES

TYPE_CHECKING = False  # importing `typing` would take a quarter of the start-up time
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

EVENTS_BYTES = 262144
DETAILS_BYTES = 8192
EVENTS_EVERY_S = 0.25

FORMS: dict[str, Callable[[Any], bool]] = {
    "progress": lambda v: type(v) in {int, float} and 0 <= v <= 100,  # noqa: PLR2004 - per cent
    "message": lambda v: isinstance(v, str),
    "details": lambda v: isinstance(v, dict),
    "checkpoint": lambda v: isinstance(v, str),
    "extend_s": lambda v: type(v) in {int, float} and 0 < v < 1e9,  # noqa: PLR2004 - NaN and 1e400 are not durations
}


def parse_line(line: bytes) -> dict[str, Any]:
    """Return the known members of one line, with details and checkpoint as text. Raises ValueError with the reason."""
    if len(line) > LINE_BYTES:
        raise ValueError(f"longer than {LINE_BYTES} bytes")
    try:
        said = loads(line.decode())
        if not isinstance(said, dict):
            raise ValueError("not a JSON object")  # noqa: TRY004, TRY301 - one error for every bad line
        if isinstance(details := said.get("details"), dict):
            texts = {k: v if isinstance(v, str) else dumps(v) for k, v in details.items()}
            said["details"] = {writable(k): writable(v) for k, v in texts.items()}
        if isinstance(message := said.get("message"), str):
            said["message"] = writable(message)
        if "checkpoint" in said:
            said["checkpoint"] = dumps(said["checkpoint"])
    except (ValueError, RecursionError):
        raise ValueError("not a JSON object that can be read") from None
    for member, is_right in FORMS.items():
        if member in said and not is_right(said[member]):
            raise ValueError(f"{member} is not what it should be")
    return {member: said[member] for member in FORMS if member in said}


def writable(text: str) -> str:
    """Replace unpaired surrogates: JSON can spell them, but no reader of `events.jsonl` would accept the line."""
    return text.encode(errors="replace").decode()


class Said:
    """What the handler said on fd 3: `merged` is all of it, `fresh` is the part that is not in the file yet."""

    def __init__(self, wake: str) -> None:
        self.wake = wake
        self.merged: dict[str, Any] = {}
        self.fresh: dict[str, Any] = {}
        self.size = 0
        self.due_at = 0.0
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Keep a note for the result, unless the same text is already there."""
        if text not in self.notes:
            self.notes.append(text)

    def add(self, said: Mapping[str, Any]) -> None:
        """Merge one line: the last value of each member counts, and details accumulate."""
        for kept in (self.merged, self.fresh):
            kept.update((k, said[k]) for k in ("progress", "message", "deadline") if k in said)
        if details := said.get("details"):
            grown = {**self.merged.get("details", {}), **details}
            if len(dumps(grown, ensure_ascii=False).encode()) > DETAILS_BYTES:
                self.note(f"details beyond {DETAILS_BYTES} bytes were dropped")
                return
            self.merged["details"] = grown
            self.fresh["details"] = {**self.fresh.get("details", {}), **details}

    def flush(self, now: float) -> None:
        """Append the fresh part and wake the agent. Start the file over when it is full, and after an error."""
        if not self.fresh:
            return
        self.due_at = now + EVENTS_EVERY_S
        starts_over = self.size >= EVENTS_BYTES
        data = dumps(self.merged if starts_over else self.fresh).encode() + b"\n"
        self.size = EVENTS_BYTES  # so that the file is started over if the write fails
        try:
            flags = os.O_TRUNC if starts_over else os.O_APPEND
            name = EVENTS + ".new" if starts_over else EVENTS
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | flags | os.O_CLOEXEC, 0o600)
            try:
                write_all(fd, data)
                self.size = os.fstat(fd).st_size
            finally:
                os.close(fd)
            if starts_over:
                os.rename(name, EVENTS)
        except OSError as error:
            self.note(f"progress could not be kept: {error.strerror}")
        else:
            self.fresh = {}
            wake(self.wake)
