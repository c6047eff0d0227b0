"""The journal's tables, their checksums, and how the tables of earlier schemas become those of this one.

Each row has a checksum over its other columns, because SQLite does not notice bit rot.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from iot_jobs_agent.errors import JournalDamagedError

SCHEMA_VERSION = 3

_TABLES = """
CREATE TABLE execution (
    namespace TEXT NOT NULL, job_id TEXT NOT NULL, execution_number INTEGER NOT NULL, queued_at INTEGER NOT NULL,
    operation TEXT NOT NULL, claimed_at REAL NOT NULL, phase TEXT NOT NULL, state TEXT NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (namespace, job_id, execution_number)
) WITHOUT ROWID, STRICT;
CREATE TABLE history (
    entry INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL, job_id TEXT NOT NULL, execution_number INTEGER NOT NULL, queued_at INTEGER NOT NULL,
    operation TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL, code TEXT NOT NULL,
    service_accepted INTEGER NOT NULL, claimed_at REAL NOT NULL, settled_at REAL NOT NULL, checksum INTEGER NOT NULL
) STRICT;
"""

# What schema 2 called otherwise, up to the build of 2026-11-22.
_PHASES_OF_SCHEMA_2 = {"waiting": "delayed"}
_MEMBERS_OF_SCHEMA_2 = {"is_asked": "is_ordered", "is_bare": "omits_details"}
_CODES_OF_SCHEMA_2 = {"unswept": "processes-left", "unstartable": "cannot-start"}
_WORK_OF_SCHEMA_1 = ("plan", "step", "number", "results")
_KEY = 3  # columns of an execution's id; before schema 3, `queued_at` did not follow them


def create_tables(database: sqlite3.Connection) -> None:
    """Create the tables of this schema."""
    for statement in _TABLES.split(";"):
        database.execute(statement)


def insert_execution(database: sqlite3.Connection, fields: Sequence[Any]) -> None:
    """Insert or replace a row of the table `execution`; `fields` are its columns, without the checksum."""
    database.execute("REPLACE INTO execution VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [*fields, checksum(fields)])


def insert_history(database: sqlite3.Connection, fields: Sequence[Any]) -> None:
    """Insert a row of the table `history`; `fields` are its columns, without the entry and the checksum."""
    marks = ", ".join("?" * (len(fields) + 1))
    database.execute(f"INSERT INTO history VALUES (NULL, {marks})", [*fields, checksum(fields)])  # noqa: S608 - marks


def select_executions(database: sqlite3.Connection) -> Iterator[list[Any]]:
    """Yield the columns of each row of the table `execution`, without the checksum.

    Raises:
        JournalDamagedError: a checksum is wrong.
    """
    for *fields, stored in database.execute("SELECT * FROM execution").fetchall():
        if stored != checksum(fields):
            raise JournalDamagedError("a row of the journal is damaged: its checksum is wrong")
        yield fields


def select_history(database: sqlite3.Connection) -> Iterator[list[Any]]:
    """Yield the columns of each row of the table `history` as those of this schema, oldest first.

    A damaged row is left out, because it is only a memory.
    """
    [(schema,)] = database.execute("PRAGMA user_version")
    for _, *fields, stored in database.execute("SELECT * FROM history ORDER BY entry").fetchall():
        if stored == checksum(fields):
            yield fields if schema >= SCHEMA_VERSION else _upgraded_history(fields)


def migrate(database: sqlite3.Connection, schema: int) -> None:
    """Replace the tables of an earlier schema by those of this one, in the caller's transaction.

    Raises:
        JournalDamagedError: an execution's row is damaged.
    """
    executions = [_upgraded_execution(fields, schema) for fields in select_executions(database)]
    history = list(select_history(database))
    database.execute("DROP TABLE execution")
    database.execute("DROP TABLE history")
    create_tables(database)
    for fields in executions:
        insert_execution(database, fields)
    for fields in history:
        insert_history(database, fields)


def checksum(fields: Sequence[Any]) -> int:
    """Return the checksum of a row's other columns."""
    return zlib.crc32(json.dumps(list(fields), default=repr).encode())


def _upgraded_execution(fields: list[Any], schema: int) -> list[Any]:
    *known, phase, text = fields
    try:
        state = _upgraded_state(phase, json.loads(text), schema)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise JournalDamagedError(f"a row of the journal holds no phase that schema {schema} knows") from None
    return [*known[:_KEY], 0, *known[_KEY:], _PHASES_OF_SCHEMA_2.get(phase, phase), json.dumps(state)]


def _upgraded_state(phase: str, state: dict[str, Any], schema: int) -> dict[str, Any]:
    """Return a phase's members in this schema's words.

    Schema 1 had in the phase itself what is in its `work` since, and a plan's `final_step`, which nothing used.
    """
    if schema == 1 and "plan" in state:
        state["plan"].pop("final_step", None)
    if schema == 1 and phase in {"preparing", "running", "stopping"}:
        state |= {"work": {key: state.pop(key) for key in _WORK_OF_SCHEMA_1 if key in state}}
    state = {_MEMBERS_OF_SCHEMA_2.get(key, key): value for key, value in state.items()}
    if "code" in (outcome := state.get("outcome", {})):
        outcome["code"] = _CODES_OF_SCHEMA_2.get(outcome["code"], outcome["code"])
    return state


def _upgraded_history(fields: list[Any]) -> list[Any]:
    upgraded = [*fields[:_KEY], 0, *fields[_KEY:]]
    upgraded[7] = _CODES_OF_SCHEMA_2.get(upgraded[7], upgraded[7])
    return upgraded
