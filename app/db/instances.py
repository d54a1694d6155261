"""Queries on instances and their running totals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.tables import InstanceRow, StatusTotalsRow, UtcDateTime
from app.errors import InstanceNotFound

# Built once, for the ingest path.
_BY_SLUG = sa.select(InstanceRow).where(InstanceRow.slug == sa.bindparam("wanted"))
_TOUCH = (
    sa.update(InstanceRow.__table__)  # type: ignore[arg-type]  # declared FromClause, is a Table
    .where(InstanceRow.id == sa.bindparam("owner"))
    .values(last_exchange_at=sa.bindparam("at", type_=UtcDateTime()))
)


def find_instance(session: Session, slug: str) -> InstanceRow | None:
    """Return the instance of this slug, or None."""
    return session.scalar(_BY_SLUG, {"wanted": slug})


def get_instance(session: Session, slug: str) -> InstanceRow:
    """Return the instance of this slug. Raises: InstanceNotFound."""
    row = find_instance(session, slug)
    if row is None:
        raise InstanceNotFound(
            f"There is no instance {slug!r}; create it with PUT /v1/instances/{slug}.",
            pointer="/instance",
            instance=slug,
        )
    return row


def get_instance_by_id(session: Session, instance_id: int) -> InstanceRow:
    """Return the instance of this internal id, which a foreign key vouches for."""
    return session.get_one(InstanceRow, instance_id)


def list_instances(session: Session) -> Sequence[InstanceRow]:
    """All instances, by slug."""
    return session.scalars(sa.select(InstanceRow).order_by(InstanceRow.slug)).all()


def insert_instance(session: Session, *, slug: str, now: datetime) -> InstanceRow:
    """Add an instance that has every default."""
    row = InstanceRow(slug=slug, policy={}, recipe={}, created_at=now, updated_at=now)
    session.add(row)
    session.flush()
    return row


def update_instance(
    session: Session, instance_id: int, values: Mapping[str, Any], *, now: datetime
) -> None:
    """Replace columns of an instance."""
    session.execute(
        sa.update(InstanceRow)
        .where(InstanceRow.id == instance_id)
        .values(**values, updated_at=now)
        .execution_options(synchronize_session="fetch")
    )


def record_exchange_at(session: Session, instance_id: int, at: datetime) -> None:
    """Note when the instance last received an exchange."""
    session.connection().execute(_TOUCH, {"owner": instance_id, "at": at})


def take_cycle_number(session: Session, instance_id: int) -> int:
    """Return the next cycle number of the instance; numbers are never reused."""
    number = session.scalar(
        sa.update(InstanceRow)
        .where(InstanceRow.id == instance_id)
        .values(last_cycle_number=InstanceRow.last_cycle_number + 1)
        .returning(InstanceRow.last_cycle_number)
        .execution_options(synchronize_session=False)
    )
    if number is None:
        raise InstanceNotFound("The instance is gone.")
    return number


def totals_by_status(session: Session, instance_id: int) -> dict[str, StatusTotalsRow]:
    """Count and salience sums by status; a status without experiences may be absent."""
    rows = session.scalars(
        sa.select(StatusTotalsRow).where(StatusTotalsRow.instance_id == instance_id)
    )
    return {row.status: row for row in rows}
