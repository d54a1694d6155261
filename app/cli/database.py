"""The settings' database, open for the length of one command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from app.artifacts.bases import find_fault
from app.db.engine import Database
from app.services.pairing import PairPlaces, require_pair
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


@contextmanager
def open_pair(settings: Settings) -> Iterator[Database]:
    """As `open_database`, for what works with the data directory's checkpoints too.

    Raises: as `open_database`, PairMismatched, CheckpointsNotThere.
    """
    with open_database(settings) as db:
        require_pair(db, pair_places(settings))
        yield db


def upgrade_schema(db: Database) -> None:
    """Give a database that is held alone the newest schema. Raises: DatabaseUnavailable."""
    from alembic import command  # noqa: PLC0415  # a third of a second
    from alembic.config import Config  # noqa: PLC0415

    import migrations  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["url"] = db.url
    with db.translated_errors():
        command.upgrade(config, "head")


def pair_places(settings: Settings) -> PairPlaces:
    """Where the settings' data directory keeps what its database knows."""
    return PairPlaces(
        data_dir=settings.data_dir,
        checkpoints=settings.checkpoints_dir,
        snapshots=settings.snapshots_dir,
    )
