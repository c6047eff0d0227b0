"""The conformance kit: tries on one handler what every handler must get right, whatever its work is.

The cases run one after another, each with attempts of the same handler with the same params, under a real shim. The
problem of a case is a sentence about something that the handler's author can fix. To disturb an attempt, a case starts
the handler through a few lines of Python, which do the harm and then exec the handler.

To imitate a full disk without root, a case forbids all writes to files (RLIMIT_FSIZE 0 with SIGXFSZ ignored). The
program then gets EFBIG instead of the ENOSPC of a full disk. Pipes, such as the output and fd 3, keep working.
"""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from iot_jobs_agent.attempts.attempts import Facts
from iot_jobs_agent.attempts.directory import read_shim_pid
from iot_jobs_agent.core.job import AttemptResult, Ending, ExecutionStatus, OnInterrupt, Outcome, StartReason, Step
from iot_jobs_agent.core.outcome import ending_in_words
from iot_jobs_agent.kit.trial import FIRST, Attempted, Stage, TriedHandler
from iot_jobs_agent.shim.processes import descendants, send

_BECOME = "; os.execvp(sys.argv[1], sys.argv[1:])"
_CLOSED_FD_3 = "import os, sys; os.close(3)" + _BECOME
_FULL_DISK = (
    "import os, resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))" + _BECOME
)
_MUCH_OUTPUT = (
    "import os, sys; line = b'x' * 1023 + b'\\n'; "
    "[os.write(fd, line) for fd in (1, 2) for _ in range(5 * 1024)]" + _BECOME
)
_UNKNOWN = "unknown-key-of-the-conformance-kit"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one case: what was tried, and the problem that it found, "" if none."""

    case: str
    problem: str


@dataclass(slots=True)
class Kit:
    """The handler under test, the stage that it runs on, and how its first, undisturbed attempt went."""

    stage: Stage
    handler: TriedHandler
    params: Mapping[str, Any]
    executions: int = 0
    usual: Outcome | None = None
    spoke: bool = False
    duration_s: float = 0.0
    wrote: frozenset[str] = frozenset()

    def start(self, *, harm: str = "", more: Mapping[str, Any] | None = None) -> Attempted:
        """Start the handler in a new execution, disturbed by `harm`, and with `more` params."""
        self.executions += 1
        step = self.handler.step({**self.params, **(more or {})})
        return self.stage.start(with_harm(step, harm) if harm else step, execution=self.executions)

    def files(self) -> frozenset[str]:
        """Return the names of the files with content in JOB_DIR of the last execution, except its result file."""
        directory = self.stage.job_directory(self.executions)
        found = (path for path in directory.rglob("*") if path.is_file() and path.stat().st_size)
        return frozenset(str(path.relative_to(directory)) for path in found if not path.name.startswith(".result."))

    def is_as_usual(self, outcome: Outcome) -> bool:
        """Return whether `outcome` has the same status as the undisturbed attempt."""
        return self.usual is not None and outcome.status is self.usual.status

    async def at_work(self, attempted: Attempted) -> None:
        """Wait until the handler is in the middle of its work: its first word on fd 3, or half of its usual time."""
        await attempted.started.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(None if self.spoke else self.duration_s / 2):
                await attempted.spoke.wait()


def with_harm(step: Step, harm: str) -> Step:
    """Return the step with `harm` (Python code) executed before its program."""
    return replace(step, argv=(sys.executable, "-I", "-S", "-c", harm, *step.argv))


async def findings(stage: Stage, handler: TriedHandler, params: Mapping[str, Any]) -> AsyncIterator[Finding]:
    """Try all cases. If the first one does not succeed, stop, because the others would mean nothing.

    The `resume` case is left out unless the manifest allows it. Raises DocumentError if no document could carry the
    params.
    """
    kit = Kit(stage, handler, params)
    for case, look in CASES.items():
        if look is resume_it and handler.handler.on_interrupt is not OnInterrupt.RESUME:
            continue
        problem = await look(kit)
        yield Finding(case, problem)
        if problem and kit.usual is None:
            return


async def run_undisturbed(kit: Kit) -> str:
    """Check that the handler succeeds with the given params and leaves no process behind."""
    attempted = kit.start()
    result, outcome = await attempted.ended(), await attempted.outcome()
    if outcome.status is not ExecutionStatus.SUCCEEDED:
        return f"ended {_words(outcome)}; give params and settings with which it succeeds"
    kit.usual, kit.duration_s, kit.wrote = outcome, result.duration_s, kit.files()
    kit.spoke = attempted.progress is not None or bool(attempted.message or attempted.details)
    if result.leftovers_killed:
        return f"{ending_in_words(result)}: wait for all that was started, or let systemd start it"
    return f"{'; '.join(result.notes)}: write JSON objects, one a line" if result.notes else ""


async def stop_it(kit: Kit) -> str:
    """Check that on SIGTERM the handler ends within its grace, with every process that it started."""
    attempted = kit.start()
    await kit.at_work(attempted)
    began = time.monotonic()
    kit.stage.stop()
    result = await attempted.ended()
    grace_s = kit.handler.handler.grace_s
    if result.leftovers_alive:
        return f"{ending_in_words(result)}"
    if result.ending is Ending.STOPPED and time.monotonic() - began >= grace_s > 0:
        return f"did not end within its grace of {grace_s:g} s after SIGTERM and had to be killed"
    return ""


async def kill_it(kit: Kit) -> str:
    """Check that after SIGKILL the leftovers do not keep the next execution from ending as usual."""
    await _kill_at_work(kit)
    outcome = await kit.start().outcome()
    return "" if kit.is_as_usual(outcome) else f"the execution after one that was killed ended {_words(outcome)}"


async def resume_it(kit: Kit) -> str:
    """Check that after SIGKILL and `resume` in the same JOB_DIR the handler ends as usual."""
    await _kill_at_work(kit)
    step = kit.handler.step(kit.params)
    facts = Facts(FIRST.thing_name, phase="resume", reason=StartReason.KILLED)
    outcome = await kit.stage.start(step, execution=kit.executions, number=2, facts=facts).outcome()
    return "" if kit.is_as_usual(outcome) else f"resumed after it was killed, it ended {_words(outcome)}"


async def _kill_at_work(kit: Kit) -> AttemptResult:
    attempted = kit.start()
    await kit.at_work(attempted)
    shim = read_shim_pid(kit.stage.directory(attempted))
    for each in descendants(shim) if shim else ():
        send(each, signal.SIGKILL)
    return await attempted.ended()


async def run_with_full_disk(kit: Kit) -> str:
    """Check that the handler ends by itself, and does not claim success for what it could not write."""
    attempted = kit.start(harm=_FULL_DISK)
    result, outcome = await attempted.ended(), await attempted.outcome()
    if result.ending is Ending.DEADLINE:
        return "did not end by itself when nothing could be written"
    lost = sorted(kit.wrote - kit.files())
    if outcome.status is ExecutionStatus.SUCCEEDED and lost:
        return f"claimed success although nothing could be written, not even {', '.join(lost[:3])} in JOB_DIR"
    return ""


async def run_with_closed_fd_3(kit: Kit) -> str:
    """Check that the handler does its work even if nobody listens on fd 3, as in AWS's documents that name a script."""
    outcome = await kit.start(harm=_CLOSED_FD_3).outcome()
    if kit.is_as_usual(outcome):
        return ""
    return f"ended {_words(outcome)}: a word that nobody hears must not fail the work"


async def run_with_much_output(kit: Kit) -> str:
    """Check that 10 MB of output ahead of the handler's own do not change the outcome."""
    outcome = await kit.start(harm=_MUCH_OUTPUT).outcome()
    return "" if kit.is_as_usual(outcome) else f"ended {_words(outcome)}"


async def run_with_unknown_key(kit: Kit) -> str:
    """Check that the handler ignores a key of a later version or rejects it; it must not blame the device and fail."""
    outcome = await kit.start(more={_UNKNOWN: 1}).outcome()
    if kit.is_as_usual(outcome) or outcome.status is ExecutionStatus.REJECTED:
        return ""
    return f"ended {_words(outcome)}: ignore a key that is not known, or reject the document"


def _words(outcome: Outcome) -> str:
    return f"{outcome.status}{': ' if outcome.reason else ''}{outcome.reason}"


CASES: Mapping[str, Callable[[Kit], Awaitable[str]]] = {
    "undisturbed": run_undisturbed,
    "SIGTERM": stop_it,
    "SIGKILL": kill_it,
    "SIGKILL and resume": resume_it,
    "full disk": run_with_full_disk,
    "closed fd 3": run_with_closed_fd_3,
    "10 MB of output": run_with_much_output,
    "unknown key": run_with_unknown_key,
}
