"""The database: its two kinds of transaction, and what it remembers of failures.

Which engine it is follows from the URL: SQLite (`app.db.sqlite`) or PostgreSQL
(`app.db.postgres`), each behind `app.db.dialect`. On both a write transaction has the database to
itself from its start, and readers go on beside it. Within a process writers queue on a lock, which
is fair and does not poll; who waits longer than the database may stay locked is told so.

A database is opened with the instances' defaults. A row of `instances` holds only what it overrides
and means nothing without them, so they travel with every session (`Session.info`) and
`defaults_of(session)` reads them. Handed on beside `db` they stood in every signature between the
settings and a query; and a value that held both would end where a session begins.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, InterfaceError
from sqlalchemy.orm import Session, sessionmaker

from app.db.damage_mark import DamageMark
from app.db.dialect import BUSY_TIMEOUT_SECONDS, Dialect, Driver
from app.db.seen_words import SeenWords
from app.db.sqlite import DAMAGED, Sqlite
from app.domain.instance import InstanceDefaults
from app.errors import (
    DatabaseCorrupt,
    DatabaseLocked,
    DatabaseNotMigrated,
    DatabaseUnavailable,
)
from app.log import get_logger

SCHEMA_REVISION = "0015"
"""The Alembic revision this code needs; a test keeps it equal to the migrations' head."""

_DEFAULTS = "instance_defaults"
_IDLE = "idle_memory"
_DIALECT = "dialect"

_log = get_logger(__name__)


class Database:
    """One database: an engine, a pool, and the lock writers of this process queue on.

    Args:
        defaults: What an instance has as long as it does not override it.
    """

    def __init__(self, url: str, defaults: InstanceDefaults) -> None:
        with translated_errors():
            self.url = sa.make_url(url)
        self._dialect = _dialect_of(self.url)
        self._engine = self._dialect.make_engine()
        self.defaults = defaults
        info = {_DEFAULTS: defaults, _IDLE: {}, _DIALECT: self._dialect}
        self._read_sessions = sessionmaker(
            self._dialect.reading(self._engine), expire_on_commit=False, info=info
        )
        self._write_sessions = sessionmaker(
            self._dialect.writing(self._engine), expire_on_commit=False, info=info
        )
        self._write_lock = threading.Lock()
        self.seen_words = SeenWords()
        self._failure: DatabaseUnavailable | None = None
        self.damage_mark = DamageMark(self.path)
        self._is_purge_due = False

    @property
    def path(self) -> Path | None:
        """The database file; None for one that is none: in memory, or on a server."""
        return self._dialect.path

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a read transaction: one consistent view, never written to."""
        with self._noted(), self._read_sessions() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a write transaction, alone from its start; it commits when the block ends well.

        Raises: DatabaseUnavailable, as the leaf that says why.
        """
        with self._noted(), self._turn(), self._write_sessions.begin() as session:
            yield session
        self._note_success()

    @contextmanager
    def write_driver(self) -> Iterator[Driver]:
        """Open the same on the driver's own connection, for the SQL of `app.db.ingest`."""
        with self._noted(), self._turn():
            try:
                with self._dialect.write_driver(self._engine) as driver:
                    yield driver
                self.seen_words.keep()
            except BaseException:
                self.seen_words.forget()
                raise
        self._note_success()

    @contextmanager
    def hold_alone(self) -> Iterator[None]:
        """Keep other daemons, on any machine, from a database that is no file.

        Raises: DatabaseInUse, DatabaseUnavailable.
        """
        with ExitStack() as held:
            with self.translated_errors():
                held.enter_context(self._dialect.hold_alone(self._engine))
            yield

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
                self._dialect.try_writing(session)

    def purge(self) -> bool:
        """Let go what was deleted, so that it stands nowhere any more; see the dialect's own.

        Returns False where a reader still needs it: try again later.

        Raises: DatabaseUnavailable.
        """
        self._is_purge_due = True
        with self._noted(), self._turn():
            is_done = self._dialect.purge(self._engine)
        self._is_purge_due = not is_done
        return is_done

    def finish_purge(self) -> None:
        """Purge again if the last purge was kept from its end. Raises: DatabaseUnavailable."""
        if self._is_purge_due:
            self.purge()

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            with self.translated_errors():
                yield
        except DatabaseUnavailable as error:
            self._failure = error
            if isinstance(error, DatabaseCorrupt):
                self.note_damage()
            raise

    def translated_errors(self) -> AbstractContextManager[None]:
        """Turn errors about the database itself into ours. Raises: DatabaseUnavailable."""
        return translated_errors(self._dialect)

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
        if not self._dialect.is_there():
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
        self._dialect.close()
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


def dialect_of(session: Session) -> Dialect:
    """The engine of a session's database."""
    dialect: Dialect = session.info[_DIALECT]
    return dialect


def driver_of(session: Session) -> Driver:
    """The driver's own connection of a session, for the SQL of `app.db.ingest`."""
    return dialect_of(session).driver_of(session)


def translated_in(session: Session) -> AbstractContextManager[None]:
    """`Database.translated_errors`, of a session's database. Raises: DatabaseUnavailable."""
    return translated_errors(dialect_of(session))


def _dialect_of(url: sa.URL) -> Dialect:
    """The engine that a URL names. Raises: DatabaseUnavailable."""
    match url.get_backend_name():
        case "sqlite":
            return Sqlite(url)
        case "postgresql" if url.drivername == "postgresql+psycopg":
            try:
                from app.db.postgres import Postgres  # noqa: PLC0415  # its driver is an extra
            except ImportError as error:
                raise DatabaseUnavailable(
                    "PostgreSQL needs its driver: install `sage-sleep[postgres]`."
                ) from error
            return Postgres(url)
    raise DatabaseUnavailable(
        "SAGE_DATABASE_URL must be sqlite:///... or postgresql+psycopg://..., not "
        f"{url.render_as_string()!r}"
    )


_SQLITE = Sqlite(sa.make_url("sqlite://"))


@contextmanager
def translated_errors(dialect: Dialect = _SQLITE) -> Iterator[None]:
    """Turn SQLAlchemy's and the driver's errors about the database itself into ours.

    Raises: DatabaseUnavailable.
    """
    try:
        yield
    except sa.exc.ArgumentError as error:
        raise DatabaseUnavailable("SAGE_DATABASE_URL must look like sqlite:///path.") from error
    except (DatabaseError, InterfaceError) as error:
        if isinstance(error, sa.exc.IntegrityError):
            raise
        raise dialect.translate(error.orig) from error
    except dialect.driver_errors as error:
        if isinstance(error, dialect.integrity_errors):
            raise
        raise dialect.translate(error) from error
