"""Runs one handler exactly as the agent would, without the cloud: the catalog describes it, and a real shim runs it.

Owns what `iot-jobs-agent try` and the conformance kit share: finding the handler, its settings without a device's
configuration, and attempts in a temporary state directory that is removed afterwards.
"""

import asyncio
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from iot_jobs_agent.attempts.attempts import Attempts, Facts
from iot_jobs_agent.attempts.launchers import plain
from iot_jobs_agent.catalog.catalog import Catalog
from iot_jobs_agent.catalog.manifests import ManifestQuery, Manifests
from iot_jobs_agent.catalog.sources import WORKER, Source, file_source, python_source
from iot_jobs_agent.config.values import Config, HandlerTable
from iot_jobs_agent.core.events import (
    AttemptEnded,
    AttemptEvent,
    AttemptNeverStarted,
    AttemptProgressed,
    AttemptStarted,
)
from iot_jobs_agent.core.job import AttemptId, AttemptResult, Ending, ExecutionId, ExecutionStatus, Outcome, Step
from iot_jobs_agent.core.outcome import Followup, followup_of, outcome_of, reason_given
from iot_jobs_agent.documents.document import plan
from iot_jobs_agent.documents.enabled_handler import EnabledHandler, Namespace, Rules
from iot_jobs_agent.errors import DocumentError
from iot_jobs_agent.handler_name import handler_name_problem
from iot_jobs_agent.installation import installation
from iot_jobs_agent.trust import trust_problem

_SPEC = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
# Like the worker, but it also finds modules in the current directory, after everything that is installed.
_WORKER_HERE = (
    "import runpy, sys; sys.path.append({here!r}); runpy.run_module('iot_jobs_agent.worker', run_name='__main__')"
)

FIRST = Facts("try")

Listen = Callable[[AttemptEvent], None]


@dataclass(frozen=True, slots=True)
class TriedHandler:
    """The handler to try. `device_problem` says why a device would refuse it as it is, "" if it would not."""

    handler: EnabledHandler
    rules: Rules
    device_problem: str = ""

    def step(self, params: Mapping[str, Any]) -> Step:
        """Return the step of a document that asks for this handler. Raises DocumentError where the agent rejects it."""
        document = {"operation": self.handler.name, "params": dict(params)}
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        size_bytes = len(text.encode(errors="surrogatepass"))
        enabled = {self.handler.name: self.handler}
        judged = plan(document, size_bytes=size_bytes, namespace=Namespace(), enabled=enabled, rules=self.rules)
        return judged.steps[0]


async def find_tried_handler(asked: str, config: Config) -> TriedHandler:
    """Find a handler by name, path to an executable, or `module:attribute`, and ask it for its manifest.

    The configuration counts as having `may_reboot = true`, since nothing reboots; the manifest still has to have it.

    Raises:
        DocumentError: there is no such handler, or it cannot run; with a reason that a person can act on.
    """
    if os.sep in asked:
        found = _Found(_executable(path := _absolute(asked)), problem=trust_problem(path))
    elif _SPEC.fullmatch(asked):
        found = await _attribute(asked, config)
    elif problem := handler_name_problem(asked):
        raise DocumentError(f"{asked!r} {problem}; write ./ before the name of a file")
    else:
        found = _Found(Catalog(config).find(asked))
    return await _tried(found, config)


class _Found(NamedTuple):
    """Where the handler to try was found, what describes and runs it, and why a device would refuse it, if it would."""

    source: Source
    worker: Sequence[str] = WORKER
    problem: str = ""


def _executable(path: Path) -> Source:
    name = path.name.removesuffix(".sh")
    if problem := handler_name_problem(name):
        raise DocumentError(f"{path.name} {problem}")
    hiding = path.with_name(name)  # as on a device, where NAME takes precedence over NAME.sh
    if hiding != path and file_source(name, path.parent, hiding, ()) is not None:
        raise DocumentError(f"{path} is hidden by {hiding}")
    source = file_source(name, path.parent, path, (Path(sys.prefix), path.parent))
    if source is None:
        raise DocumentError(f"{path} does not exist")
    return source


async def _attribute(spec: str, config: Config) -> _Found:
    worker = (*WORKER[:2], "-c", _WORKER_HERE.format(here=str(Path.cwd())))
    manifests = Manifests(config.agent.state_directory / "asked.json", worker=worker)
    answer = (await manifests.query([ManifestQuery("handler", spec, spec)]))["handler"]
    name = str(answer.members.get("name", ""))
    if answer.problem or not name:
        problem = answer.problem or "declares no name"
        raise DocumentError(problem if problem.startswith(spec) else f"{spec} {problem}")
    return _Found(python_source(Source(name, spec, spec=spec), worker, installation()), worker)


async def _tried(found: _Found, config: Config) -> TriedHandler:
    name, problem = found.source.name, found.problem
    if config.handlers.enabled and name not in config.handlers.enabled:
        problem = problem or f"{name} is not in handlers.enabled of the configuration"
    table = config.handler.get(name, HandlerTable())
    granted = table._replace(overrides={**table.overrides, "may_reboot": True})
    config = config._replace(handler={**config.handler, name: granted})
    catalog = Catalog(config, worker=found.worker)
    handler = (await catalog.describe([found.source]))[name]
    if handler.unavailable:
        raise DocumentError(f"handler {name} is unavailable: {handler.unavailable}")
    if handler.may_reboot and table.overrides.get("may_reboot") is not True:
        problem = problem or f"it may reboot only with may_reboot = true in [handler.{name}] of the configuration"
    return TriedHandler(handler, catalog.rules()._replace(operations={}), problem)


def _absolute(asked: str) -> Path:
    return Path(os.path.abspath(asked))  # noqa: PTH100 - resolve() would follow links, but they need judging too


@dataclass(slots=True)
class Attempted:
    """One attempt: what the handler has said so far, and its result once it has ended."""

    attempt: AttemptId
    step: Step
    listen: Listen | None = None
    progress: float | None = None
    message: str = ""
    details: dict[str, str] = field(default_factory=dict)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    spoke: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    result: AttemptResult | None = None

    async def ended(self) -> AttemptResult:
        """Wait for the end of the attempt and return its result."""
        await self.over.wait()
        assert self.result is not None  # noqa: S101 - the result is set before the event
        return self.result

    async def outcome(self) -> Outcome:
        """Wait for the end; return the outcome that the agent would report, with all details that the handler gave."""
        result = await self.ended()
        outcome = outcome_of(result)
        match followup_of(result):
            case Followup.RETRY if self.step.retry_limit:
                why = f"the agent would try it again in {self.step.retry_delay_s:g} s: {reason_given(result)}"
                outcome = Outcome(ExecutionStatus.IN_PROGRESS, why, details=outcome.details)
            case Followup.REBOOT if self.step.may_reboot:
                why = f"the agent would reboot, then resume it: {reason_given(result)}"
                outcome = Outcome(ExecutionStatus.IN_PROGRESS, why, details=outcome.details)
            case _:
                pass
        return Outcome(outcome.status, outcome.reason, outcome.code, {**self.details, **outcome.details})


class Stage:
    """Runs attempts in a state directory of its own. For the loop's thread only, like `Attempts`."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._attempts = Attempts(state, plain, self._post)
        self._all: dict[AttemptId, Attempted] = {}

    def open(self) -> None:
        """Prepare the state directory and begin to listen. Raises OSError."""
        self._attempts.prepare()
        self._attempts.open()

    def start(
        self, step: Step, *, execution: int = 1, number: int = 1, facts: Facts = FIRST, listen: Listen | None = None
    ) -> Attempted:
        """Start attempt `number` of an execution. `listen` is called with every event of it."""
        made = Attempted(AttemptId(ExecutionId("", "try", execution), 0, number), step, listen)
        self._all[made.attempt] = made
        self._attempts.start(made.attempt, step, facts)
        return made

    def stop(self) -> None:
        """Stop all attempts as a cancellation would: SIGTERM, grace, SIGKILL, and a sweep."""
        for attempt in self._all:
            self._attempts.stop(attempt)

    def job_directory(self, execution: int) -> Path:
        """Return the path of JOB_DIR of that execution."""
        return self.state / "jobs" / f".try.{execution}"

    def directory(self, attempted: Attempted) -> Path:
        """Return the path of the attempt's own directory."""
        return self.state / "attempts" / attempted.attempt.directory_name

    async def close(self) -> None:
        """Stop all attempts, and wait until they have ended."""
        self.stop()
        for each in self._all.values():
            await each.over.wait()
        self._attempts.close()

    def _post(self, event: AttemptEvent) -> None:
        this = self._all[event.attempt]
        match event:
            case AttemptStarted():
                this.started.set()
            case AttemptProgressed():
                this.progress = this.progress if event.progress is None else event.progress
                this.message = event.message or this.message
                this.details |= event.details
                this.spoke.set()
            case AttemptNeverStarted() | AttemptEnded():
                cannot_start = AttemptResult(Ending.CANNOT_START, reason=getattr(event, "why", ""))
                this.result = getattr(event, "result", cannot_start)
                for fact in (this.started, this.spoke, this.over):
                    fact.set()
        if this.listen is not None:
            this.listen(event)


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Open a stage in a temporary directory. On exit, stop all attempts and remove everything."""
    scratch = Path(tempfile.mkdtemp(prefix="iot-jobs-try-"))
    made = Stage(scratch / "state")
    try:
        made.open()
        try:
            yield made
        finally:
            await made.close()
    finally:
        _remove(scratch)


def _remove(tree: Path) -> None:
    for directory, _, _ in os.walk(tree):  # a handler may have made some of them unreadable
        Path(directory).chmod(0o700)
    shutil.rmtree(tree, ignore_errors=True)
