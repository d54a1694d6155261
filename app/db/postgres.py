"""PostgreSQL, by psycopg 3: its transactions, its errors, and SQL that it says otherwise.

Imported for a URL of it alone, so that nobody else needs the driver.

What SQLite does by its one write lock is done here by an advisory lock that each write transaction
holds to its end: one writer at a time, in this process and in any other on the database, which sees
all that was committed before it. So numbers of rows grow in the order of commits, and a check that
an act follows is as safe as it is there. Reads see one state (REPEATABLE READ) and keep nobody
waiting.

What was deleted is let go by VACUUM: no query finds it, and its room is used again. It is not
overwritten with zeros as SQLite does, and the server's own log and backups hold it for their time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, cast

import psycopg
import sqlalchemy as sa
from psycopg.types.string import StrDumperUnknown, TextLoader
from sqlalchemy import event
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler

from app.db.dialect import BUSY_TIMEOUT_SECONDS, Driver
from app.db.elements import json_each, json_text, looked_up, unindexed, whole
from app.errors import (
    DatabaseCorrupt,
    DatabaseFull,
    DatabaseInUse,
    DatabaseLocked,
    DatabaseReadOnly,
    DatabaseUnavailable,
)

CONNECT_TIMEOUT_SECONDS = 5
LOCK_SPACE = 0x53414745
"""`SAGE` in ASCII: the first half of the keys of this program's advisory locks."""

WRITE_LOCK = 1
DAEMON_LOCK = 2

_BEGIN_WRITE = (
    f"SELECT set_config('lock_timeout', '{round(BUSY_TIMEOUT_SECONDS * 1000)}', true), "
    f"pg_advisory_xact_lock({LOCK_SPACE}, {WRITE_LOCK})"
)
_HOLDING_TEXTS = (
    "experiences, sleep_cycles, checkpoints, events, checkpoint_reports, webhook_deliveries"
)


class Postgres:
    """One database of a PostgreSQL server."""

    path = None
    driver_errors: tuple[type[Exception], ...] = (psycopg.Error,)
    integrity_errors: tuple[type[Exception], ...] = (psycopg.IntegrityError,)

    def __init__(self, url: sa.URL) -> None:
        self._url = url

    def translate(self, error: BaseException | None) -> DatabaseUnavailable:
        """By SQLSTATE; a message of the server's may quote a row, so it is not repeated."""
        state = getattr(error, "sqlstate", None)
        if state is None:
            said = str(error).strip().splitlines()
            return DatabaseUnavailable(
                f"The database server cannot be used ({said[0] if said else type(error).__name__})."
            )
        kind, words = _CAUSES.get(
            state, _CLASSES.get(state[:2], (DatabaseUnavailable, "The database cannot be used"))
        )
        return kind(f"{words} (SQLSTATE {state}, {type(error).__name__}).")

    def is_there(self) -> bool:
        """Connecting makes none, so that it may be asked."""
        return True

    def make_engine(self) -> sa.Engine:
        """Open it; a connection that the server has dropped is made anew."""
        engine = sa.create_engine(
            self._url,
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT_SECONDS,
                "application_name": "sage-sleep",
            },
            hide_parameters=True,
            pool_pre_ping=True,
        )
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "begin", _begin)
        return engine

    def reading(self, engine: sa.Engine) -> sa.Engine:
        """REPEATABLE READ READ ONLY."""
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def writing(self, engine: sa.Engine) -> sa.Engine:
        """READ COMMITTED under the lock: of a snapshot it would see what was before the wait."""
        return engine.execution_options(isolation_level="READ COMMITTED", is_write=True)

    @contextmanager
    def write_driver(self, engine: sa.Engine) -> Iterator[Driver]:
        """The same on a connection of the pool."""
        borrowed = engine.raw_connection()
        try:
            connection = cast("psycopg.Connection[Any]", borrowed.driver_connection)
            connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            connection.execute(_BEGIN_WRITE)
            yield _Statements(connection)
            connection.commit()
        finally:
            borrowed.close()  # back to the pool, which rolls back what was not committed

    def driver_of(self, session: Session) -> Driver:
        """The driver's own connection, with its own way of placeholders hidden."""
        return _Statements(
            cast("psycopg.Connection[Any]", session.connection().connection.driver_connection)
        )

    @contextmanager
    def hold_alone(self, engine: sa.Engine) -> Iterator[None]:
        """An advisory lock of a connection that is kept open for it, given back as it ends."""
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.detach()
            lock = sa.text(f"SELECT pg_try_advisory_lock({LOCK_SPACE}, {DAEMON_LOCK})")
            if not connection.scalar(lock):
                raise DatabaseInUse(
                    "A daemon, or a command that must be alone, runs on the database "
                    f"{self._url.render_as_string()}; stop it, or set SAGE_DATABASE_URL."
                )
            try:
                yield
            finally:
                # The server notices a closed connection a moment later.
                with suppress(sa.exc.DBAPIError):
                    connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")

    def try_writing(self, session: Session) -> None:
        """Write into the server's log what nobody reads."""
        session.execute(sa.text("SELECT pg_logical_emit_message(true, 'sage-sleep', '')"))

    def purge(self, engine: sa.Engine) -> bool:
        """VACUUM; what a transaction of another still sees goes with the server's next one."""
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.exec_driver_sql(f"VACUUM {_HOLDING_TEXTS}")
        return True

    def held(self, text: str) -> str:
        """Without U+0000, which no text of PostgreSQL holds: U+FFFD stands in its place."""
        return _held(text)

    def last_number(self, session: Session, table: sa.Table) -> int:
        """What the column's sequence gave last."""
        name = session.scalar(_SEQUENCE, _sequence_of(table))
        gave = sa.text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {name}")  # noqa: S608
        highest = sa.select(sa.func.max(table.autoincrement_column))
        last: int = session.scalar(gave) or 0
        there: int = session.scalar(highest) or 0
        return max(last, there)

    def continue_after(self, session: Session, table: sa.Table, number: int) -> None:
        """Set the column's sequence, which no rollback takes back."""
        if number:
            values = {**_sequence_of(table), "number": number}
            session.execute(sa.text(f"SELECT setval(({_SEQUENCE.text}), :number)"), values)

    def find_damage(self, session: Session) -> list[str]:  # noqa: ARG002
        """Nothing: the server looks after its files (pg_amcheck, data checksums)."""
        return []

    def is_table_whole(self, session: Session, name: str) -> bool:
        """Read every row; the server says what it cannot read."""
        table = sa.table(name)
        session.scalar(sa.select(sa.func.count()).select_from(table))
        return True

    def find_broken_references(self, session: Session, limit: int) -> list[str]:  # noqa: ARG002
        """Nothing: no program gets past the server's constraints."""
        return []

    def find_fault(self, session: Session) -> str | None:
        """A server that loses commits it has confirmed."""
        for name in ("fsync", "full_page_writes"):
            if session.scalar(sa.text(f"SHOW {name}")) == "off":
                return f"the server's {name} is off: it may lose or damage what it has confirmed"
        return None

    def close(self) -> None:
        """Nothing is kept beside the pool."""


class _Statements:
    """A connection of psycopg that reads SQL as `app.db.ingest` writes it."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(
        self, sql: str, values: Sequence[Any] | Mapping[str, Any] = (), /
    ) -> psycopg.Cursor[Any]:
        """Run a statement; JSON comes out as text."""
        cursor = self._connection.cursor()
        cursor.adapters.register_loader("json", TextLoader)
        return cursor.execute(_spelled(sql), values)

    def executemany(self, sql: str, values: Sequence[Mapping[str, Any]], /) -> object:
        """Run a statement with each of these."""
        with self._connection.cursor() as cursor:
            cursor.executemany(_spelled(sql), values)
        return None


@lru_cache(maxsize=64)
def _spelled(sql: str) -> str:
    """A statement with psycopg's placeholders, and its name for `json_each`."""
    spelled = sql.replace("json_each(?)", "json_array_elements_text(CAST(? AS json))")
    return re.sub(r":(\w+)", r"%(\1)s", spelled.replace("?", "%s"))


_CAUSES: Mapping[str, tuple[type[DatabaseUnavailable], str]] = {
    "55P03": (DatabaseLocked, "Another process holds the database for too long"),
    "57014": (DatabaseLocked, "The server cancelled what took too long"),
    "40001": (DatabaseLocked, "Another transaction was in the way; try again"),
    "40P01": (DatabaseLocked, "Another transaction was in the way; try again"),
    "25006": (DatabaseReadOnly, "The database may not be written"),
    "42501": (DatabaseReadOnly, "The database may not be used by this role"),
    "53100": (DatabaseFull, "The disk has no room left for the database"),
    "XX001": (DatabaseCorrupt, "The database server found damage"),
    "XX002": (DatabaseCorrupt, "The database server found a damaged index"),
}
_CLASSES: Mapping[str, tuple[type[DatabaseUnavailable], str]] = {
    "53": (DatabaseUnavailable, "The database server lacks memory, connections or room"),
    "57": (DatabaseUnavailable, "The database server is stopping or starting"),
    "08": (DatabaseUnavailable, "The connection to the database server broke"),
}


class _TextDumper(StrDumperUnknown):
    """A text as it can be kept."""

    def dump(self, obj: str) -> Any:
        """Write a text."""
        return super().dump(_held(obj))


def _held(text: str) -> str:
    return text.replace("\0", "\ufffd")


_SEQUENCE = sa.text("SELECT pg_get_serial_sequence(:table, :column)")


def _sequence_of(table: sa.Table) -> dict[str, Any]:
    column = table.autoincrement_column
    return {"table": table.name, "column": None if column is None else column.name}


def _set_up(connection: Any, _record: Any) -> None:
    """A commit is on disk before it is answered, whatever the role's own default."""
    connection.adapters.register_dumper(str, _TextDumper)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') = 'off'"
        )
    connection.commit()


def _begin(connection: sa.Connection) -> None:
    if connection.get_execution_options().get("is_write", False):
        connection.exec_driver_sql(_BEGIN_WRITE)


@compiles(json_each, "postgresql")
def _elements(element: json_each, compiler: SQLCompiler, **options: Any) -> str:
    (inner,) = element.clauses
    return f"json_array_elements_text(CAST({compiler.process(inner, **options)} AS JSON))"


@compiles(whole, "postgresql")
def _as_number(element: whole, compiler: SQLCompiler, **options: Any) -> str:
    (inner,) = element.clauses
    return f"CAST({compiler.process(inner, **options)} AS BIGINT)"


@compiles(json_text, "postgresql")
def _as_text(element: json_text, compiler: SQLCompiler, **options: Any) -> str:
    (inner,) = element.clauses
    return f"CAST({compiler.process(inner, **options)} AS TEXT)"


@compiles(unindexed, "postgresql")
def _as_it_is(element: unindexed, compiler: SQLCompiler, **options: Any) -> str:
    (inner,) = element.clauses
    return compiler.process(inner, **options)


@compiles(looked_up, "postgresql")
def _member(element: looked_up, compiler: SQLCompiler, **options: Any) -> str:
    mapping, key = (compiler.process(inner, **options) for inner in element.clauses)
    return f"(CAST({mapping} AS JSON) ->> {key})"
