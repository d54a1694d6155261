"""Erasing: an experience's text leaves its row, then reports that repeat it, then the disk.

A text that was removed from its row is gone for whoever asks; its bytes, in files beside the
database and in its log, are gone after `purge_traces`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from app.artifacts import leftovers
from app.db import events, experiences, lineage, sleep_cycles
from app.db.copies import forget_copies
from app.db.engine import Database
from app.db.tables import CheckpointRow, ExperienceRow
from app.domain.events import CheckpointTainted, EventType, ExperienceErased
from app.domain.experience import ExperienceStatus
from app.domain.report import TrainingReport
from app.domain.stored import from_json, to_json
from app.domain.verbatim import without_copies
from app.errors import DatabaseUnavailable, ExperienceInUse
from app.log import get_logger

_log = get_logger(__name__)


def erase_experience(
    db: Database, experience_id: str, *, now: datetime
) -> tuple[ExperienceRow, Sequence[CheckpointRow]]:
    """Remove an experience's text for good; twice is the same as once.

    The checkpoints trained on it, and those that went on from them, are marked: their weights
    still hold what they learned. Replies in their cycles' reports that repeat it word for word go
    too. What stays is hash, scores, provenance, and what a person wrote elsewhere (notes, reasons).

    Returns:
        The experience, and every checkpoint that learned from it, oldest first.

    Raises: ExperienceNotFound, ExperienceInUse while a cycle trains on it.
    """
    with db.write() as session:
        row = experiences.get_experience(session, experience_id)
        if experiences.is_in_active_cycle(session, row.seq):
            raise ExperienceInUse("A cycle works with this experience; cancel it or wait for it.")
        trained = lineage.list_trained_on(session, row.seq)
        if row.status != ExperienceStatus.ERASED:
            _taint(session, row, trained, now=now)
            experiences.erase(session, row.seq, reason="erased", now=now)
            events.append_event(
                session,
                type_=EventType.EXPERIENCE_ERASED,
                instance_id=row.instance_id,
                now=now,
                facts=ExperienceErased(experience_id=experience_id, checkpoints=len(trained)),
            )
        session.expire_all()
        return (
            experiences.get_experience(session, experience_id),
            lineage.list_trained_on(session, row.seq),
        )


def purge_traces(db: Database, *, kept_root: Path, snapshots_root: Path) -> bool:
    """Delete what may repeat removed texts, and empty the write-ahead log into the database.

    That is: kept measures of replies, snapshots of cycles that will not go on, and the copies of
    the database that migrations left. Returns whether the log is empty; if not, the daemon tries
    again (`Database.finish_purge`).

    Raises: DiskFull, DirectoryReadOnly.
    """
    leftovers.forget_replies(kept_root)
    try:
        with db.read() as session:
            active = sleep_cycles.list_active_ids(session)
        leftovers.sweep_snapshots(snapshots_root, active)
        if db.path is not None:
            forget_copies(db.path)
        return db.purge()
    except DatabaseUnavailable as error:
        _log.warning("erasure.purge_postponed", code=error.code)
        return False


def _taint(
    session: Session, row: ExperienceRow, trained: Sequence[CheckpointRow], *, now: datetime
) -> None:
    """Mark the checkpoints, and take word-for-word copies out of what their cycles reported."""
    said = [row.prompt, row.response, *(str(turn.get("content", "")) for turn in row.history)]
    for checkpoint in trained:
        for holder in (checkpoint, sleep_cycles.get_cycle(session, checkpoint.cycle_id)):
            if holder.metrics is not None:
                cleaned = without_copies(to_json(holder.metrics), said)
                holder.metrics = from_json(TrainingReport, cleaned)
        if checkpoint.tainted_at is None:
            checkpoint.tainted_at = now
            events.append_event(
                session,
                type_=EventType.CHECKPOINT_TAINTED,
                instance_id=row.instance_id,
                cycle_id=checkpoint.cycle_id,
                checkpoint_id=checkpoint.id,
                now=now,
                facts=CheckpointTainted(experience_id=row.id),
            )
    session.flush()
