"""From a disk after a power cut to what the real code makes of it, and whether that is what was promised.

Recovery is the daemon's: journal, attempts, what the journal does not know, what it knows. No process is left after a
power cut, so nothing is swept.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from agent import orphans, state_directory
from agent.attempts import Attempts
from agent.core.events import AttemptEnded, AttemptEvent
from agent.core.job import AttemptId, Ending
from agent.journal import Journal, Recovered
from tests.faults.crash_life import Aftermath, aftermath, text_of
from tests.faults.crash_model import DIRECTORY, FIFO, Tree
from tests.faults.crash_scenarios import STATE, STORE, opened
from tests.faults.crash_trace import Operation

NOTHING = text_of((), ())

_aftermaths: dict[tuple[str, ...], Aftermath] = {}  # thousands of disks hold the same


class Knowledge:
    """What was promised until a moment, by the marks and operations before it."""

    def __init__(self, nothing: str = NOTHING) -> None:
        self.certain = self.begun = nothing  # what the journal holds, and what it holds if a write came through
        self.service = "[]"
        self.agent_id = ""
        self.told: dict[str, str] = {}
        self.started: set[str] = set()
        self.kept: set[str] = set()
        self.checkpoints: set[str] = set()
        self.damaged = ""  # digest of a journal that must be kept
        self.may_set_aside = False

    def take(self, operation: Operation) -> None:
        """Learn from one more operation."""
        if operation.kind == "write" and operation.path.endswith("/events.jsonl"):
            self.checkpoints.add(operation.path.split("/")[-2])
        for what, said in operation.mark.items():
            getattr(self, f"_on_{what}")(said)

    def _on_begun(self, text: str) -> None:
        self.begun = text

    def _on_acknowledged(self, _: bool) -> None:
        self.certain = self.begun
        self.may_set_aside = False

    def _on_service(self, text: str) -> None:
        self.service = text

    def _on_agent_id(self, text: str) -> None:
        self.agent_id = text

    def _on_told(self, told: dict[str, str]) -> None:
        self.told |= told

    def _on_started(self, attempt: str) -> None:
        self.started.add(attempt)

    def _on_kept(self, attempt: str) -> None:
        self.kept.add(attempt)

    def _on_settled(self, _: bool) -> None:
        pass

    def _on_damaged(self, content: str) -> None:
        self.damaged = _digest(bytes.fromhex(content))  # in hexadecimal
        self.certain = self.begun = NOTHING
        self.told, self.started, self.service = {}, set(), "[]"
        self.may_set_aside = True


@dataclass
class Found:
    """What the real code found on a disk."""

    error: str = ""
    text: str = ""
    was_set_aside: bool = False
    agent_id: str = ""
    recovered: Recovered = field(default_factory=Recovered)
    events: list[AttemptEvent] = field(default_factory=list)
    never_started: set[AttemptId] = field(default_factory=set)
    checkpoints: dict[str, bytes] = field(default_factory=dict)
    set_aside: set[str] = field(default_factory=set)


def lay_out(tree: Tree, root: Path) -> None:
    """Make the disk."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    base = f"{root}/"
    for path, content in tree.items():
        if content == DIRECTORY:
            os.mkdir(base + path)  # noqa: PTH102 - a hundred thousand times
        elif content == FIFO:
            os.mkfifo(base + path)
        else:
            assert isinstance(content, bytes)
            descriptor = os.open(base + path, os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(descriptor, content)
            os.close(descriptor)


class _Inline(Executor):
    """The attempts' thread, without a thread."""

    def submit(self, job: Callable[..., Any], /, *arguments: Any, **named: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(job(*arguments, **named))
        except BaseException as error:  # noqa: BLE001 - as an executor does
            future.set_exception(error)
        return future


@contextlib.contextmanager
def after_a_power_cut() -> Iterator[None]:
    """Nothing is alive, so a sweep finds nothing; nobody reads the log."""
    sweep = orphans.sweep
    orphans.sweep = lambda *_: (0, 0)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        orphans.sweep = sweep
        structlog.reset_defaults()


async def recovered(root: Path, has_attempts: bool) -> Found:
    """Start the agent, as the daemon does, until its core is told what there is."""
    found = Found()
    state = root / STATE
    the_journal = Journal(state)
    try:
        state_directory.prepare(state)
        found.agent_id = state_directory.agent_id(state)
        found.recovered = opened(the_journal)
        found.text = text_of(found.recovered.executions, found.recovered.history)
        if has_attempts:
            await _look_at_attempts(state, found)
        aside = list(state.glob("*.damaged-*"))
        found.set_aside = {_digest(path.read_bytes()) for path in aside}
        found.was_set_aside = bool(aside)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
        found.error = f"{type(error).__name__}: {error}"
    finally:
        the_journal.close()
    return found


async def _look_at_attempts(state: Path, found: Found) -> None:
    attempts = Attempts(state, _never, found.events.append)
    attempts._thread.shutdown()
    attempts._thread = _Inline()  # type: ignore[assignment] - all that is asked of it
    attempts.prepare()
    attempts.open()
    try:
        await attempts.abandon_others({execution.id for execution in found.recovered.executions})
        wanted = [attempt for execution in found.recovered.executions if (attempt := execution.attempt) is not None]
        found.never_started = attempts.reattach(wanted)
        while attempts._watches:
            attempts._one_ended.clear()
            await attempts._one_ended.wait()
        for path in (state / "jobs").glob("*/checkpoint.json"):
            found.checkpoints[path.parent.name] = path.read_bytes()
    finally:
        attempts.close()


def _never(directory: Path) -> int:
    raise AssertionError(f"nothing may be started here: {directory}")


def recovered_store(root: Path) -> Found:
    """Read what a known-bad store holds: the number that was written last."""
    path = root / STORE
    try:
        if not path.exists():
            return Found()
        if (root / f"{STORE}-journal").exists() or path.read_bytes().startswith(b"SQLite"):
            with contextlib.closing(sqlite3.connect(path)) as database:
                [(last,)] = database.execute("SELECT max(number) FROM kept")
            return Found(text=str(last or ""))
        return Found(text=(path.read_text().splitlines() or [""])[-1])
    except (OSError, ValueError, sqlite3.Error) as error:
        return Found(error=f"{type(error).__name__}: {error}")


def violations(known: Knowledge, found: Found, has_attempts: bool) -> Iterator[str]:
    """Compare what was found with what was promised: each difference begins with its invariant."""
    if found.error:
        yield f"R recovery failed: {found.error}"
        return
    if found.text not in {known.certain, known.begun}:
        yield f"D the journal holds {found.text}, not {known.certain} (or {known.begun})"
    if known.agent_id and found.agent_id != known.agent_id:
        yield "D the installation's id is another one"
    if found.was_set_aside and not known.damaged:
        yield "R a journal that nothing but a power cut befell was set aside"
    if known.damaged and known.damaged not in found.set_aside:
        yield "R the damaged journal is gone"
    if known.damaged and not known.may_set_aside and len(found.set_aside) > 1:
        yield "R the new journal was set aside"
    yield from _broken_promises(known, found, has_attempts)


def _broken_promises(known: Knowledge, found: Found, has_attempts: bool) -> Iterator[str]:
    never_started = sorted(found.never_started) if has_attempts else []
    events = found.events if has_attempts else []
    key = (found.text, found.agent_id, known.service, repr(never_started), repr(events))
    after = _aftermaths.get(key)
    if after is None:
        after = aftermath(found.recovered, events, never_started, known.service, found.agent_id)
        _aftermaths[key] = after
    for attempt in known.started & after.started:
        yield f"O the attempt {attempt} would be started again"
    for execution, status in known.told.items():
        said = after.told.get(execution, frozenset())
        if not said <= {status} or after.known.get(execution, status) != status:
            yield f"T {execution} was {status}, and is told to be {', '.join(said)}"
        elif not said and execution not in after.known:
            yield f"T {execution} was {status}, which is not known any more"
    if has_attempts:
        yield from _lost_results(known, found)
        yield from _lost_checkpoints(known, found)


def _lost_results(known: Knowledge, found: Found) -> Iterator[str]:
    """A result that the shim has kept is found again, until the journal has it."""
    results = {e.attempt.directory_name: e.result for e in found.events if isinstance(e, AttemptEnded)}
    for execution in found.recovered.executions:
        name = execution.attempt.directory_name if execution.attempt else ""
        if name in known.kept:
            result = results.get(name)
            said = (result.handler_result or {}) if result else {}
            is_right = result is not None and result.ending is Ending.EXITED and result.code == 0
            if result is None or not is_right or said != {"outcome": "succeeded", "details": {"attempt": name}}:
                yield f"D the result of {name} was kept, and is now {result}"
            elif result.stdout != f"said by {name}\n":
                yield f"D the output of {name} was kept, and is now {result.stdout!r}"


def _lost_checkpoints(known: Knowledge, found: Found) -> Iterator[str]:
    """The agent was told after the checkpoint was kept; one of an earlier step is no checkpoint of this one."""
    for execution in found.recovered.executions:
        name = execution.attempt.directory_name if execution.attempt else ""
        content = found.checkpoints.get(name.rsplit(".", 2)[0])
        if name in known.checkpoints and content is None:
            yield f"D the checkpoint of {name} is gone, of which the agent was told"
        if name in known.started and content not in {None, json.dumps(name).encode()}:
            yield f"R the checkpoint of {name} is {content!r}"


def _digest(journal_file: bytes) -> str:
    """Recognise a journal by all but its first page, which opening it changes."""
    return hashlib.blake2b(journal_file[4096:], digest_size=12).hexdigest()
