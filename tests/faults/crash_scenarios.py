"""What power is cut in: programs that run under strace, `python -m tests.faults.crash_scenarios NAME ROOT`.

`REAL` are lives of the real journal, state directory and attempts. `KNOWN_BAD` are stores that lose what they
acknowledged; the explorer has to see that.
"""

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agent import attempt_directory, state_directory
from agent.attempts import Attempts
from agent.errors import JournalDamagedError
from agent.journal import Journal, Recovered
from agent.launchers import plain
from tests.faults.crash_life import Job, Life, Mark, Service, text_of
from tests.faults.crash_trace import MARKS

STATE = "var/lib/agent"  # the state directory below the root; `prepare` makes all of it
STORE = "store"  # of a known-bad store
CHECKPOINT_PAGES = 24  # SQLite's default is 1,000: a recording of a sane length has no checkpoint in it then
BAD_WRITES = 6


def new_installation(root: Path, mark: Mark) -> None:
    """The very first start, a job, and a clean end."""
    with _agent(root, mark) as life:
        asyncio.run(life.run(Job("a", "well")))


def lives(root: Path, mark: Mark) -> None:
    """Jobs of every nature, killed in between, opened again, ended."""
    service = Service()
    _killed_after(lambda: _run_without_end(root, mark, service, Job("a", "well"), Job("b", "fails")))
    service = Service.of((root.with_name("service")).read_text())
    _killed_after(lambda: _run_without_end(root, mark, service, Job("c", "refused"), Job("d", "canceled")))
    service = Service.of((root.with_name("service")).read_text())
    with _agent(root, mark, service) as life:
        asyncio.run(life.run(Job("e", "steps"), Job("f", "well")))
    with _agent(root, mark, service) as life:
        asyncio.run(life.run(Job("g", "fails")))


def checkpoints(root: Path, mark: Mark) -> None:
    """So many jobs that SQLite moves its log into the database, again and again, and begins it anew."""
    with _agent(root, mark) as life:
        assert life.journal._database is not None
        life.journal._database.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        for number in range(24):
            asyncio.run(life.run(Job(f"job-{number}", ("well", "steps", "fails")[number % 3])))


def killed_while_running(root: Path, mark: Mark) -> None:
    """Checkpoints with a kill after each few jobs, so that logs are replayed that were begun anew."""
    service = Service()
    for number in range(5):
        jobs = [Job(f"job-{number}-{each}", ("steps", "canceled", "well")[each]) for each in range(3)]
        _killed_after(lambda: _run_without_end(root, mark, service, *jobs, pages=CHECKPOINT_PAGES))  # noqa: B023 - at once
        service = Service.of((root.with_name("service")).read_text())


def attempts(root: Path, mark: Mark) -> None:
    """Two jobs whose handlers really run, one with two steps, on a new installation."""
    with _agent(root, mark) as life:
        asyncio.run(_real_attempts(root, life, Job("a", "steps"), Job("b", "well")))


def attempts_again(root: Path, mark: Mark) -> None:
    """A job whose handler really runs, on an installation that has had one before."""
    with _agent(root, mark) as life:
        asyncio.run(_real_attempts(root, life, Job("a", "well")))
        mark(settled=True)
    with _agent(root, mark, life.service) as life:
        asyncio.run(_real_attempts(root, life, Job("b", "well")))


def set_aside(root: Path, mark: Mark) -> None:
    """A journal that was damaged, by something else than a power cut, is set aside, and a new one lives on."""
    with _agent(root, mark) as life:
        asyncio.run(life.run(Job("a", "well")))
    path = root / STATE / "journal.sqlite"
    damaged = path.read_bytes()[:4096] + bytes(4096) + path.read_bytes()[8192:]
    path.write_bytes(damaged)
    mark(settled=True, damaged=damaged.hex())
    with _agent(root, mark) as life:
        asyncio.run(life.run(Job("b", "well")))


def _default_sqlite(root: Path, mark: Mark) -> None:
    path = root / STORE
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("CREATE TABLE kept (number INTEGER)")
    _sync(root)
    mark(settled=True)
    for number in range(1, BAD_WRITES + 1):
        mark(begun=str(number))
        database.execute("INSERT INTO kept VALUES (?)", [number])
        mark(acknowledged=True)


def _rename(root: Path, mark: Mark) -> None:
    for number in range(1, BAD_WRITES + 1):
        mark(begun=str(number))
        fresh = root / "store.new"
        fresh.write_text(f"{number}\n")
        fresh.rename(root / STORE)
        mark(acknowledged=True)


def _append(root: Path, mark: Mark) -> None:
    (root / STORE).touch()
    mark(settled=True)
    with (root / STORE).open("a") as file:
        for number in range(1, BAD_WRITES + 1):
            mark(begun=str(number))
            file.write(f"{number}\n")
            file.flush()
            mark(acknowledged=True)


def _wal_normal(root: Path, mark: Mark) -> None:
    """The real journal, but for one pragma."""
    with _agent(root, mark) as life:
        assert life.journal._database is not None
        life.journal._database.execute("PRAGMA synchronous=NORMAL")
        asyncio.run(life.run(Job("a", "well")))


def _attempt_without_sync(root: Path, mark: Mark) -> None:
    """Real attempts, but for the fsync of the directories that hold theirs."""
    attempt_directory.sync = lambda *_: None
    attempts(root, mark)


REAL: dict[str, Callable[[Path, Mark], None]] = {
    each.__name__.replace("_", "-"): each
    for each in (new_installation, lives, checkpoints, killed_while_running, attempts, attempts_again, set_aside)
}
KNOWN_BAD: dict[str, Callable[[Path, Mark], None]] = {
    "SQLite with Python's default pragmas": _default_sqlite,
    "SQLite with a write-ahead log and synchronous=NORMAL": _wal_normal,
    "tmp + rename without fsync": _rename,
    "append without fsync": _append,
    "an attempt's directory without fsync of its parent": _attempt_without_sync,
}
STORES = {name for name, scenario in KNOWN_BAD.items() if scenario in {_default_sqlite, _rename, _append}}
WITH_ATTEMPTS = {name for name, each in (REAL | KNOWN_BAD).items() if "attempt" in each.__name__}


@contextmanager
def _agent(root: Path, mark: Mark, service: Service | None = None) -> Iterator[Life]:
    """Start as the daemon does, and end as it does."""
    state = root / STATE
    state_directory.prepare(state)
    agent_id = state_directory.agent_id(state)
    mark(agent_id=agent_id)
    journal = Journal(state)
    recovered = opened(journal)
    mark(begun=text_of(recovered.executions, recovered.history))
    mark(acknowledged=True)
    yield Life(journal, recovered, service or Service(), agent_id, mark)
    journal.close()


def opened(journal: Journal) -> Recovered:
    """Open it as the daemon does."""
    try:
        return journal.open()
    except JournalDamagedError:
        journal.set_aside()
        return journal.open()


async def _real_attempts(root: Path, life: Life, *jobs: Job) -> None:
    life.attempts = Attempts(root / STATE, plain, life.inbox.put_nowait)
    life.attempts.prepare()
    life.attempts.open()
    await life.run(*jobs)
    life.attempts._thread.shutdown(wait=True)
    life.attempts.close()


def _run_without_end(root: Path, mark: Mark, service: Service, *jobs: Job, pages: int = 0) -> None:
    with _agent(root, mark, service) as life:
        assert life.journal._database is not None
        if pages:
            life.journal._database.execute(f"PRAGMA wal_autocheckpoint={pages}")
        asyncio.run(life.run(*jobs))
        root.with_name("service").write_text(service.text)
        os._exit(0)


def _killed_after(work: Callable[[], None]) -> None:
    """Do it in a process that ends without closing anything."""
    if (pid := os.fork()) == 0:
        try:
            work()
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def main(name: str, root: Path) -> None:
    marks = os.open(root.with_name(MARKS), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def mark(**said: object) -> None:
        os.write(marks, json.dumps(said).encode())

    (REAL | KNOWN_BAD)[name](root, mark)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
