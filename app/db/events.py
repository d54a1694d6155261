"""The append-only event log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.tables import EventRow


def append_event(
    session: Session,
    *,
    type_: str,
    instance_id: int,
    now: datetime,
    cycle_id: str | None = None,
    checkpoint_id: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Write one fact; `data` holds ids, numbers and who asked, never conversation text."""
    session.add(
        EventRow(
            type=type_,
            instance_id=instance_id,
            cycle_id=cycle_id,
            checkpoint_id=checkpoint_id,
            data=dict(data or {}),
            at=now,
        )
    )
    session.flush()


def list_instance_events(
    session: Session, instance_id: int, *, subject: str | None, after_seq: int, limit: int
) -> Sequence[EventRow]:
    """Events of an instance after a sequence number, oldest first.

    Args:
        subject: What stands before the type's dot, such as `checkpoint`; None for any.
    """
    query = sa.select(EventRow).where(EventRow.instance_id == instance_id, EventRow.seq > after_seq)
    if subject is not None:
        query = query.where(EventRow.type.startswith(f"{subject}.", autoescape=True))
    return session.scalars(query.order_by(EventRow.seq).limit(limit)).all()


def find_last_seq(session: Session, instance_id: int) -> int:
    """Sequence number of the newest event of an instance; 0 when there is none."""
    newest = sa.select(sa.func.max(EventRow.seq)).where(EventRow.instance_id == instance_id)
    return session.scalar(newest) or 0


def list_cycle_events(
    session: Session, cycle_id: str, *, after_seq: int, limit: int
) -> Sequence[EventRow]:
    """Events of a cycle after a sequence number, oldest first."""
    return session.scalars(
        sa.select(EventRow)
        .where(EventRow.cycle_id == cycle_id, EventRow.seq > after_seq)
        .order_by(EventRow.seq)
        .limit(limit)
    ).all()
