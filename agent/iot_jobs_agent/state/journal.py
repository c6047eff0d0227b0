"""The journal: durable state in SQLite, on a thread of its own, so that a slow disk never stalls the loop.

We measured before we decided (docs/decisions.md): WAL with synchronous=FULL, pragmas read back, and a checksum in each
row because SQLite does not detect bit rot. A failed write is never repeated: nobody knows what reached the disk, so the
agent exits, and the next one recovers.
"""

import contextlib
import json
import secrets
import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iot_jobs_agent.core.effects import Forget, JournalEffect, Save, Settle
from iot_jobs_agent.core.job import ExecutionId, ExecutionStatus, Outcome
from iot_jobs_agent.core.state import SETTLED_KEPT, Execution
from iot_jobs_agent.errors import JournalDamagedError, JournalError
from iot_jobs_agent.state.durable import sync_directory
from iot_jobs_agent.state.encoding import decode_phase, encode_phase

SCHEMA_VERSION = 3
FILE_NAME = "journal.sqlite"
COMPANIONS = ("-wal", "-shm")
# Primary result codes that are about the contents of the file, not about the disk below it (sqlite.org/rescode.html).
_DAMAGED = {
    sqlite3.SQLITE_ERROR,  # a table or column is gone
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_FORMAT,
}

_SCHEMA = """
CREATE TABLE execution (
    namespace TEXT NOT NULL, job_id TEXT NOT NULL, execution_number INTEGER NOT NULL,
    operation TEXT NOT NULL, claimed_at REAL NOT NULL, phase TEXT NOT NULL, state TEXT NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (namespace, job_id, execution_number)
) WITHOUT ROWID, STRICT;
CREATE TABLE history (
    entry INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL, job_id TEXT NOT NULL, execution_number INTEGER NOT NULL,
    operation TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL, code TEXT NOT NULL,
    service_accepted INTEGER NOT NULL, claimed_at REAL NOT NULL, settled_at REAL NOT NULL, checksum INTEGER NOT NULL
) STRICT;
"""

# Names that schema 2 used, up to the build of 2026-11-22.
_PHASES_OF_SCHEMA_2 = {"waiting": "delayed"}
_MEMBERS_OF_SCHEMA_2 = {"is_asked": "is_ordered", "is_bare": "omits_details"}
_CODES_OF_SCHEMA_2 = {"unswept": "processes-left", "unstartable": "cannot-start"}


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One settled execution. Times are epoch seconds; `claimed_at` is 0 if it was never claimed."""

    execution: ExecutionId
    operation: str
    outcome: Outcome
    service_accepted: bool
    claimed_at: float
    settled_at: float


@dataclass(frozen=True, slots=True)
class Recovered:
    """The contents of the journal when it was opened."""

    executions: tuple[Execution, ...] = ()
    history: tuple[HistoryEntry, ...] = field(default=())

    @property
    def settled(self) -> dict[ExecutionId, Outcome]:
        """The recent outcomes, oldest first."""
        return {entry.execution: entry.outcome for entry in self.history}


class Journal:
    """The journal of one state directory. All methods block: run them on `thread`."""

    def __init__(self, state_directory: Path, *, busy_timeout_s: float = 5.0) -> None:
        """`busy_timeout_s` is how long SQLite waits for another process that has locked the file."""
        self._busy_timeout_s = busy_timeout_s
        self.path = state_directory / FILE_NAME
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._database: sqlite3.Connection | None = None

    def open(self) -> Recovered:
        """Open or create the journal and return its contents.

        Raises:
            JournalDamagedError: its contents cannot be what was written (see `set_aside`).
            JournalError: it cannot be read or written now.
        """
        with _as_journal_error(self.path):
            if not self.path.exists() and any(path.exists() for path in self._companions):
                raise JournalDamagedError(f"{self.path} is gone, but its write-ahead log is there")
            database = sqlite3.connect(self.path, self._busy_timeout_s, isolation_level=None, check_same_thread=False)
            try:
                _prepare(database, self.path)
                recovered = _recover(database)
            except BaseException:
                database.close()
                raise
            sync_directory(self.path.parent)
        self._database = database
        return recovered

    def set_aside(self) -> Path:
        """Rename a damaged journal, so that somebody can look at it, and return its new path. Raises JournalError."""
        aside = self.path.with_name(f"{FILE_NAME}.damaged-{int(time.time())}-{secrets.token_hex(4)}")
        with _as_journal_error(self.path):
            for path in (self.path, *self._companions):  # in this order, so that `open` notices an interruption
                with contextlib.suppress(FileNotFoundError):
                    path.rename(path.with_name(path.name.replace(FILE_NAME, aside.name)))
            sync_directory(self.path.parent)
        return aside

    @property
    def _companions(self) -> list[Path]:
        return [self.path.with_name(FILE_NAME + suffix) for suffix in COMPANIONS]

    def write(self, effects: Sequence[JournalEffect]) -> None:
        """Make all of `effects` durable, or none of them. When this returns, they are on disk.

        Raises:
            JournalError: nobody knows what reached the disk. Do not write again: exit, and recover.
        """
        if self._database is None:
            raise JournalError(f"{self.path} is not open")
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
        path.open("rb").close()
    except FileNotFoundError:
        raise JournalError(f"there is no journal in {state_directory}: has the agent run here?") from None
    except OSError as error:
        fix = "run this as the agent's user or as root"
        raise JournalError(f"{path} cannot be read ({error.strerror}): {fix}") from None
    with _as_journal_error(path), contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        database.text_factory = _text
        return _history(database)[::-1][:limit]


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    """Set the pragmas, check that they are in force, migrate the schema, and check that the disk can be written."""
    database.text_factory = _text
    path.chmod(0o600)
    mode = database.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    database.execute("PRAGMA synchronous=FULL")
    synchronous = database.execute("PRAGMA synchronous").fetchone()[0]
    if (mode, synchronous) != ("wal", 2):
        raise JournalError(
            f"{path}: the disk takes no write-ahead log (journal_mode {mode}, synchronous {synchronous})"
        )
    found = database.execute("PRAGMA user_version").fetchone()[0]
    if found > SCHEMA_VERSION:
        raise JournalError(
            f"{path} was written by a newer version (schema {found}, known {SCHEMA_VERSION}): install that one"
        )
    if found < SCHEMA_VERSION:
        with _transaction(database):
            if found == 0:
                for statement in _SCHEMA.split(";"):
                    database.execute(statement)
            else:
                _migrate(database, found)
            database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    with _transaction(database):  # to notice a disk that cannot be written now, not at the first job
        database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def _migrate(database: sqlite3.Connection, schema: int) -> None:
    """Migrate a journal of an earlier schema. Damaged rows stay as they are, to be noticed when they are read."""
    for *fields, checksum in database.execute("SELECT * FROM execution").fetchall():
        if checksum == _checksum(fields):
            *known, phase, text = fields
            _keep(database, [*known, *_migrated(phase, json.loads(text), schema)])
    for entry, *fields, checksum in database.execute("SELECT * FROM history").fetchall():
        if checksum == _checksum(fields):
            fields[6] = _CODES_OF_SCHEMA_2.get(fields[6], fields[6])
            database.execute(
                "UPDATE history SET code = ?, checksum = ? WHERE entry = ?", [fields[6], _checksum(fields), entry]
            )
    database.execute("ALTER TABLE history RENAME COLUMN was_accepted TO service_accepted")


def _migrated(phase: str, state: dict[str, Any], schema: int) -> tuple[str, str]:
    """Return the name and the text of a phase as this version writes them.

    Schema 1 had in the phase itself what is now in its `work`; schemas 1 and 2 used other names for some members.
    """
    if schema == 1 and phase in {"preparing", "running", "stopping"}:
        work = {key: state.pop(key) for key in ("plan", "step", "number", "results") if key in state}
        state |= {"work": work}
    state = {_MEMBERS_OF_SCHEMA_2.get(key, key): value for key, value in state.items()}
    if "code" in (outcome := state.get("outcome", {})):
        outcome["code"] = _CODES_OF_SCHEMA_2.get(outcome["code"], outcome["code"])
    return _PHASES_OF_SCHEMA_2.get(phase, phase), json.dumps(state)


def _recover(database: sqlite3.Connection) -> Recovered:
    [(found,)] = database.execute("PRAGMA quick_check(1)")
    if found != "ok":
        raise JournalDamagedError(f"the journal is damaged: {found}")
    executions = []
    for *fields, checksum in database.execute("SELECT * FROM execution"):
        if checksum != _checksum(fields):
            raise JournalDamagedError("a row of the journal is damaged: its checksum is wrong")
        namespace, job_id, number, operation, claimed_at, phase, state = fields
        try:
            decoded = decode_phase(phase, state)
        except ValueError as error:
            raise JournalDamagedError(f"a row of the journal holds {error}") from None
        executions.append(Execution(ExecutionId(namespace, job_id, number), decoded, operation, claimed_at))
    return Recovered(tuple(executions), tuple(_history(database)))


def _history(database: sqlite3.Connection) -> list[HistoryEntry]:
    """Return the history, oldest first, without damaged entries, which are not worth failing for."""
    entries = []
    for _, *fields, checksum in database.execute("SELECT * FROM history ORDER BY entry"):  # works with any schema
        if checksum != _checksum(fields):
            continue
        namespace, job_id, number, operation, status, reason, code, service_accepted, claimed_at, settled_at = fields
        outcome = Outcome(ExecutionStatus(status), reason, code)
        execution = ExecutionId(namespace, job_id, number)
        entries.append(HistoryEntry(execution, operation, outcome, bool(service_accepted), claimed_at, settled_at))
    return entries


def _apply(database: sqlite3.Connection, effect: JournalEffect) -> None:
    match effect:
        case Save(execution):
            phase, state = encode_phase(execution.phase)
            fields = [*_key(execution.id), execution.operation, execution.claimed_at, phase, state]
            _keep(database, fields)
        case Forget(execution):
            _remove(database, execution)
        case Settle(execution, operation, outcome, claimed_at, service_accepted):
            _remove(database, execution)
            fields = [*_key(execution), operation, outcome.status.value, outcome.reason, outcome.code]
            fields += [int(service_accepted), claimed_at, time.time()]
            database.execute(
                "INSERT INTO history VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [*fields, _checksum(fields)]
            )
            database.execute("DELETE FROM history WHERE entry <= (SELECT max(entry) FROM history) - ?", [SETTLED_KEPT])


def _keep(database: sqlite3.Connection, fields: Sequence[Any]) -> None:
    database.execute("REPLACE INTO execution VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [*fields, _checksum(fields)])


def _key(execution: ExecutionId) -> list[Any]:
    return [execution.namespace, execution.job_id, execution.execution_number]


def _remove(database: sqlite3.Connection, execution: ExecutionId) -> None:
    database.execute(
        "DELETE FROM execution WHERE namespace = ? AND job_id = ? AND execution_number = ?", _key(execution)
    )


def _checksum(fields: Sequence[Any]) -> int:
    return zlib.crc32(json.dumps(list(fields), default=repr).encode())


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
