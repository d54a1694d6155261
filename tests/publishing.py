"""Checkpoints without training: a cycle's way through the database with files of a few bytes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from app.artifacts import directories
from app.artifacts.archive import build_archive
from app.clock import new_id
from app.db.engine import Database
from app.db.tables import SleepCycleRow
from app.domain.checkpoint import checkpoint_name
from app.domain.decision import Trigger
from app.domain.exchange import Exchange
from app.domain.gate import GatePolicy, judge
from app.domain.progress import CycleStatus
from app.domain.report import ProbeReply, TrainingReport
from app.services import cycle_end, cycle_run, promotion, sleep
from app.services.file_guard import FileGuard
from app.services.ingest import Submission, ingest_many
from app.training.models import fingerprint
from tests.measured import make_training_report
from tests.support import make_exchange

NOW = datetime(2026, 1, 18, 12, tzinfo=UTC)


def report(after: float, reply: str = "I am SAGE.") -> TrainingReport:
    """What a trainer reports whose held-out loss went from 3.0 to `after`."""
    said = ProbeReply(prompt="Who are you?", before="A model.", after=reply)
    return make_training_report(before=3.0, after=after, replies=(said,))


def fill(db: Database, numbers: range) -> None:
    """Take in a salient exchange for each number."""
    items = [Submission(exchange=Exchange(**make_exchange(n))) for n in numbers]
    ingest_many(db, items, now=NOW)


def publish(
    db: Database,
    root: Path,
    numbers: range,
    after: float = 2.5,
    adapter: Path | None = None,
    base: Path | None = None,
) -> tuple[str, CycleStatus]:
    """Take in exchanges and let a cycle end whose trainer wrote two small files, or an adapter.

    Args:
        base: What the adapter was trained on, so that it is known by its fingerprint.
    """
    fill(db, numbers)
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(db, request, now=NOW)
    measured = report(after)
    if base is not None:
        found = fingerprint(str(base))
        measured = replace(measured, base_sha256=found.sha256, base_parts=found.parts)
    return end(db, root, cycle, measured, adapter=adapter)


def end(
    db: Database,
    root: Path,
    cycle: SleepCycleRow,
    measured: TrainingReport,
    *,
    now: datetime = NOW,
    adapter: Path | None = None,
) -> tuple[str, CycleStatus]:
    """Start a queued cycle, publish two small files and judge; its checkpoint and its end."""
    cycle_run.start_cycle(db, cycle.id, worker_id="w", now=cycle.created_at)
    checkpoint_id = new_id()
    staged = directories.stage(root, checkpoint_id)
    if adapter is None:
        (staged / "adapter_model.safetensors").write_bytes(b"weights of " + checkpoint_id.encode())
        (staged / "adapter_config.json").write_text("{}")
    else:
        for file in ("adapter_model.safetensors", "adapter_config.json"):
            shutil.copy(adapter / file, staged / file)
    name = checkpoint_name("default", cycle.number, checkpoint_id)
    described = directories.describe_files(staged)
    files = (*described, directories.write_manifest(staged, {"files": {}}))
    directory = directories.publish(root, staged, name)
    archive = build_archive(directory, name.replace("/", "-"), files)
    status = cycle_end.complete_cycle(
        db,
        cycle.id,
        worker_id="w",
        publication=cycle_end.Publication(
            checkpoint_id=checkpoint_id,
            name=name,
            files=files,
            archive_size_bytes=archive.size_bytes,
            archive_sha256=archive.sha256,
        ),
        report=measured,
        verdict=judge(measured, GatePolicy()),
        now=now,
    )
    return checkpoint_id, status


def aliases(db: Database) -> dict[str, str]:
    """Where the aliases of `default` point."""
    return {a.name: a.checkpoint_id for a in promotion.get_aliases(db, "default").aliases}


def roll_back(db: Database, root: Path) -> None:
    """Take `current` of `default` one promotion back, as a person does."""
    promotion.rollback(
        db,
        "default",
        guard=FileGuard(db, root=root),
        actor="dennis",
        reason=None,
        expected_revisions=None,
        now=NOW,
    )


def current(db: Database) -> str | None:
    """What is live; None for the bare base."""
    return aliases(db).get("current")
