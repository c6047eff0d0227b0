"""The journal: durable state in SQLite, on a thread of its own, so that a slow disk never stalls the loop.

We measured before we decided (docs/decisions.md): WAL with synchronous=FULL, pragmas read back, and a checksum in each
row because SQLite does not detect bit rot. A failed write is never repeated: nobody knows what reached the disk, so the
agent exits, and the next one recovers.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from iot_jobs_agent.chance import below, random_hex
from iot_jobs_agent.core.effects import Forget, JournalEffect, Save, Settle
from iot_jobs_agent.core.job import ExecutionId, ExecutionStatus, Outcome
from iot_jobs_agent.core.state import SETTLED_KEPT, Execution, Settled
from iot_jobs_agent.core.value import dataclass, field
from iot_jobs_agent.errors import JournalDamagedError, JournalError
from iot_jobs_agent.state import schema
from iot_jobs_agent.state.durable import open_regular, sync_directory
from iot_jobs_agent.state.encoding import decode_phase, encode_phase

FILE_NAME = "journal.sqlite"
COMPANIONS = ("-wal", "-shm")
_LAST_ID = 2**31 - 1
# Each transaction writes whole pages, and ours change a few hundred bytes; that of a file stays as it was made.
_PAGE_BYTES = 1024
_LOG_BYTES = 4 << 20  # of the write-ahead log, before it goes into the file: SQLite's default with its own page size
# Primary result codes that are about the contents of the file, not about the disk below it (sqlite.org/rescode.html).
_DAMAGED = {
    sqlite3.SQLITE_ERROR,  # a table or column is gone
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_FORMAT,
}


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One settled execution. Times are epoch seconds; `claimed_at` is 0 if it was never claimed."""

    execution: ExecutionId
    operation: str
    outcome: Outcome
    service_accepted: bool
    claimed_at: float
    settled_at: float
    queued_at: int = 0


@dataclass(frozen=True, slots=True)
class Recovered:
    """The contents of the journal when it was opened. `journal_id` is 8 hexadecimal digits, made with the journal."""

    journal_id: str = ""
    executions: tuple[Execution, ...] = ()
    history: tuple[HistoryEntry, ...] = field(default=())

    @property
    def settled(self) -> dict[ExecutionId, Settled]:
        """The recent outcomes, oldest first."""
        return {entry.execution: Settled(entry.outcome, entry.queued_at) for entry in self.history}


class Journal:
    """The journal of one state directory. All methods block: run them on `thread`."""

    def __init__(self, state_directory: Path, *, busy_timeout_s: float = 5.0) -> None:
        """`busy_timeout_s` is how long SQLite waits for another process that has locked the file."""
        self._busy_timeout_s = busy_timeout_s
        self.path = state_directory / FILE_NAME
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._database: sqlite3.Connection | None = None
        self._files: list[tuple[int, int]] = []

    def open(self) -> Recovered:
        """Open or create the journal and return its contents.

        Raises:
            JournalDamagedError: its contents cannot be what was written (see `set_aside`).
            JournalError: it cannot be read or written now.
        """
        with _as_journal_error(self.path):
            if os.path.lexists(self.path) and not self.path.is_file():
                raise JournalError(f"{self.path} is not a file: move it away")
            if not self.path.exists() and any(path.exists() for path in self._companions):
                raise JournalDamagedError(f"{self.path} is gone, but its write-ahead log is there")
            database = sqlite3.connect(
                self.path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
            )
            try:
                _prepare(database, self.path)
                recovered = _recover(database)
            except BaseException:
                database.close()
                raise
            sync_directory(self.path.parent)
            self._files = self._identities()
        self._database = database
        return recovered

    def set_aside(self) -> Path:
        """Rename a damaged journal, so that somebody can look at it, and return its new path. Raises JournalError."""
        aside = self.path.with_name(f"{FILE_NAME}.damaged-{int(time.time())}-{random_hex(4)}")
        with _as_journal_error(self.path):
            for path in (self.path, *self._companions):  # in this order, so that `open` notices an interruption
                with contextlib.suppress(FileNotFoundError):
                    path.rename(path.with_name(path.name.replace(FILE_NAME, aside.name)))
            sync_directory(self.path.parent)
        return aside

    @property
    def _companions(self) -> list[Path]:
        return [self.path.with_name(FILE_NAME + suffix) for suffix in COMPANIONS]

    def _identities(self) -> list[tuple[int, int]]:
        """Return device and inode of the journal and its write-ahead log. Raises OSError."""
        found = [path.stat() for path in (self.path, self._companions[0])]
        return [(each.st_dev, each.st_ino) for each in found]

    def write(self, effects: Sequence[JournalEffect]) -> None:
        """Make all of `effects` durable, or none of them. When this returns, they are on disk.

        Raises:
            JournalError: nobody knows what reached the disk. Do not write again: exit, and recover.
        """
        if self._database is None:
            raise JournalError(f"{self.path} is not open")
        with _as_journal_error(self.path):
            if self._identities() != self._files:  # SQLite would go on writing to files that nobody will find
                raise JournalError(f"{self.path} was replaced or removed while the agent was running")
        with _as_journal_error(self.path), _transaction(self._database) as database:
            for effect in effects:
                _apply(database, effect)

    def close(self) -> None:
        """Close the journal. Idempotent."""
        if self._database is not None:
            self._database.close()
            self._database = None


def read_history(state_directory: Path, limit: int = SETTLED_KEPT) -> list[HistoryEntry]:
    """Return the last `limit` settled executions, newest first. Works with or without a running agent. Blocks.

    Raises:
        JournalError: there is no journal, or it cannot be read, perhaps only by this user.
    """
    path = state_directory / FILE_NAME
    try:
        open_regular(path).close()
    except FileNotFoundError:
        raise JournalError(f"there is no journal in {state_directory}: has the agent run here?") from None
    except OSError as error:
        fix = "run the command with sudo, or as the agent's user"
        raise JournalError(f"{path} cannot be read ({error.strerror}): {fix}") from None
    with _as_journal_error(path), contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        database.text_factory = _text
        if database.execute("PRAGMA user_version").fetchone() == (0,):  # it is being made
            return []
        return _history(database)[::-1][:limit]


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    """Set the pragmas, check that they are in force, migrate the schema, and check that the disk can be written."""
    database.text_factory = _text
    path.chmod(0o600)
    database.execute(f"PRAGMA page_size={_PAGE_BYTES}")  # counts only for a new file
    mode = database.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    database.execute("PRAGMA synchronous=FULL")
    synchronous = database.execute("PRAGMA synchronous").fetchone()[0]
    [(page_bytes,)] = database.execute("PRAGMA page_size")
    database.execute(f"PRAGMA wal_autocheckpoint={_LOG_BYTES // page_bytes}")
    if (mode, synchronous) != ("wal", 2):
        raise JournalError(
            f"{path}: the disk takes no write-ahead log (journal_mode {mode}, synchronous {synchronous})"
        )
    found = database.execute("PRAGMA user_version").fetchone()[0]
    if found > schema.SCHEMA_VERSION:
        raise JournalError(
            f"{path} was written by a newer version (schema {found}, known {schema.SCHEMA_VERSION}): install that one"
        )
    if found < schema.SCHEMA_VERSION:
        with _transaction(database):
            if found == 0:
                schema.create_tables(database)
            else:
                schema.migrate(database, found)
            database.execute(f"PRAGMA user_version={schema.SCHEMA_VERSION}")
    with _transaction(database):  # to notice a disk that cannot be written now, not at the first job
        database.execute(f"PRAGMA user_version={schema.SCHEMA_VERSION}")
        if not _id(database):  # a new journal, or one of an earlier version
            database.execute(f"PRAGMA application_id={1 + below(_LAST_ID)}")


def _id(database: sqlite3.Connection) -> int:
    """Return the journal's id. It is in the file's header, where no table and no older version minds it."""
    [(found,)] = database.execute("PRAGMA application_id")
    return int(found)


def _recover(database: sqlite3.Connection) -> Recovered:
    [(found,)] = database.execute("PRAGMA quick_check(1)")
    if found != "ok":
        raise JournalDamagedError(f"the journal is damaged: {found}")
    executions = []
    for namespace, job_id, number, queued_at, operation, claimed_at, phase, state in schema.select_executions(database):
        try:
            decoded = decode_phase(phase, state)
        except ValueError as error:
            raise JournalDamagedError(f"a row of the journal holds {error}") from None
        id_ = ExecutionId(namespace, job_id, number)
        executions.append(Execution(id_, decoded, operation, claimed_at, queued_at))
    return Recovered(f"{_id(database):08x}", tuple(executions), tuple(_history(database)))


def _history(database: sqlite3.Connection) -> list[HistoryEntry]:
    """Return the entries that can be read, oldest first; any other is only a memory, and left out."""
    entries = []
    for fields in schema.select_history(database):
        namespace, job_id, number, queued_at, operation, status, reason, code, *rest = fields
        service_accepted, claimed_at, settled_at = rest
        with contextlib.suppress(ValueError):  # of a status that this version does not know
            outcome = Outcome(ExecutionStatus(status), reason, code)
            id_ = ExecutionId(namespace, job_id, number)
            entries.append(
                HistoryEntry(id_, operation, outcome, bool(service_accepted), claimed_at, settled_at, queued_at)
            )
    return entries


def _apply(database: sqlite3.Connection, effect: JournalEffect) -> None:
    match effect:
        case Save(execution):
            key = [*_key(execution.id), execution.queued_at]
            fields = [*key, execution.operation, execution.claimed_at, *encode_phase(execution.phase)]
            schema.insert_execution(database, fields)
        case Forget(execution):
            _remove(database, "execution", _key(execution))
        case Settle(execution, operation, outcome, claimed_at, service_accepted, queued_at):
            key = [*_key(execution), queued_at]
            _remove(database, "execution", _key(execution))
            if queued_at:
                _remove(database, "history", key)
            fields = [*key, operation, outcome.status.value, outcome.reason, outcome.code]
            schema.insert_history(database, [*fields, int(service_accepted), claimed_at, time.time()])
            database.execute("DELETE FROM history WHERE entry <= (SELECT max(entry) FROM history) - ?", [SETTLED_KEPT])


def _key(execution: ExecutionId) -> list[Any]:
    return [execution.namespace, execution.job_id, execution.execution_number]


def _remove(database: sqlite3.Connection, table: str, key: Sequence[Any]) -> None:
    """Remove an execution from the table. With its `queued_at` at the end of `key`, only that very one."""
    columns = ("namespace", "job_id", "execution_number", "queued_at")[: len(key)]
    condition = " AND ".join(f"{column} = ?" for column in columns)
    database.execute(f"DELETE FROM {table} WHERE {condition}", key)  # noqa: S608 - the names are our own


def _text(stored: bytes) -> str:
    """Decode damaged text too, because its checksum will give it away."""
    return stored.decode(errors="replace")


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield database
        database.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def _as_journal_error(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:  # damaged text in one of SQLite's own messages
        raise JournalDamagedError(f"{path}: {error}") from error
    except (sqlite3.Error, OSError) as error:
        is_damaged = (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED
        raise (JournalDamagedError if is_damaged else JournalError)(f"{path}: {error}") from error
