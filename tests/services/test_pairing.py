"""A database and a data directory know each other, and nothing is touched where they do not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.artifacts import pair_marks
from app.db.engine import Database
from app.errors import CheckpointFilesUnreadable, CheckpointsNotThere, PairMismatched
from app.services import pairing, registry
from app.services.file_guard import FileGuard
from app.services.pairing import PairPlaces, require_pair, settle_pair
from app.settings import Settings
from tests.publishing import NOW, aliases, publish


def places_of(data_dir: Path) -> PairPlaces:
    return PairPlaces(
        data_dir=data_dir,
        checkpoints=data_dir / "checkpoints",
        snapshots=data_dir / "snapshots",
    )


@pytest.fixture
def places(data_dir: Path) -> PairPlaces:
    return places_of(data_dir)


@pytest.fixture
def other(tmp_path: Path) -> PairPlaces:
    """Another data directory, without a database."""
    (tmp_path / "other").mkdir()
    return places_of(tmp_path / "other")


@pytest.fixture
def fresh(tmp_path: Path, migrated_file: Path) -> Iterator[Database]:
    """Another database, somewhere else."""
    path = tmp_path / "elsewhere" / "fresh.db"
    path.parent.mkdir()
    shutil.copy(migrated_file, path)
    database = Database(f"sqlite:///{path}", Settings().instance_defaults())
    yield database
    database.close()


@pytest.fixture
def checkpoint_id(db: Database, places: PairPlaces) -> str:
    """The only checkpoint of a pair."""
    settle_pair(db, places, now=NOW)
    return publish(db, places.checkpoints, range(20))[0]


def forget_id(db: Database) -> None:
    with db.write() as session:
        session.execute(sa.text("DELETE FROM pairing"))


def test_two_that_hold_nothing_become_a_pair_and_stay_one(db: Database, places: PairPlaces) -> None:
    assert require_pair(db, places)
    settle_pair(db, places, now=NOW)
    before = pairing.look(db, places)
    assert before.is_paired
    assert not require_pair(db, places)
    settle_pair(db, places, now=NOW)
    assert pairing.look(db, places) == before


def test_state_of_an_older_version_becomes_a_pair(db: Database, places: PairPlaces) -> None:
    publish(db, places.checkpoints, range(20))
    settle_pair(db, places, now=NOW)
    assert not require_pair(db, places)


def test_state_of_an_older_version_whose_database_is_fresh_does_not(
    db: Database, fresh: Database, places: PairPlaces
) -> None:
    publish(db, places.checkpoints, range(20))
    with pytest.raises(PairMismatched, match="1 checkpoints that the database has never known"):
        settle_pair(fresh, places, now=NOW)


@pytest.mark.usefixtures("checkpoint_id")
def test_fresh_database_on_an_old_directory_is_refused(fresh: Database, places: PairPlaces) -> None:
    before = sorted(places.checkpoints.rglob("*"))
    with pytest.raises(PairMismatched, match="belongs to another database"):
        settle_pair(fresh, places, now=NOW)
    assert sorted(places.checkpoints.rglob("*")) == before


def test_other_directory_is_refused_with_checkpoints_and_without(
    db: Database, places: PairPlaces, other: PairPlaces
) -> None:
    settle_pair(db, places, now=NOW)
    with pytest.raises(PairMismatched, match="belongs to another data directory"):
        settle_pair(db, other, now=NOW)
    publish(db, places.checkpoints, range(20))
    with pytest.raises(CheckpointsNotThere, match="none of the 1 checkpoints"):
        settle_pair(db, other, now=NOW)
    assert list(other.data_dir.iterdir()) == []


@pytest.mark.usefixtures("checkpoint_id")
def test_directory_of_another_pair_is_refused(
    db: Database, fresh: Database, other: PairPlaces
) -> None:
    settle_pair(fresh, other, now=NOW)
    publish(fresh, other.checkpoints, range(20))
    with pytest.raises(PairMismatched, match="belongs to another database"):
        settle_pair(db, other, now=NOW)


@pytest.mark.parametrize("what", ["absent", "empty", "dangling", "of another"])
def test_checkpoints_that_are_not_there_are_not_damaged(
    db: Database, places: PairPlaces, checkpoint_id: str, what: str, tmp_path: Path
) -> None:
    root = places.checkpoints
    away = tmp_path / "away"
    root.rename(away)
    match what:
        case "empty":
            root.mkdir()
        case "dangling":
            root.symlink_to(tmp_path / "nowhere")
        case "of another":
            root.mkdir()
            (root / pair_marks.CHECKPOINTS_MARK).write_text("01OTHER\n")
    with pytest.raises((CheckpointsNotThere, PairMismatched), match="Nothing was changed"):
        settle_pair(db, places, now=NOW)
    guard = FileGuard(db, root=root)
    row = registry.get_checkpoint(db, checkpoint_id).row
    with pytest.raises(CheckpointFilesUnreadable):
        guard.require_intact(row, now=NOW)
    assert guard.check_all(now=NOW).unreadable == [checkpoint_id]
    assert guard.check_named(now=NOW).unreadable == [checkpoint_id]
    with pytest.raises(CheckpointsNotThere):
        guard.require_place()
    assert aliases(db) == {"current": checkpoint_id}
    if root.is_symlink():
        root.unlink()
    else:
        shutil.rmtree(root, ignore_errors=True)
    away.rename(root)
    assert not require_pair(db, places)
    guard.require_place()
    assert guard.check_all(now=NOW).damaged == []


def test_checkpoints_that_were_deleted_one_by_one_are_damaged(
    db: Database, places: PairPlaces, checkpoint_id: str
) -> None:
    shutil.rmtree(places.checkpoints / "default")
    assert not require_pair(db, places)
    assert FileGuard(db, root=places.checkpoints).check_all(now=NOW).damaged == [checkpoint_id]


@pytest.mark.usefixtures("checkpoint_id")
def test_directory_that_was_put_together_by_hand_becomes_a_pair(
    db: Database, places: PairPlaces, other: PairPlaces
) -> None:
    shutil.copytree(places.checkpoints / "default", other.checkpoints / "default")
    settle_pair(db, other, now=NOW)
    assert not require_pair(db, other)
    with pytest.raises(PairMismatched):  # it would lack what is published from now on
        require_pair(db, places)


@pytest.mark.usefixtures("checkpoint_id")
def test_pairing_that_was_killed_halfway_goes_on_at_the_next_start(
    db: Database, places: PairPlaces
) -> None:
    forget_id(db)
    pair_marks.write_marks(places.data_dir, places.checkpoints, "01NEWER")
    settle_pair(db, places, now=NOW)
    assert not require_pair(db, places)
    forget_id(db)
    pair_marks.remove_marks(places.data_dir, places.checkpoints)
    settle_pair(db, places, now=NOW)
    assert not require_pair(db, places)


@pytest.mark.usefixtures("checkpoint_id")
def test_pair_on_purpose_is_one_whatever_was_before(
    db: Database, fresh: Database, places: PairPlaces
) -> None:
    pairing.pair(fresh, places, now=NOW)
    assert not require_pair(fresh, places)
    with pytest.raises(PairMismatched):
        require_pair(db, places)
    assert "1 directories have no row" in pairing.describe(pairing.look(fresh, places))[1]
    pairing.pair(db, places, now=NOW)
    assert not require_pair(db, places)
