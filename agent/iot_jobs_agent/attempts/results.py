"""Keeps results of settled executions for `iot-jobs-agent jobs JOB_ID`: how attempts ended, the end of their output.

    results/NUMBER.NAMESPACE.JOB.NUMBER/STEP.ATTEMPT/{result.json,stdout,stderr}

The first number gives the order, since we cannot trust a clock to. Every settled execution has a directory, even an
empty one, so that the last 200 are the same as in the history. Nothing is fsynced: a power cut may cost output, but no
outcomes. Everything blocks briefly.
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

KEPT_BYTES = 32 << 20  # disk for all results; an ordinary execution takes 20 KiB, one that prints a lot 150 KiB
ATTEMPT_BYTES = 512 << 10
KEPT_FILES = frozenset({files.RESULT, files.STDOUT, files.STDERR})
NUMBERED = re.compile(r"([0-9]{1,12})\.(.+)")
STEP_AND_NUMBER = re.compile(r"([0-9]+)\.([0-9]+)")


@dataclass(slots=True)
class Kept:
    """The kept results of one execution."""

    directory: Path
    size_bytes: int


@dataclass(slots=True)
class Results:
    """The results below `directory`, for use by one thread. The directory is not read before the first `keep`."""

    directory: Path
    _kept: dict[str, Kept] | None = field(default=None)  # by the execution's name, oldest first
    _last: int = 0

    def keep(self, execution: str, attempts: Iterable[Path]) -> list[Path]:
        """Move an execution's attempt directories to the results; return the directories to throw away now.

        Those are the attempts that could not be kept, and the oldest results beyond the limits.
        """
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
            kept.directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # even if no attempt was kept
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
    """Remove everything but KEPT_FILES from an attempt directory. Raises OSError, also if the rest is too big."""
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
    """Return how much disk a small tree takes, in bytes."""
    total_bytes = 0
    for directory, _, names in os.walk(tree):
        for path in (directory, *(os.path.join(directory, name) for name in names)):  # noqa: PTH118 - os.walk's str
            with contextlib.suppress(OSError):
                total_bytes += os.lstat(path).st_blocks * 512
    return total_bytes


def read(state_directory: Path, execution: ExecutionId) -> list[tuple[int, int, AttemptResult]]:
    """Return how the attempts of an execution ended, in order: step (from 0), attempt (from 1), result.

    Works with or without a running agent. An attempt without a result was interrupted. Empty if nothing was kept.
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
