"""Checkpoints whose files are gone or altered are marked, not used, and their aliases fall back."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.artifacts import directories
from app.db.engine import Database
from app.db.tables import EventRow
from app.domain.checkpoint import CheckpointFile
from app.domain.decision import Trigger
from app.domain.policy import Promotion
from app.errors import (
    CheckpointDamaged,
    CheckpointFilesAltered,
    CheckpointFilesMissing,
    CheckpointFilesUnreadable,
    CheckpointNotPromotable,
)
from app.services import cycles, promotion, registry, sleep
from app.services.file_guard import FileGuard
from app.services.stats import collect_stats
from app.services.sweeping import sweep_leftovers
from tests.publishing import NOW, aliases, current, fill, publish, roll_back
from tests.support import Reopen

ADAPTER = "adapter_model.safetensors"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def guard(db: Database, root: Path) -> FileGuard:
    return FileGuard(db, root=root)


@pytest.fixture
def three(db: Database, root: Path) -> list[str]:
    return [publish(db, root, range(n, n + 20))[0] for n in (0, 20, 40)]


def path_of(db: Database, root: Path, checkpoint_id: str) -> Path:
    return root / registry.get_checkpoint(db, checkpoint_id).row.name / ADAPTER


def alter(path: Path) -> None:
    """Other bytes, the same size."""
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))


def status(db: Database, checkpoint_id: str) -> str:
    return registry.get_checkpoint(db, checkpoint_id).row.status


def happened(db: Database) -> list[str]:
    rows = promotion.list_alias_history(db, "default", before_seq=None, limit=100)
    return [f"{row.alias} {row.action} {row.actor}" for row in rows]


def event_types(db: Database) -> list[str]:
    with db.read() as session:
        return list(session.scalars(sa.select(EventRow.type)))


def test_missing_files_are_found_at_the_start_and_current_falls_back(
    db: Database, root: Path, guard: FileGuard, three: list[str]
) -> None:
    path_of(db, root, three[2]).unlink()
    assert guard.check_all(now=NOW).damaged == [three[2]]
    assert status(db, three[2]) == "damaged"
    assert aliases(db) == {"current": three[1], "previous": three[0]}
    assert happened(db)[:2] == ["previous rollback file-check", "current rollback file-check"]
    assert {"checkpoint.damaged", "checkpoint.rolled_back"} <= set(event_types(db))
    assert guard.check_all(now=NOW).damaged == []


def test_alias_falls_past_every_damaged_one_to_the_last_good_one_or_the_base(
    db: Database, root: Path, guard: FileGuard, three: list[str]
) -> None:
    for checkpoint_id in three[1:]:
        path_of(db, root, checkpoint_id).unlink()
    assert guard.check_all(now=NOW).damaged == three[1:]
    assert aliases(db) == {"current": three[0]}
    alter(path_of(db, root, three[0]))
    assert guard.check_named(now=NOW).damaged == [three[0]]
    assert aliases(db) == {}


def test_altered_bytes_of_the_same_size_are_found_before_they_are_served(
    db: Database, root: Path, guard: FileGuard, three: list[str]
) -> None:
    view = registry.get_checkpoint(db, three[2])
    guard.require_intact(view.row, now=NOW)
    alter(path_of(db, root, three[2]))
    assert guard.check_all(now=NOW).damaged == []  # looks at sizes alone
    with pytest.raises(CheckpointFilesAltered):
        guard.require_intact(view.row, now=NOW)
    assert current(db) == three[1]
    view = registry.get_checkpoint(db, three[2])
    with pytest.raises(CheckpointDamaged):
        registry.find_file(view, ADAPTER)
    with pytest.raises(CheckpointDamaged):
        registry.open_archive(view, root)


def test_untouched_file_is_hashed_once(
    db: Database, root: Path, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = registry.get_checkpoint(db, three[0]).row
    files = row.files
    hashed: list[str] = []
    describe = directories.describe_file

    def note_and_describe(path: Path) -> CheckpointFile:
        hashed.append(path.name)
        return describe(path)

    monkeypatch.setattr(directories, "describe_file", note_and_describe)
    verified = directories.VerifiedFiles()
    for _ in range(3):
        verified.verify(root, row.name, files)
    assert sorted(hashed) == sorted(file.name for file in files)
    path = path_of(db, root, three[0])
    before = path.stat()
    alter(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(CheckpointFilesAltered):
        verified.verify(root, row.name, files)


def test_damaged_previous_makes_way_for_the_one_before(
    db: Database, root: Path, guard: FileGuard, three: list[str]
) -> None:
    path_of(db, root, three[1]).unlink()
    guard.check_all(now=NOW)
    assert aliases(db) == {"current": three[2], "previous": three[0]}


def test_rollback_and_promotion_never_lead_to_a_damaged_one(
    db: Database, root: Path, guard: FileGuard, three: list[str]
) -> None:
    alter(path_of(db, root, three[1]))
    guard.check_rollback("default", now=NOW)
    roll_back(db, root)
    assert current(db) == three[0]
    alter(path_of(db, root, three[2]))
    with pytest.raises(CheckpointNotPromotable, match="gone or altered"):
        promotion.promote(
            db,
            three[2],
            guard=guard,
            is_forced=True,
            actor="test",
            reason="now",
            expected_revisions=None,
            now=NOW,
        )
    assert status(db, three[2]) == "damaged"


def test_damaged_candidate_gives_back_what_it_had_learned(reopen: Reopen, root: Path) -> None:
    db = reopen(policy={"promotion": Promotion.MANUAL})
    candidate, _ = publish(db, root, range(20))
    path_of(db, root, candidate).unlink()
    FileGuard(db, root=root).check_all(now=NOW)
    assert aliases(db) == {}
    (found,) = collect_stats(db, instance="default", now=NOW)
    assert found.counts["consolidated"] == 0
    assert found.counts["buffered"] > 0


def test_queued_cycle_of_a_damaged_parent_starts_from_what_is_current_then(
    db: Database, root: Path, guard: FileGuard, three: list[str]
) -> None:
    fill(db, range(60, 80))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(db, request, now=NOW)
    before = cycle.plan
    assert before.parent_checkpoint_id == three[2]
    for checkpoint_id in three[1:]:
        path_of(db, root, checkpoint_id).unlink()
    guard.check_parent(cycle.id, now=NOW)
    after = cycles.get_cycle(db, cycle.id)[0].plan
    assert after == replace(before, parent_checkpoint_id=three[0], replaces_checkpoint_id=three[0])
    path_of(db, root, three[0]).unlink()
    guard.check_parent(cycle.id, now=NOW)
    after = cycles.get_cycle(db, cycle.id)[0].plan
    assert after.parent_checkpoint_id is None
    assert "sleep_cycle.replanned" in event_types(db)


def test_files_that_came_back_make_it_ready_again_and_move_nothing(
    db: Database, root: Path, guard: FileGuard, three: list[str]
) -> None:
    path = path_of(db, root, three[2])
    content = path.read_bytes()
    path.unlink()
    guard.check_all(now=NOW)
    path.write_bytes(content)
    assert guard.check_all(now=NOW).repaired == [three[2]]
    assert status(db, three[2]) == "ready"
    assert current(db) == three[1]


def test_file_that_cannot_be_looked_at_now_is_not_called_damaged(
    db: Database, guard: FileGuard, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(directories, "describe_file", refuse)
    with pytest.raises(CheckpointFilesUnreadable):
        guard.require_intact(registry.get_checkpoint(db, three[2]).row, now=NOW)
    assert guard.check_named(now=NOW).unreadable
    assert current(db) == three[2]


def test_damaged_one_can_be_deleted(
    db: Database, root: Path, guard: FileGuard, three: list[str]
) -> None:
    path_of(db, root, three[2]).unlink()
    with pytest.raises(CheckpointFilesMissing):
        guard.require_intact(registry.get_checkpoint(db, three[2]).row, now=NOW)
    registry.delete_checkpoint(db, three[2], root=root, now=NOW)
    assert status(db, three[2]) == "deleted"


def test_files_that_a_kill_left_of_a_deletion_go_at_the_next_start(
    db: Database, root: Path, tmp_path: Path, three: list[str]
) -> None:
    path = path_of(db, root, three[0])
    content = path.read_bytes()
    registry.delete_checkpoint(db, three[0], root=root, now=NOW)
    path.parent.mkdir()
    path.write_bytes(content)
    sweep_leftovers(db, root=root, snapshots=tmp_path / "none", scratch=tmp_path / "none")
    assert not path.parent.exists()
    assert not (root / ".orphans").exists()
