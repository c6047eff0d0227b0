"""From a disk after a power cut to what the real code makes of it.

Recovery is the daemon's: journal, attempts, what the journal does not know, what it knows. No process is left after a
power cut, so nothing is swept.
"""

import contextlib
import hashlib
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
from tests.faults.crash.life import text_of
from tests.faults.crash.model import DIRECTORY, FIFO, Tree
from tests.faults.crash.scenarios import STATE, STORE, opened

from iot_jobs_agent.attempts import orphans, units
from iot_jobs_agent.attempts.attempts import Attempts
from iot_jobs_agent.core.claimant import Claimant
from iot_jobs_agent.core.events import AttemptEvent
from iot_jobs_agent.core.job import AttemptId
from iot_jobs_agent.shim import bus
from iot_jobs_agent.state import directory as state_directory
from iot_jobs_agent.state.journal import Journal, Recovered


@dataclass
class Found:
    """What the real code found on a disk."""

    error: str = ""
    text: str = ""
    was_set_aside: bool = False
    claimant: Claimant = field(default_factory=Claimant)
    recovered: Recovered = field(default_factory=Recovered)
    events: list[AttemptEvent] = field(default_factory=list)
    never_started: set[AttemptId] = field(default_factory=set)
    directories: set[str] = field(default_factory=set)  # of attempts
    has_units: bool = False
    checkpoints: dict[str, bytes] = field(default_factory=dict)
    kept: dict[str, list[str]] = field(default_factory=dict)  # by handlers, in JOB_DIR
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
    """Nothing is alive, so a sweep finds nothing, and no unit; nobody reads the log."""
    sweep, end, start_unit = orphans.sweep, units.end, bus.start_unit
    orphans.sweep = lambda *_: (0, 0)
    units.end = lambda _: True
    bus.start_unit = lambda _: None
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        orphans.sweep, units.end, bus.start_unit = sweep, end, start_unit
        structlog.reset_defaults()


async def recovered(root: Path, has_attempts: bool, has_units: bool) -> Found:
    """Start the agent, as the daemon does, until its core is told what there is."""
    found = Found(has_units=has_units)
    state = root / STATE
    the_journal = Journal(state)
    try:
        state_directory.prepare(state)
        found.claimant, found.recovered = opened(state, the_journal)
        found.text = text_of(found.recovered.executions, found.recovered.history)
        if has_attempts:
            await _look_at_attempts(state, found)
        aside = list(state.glob("*.damaged-*"))
        found.set_aside = {digest_of(path.read_bytes()) for path in aside}
        found.was_set_aside = bool(aside)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
        found.error = f"{type(error).__name__}: {error}"
    finally:
        the_journal.close()
    return found


async def _look_at_attempts(state: Path, found: Found) -> None:
    own_units = units.Units(state, "network", {}) if found.has_units else None
    attempts = Attempts(state, _never, found.events.append, own_units=own_units)
    attempts._thread.shutdown()
    attempts._thread = _Inline()  # type: ignore[assignment] - all that is asked of it
    attempts.prepare()
    attempts.open()
    found.directories = {path.name for path in (state / "attempts").iterdir()}
    try:
        await attempts.abandon_others({execution.id for execution in found.recovered.executions})
        wanted = [attempt for execution in found.recovered.executions if (attempt := execution.attempt) is not None]
        found.never_started = attempts.reattach(wanted)
        while attempts._watches:
            attempts._one_ended.clear()
            await attempts._one_ended.wait()
        for path in (state / "jobs").glob("*/checkpoint.json"):
            found.checkpoints[path.parent.name] = path.read_bytes()
        for path in (state / "jobs").glob("*/kept"):
            found.kept[path.parent.name] = path.read_text(errors="replace").splitlines()
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


def digest_of(journal_file: bytes) -> str:
    """Recognise a journal by all but its first page, which opening it changes."""
    page_bytes = int.from_bytes(journal_file[16:18], "big")  # sqlite.org/fileformat.html, "The Database Header"
    return hashlib.blake2b(journal_file[page_bytes:], digest_size=12).hexdigest()
