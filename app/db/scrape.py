"""Queries of a scrape: few rows for each instance, however long its history is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.listed import is_listed, listed, number_of
from app.db.tables import EventRow, SleepCycleRow
from app.domain.gate import Verdict
from app.domain.progress import CycleStatus
from app.domain.report import TrainingReport


def newest_by_instance(
    session: Session, instance_ids: Collection[int], statuses: Collection[CycleStatus]
) -> dict[int, sa.Row[int, str, datetime | None]]:
    """Of each instance the newest cycle in one of these states: id and when it ended.

    The statuses are few and nearly all cycles are in one of them, so each instance costs a seek.
    """
    wanted = listed(instance_ids)
    newest = (
        sa.select(SleepCycleRow.seq)
        .where(SleepCycleRow.instance_id == number_of(wanted), SleepCycleRow.status.in_(statuses))
        .order_by(SleepCycleRow.number.desc())
        .limit(1)
        .correlate(wanted)
        .scalar_subquery()
    )
    rows = session.execute(
        sa.select(SleepCycleRow.instance_id, SleepCycleRow.id, SleepCycleRow.finished_at).where(
            SleepCycleRow.seq.in_(sa.select(newest).select_from(wanted))
        )
    )
    return {row.instance_id: row for row in rows}


def list_outcomes(
    session: Session, cycle_ids: Collection[str]
) -> Sequence[sa.Row[int, str, TrainingReport | None, Verdict | None]]:
    """Metrics and verdict of these cycles."""
    query = sa.select(
        SleepCycleRow.instance_id, SleepCycleRow.id, SleepCycleRow.metrics, SleepCycleRow.verdict
    ).where(is_listed(SleepCycleRow.id, cycle_ids))
    return session.execute(query).all()


def list_event_types(
    session: Session, types: Collection[str], *, after_seq: int
) -> Sequence[sa.Row[int, int, str]]:
    """Number, instance and type of the events of these types after a number, oldest first."""
    query = (
        sa.select(EventRow.seq, EventRow.instance_id, EventRow.type)
        .where(EventRow.seq > after_seq, EventRow.type.in_(sorted(types)))
        .order_by(EventRow.seq)
    )
    return session.execute(query).all()


def find_last_event(session: Session) -> int:
    """Number of the newest event of all; 0 when there is none."""
    return session.scalar(sa.select(sa.func.max(EventRow.seq))) or 0
