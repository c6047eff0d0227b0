"""What is kept of settled executions, for `iot-jobs-agent jobs JOB_ID`: how each attempt ended, the end of its output.

    results/NUMBER.NAMESPACE.JOB.NUMBER/STEP.ATTEMPT/{result.json,stdout,stderr}

The first number orders them, since no clock can be trusted to. Each settled execution has a directory, so that the
last 200 are those of the history. Nothing is fsynced: a power cut may cost output, not outcomes. Everything blocks
briefly.
"""

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from iot_jobs_agent.attempts import directory as attempt_directory
from iot_jobs_agent.core.job import AttemptResult, ExecutionId
from iot_jobs_agent.core.state import SETTLED_KEPT
from iot_jobs_agent.shim import files

KEPT_BYTES = 32 << 20  # of disk; an ordinary execution takes 20 KiB, one that prints a lot 150 KiB
ATTEMPT_BYTES = 512 << 10
KEPT_FILES = frozenset({files.RESULT, files.STDOUT, files.STDERR})
NUMBERED = re.compile(r"([0-9]{1,12})\.(.+)")
STEP_AND_NUMBER = re.compile(r"([0-9]+)\.([0-9]+)")


@dataclass(slots=True)
class Kept:
    """What is kept of one execution."""

    directory: Path
    size_bytes: int


@dataclass(slots=True)
class Results:
    """The results below `directory`, for one thread only. Nothing is read until there is something to keep."""

    directory: Path
    _kept: dict[str, Kept] | None = field(default=None)  # by the execution's name, oldest first
    _last: int = 0

    def keep(self, execution: str, attempts: Iterable[Path]) -> list[Path]:
        """Keep what may be kept of an execution's attempt directories; return everything to be thrown away now."""
        if self._kept is None:
            self._kept = self._find()
        if execution not in self._kept:
            self._last += 1
            self._kept[execution] = Kept(self.directory / f"{self._last:08d}.{execution}", 0)
        kept = self._kept[execution]
        thrown = []
        for attempt in attempts:
            try:
                strip(attempt)
                kept.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                attempt.rename(kept.directory / attempt.name.removeprefix(f"{execution}."))
            except OSError:
                thrown.append(attempt)
        with contextlib.suppress(OSError):
            kept.directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # also of one that left nothing
        kept.size_bytes = taken_bytes(kept.directory)
        return thrown + [each.directory for each in self._prune(self._kept)]

    @staticmethod
    def _prune(kept: dict[str, Kept]) -> list[Kept]:
        total_bytes = sum(each.size_bytes for each in kept.values())
        pruned = []
        while len(kept) > SETTLED_KEPT or total_bytes > KEPT_BYTES:
            pruned.append(kept.pop(next(iter(kept))))
            total_bytes -= pruned[-1].size_bytes
        return pruned

    def _find(self) -> dict[str, Kept]:
        found = {}
        with contextlib.suppress(OSError):
            for path in sorted(self.directory.iterdir(), key=_number):
                if match := NUMBERED.fullmatch(path.name):
                    found[match[2]] = Kept(path, taken_bytes(path))
                    self._last = int(match[1])
        return found


def strip(attempt: Path) -> None:
    """Remove from an attempt directory all that is not to be kept. Raises OSError, also if it takes too much disk."""
    for path in attempt.iterdir():
        status = path.lstat()
        if path.name in KEPT_FILES and stat.S_ISREG(status.st_mode):
            continue
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()
    if taken_bytes(attempt) > ATTEMPT_BYTES:
        raise OSError("more than a shim writes")


def taken_bytes(tree: Path) -> int:
    """Return how much of its disk a small tree takes."""
    total_bytes = 0
    for directory, _, names in os.walk(tree):
        for path in (directory, *(os.path.join(directory, name) for name in names)):  # noqa: PTH118 - os.walk's own
            with contextlib.suppress(OSError):
                total_bytes += os.lstat(path).st_blocks * 512
    return total_bytes


def read(state_directory: Path, execution: ExecutionId) -> list[tuple[int, int, AttemptResult]]:
    """Read how the attempts of an execution ended: step (from 0), attempt (from 1), result; in order.

    Works beside a running agent or without one. An attempt without a result was interrupted. Empty if nothing was kept.
    """
    name = execution.directory_name
    places = [path for path in _entries(state_directory / "results") if path.name.partition(".")[2] == name]
    found = [path for place in places for path in _entries(place)]
    found += [path for path in _entries(state_directory / "attempts") if path.name.startswith(f"{name}.")]  # just ended
    attempts = {}
    for path in found:
        if match := STEP_AND_NUMBER.fullmatch(path.name.removeprefix(f"{name}.")):
            result = attempt_directory.read_result(path) or attempt_directory.lost_result(path, "", 0, 0)
            attempts[int(match[1]), int(match[2])] = result
    return [(step, number, attempts[step, number]) for step, number in sorted(attempts)]


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _number(path: Path) -> int:
    match = NUMBERED.fullmatch(path.name)
    return int(match[1]) if match else 0
