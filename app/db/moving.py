"""All rows of a database, copied into another that is empty, of the same engine or another.

Values are copied as they are stored, JSON as its text, in the order of each table's key. So a
table's hash is the same in both, and says that nothing was lost, doubled or changed on the way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.engine import dialect_of, driver_of
from app.db.tables import InstanceRow, StatusTotalsRow, Table
from app.errors import DatabaseCopyDiffers

BATCH_ROWS = 1000
"""Read and written at once; so many long exchanges are a few MB."""

_Row = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CopiedTable:
    """A table that reads the same in both databases.

    `altered_texts`: values that the target cannot hold to the last character.
    """

    name: str
    rows: int
    sha256: str
    altered_texts: int


def find_content(session: Session) -> list[str]:
    """The tables that hold anything which a new database does not."""
    found = [
        table.name
        for table in Table.metadata.sorted_tables
        if table.name != InstanceRow.__tablename__
        and session.scalar(sa.select(sa.select(sa.literal(1)).select_from(table).exists()))
    ]
    instances = session.scalars(sa.select(InstanceRow).limit(2)).all()
    if any(row.slug != "default" or row.updated_at != row.created_at for row in instances):
        found.insert(0, InstanceRow.__tablename__)
    return found


def copy_rows(source: Session, target: Session) -> list[CopiedTable]:
    """Copy every table into one that is empty but for its instance, and compare them.

    Raises: DatabaseCopyDiffers.
    """
    target.execute(sa.delete(InstanceRow))
    copied = [_copy(source, target, table) for table in _in_order()]
    for table in _in_order():
        if table.autoincrement_column is not None:
            number = dialect_of(source).last_number(source, table)
            dialect_of(target).continue_after(target, table, number)
    return copied


def _in_order() -> list[sa.Table]:
    """What is referred to before what refers to it; last the sums that triggers keep."""
    sums = StatusTotalsRow.__tablename__
    return sorted(Table.metadata.sorted_tables, key=lambda table: table.name == sums)


def _copy(source: Session, target: Session, table: sa.Table) -> CopiedTable:
    target.execute(sa.delete(table))  # sums of what was just copied
    altered = 0

    def held(text: str) -> str:
        nonlocal altered
        kept = dialect_of(target).held(text)
        altered += kept != text
        return kept

    names = [column.name for column in table.columns]
    values = ", ".join(f":v{index}" for index in range(len(names)))
    insert = f'INSERT INTO "{table.name}" ({_quoted(names)}) VALUES ({values})'  # noqa: S608
    read = _Digest()
    for rows in _batches(source, table, held):
        read.add(rows)
        driver_of(target).executemany(
            insert, [{f"v{index}": value for index, value in enumerate(row)} for row in rows]
        )
    written = _Digest()
    for rows in _batches(target, table, str):
        written.add(rows)
    if (read.rows, read.sha256) != (written.rows, written.sha256):
        raise DatabaseCopyDiffers(
            f"The copy of the table {table.name} is not what was copied ({written.rows} of "
            f"{read.rows} rows, SHA-256 {written.sha256} for {read.sha256}); nothing was kept."
        )
    return CopiedTable(name=table.name, rows=read.rows, sha256=read.sha256, altered_texts=altered)


class _Digest:
    """Count and hash of rows in their order."""

    def __init__(self) -> None:
        self.rows = 0
        self._hash = sha256()

    def add(self, rows: Iterable[_Row]) -> None:
        """Take in the next rows."""
        for row in rows:
            self.rows += 1
            self._hash.update(json.dumps(row).encode() + b"\n")

    @property
    def sha256(self) -> str:
        """Of all so far."""
        return self._hash.hexdigest()


def _batches(session: Session, table: sa.Table, held: Callable[[str], str]) -> Iterator[list[_Row]]:
    """All rows in the order of their key, as values that both engines read alike."""
    columns = list(table.columns)
    keys = [columns.index(column) for column in table.primary_key]
    key = _quoted(columns[index].name for index in keys)
    marks = ", ".join("?" * len(keys))
    chosen = f'SELECT {_quoted(column.name for column in columns)} FROM "{table.name}"'  # noqa: S608
    after: _Row = ()
    while True:
        further = f"WHERE ({key}) > ({marks})" if after else ""
        found = (
            driver_of(session)
            .execute(f"{chosen} {further} ORDER BY {key} LIMIT {BATCH_ROWS}", after)
            .fetchall()
        )
        if not found:
            return
        after = tuple(found[-1][index] for index in keys)
        yield [
            tuple(_plain(value, column, held) for value, column in zip(row, columns, strict=True))
            for row in found
        ]


def _plain(value: Any, column: sa.Column[Any], held: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return held(value)
    if isinstance(value, float):
        return value + 0.0  # SQLite keeps no negative zero
    return bool(value) if value is not None and isinstance(column.type, sa.Boolean) else value


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
