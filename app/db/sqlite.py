"""SQLite: a file, its pragmas, its two kinds of transaction and its errors.

WAL lets readers and the one writer work side by side; synchronous=FULL makes a commit durable
before it is answered. A write transaction takes the write lock at its start (BEGIN IMMEDIATE): a
deferred one that reads first and writes later fails with "database is locked" at once, whatever
the busy timeout says.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler

from app.db.dialect import BUSY_TIMEOUT_SECONDS, Driver
from app.db.elements import json_text, looked_up, unindexed, whole
from app.errors import (
    DatabaseCorrupt,
    DatabaseFull,
    DatabaseLocked,
    DatabaseReadOnly,
    DatabaseUnavailable,
)

PURGE_TIMEOUT_SECONDS = 2.0
"""How long a purge waits for readers of older states; then it is tried again later. A guess."""

INGEST_CACHE_KIB = 16_384

DAMAGED = (
    "The database file is damaged, and nothing is stored until someone acts: "
    "stop the daemon and see `sage-sleep doctor`."
)

MAX_SHOWN = 20


class Sqlite:
    """One SQLite file."""

    driver_errors: tuple[type[Exception], ...] = (sqlite3.DatabaseError,)
    integrity_errors: tuple[type[Exception], ...] = (sqlite3.IntegrityError,)

    def __init__(self, url: sa.URL) -> None:
        self._url = url
        self._kept: sa.PoolProxiedConnection | None = None

    @property
    def path(self) -> Path | None:
        """The file; None for a database in memory."""
        return Path(self._url.database) if self._url.database else None

    def translate(self, error: BaseException | None) -> DatabaseUnavailable:
        """By SQLite's primary result code."""
        return translate(error)

    def is_there(self) -> bool:
        """Whether the file is."""
        return self.path is not None and self.path.exists()

    def make_engine(self) -> sa.Engine:
        """Open it, with its pragmas on each connection."""
        # hide_parameters: an error's text must not quote the conversation into a log.
        engine = sa.create_engine(
            self._url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, hide_parameters=True
        )
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _begin)
        return engine

    def reading(self, engine: sa.Engine) -> sa.Engine:
        """BEGIN: one consistent view from the first statement on."""
        return engine

    def writing(self, engine: sa.Engine) -> sa.Engine:
        """BEGIN IMMEDIATE."""
        return engine.execution_options(is_write=True)

    @contextmanager
    def write_driver(self, engine: sa.Engine) -> Iterator[Driver]:
        """BEGIN IMMEDIATE to COMMIT, on one connection that is kept for it.

        The pool hands its connections out in turn, and SQLite reads every page anew on one that did
        not write last. Its cache is larger than SQLite's 2 MB, with which batches took a sixth
        longer among 30,000 experiences.
        """
        kept = self._kept = self._kept or engine.raw_connection()
        try:
            connection = cast("sqlite3.Connection", kept.driver_connection)
            connection.execute(f"PRAGMA cache_size=-{INGEST_CACHE_KIB}")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            self._kept = None
            kept.close()  # back to the pool, which rolls back
            raise

    def driver_of(self, session: Session) -> Driver:
        """The driver's own connection, as it is."""
        return cast("sqlite3.Connection", session.connection().connection.driver_connection)

    def hold_alone(self, engine: sa.Engine) -> AbstractContextManager[None]:  # noqa: ARG002
        """Nothing more: a lock beside the file does it (`app.data_lock`)."""
        return nullcontext()

    def try_writing(self, session: Session) -> None:
        """Write a number in the file's head that nobody reads."""
        session.execute(sa.text("PRAGMA user_version = 0"))

    def purge(self, engine: sa.Engine) -> bool:
        """Empty the write-ahead log into the file, so that what was deleted stands in neither.

        SQLite overwrites deleted content with zeros (secure_delete), in the file as soon as the
        log is moved into it.
        """
        borrowed = engine.raw_connection()
        try:
            connection = cast("sqlite3.Connection", borrowed.driver_connection)
            _set_timeout(connection, PURGE_TIMEOUT_SECONDS)
            (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            _set_timeout(connection, BUSY_TIMEOUT_SECONDS)
        finally:
            borrowed.close()
        return not is_busy

    def held(self, text: str) -> str:
        """Any text, as it is."""
        return text

    def last_number(self, session: Session, table: sa.Table) -> int:
        """What AUTOINCREMENT remembers of rows that are gone; else the highest that is there."""
        kept = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        highest = sa.select(sa.func.max(table.autoincrement_column))
        last: int = session.scalar(kept, {"name": table.name}) or session.scalar(highest) or 0
        return last

    def continue_after(self, session: Session, table: sa.Table, number: int) -> None:
        """Write what AUTOINCREMENT remembers; other tables go on after the highest anyway."""
        if table.dialect_options["sqlite"]["autoincrement"]:
            name = {"name": table.name}
            session.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :name"), name)
            entry = sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :number)")
            session.execute(entry, {**name, "number": number})

    def find_damage(self, session: Session) -> list[str]:
        """What SQLite's own check finds wrong with the file."""
        rows = session.execute(sa.text(f"PRAGMA integrity_check({MAX_SHOWN})"))
        return [line for (line,) in rows if line != "ok"]

    def is_table_whole(self, session: Session, name: str) -> bool:
        """Read the pages of a table and of its indexes."""
        session.execute(sa.text("PRAGMA shrink_memory"))  # what is kept in memory tells of no disk
        found: str | None = session.scalar(sa.text(f"PRAGMA quick_check('{name}')"))
        return found == "ok"

    def find_broken_references(self, session: Session, limit: int) -> list[str]:
        """What a daemon would not have let happen, and another program may have done."""
        rows = session.execute(sa.text("PRAGMA foreign_key_check")).fetchmany(limit)
        return [
            f"row {row[1]} of {row[0]} refers to a row of {row[2]} that is not there"
            for row in rows
        ]

    def find_fault(self, session: Session) -> str | None:
        """A journal that is not WAL."""
        mode: str = session.scalar(sa.text("PRAGMA journal_mode"))
        return None if mode == "wal" else f"its journal mode is {mode}, not wal"

    def close(self) -> None:
        """Give the connection of ingest back."""
        if self._kept is not None:
            self._kept.close()


def translate(error: BaseException | None) -> DatabaseUnavailable:
    """An error of SQLite as the leaf that says why, by its primary result code."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if str(error).startswith("Could not decode to UTF-8"):  # the driver's own, without a code
        code = sqlite3.SQLITE_CORRUPT
    kind, words = _CAUSES.get(code, (DatabaseUnavailable, "The database cannot be used"))
    # What could not be decoded is somebody's text.
    return kind(f"{words}." if code == sqlite3.SQLITE_CORRUPT else f"{words} ({error}).")


_CAUSES: Mapping[int, tuple[type[DatabaseUnavailable], str]] = {
    sqlite3.SQLITE_BUSY: (DatabaseLocked, "Another process holds the database for too long"),
    sqlite3.SQLITE_LOCKED: (DatabaseLocked, "Another connection holds the database"),
    sqlite3.SQLITE_READONLY: (DatabaseReadOnly, "The database may not be written"),
    sqlite3.SQLITE_PERM: (DatabaseReadOnly, "The database may not be used"),
    sqlite3.SQLITE_CANTOPEN: (DatabaseReadOnly, "The database cannot be opened"),
    sqlite3.SQLITE_CORRUPT: (
        DatabaseCorrupt,
        DAMAGED.removesuffix("."),
    ),
    sqlite3.SQLITE_NOTADB: (DatabaseCorrupt, "The database file is no database"),
    sqlite3.SQLITE_FULL: (DatabaseFull, "The disk has no room left for the database"),
}


def _set_pragmas(connection: sqlite3.Connection, _record: Any) -> None:
    # isolation_level None: the driver starts no transactions of its own, `_begin` does.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "secure_delete=ON",
        # Large sorts and long statements would else write texts into the temporary directory, and
        # fail where that is full.
        "temp_store=MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _set_timeout(connection: sqlite3.Connection, seconds: float) -> None:
    connection.execute(f"PRAGMA busy_timeout={round(seconds * 1000)}")


def _begin(connection: sa.Connection) -> None:
    is_write = connection.get_execution_options().get("is_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")


@compiles(whole, "sqlite")
@compiles(json_text, "sqlite")
def _as_it_is(element: whole | json_text, compiler: SQLCompiler, **options: Any) -> str:
    (inner,) = element.clauses
    return compiler.process(inner, **options)


@compiles(unindexed, "sqlite")
def _with_a_plus(element: unindexed, compiler: SQLCompiler, **options: Any) -> str:
    (inner,) = element.clauses
    return f"+{compiler.process(inner, **options)}"


@compiles(looked_up, "sqlite")
def _extracted(element: looked_up, compiler: SQLCompiler, **options: Any) -> str:
    mapping, key = (compiler.process(inner, **options) for inner in element.clauses)
    return f"""json_extract({mapping}, '$."' || {key} || '"')"""
