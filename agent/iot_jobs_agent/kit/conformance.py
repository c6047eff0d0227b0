"""The conformance kit: tries on one handler what every handler must get right, whatever its work is.

The cases run one after another, each with executions of the same handler, under a real shim. An execution in which the
handler asks for another try or a reboot goes on until it has ended. The problem of a case is a sentence about something
that the handler's author can fix. The cases that change the params are in `inputs`, and come last: a handler that takes
a wrong param may destroy what the params name. To disturb an attempt, a case starts the handler through a few lines of
Python, which do the harm and then exec the handler.

To imitate a full disk without root, a case forbids all writes to files (RLIMIT_FSIZE 0 with SIGXFSZ ignored). The
program then gets EFBIG instead of the ENOSPC of a full disk. Pipes, such as the output and fd 3, keep working.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from iot_jobs_agent.core.job import Ending, ExecutionStatus, OnInterrupt
from iot_jobs_agent.core.outcome import ending_in_words
from iot_jobs_agent.kit.bench import Bench, in_words
from iot_jobs_agent.kit.inputs import run_with_odd_names, run_with_options, run_with_wrong_types
from iot_jobs_agent.kit.play import play_interruption
from iot_jobs_agent.kit.trial import Attempted, Stage, TriedHandler

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


async def findings(stage: Stage, handler: TriedHandler, params: Mapping[str, Any]) -> AsyncIterator[Finding]:
    """Try all cases. If the first one does not succeed, stop, because the others would mean nothing.

    A case about `on_interrupt` is left out unless the manifest asks for it. Raises DocumentError if no document could
    carry the params.
    """
    bench = Bench(stage, handler, params)
    for case, look in CASES.items():
        if ONLY_IF.get(case, handler.handler.on_interrupt) is not handler.handler.on_interrupt:
            continue
        problem = await look(bench)
        yield Finding(case, problem)
        if problem and bench.usual is None:
            return
    await bench.run()  # the last cases asked for other work: leave what the params ask for


async def run_undisturbed(bench: Bench) -> str:
    """Check that the handler succeeds with the given params and leaves no process behind."""
    attempted = bench.start()
    first = await attempted.ended()
    outcome, result = await bench.play(attempted)
    if outcome.status is not ExecutionStatus.SUCCEEDED:
        return f"ended {in_words(outcome)}; give params and settings with which it succeeds"
    bench.usual, bench.duration_s, bench.wrote = outcome, first.duration_s, bench.files()
    bench.spoke = attempted.progress is not None or bool(attempted.message or attempted.details)
    if result.leftovers_killed:
        return f"{ending_in_words(result)}: wait for all that was started, or let systemd start it"
    return f"{'; '.join(result.notes)}: write JSON objects, one a line" if result.notes else ""


async def stop_it(bench: Bench) -> str:
    """Check that on SIGTERM the handler ends within its grace, with every process that it started."""
    attempted = bench.start()
    await bench.at_work(attempted)
    began = time.monotonic()
    bench.stage.stop()
    result = await attempted.ended()
    grace_s = bench.handler.handler.grace_s
    if result.leftovers_alive:
        return f"{ending_in_words(result)}"
    if result.ending is Ending.STOPPED and time.monotonic() - began >= grace_s > 0:
        return f"did not end within its grace of {grace_s:g} s after SIGTERM and had to be killed"
    return ""


async def kill_it(bench: Bench) -> str:
    """Check that after SIGKILL the leftovers do not keep the next execution from ending as usual."""
    await bench.kill_at_work()
    outcome = await bench.run()
    return "" if bench.is_as_usual(outcome) else f"the execution after one that was killed ended {in_words(outcome)}"


async def start_it_again(bench: Bench) -> str:
    """Check that the attempt that `on_interrupt` makes follow after SIGKILL ends as usual."""
    followed = await play_interruption(bench.stage, await bench.kill_at_work())
    outcome = (await bench.play(followed))[0] if isinstance(followed, Attempted) else followed
    how = "resumed" if bench.handler.handler.on_interrupt is OnInterrupt.RESUME else "run again"
    return "" if bench.is_as_usual(outcome) else f"{how} after it was killed, it ended {in_words(outcome)}"


async def run_with_full_disk(bench: Bench) -> str:
    """Check that the handler ends by itself, and does not claim success for what it could not write."""
    outcome, result = await bench.play(bench.start(harm=_FULL_DISK))
    if result.ending is Ending.DEADLINE:
        return "did not end by itself when nothing could be written"
    lost = sorted(bench.wrote - bench.files())
    if outcome.status is ExecutionStatus.SUCCEEDED and lost:
        return f"claimed success although nothing could be written, not even {', '.join(lost[:3])} in JOB_DIR"
    return ""


async def run_with_closed_fd_3(bench: Bench) -> str:
    """Check that the handler does its work even if nobody listens on fd 3, as in AWS's documents that name a script."""
    outcome = await bench.run(harm=_CLOSED_FD_3)
    if bench.is_as_usual(outcome):
        return ""
    return f"ended {in_words(outcome)}: a word that nobody hears must not fail the work"


async def run_with_much_output(bench: Bench) -> str:
    """Check that 10 MB of output ahead of the handler's own do not change the outcome."""
    outcome = await bench.run(harm=_MUCH_OUTPUT)
    return "" if bench.is_as_usual(outcome) else f"ended {in_words(outcome)}"


async def run_with_unknown_key(bench: Bench) -> str:
    """Check that the handler ignores a key of a later version or rejects it; it must not blame the device and fail."""
    outcome = await bench.run(more={_UNKNOWN: 1})
    if bench.is_as_usual(outcome) or outcome.status is ExecutionStatus.REJECTED:
        return ""
    return f"ended {in_words(outcome)}: ignore a key that is not known, or reject the document"


CASES: Mapping[str, Callable[[Bench], Awaitable[str]]] = {
    "undisturbed": run_undisturbed,
    "SIGTERM": stop_it,
    "SIGKILL": kill_it,
    "SIGKILL and resume": start_it_again,
    "SIGKILL and rerun": start_it_again,
    "full disk": run_with_full_disk,
    "closed fd 3": run_with_closed_fd_3,
    "10 MB of output": run_with_much_output,
    "unknown key": run_with_unknown_key,
    "odd file name": run_with_odd_names,
    "option in a text": run_with_options,
    "wrong type": run_with_wrong_types,
}
# Tried only if the manifest has this `on_interrupt`.
ONLY_IF: Mapping[str, OnInterrupt] = {
    "SIGKILL and resume": OnInterrupt.RESUME,
    "SIGKILL and rerun": OnInterrupt.RERUN,
}
