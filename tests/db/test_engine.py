"""The database: durable, one writer at a time, aware instants, and the schema it needs."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import StatementError

import migrations
from app.db import health, instances
from app.db.engine import SCHEMA_REVISION, Database
from app.db.tables import ExperienceRow, StatusTotalsRow
from app.errors import DatabaseNotMigrated, DatabaseUnavailable
from app.settings import Settings
from tests.publishing import fill

NOW = datetime(2026, 1, 18, tzinfo=UTC)


def test_code_needs_the_head_of_the_migrations() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA_REVISION


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("secure_delete", 1),
        ("temp_store", 2),
    ],
)
@pytest.mark.sqlite_file("pragmas")
def test_every_connection_has_its_pragmas(db: Database, pragma: str, value: object) -> None:
    with db.read() as session:
        assert session.scalar(sa.text(f"PRAGMA {pragma}")) == value


def test_default_instance_exists_from_the_start(db: Database) -> None:
    with db.read() as session:
        assert instances.get_instance(session, "default").slug == "default"


def test_block_that_fails_writes_nothing(db: Database) -> None:
    def fail_halfway() -> None:
        with db.write() as session:
            instances.insert_instance(session, slug="half", now=NOW)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_halfway()
    with db.read() as session:
        assert instances.find_instance(session, "half") is None


def test_read_then_write_of_many_threads_loses_nothing(db: Database) -> None:
    def take_numbers() -> None:
        for _ in range(20):
            with db.write() as session:
                instance = instances.get_instance(session, "default")
                instances.take_cycle_number(session, instance.id)

    threads = [threading.Thread(target=take_numbers) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.read() as session:
        assert instances.get_instance(session, "default").last_cycle_number == 160


def test_naive_instant_is_refused(db: Database) -> None:
    with pytest.raises(StatementError, match="time zone"), db.write() as session:
        instances.insert_instance(session, slug="naive", now=datetime(2026, 1, 1))  # noqa: DTZ001


def test_instant_comes_back_aware_in_utc(db: Database) -> None:
    with db.write() as session:
        instances.insert_instance(session, slug="aware", now=NOW)
    with db.read() as session:
        assert instances.get_instance(session, "aware").created_at == NOW
        assert instances.get_instance(session, "aware").created_at.tzinfo == UTC


def test_missing_database_says_what_to_do(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'none.db'}", Settings().instance_defaults())
    with pytest.raises(DatabaseNotMigrated, match="sage-sleep migrate"):
        database.check_migrated()


def test_file_that_is_no_database_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_bytes(b"not a database at all" * 100)
    database = Database(f"sqlite:///{tmp_path / 'bad.db'}", Settings().instance_defaults())
    with pytest.raises(DatabaseUnavailable):
        database.check_migrated()
    database.close()


def test_totals_are_kept_by_the_database(db: Database) -> None:
    fill(db, range(3))
    with db.write() as session:
        session.execute(sa.update(ExperienceRow).where(ExperienceRow.seq == 2).values(total=0.25))
        session.execute(sa.update(ExperienceRow).where(ExperienceRow.seq == 3).values(status="x"))
    with db.read() as session:
        assert health.list_wrong_totals(session) == []
        assert {row.status for row in session.scalars(sa.select(StatusTotalsRow))} >= {"x"}


def test_mass_of_an_emptied_buffer_is_nothing() -> None:
    left = 0.1 + 0.2 - 0.3
    assert left != 0
    assert str(StatusTotalsRow(total=left).mass) == "0.0"
    assert str(StatusTotalsRow(total=-left).mass) == "0.0"
    assert StatusTotalsRow(total=14.25).mass == 14.25
