"""What is kept of settled executions, for `iot-jobs-agent jobs JOB_ID`: how each attempt ended, the end of its output.

    results/NUMBER.NAMESPACE.JOB.NUMBER/STEP.ATTEMPT/{result.json,stdout,stderr}

The first number orders them, as no clock does. Each settled execution has a directory, so that the last 200 are those
of the history. Nothing is fsynced: power loss may cost output, not outcomes. All of it blocks, shortly.
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
from iot_jobs_agent.shim import files

KEPT = 200
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
    """The results below `directory`; one thread only. Nothing is read until there is something to keep."""

    directory: Path
    _kept: dict[str, Kept] | None = field(default=None)  # by the execution's name, oldest first
    _last: int = 0

    def keep(self, execution: str, attempts: Iterable[Path]) -> list[Path]:
        """Take what may be kept of an execution's attempt directories; return all that is to be thrown away now."""
        if self._kept is None:
            self._kept = self._found()
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
        return thrown + [each.directory for each in self._pruned(self._kept)]

    @staticmethod
    def _pruned(kept: dict[str, Kept]) -> list[Kept]:
        total_bytes = sum(each.size_bytes for each in kept.values())
        pruned = []
        while len(kept) > KEPT or total_bytes > KEPT_BYTES:
            pruned.append(kept.pop(next(iter(kept))))
            total_bytes -= pruned[-1].size_bytes
        return pruned

    def _found(self) -> dict[str, Kept]:
        found = {}
        with contextlib.suppress(OSError):
            for path in sorted(self.directory.iterdir(), key=_number):
                if match := NUMBERED.fullmatch(path.name):
                    found[match[2]] = Kept(path, taken_bytes(path))
                    self._last = int(match[1])
        return found


def strip(attempt: Path) -> None:
    """Leave nothing in an attempt directory but what may be kept. Raises OSError, also for one that takes too much."""
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
    """Add up what a small tree takes of its disk."""
    total_bytes = 0
    for directory, _, names in os.walk(tree):
        for path in (directory, *(os.path.join(directory, name) for name in names)):  # noqa: PTH118 - os.walk's own
            with contextlib.suppress(OSError):
                total_bytes += os.lstat(path).st_blocks * 512
    return total_bytes


def read(state_directory: Path, execution: ExecutionId) -> list[tuple[int, int, AttemptResult]]:
    """Read how the attempts of an execution ended: step (from 0), attempt (from 1), result; in order.

    Beside a running agent or without one. One without a result was interrupted. Empty if nothing was kept.
    """
    name = f"{execution.namespace}.{execution.job_id}.{execution.execution_number}"
    places = [path for path in _listed(state_directory / "results") if path.name.partition(".")[2] == name]
    found = [path for place in places for path in _listed(place)]
    found += [path for path in _listed(state_directory / "attempts") if path.name.startswith(f"{name}.")]  # just over
    attempts = {}
    for path in found:
        if match := STEP_AND_NUMBER.fullmatch(path.name.removeprefix(f"{name}.")):
            result = attempt_directory.read_result(path) or attempt_directory.lost(path, "", 0, 0)
            attempts[int(match[1]), int(match[2])] = result
    return [(step, number, attempts[step, number]) for step, number in sorted(attempts)]


def _listed(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _number(path: Path) -> int:
    match = NUMBERED.fullmatch(path.name)
    return int(match[1]) if match else 0
