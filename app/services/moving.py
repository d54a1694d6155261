"""Moving to another database: all of it, or nothing."""

from __future__ import annotations

from app.db import moving
from app.db.engine import Database
from app.errors import DatabaseNotEmpty


def move(source: Database, target: Database) -> list[moving.CopiedTable]:
    """Copy all that a database holds into an empty one; nobody writes to either meanwhile.

    Raises: DatabaseNotEmpty, DatabaseCopyDiffers.
    """
    with source.write() as read, target.write() as written:
        if found := moving.find_content(written):
            raise DatabaseNotEmpty(
                f"The database to copy into is not empty (there is something in {', '.join(found)})"
                ": take a new one."
            )
        return moving.copy_rows(read, written)
