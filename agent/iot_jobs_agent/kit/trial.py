"""One handler, run exactly as the agent would run it, with no cloud: the catalog offers it, a real supervisor runs it.

Owns what `iot-jobs-agent try` and the conformance kit share: which handler is meant, its settings without a device's
configuration, and attempts in a temporary state directory of which nothing is left.
"""

import asyncio
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iot_jobs_agent.attempts.attempts import Attempts, Facts
from iot_jobs_agent.attempts.launchers import plain
from iot_jobs_agent.catalog.catalog import WORKER, Catalog
from iot_jobs_agent.catalog.manifests import Described, Manifests
from iot_jobs_agent.catalog.trust import distrust
from iot_jobs_agent.config.config import Config
from iot_jobs_agent.core.events import (
    AttemptEnded,
    AttemptEvent,
    AttemptNeverStarted,
    AttemptProgressed,
    AttemptStarted,
)
from iot_jobs_agent.core.job import AttemptId, AttemptResult, ExecutionId, ExecutionStatus, Outcome, Step
from iot_jobs_agent.core.outcome import Followup, followup_of, outcome_of, reason_given
from iot_jobs_agent.documents.document import plan
from iot_jobs_agent.documents.enabled_handler import Namespace
from iot_jobs_agent.errors import DocumentError
from iot_jobs_agent.handler import HANDLER_NAME, Manifest

_SPEC = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
# As the worker, but modules of the current directory are found too, after all that is installed.
_WORKER_HERE = (
    "import runpy, sys; sys.path.append({here!r}); runpy.run_module('iot_jobs_agent.worker', run_name='__main__')"
)

FIRST = Facts("try")

Told = Callable[[AttemptEvent], None]


@dataclass(frozen=True, slots=True)
class Tried:
    """A handler under trial. `remark` says what a device would not accept as it is, "" if there is nothing."""

    name: str
    catalog: Catalog
    remark: str = ""

    def step(self, params: Mapping[str, Any]) -> Step:
        """The one step of a document that asks for it. Raises DocumentError where the agent would: REJECTED."""
        document = {"operation": self.name, "params": dict(params)}
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        size_bytes = len(text.encode(errors="surrogatepass"))
        offers, rules = self.catalog.offers(), self.catalog.rules()
        return plan(document, size_bytes=size_bytes, namespace=Namespace(), offers=offers, rules=rules).steps[0]

    @property
    def manifest(self) -> Manifest:
        """What it declares, the configuration on top."""
        return self.catalog.offers()[self.name].manifest


async def tried(asked: str, config: Config) -> Tried:
    """Find the handler: a name, a path to an executable, or `module:attribute`. Looks at files, may ask the handler.

    Raises:
        DocumentError: if there is no such handler, with a reason that a person can act on.
    """
    if os.sep in asked:
        return await _executable(_absolute(asked), config)
    if _SPEC.fullmatch(asked):
        return await _attribute(asked, config)
    if not re.fullmatch(HANDLER_NAME, asked):
        raise DocumentError(f"{asked!r} cannot be a handler's name; use a-z, 0-9 and - only, and ./ before a file's")
    return await _enabled(asked, config, Catalog(_enabling(asked, config)))


async def _executable(path: Path, config: Config) -> Tried:
    name = path.name.removesuffix(".sh")
    if not re.fullmatch(HANDLER_NAME, name):
        raise DocumentError(f"{path.name} cannot be a handler's name; use a-z, 0-9 and - only")
    directories = (path.parent, *config.handlers.directories)
    catalog = Catalog(_enabling(name, config, directories=directories), installation=(Path(sys.prefix), path.parent))
    found = catalog.known()[name].path
    if found != path:
        raise DocumentError(f"{path} " + (f"is hidden by {found}" if found else "does not exist"))
    return await _enabled(name, config, catalog, distrust(path))


async def _attribute(spec: str, config: Config) -> Tried:
    worker = (*WORKER[:2], "-c", _WORKER_HERE.format(here=str(Path.cwd())))
    manifests = Manifests(config.agent.state_directory / "asked.json", worker=worker)
    answer = (await manifests.of([Described("handler", spec, spec)]))["handler"]
    name = str(answer.declared.get("name", ""))
    if answer.fault or not name:
        raise DocumentError(f"{spec} {answer.fault or 'declares no name'}")
    return await _enabled(name, config, Catalog(_enabling(name, config), worker=worker, specs={name: spec}))


async def _enabled(name: str, config: Config, catalog: Catalog, remark: str = "") -> Tried:
    if config.handlers.enabled and name not in config.handlers.enabled:
        remark = remark or f"{name} is not in handlers.enabled of the configuration"
    await catalog.refresh()
    if catalog.offers()[name].unavailable:
        raise DocumentError(f"handler {name} is unavailable: {catalog.offers()[name].unavailable}")
    return Tried(name, catalog, remark)


def _enabling(name: str, config: Config, **changes: Any) -> Config:
    return config.model_copy(update={"handlers": config.handlers.model_copy(update={"enabled": (name,), **changes})})


def _absolute(asked: str) -> Path:
    return Path(os.path.abspath(asked))  # noqa: PTH100 - resolve() would follow links, which are judged too


@dataclass(slots=True)
class Attempted:
    """One attempt: what was said so far, and how it ended once it did."""

    attempt: AttemptId
    step: Step
    told: Told | None = None
    progress: float | None = None
    message: str = ""
    details: dict[str, str] = field(default_factory=dict)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    spoke: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    result: AttemptResult | None = None

    async def ended(self) -> AttemptResult:
        """Wait for the end."""
        await self.over.wait()
        assert self.result is not None  # noqa: S101 - set before the event is
        return self.result

    async def outcome(self) -> Outcome:
        """Wait for the end: what the agent would report, with all details that the handler gave."""
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
    """Where attempts run. Loop's thread only, as `Attempts`."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._attempts = Attempts(state, plain, self._post)
        self._all: dict[AttemptId, Attempted] = {}

    def open(self) -> None:
        """Make ready. Raises OSError."""
        self._attempts.prepare()
        self._attempts.open()

    def start(
        self, step: Step, *, execution: int = 1, number: int = 1, facts: Facts = FIRST, told: Told | None = None
    ) -> Attempted:
        """Start attempt `number` of an execution; `told` hears of all that happens."""
        made = Attempted(AttemptId(ExecutionId("", "try", execution), 0, number), step, told)
        self._all[made.attempt] = made
        self._attempts.start(made.attempt, step, facts)
        return made

    def stop(self) -> None:
        """Stop what runs, as a cancel would: SIGTERM, grace, SIGKILL, and a sweep."""
        for attempt in self._all:
            self._attempts.stop(attempt)

    def job_directory(self, execution: int) -> Path:
        """Where JOB_DIR of that execution is."""
        return self.state / "jobs" / f".try.{execution}"

    def directory(self, attempted: Attempted) -> Path:
        """Where the attempt's own directory is."""
        return self.state / "attempts" / attempted.attempt.directory_name

    async def close(self) -> None:
        """Stop what runs, and wait until nothing does."""
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
            case AttemptNeverStarted():  # posted for attempts of another agent only
                return
            case AttemptEnded():
                this.result = event.result
                for fact in (this.started, this.spoke, this.over):
                    fact.set()
        if this.told is not None:
            this.told(event)


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """A stage in a temporary directory. On leaving, what runs is stopped and everything removed."""
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
    for directory, _, _ in os.walk(tree):  # a handler may have made some unreadable
        Path(directory).chmod(0o700)
    shutil.rmtree(tree, ignore_errors=True)
