"""The test bench of the conformance kit: the handler under test, and how its first, undisturbed execution went.

Owns how a case runs the handler: in a new execution each time, played to its end, disturbed or with other params. It
judges nothing; `conformance` and `inputs` do.
"""

import asyncio
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from iot_jobs_agent.core.job import AttemptResult, ExecutionStatus, Outcome, Step
from iot_jobs_agent.errors import DocumentError
from iot_jobs_agent.kit.play import kill_handler, play_out
from iot_jobs_agent.kit.trial import Attempted, Stage, TriedHandler


@dataclass(slots=True)
class Bench:
    """The handler under test, the stage that it runs on, and how its first, undisturbed execution went.

    `usual` is how that ended, None as long as it has not succeeded. `duration_s` is how long its first attempt took,
    `spoke` whether it wrote to fd 3, and `wrote` are the names of the files with content in JOB_DIR.
    """

    stage: Stage
    handler: TriedHandler
    params: Mapping[str, Any]
    executions: int = 0
    usual: Outcome | None = None
    spoke: bool = False
    duration_s: float = 0.0
    wrote: frozenset[str] = frozenset()

    def start(self, *, harm: str = "", more: Mapping[str, Any] | None = None) -> Attempted:
        """Start the handler in a new execution, disturbed by `harm`, and with `more` params in place of its own."""
        self.executions += 1
        step = self.handler.step({**self.params, **(more or {})})
        return self.stage.start(with_harm(step, harm) if harm else step, execution=self.executions)

    async def run(self, *, harm: str = "", more: Mapping[str, Any] | None = None) -> Outcome:
        """Start the handler as `start` does, and return how its execution ends, after all tries and reboots."""
        try:
            attempted = self.start(harm=harm, more=more)
        except DocumentError as error:  # as the agent does before any work, for example by the manifest's schema
            return Outcome(ExecutionStatus.REJECTED, str(error), "document-refused")
        outcome, _ = await self.play(attempted)
        return outcome

    async def play(self, attempted: Attempted) -> tuple[Outcome, AttemptResult]:
        """Return how the execution of an attempt ends, after all tries and reboots, and its last attempt's result."""
        return await play_out(self.stage, attempted)

    async def kill_at_work(self) -> Attempted:
        """Start the handler in a new execution, kill it in the middle of its work, and wait until it is gone."""
        attempted = self.start()
        await self.at_work(attempted)
        kill_handler(self.stage, attempted)
        await attempted.ended()
        return attempted

    def files(self) -> frozenset[str]:
        """Return the names of the files with content in JOB_DIR of the last execution, except its result file."""
        directory = self.stage.job_directory(self.executions)
        found = (path for path in directory.rglob("*") if path.is_file() and path.stat().st_size)
        return frozenset(str(path.relative_to(directory)) for path in found if not path.name.startswith(".result."))

    def is_as_usual(self, outcome: Outcome) -> bool:
        """Return whether `outcome` has the same status as the undisturbed execution."""
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


def in_words(outcome: Outcome) -> str:
    """Return a status and its reason for a sentence about a problem."""
    return f"{outcome.status}{': ' if outcome.reason else ''}{outcome.reason}"
