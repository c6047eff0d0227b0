"""What power is cut in: programs that run under strace, `python -m tests.faults.crash.scenarios NAME ROOT`.

`REAL` are lives of the real journal, state directory and attempts. `KNOWN_BAD` are stores that lose what they
acknowledged, or agents that act before they have written; the explorer has to see that.
"""

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.faults.crash.life import BOOT, Life, Mark, Moment, text_of
from tests.faults.crash.older_schemas import end_with_schema_1, of_schema_1
from tests.faults.crash.own_units import OwnUnits, own_units
from tests.faults.crash.service import Job, Service
from tests.faults.crash.trace import MARKS

from iot_jobs_agent.attempts import launch, trash
from iot_jobs_agent.attempts.attempts import Attempts
from iot_jobs_agent.attempts.launch import Launch
from iot_jobs_agent.attempts.launchers import plain
from iot_jobs_agent.core.claimant import Claimant
from iot_jobs_agent.core.effects import JournalEffect, Save
from iot_jobs_agent.core.events import AttemptNeverStarted
from iot_jobs_agent.core.state import Delayed, Rebooting, Running
from iot_jobs_agent.errors import JournalDamagedError
from iot_jobs_agent.state import directory as state_directory
from iot_jobs_agent.state import schema
from iot_jobs_agent.state.journal import Journal, Recovered

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
    service = _killed(root, mark, Service(), Job("a", "well"), Job("b", "fails"))
    service = _killed(root, mark, service, Job("c", "refused"), Job("d", "canceled"))
    with _agent(root, mark, service) as life:
        asyncio.run(life.run(Job("e", "steps"), Job("f", "well")))
    with _agent(root, mark, service) as life:
        asyncio.run(life.run(Job("g", "fails")))


def checkpoints(root: Path, mark: Mark) -> None:
    """So many jobs that SQLite moves its log into the database, again and again, and starts it over."""
    with _agent(root, mark) as life:
        _checkpoint_after(life, CHECKPOINT_PAGES)
        for number in range(24):
            asyncio.run(life.run(Job(f"job-{number}", ("well", "steps", "fails")[number % 3])))


def killed_while_running(root: Path, mark: Mark) -> None:
    """Checkpoints with a kill after each few jobs, so that logs are replayed that were started over."""
    service = Service()
    for number in range(5):
        jobs = [Job(f"job-{number}-{each}", ("steps", "canceled", "well")[each]) for each in range(3)]
        service = _killed(root, mark, service, *jobs, pages=CHECKPOINT_PAGES)


def tried_again(root: Path, mark: Mark) -> None:
    """Jobs that ask for another try: one as often as it may, with kills while it waits, beside one that asks once."""
    service = _killed(root, mark, Service(), Job("a", "never ready"), until=(Delayed, 2))
    service = _killed(root, mark, service, until=(Delayed, 4))
    with _agent(root, mark, service) as life:
        asyncio.run(life.run(Job("b", "retried")))


def interrupted(root: Path, mark: Mark) -> None:
    """A job that is interrupted until it has failed, in the same boot and in another one; others that go on."""
    service = _killed(root, mark, Service(), Job("a", "always lost"), until=(Running, 1))
    service = _killed(root, mark, service, until=(Running, 2))
    service = _killed(root, mark, service, until=(Running, 3), boot_id="boot-2")
    with _agent(root, mark, service, "boot-2") as life:
        asyncio.run(life.run(Job("b", "resumed"), Job("c", "rerun")))


def rebooted(root: Path, mark: Mark) -> None:
    """Jobs that ask for reboots; the agent ends properly, is killed, and is killed before it asked the system."""
    with _agent(root, mark) as life:
        asyncio.run(life.run(Job("a", "rebooted"), Job("b", "always reboots")))
    service = _killed(root, mark, life.service, boot_id="boot-2")
    service = _killed(root, mark, service, until=(Rebooting, 4), boot_id="boot-3")
    _killed(root, mark, service, boot_id="boot-3")


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


def attempts_tried_again(root: Path, mark: Mark) -> None:
    """A job whose handler asks for another try, beside one whose handler asks for a reboot, which comes."""
    with _agent(root, mark) as life:
        mark(settled=True)
        asyncio.run(_real_attempts(root, life, Job("a", "retried"), Job("b", "rebooted")))
    with _agent(root, mark, life.service, "boot-2") as life:
        asyncio.run(_real_attempts(root, life))


def attempts_cut_short(root: Path, mark: Mark) -> None:
    """Jobs whose shims are killed: one together with the agent, found in another boot, and one alone."""
    with _agent(root, mark):
        mark(settled=True)
    service = _killed(root, mark, Service(), Job("a", "rerun"), until=(Running, 1), has_attempts=True)
    with _agent(root, mark, service, "boot-2") as life:
        asyncio.run(_real_attempts(root, life, Job("b", "resumed")))


def attempts_in_units(root: Path, mark: Mark) -> None:
    """Jobs whose handlers run in units of their own: one with two steps, one whose shim is killed and not its unit."""
    with own_units(kills="b") as own, _agent(root, mark) as life:
        mark(settled=True)
        asyncio.run(_real_attempts(root, life, Job("a", "steps"), Job("b", "rerun"), own=own))


def attempts_refused_a_unit(root: Path, mark: Mark) -> None:
    """A job with two steps, of each of which systemd refuses to start the unit at first."""
    with own_units(refuses=True) as own, _agent(root, mark) as life:
        mark(settled=True)
        asyncio.run(_real_attempts(root, life, Job("a", "steps"), own=own))


def set_aside(root: Path, mark: Mark) -> None:
    """A journal that was damaged, by something else than a power cut, is set aside, and a new one lives on."""
    with _agent(root, mark) as life:
        asyncio.run(life.run(Job("a", "well")))
    path = root / STATE / "journal.sqlite"
    whole = path.read_bytes()
    page_bytes = int.from_bytes(whole[16:18], "big")  # sqlite.org/fileformat.html, "The Database Header"
    damaged = whole[:page_bytes] + bytes(page_bytes) + whole[2 * page_bytes :]
    path.write_bytes(damaged)
    mark(settled=True, damaged=damaged.hex())
    with _agent(root, mark) as life:
        asyncio.run(life.run(Job("b", "well")))


def migrated(root: Path, mark: Mark) -> None:
    """A journal of schema 1, with an execution in each of its phases, is opened by today's code, which goes on."""
    with _agent(root, mark) as life:
        of_schema_1(life)
    _without_end(lambda: end_with_schema_1(root / STATE))
    mark(settled=True)
    with _agent(root, mark, life.service) as life:
        asyncio.run(life.run(Job("new", "well")))


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


def _early_start(root: Path, mark: Mark) -> None:
    """The real journal, but that another try runs is written with what comes after it."""
    with _agent(root, mark) as life:
        late: list[JournalEffect] = []
        write = life._write

        def written(effects: list[JournalEffect]) -> None:
            again = [e for e in effects if isinstance(e, Save) and isinstance(e.execution.phase, Running)]
            if any(e.execution.phase.work.number > 1 for e in again):
                late.extend(effects)
            elif effects:
                write([*late, *effects])
                late.clear()

        life._write = written  # type: ignore[method-assign] - that is what is bad
        asyncio.run(life.run(Job("a", "retried")))


def _migrated_in_steps(root: Path, mark: Mark) -> None:
    """The real journal, but each row is taken over in a transaction of its own."""
    insert, migrate = schema.insert_execution, schema.migrate

    def inserted(database: sqlite3.Connection, fields: Sequence[Any]) -> None:
        insert(database, fields)
        database.execute("COMMIT")
        database.execute("BEGIN IMMEDIATE")

    def in_steps(database: sqlite3.Connection, number: int) -> None:
        schema.insert_execution = inserted
        migrate(database, number)
        schema.insert_execution = insert

    schema.migrate = in_steps
    migrated(root, mark)


def _attempt_without_sync(root: Path, mark: Mark) -> None:
    """Real attempts, but for the fsync of the directories that hold theirs."""
    launch.sync_directory = lambda *_: None
    attempts(root, mark)


def _attempt_in_unit_undone_without_sync(root: Path, mark: Mark) -> None:
    """Real attempts, but that one that never started is removed without a word to the disk."""
    Launch.undo = lambda self, watch: trash.throw_away(watch.directory, self.trash)  # type: ignore[method-assign]
    attempts_refused_a_unit(root, mark)


REAL: dict[str, Callable[[Path, Mark], None]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        *(new_installation, lives, checkpoints, killed_while_running, set_aside),
        *(tried_again, interrupted, rebooted, migrated),
        *(attempts, attempts_again, attempts_tried_again, attempts_cut_short),
        *(attempts_in_units, attempts_refused_a_unit),
    )
}
KNOWN_BAD: dict[str, Callable[[Path, Mark], None]] = {
    "SQLite with Python's default pragmas": _default_sqlite,
    "SQLite with a write-ahead log and synchronous=NORMAL": _wal_normal,
    "tmp + rename without fsync": _rename,
    "append without fsync": _append,
    "a retry that is started before it is journalled": _early_start,
    "a migration in several transactions": _migrated_in_steps,
    "an attempt's directory without fsync of its parent": _attempt_without_sync,
    "an attempt that never started is undone without fsync": _attempt_in_unit_undone_without_sync,
}
STORES = {name for name, scenario in KNOWN_BAD.items() if scenario in {_default_sqlite, _rename, _append}}
WITH_ATTEMPTS = {name for name, each in (REAL | KNOWN_BAD).items() if "attempt" in each.__name__}
IN_UNITS = {name for name, each in (REAL | KNOWN_BAD).items() if "unit" in each.__name__}


@contextlib.contextmanager
def _agent(root: Path, mark: Mark, service: Service | None = None, boot_id: str = BOOT) -> Iterator[Life]:
    """Start as the daemon does, and end as it does."""
    state = root / STATE
    state_directory.prepare(state)
    the_journal = Journal(state)
    claimant, recovered = opened(state, the_journal)
    mark(agent_id=claimant.agent_id, journal_id=claimant.journal_id)
    mark(begun=text_of(recovered.executions, recovered.history))
    mark(acknowledged=True)
    yield Life(the_journal, recovered, service or Service(), claimant, mark, boot_id=boot_id)
    the_journal.close()


def opened(state: Path, the_journal: Journal) -> tuple[Claimant, Recovered]:
    """Open it as the daemon does."""
    agent_id = state_directory.agent_id(state)
    try:
        recovered = the_journal.open()
    except JournalDamagedError:
        the_journal.set_aside()
        recovered = the_journal.open()
    lost = state_directory.lost_journals(state, recovered.journal_id)
    return Claimant(agent_id, recovered.journal_id, lost), recovered


async def _real_attempts(
    root: Path, life: Life, *jobs: Job, until: Moment | None = None, own: OwnUnits | None = None
) -> None:
    """Live with processes; what an earlier life left of them is found as the daemon finds it."""
    post = life.inbox.put_nowait
    life.attempts = Attempts(root / STATE, plain, post) if own is None else own.attempts(root / STATE, post)
    life.attempts.prepare()
    life.attempts.open()
    await life.attempts.abandon_others(set(life.state.executions))
    for attempt in life.attempts.reattach(life.left):
        life.inbox.put_nowait(AttemptNeverStarted(attempt))
    await life.run(*jobs, until=until)
    if until is None:
        life.attempts._thread.shutdown(wait=True)
        life.attempts.close()


def _killed(
    root: Path,
    mark: Mark,
    service: Service,
    *jobs: Job,
    until: Moment | None = None,
    boot_id: str = BOOT,
    pages: int = 0,
    has_attempts: bool = False,
) -> Service:
    """Live in a process that ends without closing anything; return what the service knows then."""

    async def live(life: Life) -> None:
        await (_real_attempts(root, life, *jobs, until=until) if has_attempts else life.run(*jobs, until=until))
        root.with_name("service").write_text(service.text)
        os._exit(0)

    def begin() -> None:
        with _agent(root, mark, service, boot_id) as life:
            _checkpoint_after(life, pages)
            asyncio.run(live(life))

    _without_end(begin)
    return Service.of(root.with_name("service").read_text())


def _without_end(work: Callable[[], None]) -> None:
    """Do it in a process that ends without closing anything."""
    if (pid := os.fork()) == 0:
        try:
            work()
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status


def _checkpoint_after(life: Life, pages: int) -> None:
    assert life.journal._database is not None
    if pages:
        life.journal._database.execute(f"PRAGMA wal_autocheckpoint={pages}")


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
