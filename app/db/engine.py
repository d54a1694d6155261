"""The SQLite database: its pragmas, its two kinds of transaction and its errors.

WAL lets readers and the one writer work side by side; synchronous=FULL makes a commit durable
before it is answered. A write transaction takes the write lock at its start (BEGIN IMMEDIATE): a
deferred one that reads first and writes later fails with "database is locked" at once, whatever
the busy timeout says. Within a process writers queue on a lock, which is fair and does not poll;
who waits longer than the file may stay locked is told so.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from app.db.seen_words import SeenWords
from app.errors import DatabaseNotMigrated, DatabaseUnavailable

SCHEMA_REVISION = "0003"
"""The Alembic revision this code needs; a test keeps it equal to the migrations' head."""

BUSY_TIMEOUT_SECONDS = 10.0
INGEST_CACHE_KIB = 16_384


class Database:
    """One SQLite file: an engine, a pool, and the lock writers of this process queue on."""

    def __init__(self, url: str) -> None:
        with translated_errors():
            self.url = sa.make_url(url)
        if self.url.get_backend_name() != "sqlite":
            raise DatabaseUnavailable(f"SAGE_DATABASE_URL must be sqlite:///..., not {url!r}")
        # hide_parameters: an error's text must not quote the conversation into a log.
        self._engine = sa.create_engine(
            self.url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, hide_parameters=True
        )
        event.listen(self._engine, "connect", _set_pragmas)
        event.listen(self._engine, "begin", _begin)
        self._read_sessions = sessionmaker(self._engine, expire_on_commit=False)
        self._write_sessions = sessionmaker(
            self._engine.execution_options(is_write=True), expire_on_commit=False
        )
        self._write_lock = threading.Lock()
        self._kept: sa.PoolProxiedConnection | None = None
        self.seen_words = SeenWords()

    @property
    def path(self) -> Path | None:
        """The database file; None for an in-memory one."""
        return Path(self.url.database) if self.url.database else None

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a read transaction: one consistent view, never written to."""
        with translated_errors(), self._read_sessions() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a write transaction (BEGIN IMMEDIATE); it commits when the block ends well.

        Raises: DatabaseUnavailable when the file stays locked, is full or cannot be read.
        """
        with self._turn(), translated_errors(), self._write_sessions.begin() as session:
            yield session

    @contextmanager
    def write_driver(self) -> Iterator[sqlite3.Connection]:
        """Open the same on the driver's own connection, for the SQL of `app.db.ingest`.

        One connection is kept for it: the pool hands its connections out in turn, and SQLite reads
        every page anew on one that did not write last. Its cache is larger than
        SQLite's 2 MB, with which batches took a sixth longer among 30,000 experiences.
        """
        with self._turn(), translated_errors():
            kept = self._kept = self._kept or self._engine.raw_connection()
            try:
                connection = cast("sqlite3.Connection", kept.driver_connection)
                connection.execute(f"PRAGMA cache_size=-{INGEST_CACHE_KIB}")
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
                self.seen_words.keep()
            except BaseException:
                self.seen_words.forget()
                self._kept = None
                kept.close()  # back to the pool, which rolls back
                raise

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._write_lock.acquire(timeout=BUSY_TIMEOUT_SECONDS):
            raise DatabaseUnavailable("Other writes take too long; try again shortly.")
        try:
            yield
        finally:
            self._write_lock.release()

    def check_migrated(self) -> None:
        """Raise DatabaseNotMigrated unless the schema is the one this code needs."""
        if self.path is None or not self.path.exists():
            raise DatabaseNotMigrated("There is no database yet: run `sage-sleep migrate`.")
        with self.read() as session:
            if not sa.inspect(session.connection()).has_table("alembic_version"):
                raise DatabaseNotMigrated("The database has no schema: run `sage-sleep migrate`.")
            found = session.scalar(sa.text("SELECT version_num FROM alembic_version"))
        if found != SCHEMA_REVISION:
            raise DatabaseNotMigrated(
                f"The database is at revision {found}, this version needs {SCHEMA_REVISION}: "
                "run `sage-sleep migrate`."
            )

    def close(self) -> None:
        """Close all connections."""
        if self._kept is not None:
            self._kept.close()
        self._engine.dispose()


def _set_pragmas(connection: sqlite3.Connection, _record: Any) -> None:
    # isolation_level None: the driver starts no transactions of its own, `_begin` does.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "secure_delete=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    is_write = connection.get_execution_options().get("is_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn SQLAlchemy's and the driver's errors about the database itself into ours.

    Raises: DatabaseUnavailable.
    """
    try:
        yield
    except sa.exc.ArgumentError as error:
        raise DatabaseUnavailable("SAGE_DATABASE_URL must look like sqlite:///path.") from error
    except OperationalError as error:
        raise DatabaseUnavailable(f"The database cannot be used: {error.orig}") from error
    except DatabaseError as error:
        if isinstance(error, sa.exc.IntegrityError):
            raise
        raise DatabaseUnavailable(f"The database cannot be used: {error.orig}") from error
    except sqlite3.IntegrityError:
        raise
    except sqlite3.DatabaseError as error:
        raise DatabaseUnavailable(f"The database cannot be used: {error}") from error
