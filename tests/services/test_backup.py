"""Backups: consistent beside writers, verified, and restored to the same state."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app.db import copies
from app.db.engine import Database
from app.domain.checkpoint import CheckpointFile
from app.errors import BackupTargetInUse, BackupUnusable, DataDirectoryNotEmpty
from app.services import backup, registry
from app.services.file_guard import FileGuard
from app.services.stats import collect_stats
from tests.publishing import NOW, aliases, fill, publish, roll_back

pytestmark = pytest.mark.sqlite_file("copies of the file")


@pytest.fixture
def root(data_dir: Path) -> Path:
    return data_dir / "checkpoints"


@pytest.fixture
def two(db: Database, root: Path) -> list[str]:
    return [publish(db, root, range(n, n + 20))[0] for n in (0, 20)]


def make(data_dir: Path, target: Path, *, links: bool = False) -> backup.Backup:
    return backup.make_backup(
        target,
        database=data_dir / "sage-sleep.db",
        root=data_dir / "checkpoints",
        links=links,
        version="test",
        now=NOW,
    )


def places(data_dir: Path) -> backup.DataPlaces:
    return backup.DataPlaces(
        data_dir=data_dir,
        database=data_dir / "sage-sleep.db",
        checkpoints=data_dir / "checkpoints",
        snapshots=data_dir / "snapshots",
        kept=data_dir / "kept",
    )


@pytest.mark.parametrize("links", [True, False])
def test_restored_state_is_the_one_that_was_backed_up(
    db: Database,
    data_dir: Path,
    tmp_path: Path,
    two: list[str],
    *,
    links: bool,
) -> None:
    made = make(data_dir, tmp_path / "backup", links=links)
    assert len(made.checkpoints) == 2
    fill(db, range(40, 60))
    other = tmp_path / "elsewhere"
    restored = backup.restore(tmp_path / "backup", places=places(other), replaces=False, now=NOW)
    assert restored == backup.Restored(backup=made, damaged=[], aside=None)
    assert {path.name for path in other.iterdir()} == {"sage-sleep.db", "checkpoints"}
    again = Database(f"sqlite:///{other / 'sage-sleep.db'}", db.defaults)
    again.check_migrated()
    assert aliases(again) == {"current": two[1], "previous": two[0]}
    guard = FileGuard(again, root=other / "checkpoints")
    assert guard.check_named(now=NOW).damaged == []
    (before,) = collect_stats(db, instance="default", now=NOW)
    (after,) = collect_stats(again, instance="default", now=NOW)
    assert after.counts["consolidated"] == before.counts["consolidated"]
    assert after.counts["buffered"] == 0 < before.counts["buffered"]
    again.close()


def test_backup_while_posts_come_in_holds_whole_batches(
    db: Database, data_dir: Path, tmp_path: Path
) -> None:
    stop = threading.Event()

    def post() -> None:
        number = 0
        while not stop.is_set():
            fill(db, range(number, number + 5))
            number += 5

    thread = threading.Thread(target=post)
    thread.start()
    try:
        for number in range(4):
            make(data_dir, tmp_path / f"backup-{number}")
    finally:
        stop.set()
        thread.join()
    for number in range(4):
        connection = sqlite3.connect(tmp_path / f"backup-{number}" / "sage-sleep.db")
        (count,) = connection.execute("SELECT count(*) FROM experiences").fetchone()
        (kept,) = connection.execute("SELECT sum(count) FROM status_totals").fetchone()
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        assert count % 5 == 0
        assert count == (kept or 0)


def test_target_that_holds_something_is_refused_and_untouched(
    db: Database, data_dir: Path, tmp_path: Path
) -> None:
    del db
    target = tmp_path / "backup"
    target.mkdir()
    make(data_dir, target)
    with pytest.raises(BackupTargetInUse):
        make(data_dir, target)
    assert not list(tmp_path.glob(".backup*"))


def test_checkpoint_deleted_meanwhile_makes_it_start_again(
    db: Database,
    data_dir: Path,
    root: Path,
    tmp_path: Path,
    two: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    roll_back(db, root)
    list_ready = copies.list_ready_checkpoints
    called: list[Path] = []

    def delete_after_the_first(database: Path) -> dict[str, list[CheckpointFile]]:
        found = list_ready(database)
        if not called:
            registry.delete_checkpoint(db, two[1], root=root, now=NOW)
        called.append(database)
        return found

    monkeypatch.setattr(copies, "list_ready_checkpoints", delete_after_the_first)
    made = make(data_dir, tmp_path / "backup")
    assert len(made.checkpoints) == 1
    assert made.left_out == []
    backup.read_backup(tmp_path / "backup")


def test_damaged_checkpoint_is_left_out_and_named(
    db: Database, data_dir: Path, root: Path, tmp_path: Path, two: list[str]
) -> None:
    name = registry.get_checkpoint(db, two[0]).row.name
    (root / name / "adapter_config.json").write_text("[]")
    made = make(data_dir, tmp_path / "backup")
    assert made.left_out == [name]


def alter_database(source: Path) -> None:
    path = source / "sage-sleep.db"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def point_outside(source: Path) -> None:
    path = source / "backup.json"
    manifest = json.loads(path.read_text())
    manifest["checkpoints"]["../../x"] = []
    path.write_text(json.dumps(manifest))


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    with path.open("r+b") as file:  # in place, as a disk or a virus does
        file.write(content)


def test_byte_that_flips_in_a_live_file_does_not_flip_in_the_backup(
    db: Database, data_dir: Path, root: Path, tmp_path: Path, two: list[str]
) -> None:
    make(data_dir, tmp_path / "backup")
    make(data_dir, tmp_path / "linked", links=True)
    live = root / registry.get_checkpoint(db, two[1]).row.name / "adapter_model.safetensors"
    flip_byte(live)
    assert backup.read_backup(tmp_path / "backup")[1] == []
    assert backup.read_backup(tmp_path / "linked")[1] == [str(live.parent.relative_to(root))]


@pytest.mark.parametrize(
    "harm", [flip_byte, Path.unlink, lambda path: path.write_bytes(path.read_bytes() + b"x")]
)
def test_what_is_whole_of_a_backup_is_restored_and_what_is_not_is_named(
    harm: Callable[[Path], object], db: Database, data_dir: Path, tmp_path: Path, two: list[str]
) -> None:
    make(data_dir, tmp_path / "backup")
    names = [registry.get_checkpoint(db, item).row.name for item in two]
    harm(tmp_path / "backup" / "checkpoints" / names[1] / "adapter_model.safetensors")
    other = tmp_path / "new"
    restored = backup.restore(tmp_path / "backup", places=places(other), replaces=False, now=NOW)
    assert (restored.damaged, restored.checkpoints) == ([names[1]], [names[0]])
    again = Database(f"sqlite:///{other / 'sage-sleep.db'}", db.defaults)
    assert FileGuard(again, root=other / "checkpoints").check_all(now=NOW).damaged == [two[1]]
    assert aliases(again) == {"current": two[0]}
    again.close()


def make_newer(source: Path) -> None:
    path = source / "backup.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "revision": "9999"}))


@pytest.mark.parametrize(
    "harm",
    [
        alter_database,
        point_outside,
        make_newer,
        lambda source: (source / "backup.json").write_text("{"),
        lambda source: (source / "backup.json").unlink(),
    ],
)
@pytest.mark.usefixtures("two")
def test_backup_without_its_database_or_its_list_restores_nothing(
    harm: Callable[[Path], object], data_dir: Path, tmp_path: Path
) -> None:
    make(data_dir, tmp_path / "backup", links=False)
    harm(tmp_path / "backup")
    with pytest.raises(BackupUnusable):
        backup.restore(
            tmp_path / "backup", places=places(tmp_path / "new"), replaces=False, now=NOW
        )
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("two")
def test_state_that_is_there_is_moved_aside_only_when_asked(
    db: Database, data_dir: Path, tmp_path: Path
) -> None:
    make(data_dir, tmp_path / "backup")
    fill(db, range(40, 60))
    db.close()
    with pytest.raises(DataDirectoryNotEmpty):
        backup.restore(tmp_path / "backup", places=places(data_dir), replaces=False, now=NOW)
    (data_dir / "models").mkdir()
    aside = backup.restore(
        tmp_path / "backup", places=places(data_dir), replaces=True, now=NOW
    ).aside
    assert aside is not None
    assert (aside / "sage-sleep.db").is_file()
    assert (data_dir / "models").is_dir()
    assert not (data_dir / "sage-sleep.db-wal").exists()
    shutil.rmtree(aside)
