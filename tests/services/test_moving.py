"""Moving to another database: all of it, equal to the last value, or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from app.db import moving
from app.db.engine import Database
from app.db.tables import EventRow, ExperienceRow
from app.domain.access import Scope
from app.errors import DatabaseCopyDiffers, DatabaseNotEmpty, DatabaseUnavailable
from app.services.erasure import erase_experience
from app.services.moving import move
from app.services.stats import collect_stats
from app.services.tokens import create_token
from tests.publishing import NOW, aliases, fill, publish


@pytest.fixture
def target(db: Database, migrated_file: Path, tmp_path: Path) -> Iterator[Database]:
    """A new SQLite file, whatever `db` is."""
    file = shutil.copy(migrated_file, tmp_path / "target.db")
    database = Database(f"sqlite:///{file}", db.defaults)
    yield database
    database.close()


@pytest.fixture
def lived_in(db: Database, data_dir: Path) -> Database:
    """Two cycles, an erased text, a token, and an event that is gone again."""
    for first in (0, 20):
        publish(db, data_dir / "checkpoints", range(first, first + 20))
    with db.read() as session:
        erased = session.scalars(sa.select(ExperienceRow.id)).first()
    assert erased
    erase_experience(db, erased, now=NOW)
    create_token(
        db,
        name="a",
        scopes=[Scope.READ],
        instances=["default"],
        expires_at=None,
        requests_per_minute=None,
        max_body_bytes=None,
        now=NOW,
    )
    return db


def last_event(db: Database) -> int:
    with db.read() as session:
        return session.scalar(sa.select(sa.func.max(EventRow.seq))) or 0


def figures(db: Database) -> list[Any]:
    found = collect_stats(db, instance=None, now=NOW)
    return [(one.counts, one.decision) for one in found]


def test_everything_is_there_and_goes_on(
    lived_in: Database, target: Database, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "BATCH_ROWS", 7)
    gone = last_event(lived_in)
    with lived_in.write() as session:
        session.execute(sa.delete(EventRow).where(EventRow.seq == gone))
    copied = {table.name: table for table in move(lived_in, target)}
    assert copied["experiences"].rows == 40
    assert copied["checkpoints"].rows == 2
    assert copied["tokens"].rows == 1
    assert not any(table.altered_texts for table in copied.values())
    assert aliases(target) == aliases(lived_in)
    assert figures(target) == figures(lived_in)

    publish(target, data_dir / "checkpoints", range(40, 60))
    with target.read() as session:
        newer = session.scalars(sa.select(EventRow.seq).where(EventRow.seq >= gone)).all()
        numbers = session.scalars(sa.select(ExperienceRow.seq)).all()
    assert newer
    assert gone not in newer  # a number that a client may have seen is nobody else's
    assert len(set(numbers)) == 60


def test_database_that_holds_something_is_no_target(lived_in: Database, target: Database) -> None:
    fill(target, range(1))
    with pytest.raises(DatabaseNotEmpty, match="experiences"):
        move(lived_in, target)
    with target.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(ExperienceRow)) == 1


@pytest.mark.parametrize(
    ("harm", "error"),
    [
        ("UPDATE experiences SET prompt = 'another' WHERE seq = NEW.seq", DatabaseCopyDiffers),
        ("DELETE FROM experiences WHERE seq = NEW.seq", DatabaseCopyDiffers),
        ("SELECT * FROM missing", DatabaseUnavailable),
    ],
)
def test_what_fails_on_the_way_leaves_nothing(
    lived_in: Database, target: Database, harm: str, error: type[Exception]
) -> None:
    trigger = f"CREATE TRIGGER harm AFTER INSERT ON experiences WHEN NEW.seq > 9 BEGIN {harm}; END"
    with target.write() as session:
        session.execute(sa.text(trigger))
    with pytest.raises(error):
        move(lived_in, target)
    with target.write() as session:
        assert moving.find_content(session) == []
        session.execute(sa.text("DROP TRIGGER harm"))
    move(lived_in, target)
    assert aliases(target) == aliases(lived_in)
