"""Runs system tools for a built-in: their output becomes the job's, and the end of stderr is kept for judging it."""

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from iot_jobs_agent.handler import HandlerError

_KEPT_CHARACTERS = 8192


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended, and its output: stdout only if it was asked for, of stderr the last 8,192 characters."""

    program: str
    code: int
    out: str
    err: str

    @property
    def ending(self) -> str:
        """How the program ended, in words."""
        how = f"was killed by signal {-self.code}" if self.code < 0 else f"exited with code {self.code}"
        return f"{self.program} {how}"


class Cause(NamedTuple):
    """A known cause of a failure: what stderr then says, and the error to raise, which says it to people."""

    pattern: re.Pattern[str]
    error: type[Exception]
    message: str


def raise_for_failure(finished: Finished, causes: Sequence[Cause], prefix: str = "") -> None:
    """Raise the error of the first known cause that stderr shows, if the program failed.

    Raises:
        HandlerError: the cause is unknown. The message is how the program ended, and the first line of stderr that has
            the prefix.
    """
    if finished.code == 0:
        return
    for cause in causes:
        if cause.pattern.search(finished.err):
            raise cause.error(cause.message)
    lines = [line.removeprefix(prefix).strip() for line in finished.err.splitlines() if line.startswith(prefix)]
    raise HandlerError(": ".join([finished.ending, *[line for line in lines if line][:1]]))


def run(argv: Sequence[str], *, out: bool = False) -> Finished:
    """Run a program and wait for it. Its output is passed on as it arrives; with `out`, it is kept instead.

    Raises:
        HandlerError: the program cannot be started.
    """
    name = Path(argv[0]).name
    sys.stdout.flush()
    try:
        with subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if out else None,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        ) as process:
            said, err = process.communicate() if out else ("", _pass_on(process))
    except OSError as error:
        raise HandlerError(f"{name} could not be started: {error.strerror}") from None
    return Finished(name, process.returncode, said or "", err[-_KEPT_CHARACTERS:])


def _pass_on(process: "subprocess.Popen[str]") -> str:
    """Pass stderr on line by line, and keep its end."""
    kept = ""
    for line in process.stderr or ():
        sys.stderr.write(line)
        sys.stderr.flush()
        kept = (kept + line)[-_KEPT_CHARACTERS:]
    process.wait()
    return kept
