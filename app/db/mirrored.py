"""Queries on what of which checkpoint lies in a mirror."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import instances
from app.db.conflicts import insert_into
from app.db.tables import CheckpointRow, MirroredRow
from app.domain.checkpoint import CheckpointStatus

_UNWANTED = sa.or_(
    CheckpointRow.status == CheckpointStatus.DELETED, CheckpointRow.tainted_at.is_not(None)
)
"""What no mirror keeps: what is deleted here, and what learned from something erased."""


def list_waiting(session: Session, *, remote: str, slugs: Collection[str]) -> Sequence[str]:
    """Ids of these instances' checkpoints that are not in a mirror, oldest first."""
    return session.scalars(
        sa.select(CheckpointRow.id).where(*_is_waiting(remote, slugs)).order_by(CheckpointRow.seq)
    ).all()


def list_unread(
    session: Session, *, remote: str, slugs: Collection[str], before: datetime
) -> Sequence[str]:
    """Ids of these instances' checkpoints that were last read in a mirror before, oldest first."""
    return session.scalars(
        sa.select(CheckpointRow.id)
        .join(MirroredRow, MirroredRow.checkpoint_id == CheckpointRow.id)
        .where(
            *_may_be_copied(slugs), MirroredRow.remote == remote, MirroredRow.mirrored_at <= before
        )
        .order_by(MirroredRow.mirrored_at)
    ).all()


def count_waiting(session: Session, *, remote: str, slugs: Collection[str]) -> int:
    """How many of these instances' checkpoints are not in a mirror."""
    query = sa.select(sa.func.count()).select_from(CheckpointRow)
    return session.scalar(query.where(*_is_waiting(remote, slugs))) or 0


def list_unwanted(session: Session) -> Sequence[tuple[MirroredRow, CheckpointRow]]:
    """Copies that no mirror should keep, each with its checkpoint, oldest first."""
    query = (
        sa.select(MirroredRow, CheckpointRow)
        .join(CheckpointRow, CheckpointRow.id == MirroredRow.checkpoint_id)
        .where(_UNWANTED)
        .order_by(CheckpointRow.seq)
    )
    return [(row, checkpoint) for row, checkpoint in session.execute(query)]


def begin(session: Session, checkpoint_id: str, remote: str, *, now: datetime) -> None:
    """Note that a copy may lie there from now on."""
    session.execute(
        insert_into(session, MirroredRow)
        .values(checkpoint_id=checkpoint_id, remote=remote, begun_at=now)
        .on_conflict_do_nothing()
    )


def finish(session: Session, checkpoint_id: str, remote: str, *, now: datetime) -> bool:
    """Note that a copy lies there whole; whether that had been noted before."""
    own = (MirroredRow.checkpoint_id == checkpoint_id, MirroredRow.remote == remote)
    earlier = session.scalar(sa.select(MirroredRow.mirrored_at).where(*own))
    session.execute(
        sa.update(MirroredRow)
        .where(*own)
        .values(mirrored_at=now)
        .execution_options(synchronize_session=False)
    )
    return earlier is not None


def forget(session: Session, checkpoint_id: str, remote: str) -> None:
    """Note that no copy lies there any more."""
    session.execute(
        sa.delete(MirroredRow).where(
            MirroredRow.checkpoint_id == checkpoint_id, MirroredRow.remote == remote
        )
    )


def _is_waiting(remote: str, slugs: Collection[str]) -> tuple[sa.ColumnElement[bool], ...]:
    is_there = sa.exists().where(
        MirroredRow.checkpoint_id == CheckpointRow.id,
        MirroredRow.remote == remote,
        MirroredRow.mirrored_at.is_not(None),
    )
    return (*_may_be_copied(slugs), sa.not_(is_there))


def _may_be_copied(slugs: Collection[str]) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        instances.is_within(CheckpointRow.instance_id, slugs),
        CheckpointRow.status == CheckpointStatus.READY,
        CheckpointRow.tainted_at.is_(None),
    )
