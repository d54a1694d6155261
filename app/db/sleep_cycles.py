"""Queries on sleep cycles; every change of state demands the state it comes from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.paging import Page, fetch_page
from app.db.tables import SleepCycleRow
from app.domain.sleep import ACTIVE_STATUSES, RUNNING_STATUSES, CycleStatus
from app.errors import SleepCycleNotFound


def insert_cycle(session: Session, values: Mapping[str, Any]) -> SleepCycleRow:
    """Add a cycle; the partial unique index raises IntegrityError while another is active."""
    row = SleepCycleRow(**values)
    session.add(row)
    session.flush()
    return row


def get_cycle(session: Session, cycle_id: str) -> SleepCycleRow:
    """Return one cycle. Raises: SleepCycleNotFound."""
    row = session.scalar(sa.select(SleepCycleRow).where(SleepCycleRow.id == cycle_id))
    if row is None:
        raise SleepCycleNotFound(f"There is no sleep cycle {cycle_id!r}.")
    return row


def find_by_idempotency_key(session: Session, instance_id: int, key: str) -> SleepCycleRow | None:
    """The cycle of an instance that a request with this key made, or None."""
    return session.scalar(
        sa.select(SleepCycleRow).where(
            SleepCycleRow.instance_id == instance_id, SleepCycleRow.idempotency_key == key
        )
    )


def find_active(session: Session, instance_id: int) -> SleepCycleRow | None:
    """The queued or running cycle of an instance, or None."""
    return session.scalar(
        sa.select(SleepCycleRow).where(
            SleepCycleRow.instance_id == instance_id, SleepCycleRow.status.in_(ACTIVE_STATUSES)
        )
    )


def find_last_ended(
    session: Session, instance_id: int, statuses: Collection[CycleStatus]
) -> SleepCycleRow | None:
    """The newest cycle of an instance that ended in one of these states, or None."""
    return session.scalar(
        sa.select(SleepCycleRow)
        .where(SleepCycleRow.instance_id == instance_id, SleepCycleRow.status.in_(statuses))
        .order_by(SleepCycleRow.number.desc())
        .limit(1)
    )


def find_next_queued(session: Session) -> SleepCycleRow | None:
    """The cycle that waits longest, or None."""
    return session.scalar(
        sa.select(SleepCycleRow)
        .where(SleepCycleRow.status == CycleStatus.QUEUED)
        .order_by(SleepCycleRow.seq)
        .limit(1)
    )


def list_running(session: Session) -> Sequence[SleepCycleRow]:
    """Cycles in training or evaluation."""
    return session.scalars(
        sa.select(SleepCycleRow).where(SleepCycleRow.status.in_(RUNNING_STATUSES))
    ).all()


def list_cycles(
    session: Session,
    *,
    instance_id: int | None,
    status: str | None,
    cursor: str | None,
    limit: int,
) -> Page[SleepCycleRow]:
    """One page of cycles, newest first."""
    conditions: list[sa.ColumnElement[Any]] = []
    if instance_id is not None:
        conditions.append(SleepCycleRow.instance_id == instance_id)
    if status is not None:
        conditions.append(SleepCycleRow.status == status)
    return fetch_page(session, SleepCycleRow, conditions, cursor=cursor, limit=limit)


def update_cycle(
    session: Session,
    cycle_id: str,
    values: Mapping[str, Any],
    *,
    from_statuses: Collection[CycleStatus],
    worker_id: str | None = None,
) -> bool:
    """Change a cycle if it is in one of the states and, where given, owned by the worker."""
    query = sa.update(SleepCycleRow).where(
        SleepCycleRow.id == cycle_id, SleepCycleRow.status.in_(from_statuses)
    )
    if worker_id is not None:
        query = query.where(SleepCycleRow.worker_id == worker_id)
    result = session.execute(query.values(**values).execution_options(synchronize_session=False))
    session.expire_all()
    return bool(result.rowcount)  # type: ignore[attr-defined]  # CursorResult of an UPDATE


def count_start(session: Session, cycle_id: str) -> bool:
    """Count a start of a cycle that is still queued; False when it is not."""
    return update_cycle(
        session,
        cycle_id,
        {"attempts": SleepCycleRow.attempts + 1},
        from_statuses=(CycleStatus.QUEUED,),
    )


def request_cancel(session: Session, cycle_id: str, *, now: datetime) -> bool:
    """Ask a running cycle to stop; False when it is not running."""
    return update_cycle(
        session, cycle_id, {"cancel_requested_at": now}, from_statuses=RUNNING_STATUSES
    )
