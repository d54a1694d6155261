"""The registry on real files and a real database, with adapters of a few bytes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from app.artifacts import directories
from app.db.engine import Database
from app.db.events import EventFilter
from app.domain.decision import Trigger
from app.domain.progress import CycleStatus
from app.errors import (
    AliasesChanged,
    CheckpointFileNotFound,
    CheckpointFilesAltered,
    CheckpointFilesMissing,
    CheckpointInUse,
    CheckpointNotPromotable,
    InvalidPolicy,
    NoPreviousCheckpoint,
)
from app.services import instances, promotion, registry, sleep
from app.services.file_guard import FileGuard
from app.services.sweeping import sweep_leftovers
from tests.publishing import NOW, aliases, current, end, fill, publish, report, roll_back
from tests.support import Reopen


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def promote(
    db: Database,
    root: Path,
    checkpoint_id: str,
    *,
    force: bool = False,
    reason: str | None = None,
    revision: int | None = None,
) -> None:
    promotion.promote(
        db,
        checkpoint_id,
        guard=FileGuard(db, root=root),
        is_forced=force,
        actor="test",
        reason=reason,
        expected_revisions=None if revision is None else frozenset({revision}),
        now=NOW,
    )


def test_accepted_checkpoint_becomes_current(db: Database, root: Path) -> None:
    checkpoint_id, status = publish(db, root, range(20))
    assert status is CycleStatus.SUCCEEDED
    assert current(db) == checkpoint_id


def test_refused_checkpoint_moves_nothing_and_counts_an_attempt(db: Database, root: Path) -> None:
    good, _ = publish(db, root, range(20))
    bad, status = publish(db, root, range(20, 40), after=3.5)
    assert status is CycleStatus.REJECTED
    assert current(db) == good
    with pytest.raises(CheckpointNotPromotable, match="held-out loss"):
        promote(db, root, bad)
    with pytest.raises(CheckpointNotPromotable):
        promote(db, root, bad, force=True)
    promote(db, root, bad, force=True, reason="I looked at it")
    assert current(db) == bad


def test_rollback_again_and_again_skips_what_was_deleted(db: Database, root: Path) -> None:
    ids = [publish(db, root, range(n, n + 20))[0] for n in range(0, 80, 20)]
    roll_back(db, root)
    assert current(db) == ids[2]
    registry.delete_checkpoint(db, ids[0], root=root, now=NOW)
    roll_back(db, root)
    assert current(db) == ids[1]
    roll_back(db, root)
    assert current(db) is None
    with pytest.raises(NoPreviousCheckpoint):
        roll_back(db, root)


def test_if_match_guards_a_race(db: Database, root: Path) -> None:
    ids = [publish(db, root, range(n, n + 20))[0] for n in (0, 20, 40)]
    revision = promotion.get_aliases(db, "default").revision
    outcomes: list[str] = []

    def race(checkpoint_id: str) -> None:
        try:
            promote(db, root, checkpoint_id, revision=revision)
            outcomes.append("won")
        except AliasesChanged:
            outcomes.append("lost")

    threads = [threading.Thread(target=race, args=(item,)) for item in ids[:2]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost", "won"]


def test_checkpoint_in_use_cannot_be_deleted_and_twice_is_once(db: Database, root: Path) -> None:
    first, _ = publish(db, root, range(20))
    with pytest.raises(CheckpointInUse):
        registry.delete_checkpoint(db, first, root=root, now=NOW)
    roll_back(db, root)
    registry.annotate_checkpoint(db, first, {"is_pinned": True})
    with pytest.raises(CheckpointInUse, match="pinned"):
        registry.delete_checkpoint(db, first, root=root, now=NOW)
    registry.annotate_checkpoint(db, first, {"is_pinned": False})
    for _ in range(2):
        registry.delete_checkpoint(db, first, root=root, now=NOW)
    view = registry.get_checkpoint(db, first)
    assert view.row.status == "deleted"
    assert not (root / view.row.name).exists()
    with pytest.raises(CheckpointFileNotFound):
        registry.find_file(view, "manifest.json")
    with pytest.raises(CheckpointNotPromotable):
        promote(db, root, first)


def test_person_who_moved_current_during_a_cycle_is_not_overruled(db: Database, root: Path) -> None:
    first, _ = publish(db, root, range(20))
    fill(db, range(20, 40))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(db, request, now=NOW)
    roll_back(db, root)
    checkpoint_id, _ = end(db, root, cycle, report(2.0))
    assert aliases(db) == {"candidate": checkpoint_id}
    assert first not in aliases(db).values()


def test_files_gone_or_altered_are_noticed(db: Database, root: Path) -> None:
    checkpoint_id, _ = publish(db, root, range(20))
    view = registry.get_checkpoint(db, checkpoint_id)
    files = [registry.find_file(view, file.name) for file in view.row.files]
    directories.verify(root, view.row.name, files)
    path = root / view.row.name / "adapter_model.safetensors"
    path.write_bytes(b"Weights" + path.read_bytes()[7:])
    with pytest.raises(CheckpointFilesAltered):
        directories.verify(root, view.row.name, files)
    path.unlink()
    with pytest.raises(CheckpointFilesMissing):
        directories.verify(root, view.row.name, files)


def test_sweep_deletes_staging_and_sets_aside_what_the_registry_lacks(
    db: Database, root: Path, tmp_path: Path
) -> None:
    places = {"root": root, "snapshots": tmp_path / "snapshots", "scratch": tmp_path / "scratch"}
    checkpoint_id, _ = publish(db, root, range(20))
    directories.stage(root, "left-by-a-kill")
    (root / "default" / "9-orphan").mkdir()
    swept = sweep_leftovers(db, **places)
    assert sorted(swept) == [".staging/left-by-a-kill", "default/9-orphan"]
    assert (root / registry.get_checkpoint(db, checkpoint_id).row.name).is_dir()
    assert (root / ".orphans" / "default-9-orphan").is_dir()
    assert sweep_leftovers(db, **places) == []


def test_archive_with_a_file_gone_is_refused_before_the_first_byte(
    db: Database, root: Path
) -> None:
    checkpoint_id, _ = publish(db, root, range(20))
    view = registry.get_checkpoint(db, checkpoint_id)
    registry.open_archive(view, root).check_present()
    (root / view.row.name / "adapter_config.json").unlink()
    with pytest.raises(CheckpointFilesMissing):
        registry.open_archive(view, root).check_present()


def test_adapter_that_goes_on_keeps_its_geometry(db: Database, reopen: Reopen, root: Path) -> None:
    publish(db, root, range(20))
    fill(db, range(20, 40))
    restarted = reopen(recipe={"r": 4, "epochs": 9})

    def preview(**recipe: object) -> sleep.CyclePreview:
        request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, recipe=recipe)
        return sleep.preview_cycle(restarted, request, now=NOW)

    recipe = preview().plan.recipe
    assert (recipe.r, recipe.epochs) == (16, 9)
    gentle = preview(preset="gentle").plan.recipe
    assert (gentle.r, gentle.lora_alpha, gentle.learning_rate) == (16, 32, 1e-5)
    with pytest.raises(InvalidPolicy, match="roll back to the base"):
        preview(r=8)
    roll_back(db, root)
    assert preview(r=8).plan.recipe.r == 8


def test_rollback_never_stands_still_on_a_checkpoint_promoted_twice(
    db: Database, root: Path
) -> None:
    a, b, c = (publish(db, root, range(n, n + 20))[0] for n in (0, 20, 40))
    promote(db, root, a)
    promote(db, root, c)
    registry.delete_checkpoint(db, b, root=root, now=NOW)
    seen = [current(db)]
    while current(db) is not None:
        roll_back(db, root)
        seen.append(current(db))
    assert seen == [c, a, c, a, None]
    assert "previous" not in aliases(db)


def test_events_of_moves_tell_who_and_why_as_the_history_does(db: Database, root: Path) -> None:
    first, _ = publish(db, root, range(20))
    publish(db, root, range(20, 40))
    promote(db, root, first, reason="it spoke more plainly")
    promotion.rollback(
        db,
        "default",
        guard=FileGuard(db, root=root),
        actor="dennis",
        reason="no, it did not",
        expected_revisions=None,
        now=NOW,
    )
    roll_back(db, root)
    wanted = EventFilter(subject="checkpoint")
    told = [
        (event.type, event.data["actor"], event.data["reason"])
        for event in instances.list_events(db, "default", wanted, after_seq=0, limit=99)
    ]
    assert told[1:] == [
        ("checkpoint.promoted", "cycle 2", "accepted by the gate"),
        ("checkpoint.promoted", "test", "it spoke more plainly"),
        ("checkpoint.rolled_back", "dennis", "no, it did not"),
        ("checkpoint.rolled_back", "dennis", None),
    ]
    moves = promotion.list_alias_history(db, "default", before_seq=None, limit=99)
    kept = [(move.actor, move.reason) for move in moves if move.alias == "current"]
    assert [(actor, reason) for _, actor, reason in told] == kept[::-1]
