"""The registry on real files and a real database, with adapters of a few bytes."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app import artifacts
from app.clock import new_id
from app.db.engine import Database
from app.domain.checkpoint import checkpoint_name
from app.domain.exchange import Exchange
from app.domain.gate import HeldOutLoss, TrainingReport, judge
from app.domain.sleep import CycleStatus, InstanceDefaults, Trigger
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
from app.services import consolidation, registry, sleep
from app.services.ingest import Submission, ingest_many
from tests.support import make_exchange

NOW = datetime(2026, 1, 18, 12, tzinfo=UTC)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def loss(nats: float) -> HeldOutLoss:
    return HeldOutLoss(nats_per_token=nats, tokens=10, experiences=1)


def report(after: float) -> TrainingReport:
    return TrainingReport(
        base_sha256="b" * 64,
        held_out_before=loss(3.0),
        held_out_after=loss(after),
        held_out_reloaded=loss(after),
        effect_nats=0.5,
        loss_curve=(3.0,),
        steps=1,
        trained_tokens=10,
        supervised_tokens=5,
        trainable_parameters=1,
        tokens_per_second=1.0,
        peak_memory_bytes=1,
        seconds={},
        environment={},
    )


def publish(
    db: Database, defaults: InstanceDefaults, root: Path, numbers: range, after: float = 2.5
) -> tuple[str, CycleStatus]:
    """Run a cycle's way through the database, with a trainer that wrote two small files."""
    items = [Submission(exchange=Exchange(**make_exchange(n))) for n in numbers]
    ingest_many(db, items, defaults=defaults, now=NOW)
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(db, request, defaults=defaults, now=NOW)
    consolidation.start_cycle(db, cycle.id, worker_id="w", now=NOW)
    checkpoint_id = new_id()
    staged = artifacts.stage(root, checkpoint_id)
    (staged / "adapter_model.safetensors").write_bytes(b"weights of " + checkpoint_id.encode())
    (staged / "adapter_config.json").write_text("{}")
    name = checkpoint_name("default", cycle.number, checkpoint_id)
    described = artifacts.describe_files(staged)
    files = (*described, artifacts.write_manifest(staged, {"files": {}}))
    directory = artifacts.publish(root, staged, name)
    archive = artifacts.build_archive(directory, "x", files)
    status = consolidation.complete_cycle(
        db,
        cycle.id,
        worker_id="w",
        publication=consolidation.Publication(
            checkpoint_id=checkpoint_id,
            name=name,
            files=files,
            archive_size_bytes=archive.size_bytes,
            archive_sha256=archive.sha256,
        ),
        report=report(after),
        verdict=judge(report(after)),
        defaults=defaults,
        now=NOW,
    )
    return checkpoint_id, status


def current(db: Database) -> str | None:
    found = {
        alias.name: alias.checkpoint_id for alias in registry.get_aliases(db, "default").aliases
    }
    return found.get("current")


def promote(
    db: Database,
    root: Path,
    checkpoint_id: str,
    *,
    force: bool = False,
    reason: str | None = None,
    revision: int | None = None,
) -> None:
    registry.promote(
        db,
        checkpoint_id,
        root=root,
        is_forced=force,
        actor="test",
        reason=reason,
        expected_revisions=None if revision is None else frozenset({revision}),
        now=NOW,
    )


def roll_back(db: Database) -> None:
    registry.rollback(db, "default", actor="test", reason=None, expected_revisions=None, now=NOW)


def test_accepted_checkpoint_becomes_current(
    db: Database, defaults: InstanceDefaults, root: Path
) -> None:
    checkpoint_id, status = publish(db, defaults, root, range(20))
    assert status is CycleStatus.SUCCEEDED
    assert current(db) == checkpoint_id


def test_refused_checkpoint_moves_nothing_and_counts_an_attempt(
    db: Database, defaults: InstanceDefaults, root: Path
) -> None:
    good, _ = publish(db, defaults, root, range(20))
    bad, status = publish(db, defaults, root, range(20, 40), after=3.5)
    assert status is CycleStatus.REJECTED
    assert current(db) == good
    with pytest.raises(CheckpointNotPromotable, match="held-out loss"):
        promote(db, root, bad)
    with pytest.raises(CheckpointNotPromotable):
        promote(db, root, bad, force=True)
    promote(db, root, bad, force=True, reason="I looked at it")
    assert current(db) == bad


def test_rollback_again_and_again_skips_what_was_deleted(
    db: Database, defaults: InstanceDefaults, root: Path
) -> None:
    ids = [publish(db, defaults, root, range(n, n + 20))[0] for n in range(0, 80, 20)]
    roll_back(db)
    assert current(db) == ids[2]
    registry.delete_checkpoint(db, ids[0], root=root, now=NOW)
    roll_back(db)
    assert current(db) == ids[1]
    roll_back(db)
    assert current(db) is None
    with pytest.raises(NoPreviousCheckpoint):
        roll_back(db)


def test_if_match_guards_a_race(db: Database, defaults: InstanceDefaults, root: Path) -> None:
    ids = [publish(db, defaults, root, range(n, n + 20))[0] for n in (0, 20, 40)]
    revision = registry.get_aliases(db, "default").revision
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


def test_checkpoint_in_use_cannot_be_deleted_and_twice_is_once(
    db: Database, defaults: InstanceDefaults, root: Path
) -> None:
    first, _ = publish(db, defaults, root, range(20))
    with pytest.raises(CheckpointInUse):
        registry.delete_checkpoint(db, first, root=root, now=NOW)
    roll_back(db)
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


def test_person_who_moved_current_during_a_cycle_is_not_overruled(
    db: Database, defaults: InstanceDefaults, root: Path
) -> None:
    first, _ = publish(db, defaults, root, range(20))
    items = [Submission(exchange=Exchange(**make_exchange(n))) for n in range(20, 40)]
    ingest_many(db, items, defaults=defaults, now=NOW)
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(db, request, defaults=defaults, now=NOW)
    consolidation.start_cycle(db, cycle.id, worker_id="w", now=NOW)
    roll_back(db)
    checkpoint_id = new_id()
    consolidation.complete_cycle(
        db,
        cycle.id,
        worker_id="w",
        publication=consolidation.Publication(
            checkpoint_id=checkpoint_id,
            name="default/x",
            files=(),
            archive_size_bytes=0,
            archive_sha256="0" * 64,
        ),
        report=report(2.0),
        verdict=judge(report(2.0)),
        defaults=defaults,
        now=NOW,
    )
    aliases = {a.name: a.checkpoint_id for a in registry.get_aliases(db, "default").aliases}
    assert aliases == {"candidate": checkpoint_id}
    assert first not in aliases.values()


def test_files_gone_or_altered_are_noticed(
    db: Database, defaults: InstanceDefaults, root: Path
) -> None:
    checkpoint_id, _ = publish(db, defaults, root, range(20))
    view = registry.get_checkpoint(db, checkpoint_id)
    files = [registry.find_file(view, file["name"]) for file in view.row.files]
    artifacts.verify(root, view.row.name, files)
    path = root / view.row.name / "adapter_model.safetensors"
    path.write_bytes(b"Weights" + path.read_bytes()[7:])
    with pytest.raises(CheckpointFilesAltered):
        artifacts.verify(root, view.row.name, files)
    path.unlink()
    with pytest.raises(CheckpointFilesMissing):
        artifacts.verify(root, view.row.name, files)


def test_sweep_deletes_staging_and_sets_aside_what_the_registry_lacks(
    db: Database, defaults: InstanceDefaults, root: Path
) -> None:
    checkpoint_id, _ = publish(db, defaults, root, range(20))
    artifacts.stage(root, "left-by-a-kill")
    (root / "default" / "9-orphan").mkdir()
    swept = artifacts.sweep(root, registry.list_names(db))
    assert sorted(swept) == [".staging/left-by-a-kill", "default/9-orphan"]
    assert (root / registry.get_checkpoint(db, checkpoint_id).row.name).is_dir()
    assert (root / ".orphans" / "default-9-orphan").is_dir()
    assert artifacts.sweep(root, registry.list_names(db)) == []


def test_archive_with_a_file_gone_is_refused_before_the_first_byte(
    db: Database, defaults: InstanceDefaults, root: Path
) -> None:
    checkpoint_id, _ = publish(db, defaults, root, range(20))
    view = registry.get_checkpoint(db, checkpoint_id)
    registry.open_archive(view, root).check_present()
    (root / view.row.name / "adapter_config.json").unlink()
    with pytest.raises(CheckpointFilesMissing):
        registry.open_archive(view, root).check_present()


def test_adapter_that_goes_on_keeps_its_geometry(
    db: Database, defaults: InstanceDefaults, root: Path
) -> None:
    publish(db, defaults, root, range(20))
    items = [Submission(exchange=Exchange(**make_exchange(n))) for n in range(20, 40)]
    ingest_many(db, items, defaults=defaults, now=NOW)
    changed = replace(defaults, recipe=replace(defaults.recipe, r=4, epochs=9))

    def preview(**recipe: int) -> sleep.CyclePreview:
        request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, recipe=recipe)
        return sleep.preview_cycle(db, request, defaults=changed, now=NOW)

    recipe = preview().plan.recipe
    assert (recipe.r, recipe.epochs) == (16, 9)
    with pytest.raises(InvalidPolicy, match="roll back to the base"):
        preview(r=8)
    roll_back(db)
    assert preview(r=8).plan.recipe.r == 8
