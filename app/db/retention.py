"""Queries on what may go: old texts, old replies, old progress, checkpoints' files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from app.db.tables import (
    AliasRow,
    CheckpointRow,
    CycleExperienceRow,
    EventRow,
    ExperienceRow,
    SleepCycleRow,
)
from app.domain.checkpoint import CheckpointStatus
from app.domain.events import EventType
from app.domain.experience import ExperienceStatus
from app.domain.gate import VerdictStatus
from app.domain.progress import ACTIVE_STATUSES
from app.domain.retention import StoredCheckpoint


def count_expired_texts(
    session: Session,
    instance_id: int,
    statuses: Collection[ExperienceStatus],
    before: datetime,
    *,
    now: datetime,
    min_salience: float,
) -> int:
    """How many experiences of these statuses arrived before, and no active cycle uses.

    What came in after one that is younger is as young, whatever a clock that lagged said of it.

    Args:
        min_salience: The instance's; not one that is below the threshold and not below this.
    """
    query = sa.select(sa.func.count()).where(
        *_is_expired(instance_id, statuses, before, now, min_salience)
    )
    return session.scalar(query) or 0


def list_expired_texts(
    session: Session,
    instance_id: int,
    statuses: Collection[ExperienceStatus],
    before: datetime,
    *,
    now: datetime,
    min_salience: float,
    limit: int,
) -> list[tuple[int, str]]:
    """Sequence numbers and ids of the oldest of them."""
    query = (
        sa.select(ExperienceRow.seq, ExperienceRow.id)
        .where(*_is_expired(instance_id, statuses, before, now, min_salience))
        .order_by(ExperienceRow.seq)
        .limit(limit)
    )
    return [(row.seq, row.id) for row in session.execute(query)]


def count_old_replies(session: Session, instance_id: int, before: datetime) -> int:
    """How many cycles that ended before still quote replies in their report."""
    query = sa.select(sa.func.count()).select_from(SleepCycleRow)
    return session.scalar(query.where(*_quotes(instance_id, before))) or 0


def forget_old_replies(session: Session, instance_id: int, before: datetime) -> int:
    """Take the replies out of the reports of cycles that ended before; returns of how many."""
    cycles = list(session.scalars(sa.select(SleepCycleRow.id).where(*_quotes(instance_id, before))))
    for table, key in ((SleepCycleRow, SleepCycleRow.id), (CheckpointRow, CheckpointRow.cycle_id)):
        for cycle_id in cycles:
            stored = sa.type_coerce(table.metrics, sa.JSON)
            metrics = session.scalar(sa.select(stored).where(key == cycle_id))
            if metrics is not None:
                session.execute(
                    sa.update(table)
                    .where(key == cycle_id)
                    .values(metrics=sa.literal({**metrics, "replies": []}, sa.JSON))
                    .execution_options(synchronize_session=False)
                )
    return len(cycles)


def count_old_progress(session: Session, instance_id: int, before: datetime) -> int:
    """How many progress events there are of cycles that ended before."""
    query = sa.select(sa.func.count()).select_from(EventRow)
    return session.scalar(query.where(*_is_old_progress(instance_id, before))) or 0


def delete_old_progress(session: Session, instance_id: int, before: datetime, *, limit: int) -> int:
    """Delete the oldest of them; returns how many. Numbers of events are never used again."""
    oldest = (
        sa.select(EventRow.seq)
        .where(*_is_old_progress(instance_id, before))
        .order_by(EventRow.seq)
        .limit(limit)
    )
    numbers = session.scalars(oldest).all()
    session.execute(
        sa.delete(EventRow)
        .where(EventRow.seq.in_(numbers))
        .execution_options(synchronize_session=False)
    )
    return len(numbers)


def list_stored(session: Session, instance_id: int) -> list[StoredCheckpoint]:
    """The checkpoints of an instance whose files take room, oldest first."""
    query = (
        sa.select(
            CheckpointRow.id,
            CheckpointRow.parent_id,
            CheckpointRow.is_pinned,
            CheckpointRow.status,
            CheckpointRow.archive_size_bytes,
            CheckpointRow.verdict["status"].as_string().label("verdict"),
            _loss("held_out_before").label("before"),
            _loss("held_out_reloaded").label("after"),
        )
        .where(CheckpointRow.instance_id == instance_id, CheckpointRow.deleted_at.is_(None))
        .order_by(CheckpointRow.seq)
    )
    return [
        StoredCheckpoint(
            id=row.id,
            parent_id=row.parent_id,
            is_accepted=row.verdict == VerdictStatus.ACCEPTED,
            is_pinned=row.is_pinned,
            is_ready=row.status == CheckpointStatus.READY,
            gain=None if None in (row.before, row.after) else row.before - row.after,
            size_bytes=row.archive_size_bytes,
        )
        for row in session.execute(query)
    ]


def list_in_use(session: Session, instance_id: int) -> frozenset[str]:
    """Checkpoints that an alias names, or that an active cycle goes on from or replaces."""
    named = session.scalars(
        sa.select(AliasRow.checkpoint_id).where(AliasRow.instance_id == instance_id)
    )
    plans = session.scalars(
        sa.select(SleepCycleRow.plan).where(
            SleepCycleRow.instance_id == instance_id, SleepCycleRow.status.in_(ACTIVE_STATUSES)
        )
    )
    needed = (
        needed
        for plan in plans
        for needed in (plan.parent_checkpoint_id, plan.replaces_checkpoint_id)
    )
    return frozenset(item for item in (*named, *needed) if item)


def _is_expired(
    instance_id: int,
    statuses: Collection[ExperienceStatus],
    before: datetime,
    now: datetime,
    min_salience: float,
) -> Sequence[sa.ColumnElement[bool]]:
    is_used = (
        sa.select(CycleExperienceRow.cycle_id)
        .join(SleepCycleRow, SleepCycleRow.id == CycleExperienceRow.cycle_id)
        .where(
            CycleExperienceRow.experience_seq == ExperienceRow.seq,
            SleepCycleRow.status.in_(ACTIVE_STATUSES),
        )
        .exists()
    )
    other = aliased(ExperienceRow)
    first_younger = (
        sa.select(other.seq)
        .where(other.instance_id == instance_id, other.received_at.between(before, now))
        .order_by(other.seq)
        .limit(1)
    )
    return (
        ExperienceRow.instance_id == instance_id,
        ExperienceRow.status.in_(statuses),
        sa.or_(
            ExperienceRow.status != ExperienceStatus.BELOW_THRESHOLD,
            ExperienceRow.total < min_salience,
            ExperienceRow.near_copy_of.is_not(None),
        ),
        ExperienceRow.received_at < before,
        ExperienceRow.seq < sa.func.coalesce(first_younger.scalar_subquery(), sa.literal(2**62)),
        ~is_used,
    )


def _is_old_progress(instance_id: int, before: datetime) -> Sequence[sa.ColumnElement[bool]]:
    ended = sa.select(SleepCycleRow.id).where(
        SleepCycleRow.instance_id == instance_id, SleepCycleRow.finished_at < before
    )
    return (
        EventRow.instance_id == instance_id,
        EventRow.type == EventType.CYCLE_PROGRESS,
        EventRow.cycle_id.in_(ended),
    )


def _quotes(instance_id: int, before: datetime) -> Sequence[sa.ColumnElement[bool]]:
    return (
        SleepCycleRow.instance_id == instance_id,
        SleepCycleRow.finished_at < before,
        sa.func.json_array_length(SleepCycleRow.metrics["replies"]) > 0,
    )


def _loss(name: str) -> sa.ColumnElement[float]:
    loss: sa.ColumnElement[float] = CheckpointRow.metrics[(name, "nats_per_token")].as_float()
    return loss
