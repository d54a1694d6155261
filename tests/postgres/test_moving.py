"""`sage-sleep move-database`: from a SQLite file to a server and back, and killed on the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from app import data_lock
from app.cli.database import upgrade_schema
from app.db.engine import Database
from app.db.moving import find_content
from app.db.tables import ExperienceRow, Table
from app.domain.exchange import Exchange
from app.services.ingest import Submission, ingest_many
from app.services.moving import move
from app.settings import Settings
from tests.patience import wait_until
from tests.postgres.server import PostgresServer, plain
from tests.publishing import NOW, fill, publish
from tests.support import make_exchange, run_command


@pytest.fixture
def url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database of a server, without a schema."""
    lent = postgres_server.lend_empty()
    yield lent
    postgres_server.drop(lent)


@pytest.fixture
def file(migrated_file: Path, tmp_path: Path) -> Path:
    """A SQLite database in which something was learned."""
    path = tmp_path / "sage-sleep.db"
    shutil.copy(migrated_file, path)
    database = opened(f"sqlite:///{path}")
    publish(database, tmp_path / "checkpoints", range(20))
    database.close()
    return path


def opened(url: str) -> Database:
    return Database(url, Settings().instance_defaults())


def run(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    result = run_command("move-database", *map(str, arguments), environment={}, check=False)
    assert result.returncode == code, result.stdout + result.stderr
    return result


def test_there_and_back(file: Path, url: str, tmp_path: Path) -> None:
    database = opened(f"sqlite:///{file}")
    odd = make_exchange(99, prompt="before\0after")
    ingest_many(database, [Submission(exchange=Exchange(**odd))], now=NOW)
    database.close()
    assert "U+FFFD stands now: 1." in run(file, url).stdout
    server = opened(url)
    fill(server, range(20, 25))  # its numbers go on
    server.close()

    again = run(file, url, code=1)
    assert "not empty" in again.stderr

    returned = tmp_path / "returned.db"
    tables = json.loads(run(url, returned, "--json").stdout)["tables"]
    assert {table["name"]: table["rows"] for table in tables}["experiences"] == 26
    assert returned.stat().st_mode & 0o077 == 0
    database = opened(f"sqlite:///{returned}")
    fill(database, range(25, 30))
    with database.read() as session:
        assert session.scalars(sa.select(ExperienceRow.seq)).all() == list(range(1, 32))
    database.close()


def test_rows_are_the_same_there_and_back(file: Path, url: str, tmp_path: Path) -> None:
    first, server, last = (
        opened(it) for it in (f"sqlite:///{file}", url, f"sqlite:///{tmp_path / 'last.db'}")
    )
    for empty in (server, last):
        upgrade_schema(empty)
    assert move(first, server) == move(server, last)
    with first.read() as before, last.read() as after:
        for table in Table.metadata.sorted_tables:
            rows = sa.text(f"SELECT * FROM {table.name} ORDER BY 1, 2")  # noqa: S608
            assert before.execute(rows).all() == after.execute(rows).all(), table.name
    for database in (first, server, last):
        database.close()


def test_who_holds_either_is_not_disturbed(file: Path, url: str, tmp_path: Path) -> None:
    with data_lock.hold(tmp_path / "data", file):
        assert str(file) in run(file, url, code=1).stderr
    server = opened(url)
    with server.hold_alone():
        assert "runs on the database" in run(file, url, code=1).stderr
    server.close()
    assert "no schema" in run(url, tmp_path / "new.db", code=1).stderr
    assert "the same" in run(file, file, code=1).stderr


def test_one_that_is_killed_leaves_an_empty_database(file: Path, url: str) -> None:
    server = opened(url)
    upgrade_schema(server)
    command = [sys.executable, "-m", "app", "move-database", str(file), url]
    with psycopg.connect(plain(url)) as other:
        other.execute("LOCK TABLE events IN EXCLUSIVE MODE")  # readable, and not to be written
        moving = subprocess.Popen(command, env=os.environ)

        def is_waiting() -> bool:
            waits = (
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'events'::regclass"
            )
            found = other.execute(waits).fetchone()
            return found == (1,)

        wait_until(is_waiting, lambda: "it wrote experiences and waits for events")
        moving.kill()
        moving.wait()
    with server.write() as session:  # waits until the server has noticed
        assert find_content(session) == []
    learned = opened(f"sqlite:///{file}")
    assert move(learned, server)
    for database in (learned, server):
        database.close()
