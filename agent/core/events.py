"""What can happen. Everything is one of these, in one inbox; `decide` answers each.

`jitter` is a number in [0, 1) drawn where the event is made, so that `decide` needs no randomness of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from agent.core.job import AttemptId, AttemptResult


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """The attempt's directory exists and its supervisor was started (or found alive again after an agent restart)."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class AttemptProgressed:
    """The handler said something on fd 3. Only the members it gave are set; `extend_s` is in seconds from now."""

    attempt: AttemptId
    progress: float | None = None
    message: str | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    extend_s: float | None = None


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """The attempt is over and nothing of it is alive, unless `result.unswept` says so."""

    attempt: AttemptId
    result: AttemptResult


AttemptEvent: TypeAlias = AttemptStarted | AttemptProgressed | AttemptEnded
