"""The settings' database, open for the length of one command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from app.artifacts.bases import find_fault
from app.db.engine import Database
from app.settings import Settings


@contextmanager
def open_database(settings: Settings, *, is_migrated: bool = True) -> Iterator[Database]:
    """Open the database, with the instances' defaults of the same settings.

    Args:
        is_migrated: Demand the schema that this code needs.

    Raises: DatabaseNotMigrated, DatabaseUnavailable.
    """
    defaults = replace(settings.instance_defaults(), find_base_fault=find_fault)
    db = Database(settings.effective_database_url, defaults)
    try:
        if is_migrated:
            db.check_migrated()
        yield db
    finally:
        db.close()
