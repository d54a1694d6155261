"""Copies of the database: consistent while it is written, kept before a migration, few."""

from __future__ import annotations

import sqlite3
import threading
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.db import instances
from app.db.copies import KEPT_COPIES, copy_database, keep_before_change, list_copies
from app.db.engine import SCHEMA_REVISION, Database
from app.errors import DatabaseUnavailable
from tests.publishing import NOW

pytestmark = pytest.mark.sqlite_file("copies of the file")


def set_revision(db: Database, revision: str) -> None:
    with db.write() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = :r"), {"r": revision})


def test_copy_made_while_another_thread_writes_is_whole(db: Database, data_dir: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            with db.write() as session:  # two rows at once, or none
                for name in ("a", "b"):
                    instances.insert_instance(session, slug=f"{name}{number}", now=NOW)
            number += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(5):
            copy = data_dir / f"copy-{number}"
            copy_database(data_dir / "sage-sleep.db", copy)
            connection = sqlite3.connect(copy)
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            counted = connection.execute(
                "SELECT sum(slug LIKE 'a%'), sum(slug LIKE 'b%') FROM instances"
            ).fetchone()
            connection.close()
            assert counted[0] == counted[1]
    finally:
        stop.set()
        thread.join()


def test_only_the_newest_copies_are_kept(db: Database, data_dir: Path) -> None:
    assert keep_before_change(db, now=NOW) is None
    set_revision(db, "0001")
    made = [keep_before_change(db, now=NOW + timedelta(days=day)) for day in range(KEPT_COPIES + 2)]
    assert list_copies(data_dir / "sage-sleep.db") == made[2:]
    set_revision(db, SCHEMA_REVISION)


def test_file_that_is_no_database_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"no database" * 100)
    with pytest.raises(DatabaseUnavailable):
        copy_database(tmp_path / "bad", tmp_path / "copy")
