"""Whole copies of the database file, consistent beside a running daemon.

    <database>.before-<revision>-<instant>   kept when a migration changes the database

A copy is made by VACUUM INTO: one read transaction, which keeps no writer waiting, and nothing of
what was deleted before. Copies beside the database hold the texts of their time, so that erasing
deletes them; backups, which lie elsewhere, are the operator's.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from app.db.dialect import BUSY_TIMEOUT_SECONDS
from app.db.engine import SCHEMA_REVISION, Database, translated_errors
from app.domain.checkpoint import CheckpointFile, CheckpointStatus
from app.domain.stored import from_json

KEPT_COPIES = 3
"""Of those that migrations left; a guess."""

_MARK = ".before-"


def copy_database(source: Path, target: Path) -> None:
    """Copy a database into a new file, readable by its owner alone and synced to disk.

    Raises: DatabaseUnavailable.
    """
    # Not through a URI with mode=ro: beside a WAL even a reader writes into the -shm file.
    with (
        translated_errors(),
        closing(sqlite3.connect(source, timeout=BUSY_TIMEOUT_SECONDS)) as connection,
    ):
        connection.execute("VACUUM INTO ?", (str(target),))
    target.chmod(0o600)
    descriptor = os.open(target, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def list_ready_checkpoints(database: Path) -> dict[str, list[CheckpointFile]]:
    """The files of each checkpoint that a database lists as ready, by name.

    Raises: DatabaseUnavailable.
    """
    query = "SELECT name, files FROM checkpoints WHERE status = ? ORDER BY seq"
    with (
        translated_errors(),
        closing(sqlite3.connect(database, timeout=BUSY_TIMEOUT_SECONDS)) as connection,
    ):
        rows = connection.execute(query, (CheckpointStatus.READY.value,)).fetchall()
    return {
        name: [from_json(CheckpointFile, file) for file in json.loads(files)]
        for name, files in rows
    }


def read_revision(database: Path) -> str:
    """The revision of a database's schema. Raises: DatabaseUnavailable."""
    with (
        translated_errors(),
        closing(sqlite3.connect(database, timeout=BUSY_TIMEOUT_SECONDS)) as connection,
    ):
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(revision)


def find_pair_id(database: Path) -> str | None:
    """The id that a database's data directory holds too; None for none, or an older schema.

    Raises: DatabaseUnavailable.
    """
    with (
        translated_errors(),
        closing(sqlite3.connect(database, timeout=BUSY_TIMEOUT_SECONDS)) as connection,
    ):
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'pairing'")
        if tables.fetchone() is None:
            return None
        found = connection.execute("SELECT pair_id FROM pairing").fetchone()
    return None if found is None else str(found[0])


def keep_before_change(db: Database, *, now: datetime) -> Path | None:
    """Copy a database whose schema is not this code's, and delete all but the newest copies.

    Returns the copy; None where there is nothing to change. Closes the database.

    Raises: DatabaseUnavailable.
    """
    database = db.path
    if database is None or not database.exists():
        return None
    revision = db.find_revision()
    db.close()
    if revision is None or revision == SCHEMA_REVISION:
        return None
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    target = database.with_name(f"{database.name}{_MARK}{revision}-{stamp}")
    copy_database(database, target)
    for old in list_copies(database)[:-KEPT_COPIES]:
        old.unlink()
    return target


def list_copies(database: Path) -> list[Path]:
    """The copies that migrations left beside a database, oldest first."""
    found = database.parent.glob(f"{database.name}{_MARK}*")
    return sorted(found, key=lambda path: path.name.rpartition("-")[2])


def forget_copies(database: Path) -> int:
    """Delete the copies that migrations left, since they hold what was erased; returns how many."""
    copies = list_copies(database)
    for copy in copies:
        copy.unlink(missing_ok=True)
    return len(copies)
