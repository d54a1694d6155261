"""The SQLite database: its pragmas, its two kinds of transaction and its errors.

WAL lets readers and the one writer work side by side; synchronous=FULL makes a commit durable
before it is answered. A write transaction takes the write lock at its start (BEGIN IMMEDIATE): a
deferred one that reads first and writes later fails with "database is locked" at once, whatever
the busy timeout says. Within a process writers queue on a lock, which is fair and does not poll;
who waits longer than the file may stay locked is told so.

A database is opened with the instances' defaults. A row of `instances` holds only what it overrides
and means nothing without them, so they travel with every session (`Session.info`) and
`defaults_of(session)` reads them. Handed on beside `db` they stood in every signature between the
settings and a query; and a value that held both would end where a session begins.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session, sessionmaker

from app.db.damage_mark import DamageMark
from app.db.seen_words import SeenWords
from app.domain.instance import InstanceDefaults
from app.errors import (
    DatabaseCorrupt,
    DatabaseFull,
    DatabaseLocked,
    DatabaseNotMigrated,
    DatabaseReadOnly,
    DatabaseUnavailable,
)
from app.log import get_logger

SCHEMA_REVISION = "0015"
"""The Alembic revision this code needs; a test keeps it equal to the migrations' head."""

BUSY_TIMEOUT_SECONDS = 10.0
PURGE_TIMEOUT_SECONDS = 2.0
"""How long a purge waits for readers of older states; then it is tried again later. A guess."""

INGEST_CACHE_KIB = 16_384

DAMAGED = (
    "The database file is damaged, and nothing is stored until someone acts: "
    "stop the daemon and see `sage-sleep doctor`."
)

_DEFAULTS = "instance_defaults"
_IDLE = "idle_memory"

_log = get_logger(__name__)


class Database:
    """One SQLite file: an engine, a pool, and the lock writers of this process queue on.

    Args:
        defaults: What an instance has as long as it does not override it.
    """

    def __init__(self, url: str, defaults: InstanceDefaults) -> None:
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
        self.defaults = defaults
        info = {_DEFAULTS: defaults, _IDLE: {}}
        self._read_sessions = sessionmaker(self._engine, expire_on_commit=False, info=info)
        self._write_sessions = sessionmaker(
            self._engine.execution_options(is_write=True), expire_on_commit=False, info=info
        )
        self._write_lock = threading.Lock()
        self._kept: sa.PoolProxiedConnection | None = None
        self.seen_words = SeenWords()
        self._failure: DatabaseUnavailable | None = None
        self.damage_mark = DamageMark(self.path)
        self._is_purge_due = False

    @property
    def path(self) -> Path | None:
        """The database file; None for an in-memory one."""
        return Path(self.url.database) if self.url.database else None

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a read transaction: one consistent view, never written to."""
        with self._noted(), self._read_sessions() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a write transaction (BEGIN IMMEDIATE); it commits when the block ends well.

        Raises: DatabaseUnavailable, as the leaf that says why.
        """
        with self._noted(), self._turn(), self._write_sessions.begin() as session:
            yield session
        self._note_success()

    @contextmanager
    def write_driver(self) -> Iterator[sqlite3.Connection]:
        """Open the same on the driver's own connection, for the SQL of `app.db.ingest`.

        One connection is kept for it: the pool hands its connections out in turn, and SQLite reads
        every page anew on one that did not write last. Its cache is larger than
        SQLite's 2 MB, with which batches took a sixth longer among 30,000 experiences.
        """
        with self._noted(), self._turn():
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
        self._note_success()

    @property
    def failure(self) -> DatabaseUnavailable | None:
        """What kept the last write, or a read meanwhile, from being done; None if all is well.

        A later write that is done takes it back; damage to the file stays until a person acted.
        """
        return DatabaseCorrupt(DAMAGED) if self.damage_mark.is_set else self._failure

    @property
    def refusal(self) -> str | None:
        """Why nothing is written until a person acted; None where all is well or may pass."""
        return DAMAGED if self.damage_mark.is_set else None

    def retry_failed(self) -> None:
        """After a failure: write nothing new, to learn whether writes go through again.

        Raises: DatabaseUnavailable.
        """
        if self._failure is not None and not self.damage_mark.is_set:
            with self.write() as session:
                session.execute(sa.text("PRAGMA user_version = 0"))

    def purge(self) -> bool:
        """Empty the write-ahead log into the file, so that what was deleted stands in neither.

        SQLite overwrites deleted content with zeros (secure_delete), in the file as soon as the
        log is moved into it. Returns False where a reader still needs the log: try again later.

        Raises: DatabaseUnavailable.
        """
        self._is_purge_due = True
        with self._noted(), self._turn():
            borrowed = self._engine.raw_connection()
            try:
                connection = cast("sqlite3.Connection", borrowed.driver_connection)
                _set_timeout(connection, PURGE_TIMEOUT_SECONDS)
                (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                _set_timeout(connection, BUSY_TIMEOUT_SECONDS)
            finally:
                borrowed.close()
        self._is_purge_due = bool(is_busy)
        return not is_busy

    def finish_purge(self) -> None:
        """Purge again if the last purge was kept from its end. Raises: DatabaseUnavailable."""
        if self._is_purge_due:
            self.purge()

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            with translated_errors():
                yield
        except DatabaseUnavailable as error:
            self._failure = error
            if isinstance(error, DatabaseCorrupt):
                self.note_damage()
            raise

    def note_damage(self) -> None:
        """Damage was seen: refuse what would be written, here and in every other process."""
        if self.damage_mark.set():
            _log.error("database.damaged")

    def _note_success(self) -> None:
        self._failure = None

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self.damage_mark.is_set:
            raise DatabaseCorrupt(DAMAGED)
        if not self._write_lock.acquire(timeout=BUSY_TIMEOUT_SECONDS):
            raise DatabaseLocked("Other writes take too long; try again shortly.")
        try:
            yield
        finally:
            self._write_lock.release()

    def check_migrated(self) -> None:
        """Raise DatabaseNotMigrated unless the schema is the one this code needs."""
        if self.path is None or not self.path.exists():
            raise DatabaseNotMigrated(
                "There is no database yet: run `sage-sleep migrate`, or `sage-sleep serve`, which "
                "makes it."
            )
        found = self.find_revision()
        if found is None:
            raise DatabaseNotMigrated("The database has no schema: run `sage-sleep migrate`.")
        if found != SCHEMA_REVISION:
            raise DatabaseNotMigrated(
                f"The database is at revision {found}, this version needs {SCHEMA_REVISION}: "
                "run `sage-sleep migrate`."
            )

    def find_revision(self) -> str | None:
        """The revision of the schema; None without one. Raises: DatabaseUnavailable."""
        with self.read() as session:
            if not sa.inspect(session.connection()).has_table("alembic_version"):
                return None
            found: str | None = session.scalar(sa.text("SELECT version_num FROM alembic_version"))
            return found

    def close(self) -> None:
        """Close all connections."""
        if self._kept is not None:
            self._kept.close()
        self._engine.dispose()


def defaults_of(session: Session) -> InstanceDefaults:
    """What instances have as long as they do not override it; see this module's docstring."""
    defaults: InstanceDefaults = session.info[_DEFAULTS]
    return defaults


def idle_memory_of(session: Session) -> dict[int, tuple[Any, tuple[int, float]]]:
    """What this process remembers of an instance's idle experiences: by id, for which state what.

    Count and salience of what waits and would not be trained; see `app.services.decisions`.
    """
    memory: dict[int, tuple[Any, tuple[int, float]]] = session.info[_IDLE]
    return memory


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


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn SQLAlchemy's and the driver's errors about the database itself into ours.

    Raises: DatabaseUnavailable.
    """
    try:
        yield
    except sa.exc.ArgumentError as error:
        raise DatabaseUnavailable("SAGE_DATABASE_URL must look like sqlite:///path.") from error
    except (sa.exc.IntegrityError, sqlite3.IntegrityError):
        raise
    except DatabaseError as error:
        raise _translate(error.orig) from error
    except sqlite3.DatabaseError as error:
        raise _translate(error) from error


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
"""By SQLite's primary result code."""


def _translate(error: BaseException | None) -> DatabaseUnavailable:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if str(error).startswith("Could not decode to UTF-8"):  # the driver's own, without a code
        code = sqlite3.SQLITE_CORRUPT
    kind, words = _CAUSES.get(code, (DatabaseUnavailable, "The database cannot be used"))
    # What could not be decoded is somebody's text.
    return kind(f"{words}." if code == sqlite3.SQLITE_CORRUPT else f"{words} ({error}).")
