"""What a database engine must say for itself; `app.db.sqlite` and `app.db.postgres` each do.

Which one it is follows from the URL, in `app.db.engine`. Nothing above `app.db` knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.errors import DatabaseUnavailable

BUSY_TIMEOUT_SECONDS = 10.0


class Rows(Protocol):
    """What a statement of the driver's own found."""

    def fetchone(self) -> Any:
        """The next row, a tuple; None after the last."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""

    def __iter__(self) -> Iterator[Any]:
        """The rows, one after the other."""


class Driver(Protocol):
    """A connection of the driver's own, within a transaction; SQL with `?` or `:name` in it.

    JSON goes in and comes out as text.
    """

    def execute(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = (), /) -> Rows:
        """Run a statement."""

    def executemany(self, sql: str, values: Sequence[Mapping[str, Any]], /) -> object:
        """Run a statement with each of these."""


class Dialect(Protocol):
    """One engine: how it is opened, written to, purged and looked at, and what its errors mean."""

    @property
    def path(self) -> Path | None:
        """The database's file; None without one."""

    @property
    def driver_errors(self) -> tuple[type[Exception], ...]:
        """What its driver raises of the database itself."""

    @property
    def integrity_errors(self) -> tuple[type[Exception], ...]:
        """Those of them that say that a constraint holds."""

    def translate(self, error: BaseException | None) -> DatabaseUnavailable:
        """A driver's error as the leaf that says why; no text of a conversation is in it."""

    def is_there(self) -> bool:
        """Whether there may be a database; opening one must not make it."""

    def make_engine(self) -> sa.Engine:
        """Open it."""

    def reading(self, engine: sa.Engine) -> sa.Engine:
        """The engine, for transactions that see one state and write nothing."""

    def writing(self, engine: sa.Engine) -> sa.Engine:
        """The engine, for transactions of which there is one at a time."""

    def write_driver(self, engine: sa.Engine) -> AbstractContextManager[Driver]:
        """Such a transaction on the driver's own connection; it commits at the block's end."""

    def driver_of(self, session: Session) -> Driver:
        """The driver's own connection of a session."""

    def hold_alone(self, engine: sa.Engine) -> AbstractContextManager[None]:
        """Keep other daemons from the database. Raises: DatabaseInUse."""

    def try_writing(self, session: Session) -> None:
        """Write nothing new, to learn whether writes go through."""

    def purge(self, engine: sa.Engine) -> bool:
        """Let go what was deleted; False where a reader still needs it."""

    def held(self, text: str) -> str:
        """A text as it can be kept."""

    def last_number(self, session: Session, table: sa.Table) -> int:
        """The highest number that a row of a numbered table ever had; 0 for none."""

    def continue_after(self, session: Session, table: sa.Table, number: int) -> None:
        """Let the next row of a numbered table get a higher number than this."""

    def find_damage(self, session: Session) -> list[str]:
        """What the engine's own check finds wrong; empty for nothing."""

    def is_table_whole(self, session: Session, name: str) -> bool:
        """Whether a table and its indexes hold together; reads all of them."""

    def find_broken_references(self, session: Session, limit: int) -> list[str]:
        """Rows that refer to a row that is not there, in words."""

    def find_fault(self, session: Session) -> str | None:
        """What of how it is set up keeps no promise; None for nothing."""

    def close(self) -> None:
        """Close what it kept open."""
