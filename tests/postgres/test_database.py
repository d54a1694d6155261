"""What PostgreSQL does in its own way: one writer, one state for a reader, errors, what is gone."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa

from app.db import instances, postgres
from app.db.engine import Database
from app.db.tables import ExperienceRow, InstanceRow
from app.domain.exchange import Exchange
from app.errors import (
    DatabaseInUse,
    DatabaseLocked,
    DatabaseNotMigrated,
    DatabaseReadOnly,
    DatabaseUnavailable,
)
from app.services.erasure import erase_experience
from app.services.ingest import Submission, ingest_many
from app.settings import Settings
from tests.postgres.server import PostgresServer, plain
from tests.publishing import NOW
from tests.support import make_exchange


@pytest.fixture
def url(postgres_server: PostgresServer) -> Iterator[str]:
    """A migrated database of a server."""
    lent = postgres_server.lend()
    yield lent
    postgres_server.take_back(lent)


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    """The same, open."""
    database = Database(url, Settings().instance_defaults())
    yield database
    database.close()


@pytest.fixture
def other(url: str) -> Iterator[Database]:
    """The same, as another process has it open."""
    database = Database(url, Settings().instance_defaults())
    yield database
    database.close()


def test_writers_of_two_processes_lose_nothing(db: Database, other: Database) -> None:
    def take_numbers(database: Database) -> None:
        for _ in range(15):
            with database.write() as session:
                instance = instances.get_instance(session, "default")
                session.execute(
                    sa.update(InstanceRow).values(last_cycle_number=instance.last_cycle_number + 1)
                )

    threads = [threading.Thread(target=take_numbers, args=(it,)) for it in (db, other) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.read() as session:
        assert instances.get_instance(session, "default").last_cycle_number == 60


def test_who_waits_too_long_for_another_writer_is_told(
    db: Database, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = postgres._BEGIN_WRITE.replace("'10000'", "'50'")
    assert short != postgres._BEGIN_WRITE
    with db.write() as session:
        instances.insert_instance(session, slug="held", now=NOW)
        monkeypatch.setattr(postgres, "_BEGIN_WRITE", short)
        with pytest.raises(DatabaseLocked), other.write() as waiting:
            instances.find_instance(waiting, "held")
        with pytest.raises(DatabaseLocked), other.write_driver():
            pass
    with other.write() as session:
        assert instances.find_instance(session, "held")


def test_reader_sees_one_state_and_writes_nothing(db: Database, other: Database) -> None:
    with db.read() as session:
        assert instances.find_instance(session, "later") is None
        with other.write() as writing:
            instances.insert_instance(writing, slug="later", now=NOW)
        assert instances.find_instance(session, "later") is None
    with pytest.raises(DatabaseReadOnly), db.read() as session:
        instances.insert_instance(session, slug="never", now=NOW)


def test_error_of_the_server_quotes_no_row(db: Database) -> None:
    statement = sa.text("SELECT CAST(response AS integer) FROM experiences")
    ingest_many(db, [Submission(exchange=Exchange(**make_exchange(1)))], now=NOW)
    with pytest.raises(DatabaseUnavailable) as raised, db.read() as session:
        session.execute(statement)
    assert "22P02" in raised.value.message
    assert "mark1" not in raised.value.message


def test_erased_text_is_found_by_no_query_and_its_room_is_let_go(db: Database, url: str) -> None:
    (kept,) = ingest_many(db, [Submission(exchange=Exchange(**make_exchange(1)))], now=NOW)
    assert kept.experience is not None
    erase_experience(db, kept.experience["id"], now=NOW)
    assert db.purge()
    with db.read() as session:
        assert session.scalar(sa.select(ExperienceRow.response)) == ""
    with psycopg.connect(plain(url)) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_user_tables WHERE relname = 'experiences' "
            "AND last_vacuum IS NOT NULL"
        ).fetchone()
    assert found == (1,)


def test_text_with_a_null_character_is_kept_with_a_mark_in_its_place(db: Database) -> None:
    exchange = make_exchange(1, prompt="before\0after", metadata={"note": "a\0b"})
    ingest_many(db, [Submission(exchange=Exchange(**exchange))], now=NOW)
    with db.read() as session:
        row = session.scalars(sa.select(ExperienceRow)).one()
        assert row.prompt == "before\ufffdafter"
        assert row.extra == {"note": "a\0b"}


def test_two_daemons_do_not_hold_one_database(db: Database, other: Database) -> None:
    with db.hold_alone(), pytest.raises(DatabaseInUse), other.hold_alone():
        pass
    with other.hold_alone():
        pass


def test_server_that_is_not_there_is_a_named_error(url: str) -> None:
    database = Database(url.replace("?host=/", "?host=/nowhere/"), Settings().instance_defaults())
    with pytest.raises(DatabaseUnavailable, match="server cannot be used") as raised:
        database.check_migrated()
    assert not isinstance(raised.value, DatabaseLocked)
    database.close()


def test_database_without_a_schema_says_what_to_do(postgres_server: PostgresServer) -> None:
    url = postgres_server.lend_empty()
    database = Database(url, Settings().instance_defaults())
    with pytest.raises(DatabaseNotMigrated, match="sage-sleep migrate"):
        database.check_migrated()
    database.close()
    postgres_server.drop(url)


@pytest.mark.parametrize("url", ["postgresql+asyncpg://x/y", "mysql://a:secret@x/y"])
def test_other_engines_and_drivers_are_refused_without_their_password(url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"postgresql\+psycopg") as raised:
        Database(url, Settings().instance_defaults())
    assert "secret" not in raised.value.message


def test_sqlite_needs_no_driver_of_postgresql() -> None:
    code = "import app.main, app.cli, sys; assert 'psycopg' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
