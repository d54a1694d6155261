"""Queries on instances and their running totals."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db.engine import defaults_of
from app.db.listed import is_listed
from app.db.tables import CheckpointRow, ExperienceRow, InstanceRow, SleepCycleRow, StatusTotalsRow
from app.domain.experience import ExperienceStatus
from app.domain.threshold import LEAST_FACTOR
from app.errors import InstanceNotFound


def _own_or(name: str) -> sa.ColumnElement[float]:
    """A value of the instance's own policy, or else the default, a parameter of the same name."""
    own = InstanceRow.policy[name].as_float()
    return sa.func.coalesce(own, sa.bindparam(name, type_=sa.Float))


def _has_own_or(flag: str, default: Any) -> sa.ColumnElement[bool]:
    """A flag of the instance's own policy, or else the default."""
    return sa.func.coalesce(InstanceRow.policy[flag].as_boolean(), default)


_IS_ADAPTIVE = _has_own_or(
    "adaptive_threshold", sa.bindparam("adaptive_threshold", type_=sa.Boolean)
)
_HEAVY = (
    sa.select(InstanceRow)
    .join(StatusTotalsRow, StatusTotalsRow.instance_id == InstanceRow.id)
    .where(
        StatusTotalsRow.status == ExperienceStatus.BUFFERED.value,
        StatusTotalsRow.total
        >= _own_or("mass_threshold")
        # An adapted threshold may be as low as this; what it is, the decision says.
        * sa.case((_IS_ADAPTIVE, LEAST_FACTOR), else_=1.0),
        StatusTotalsRow.count >= _own_or("min_experiences"),
    )
    .order_by(InstanceRow.slug)
)


def find_instance(session: Session, slug: str) -> InstanceRow | None:
    """Return the instance of this slug, or None."""
    return session.scalar(sa.select(InstanceRow).where(InstanceRow.slug == slug))


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


def list_instances(
    session: Session,
    *,
    within: Collection[str] | None = None,
    name_part: str | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> Sequence[InstanceRow]:
    """Instances by slug: all or those within or named so, or so many of those after one."""
    query = sa.select(InstanceRow).where(*_named(within, name_part)).order_by(InstanceRow.slug)
    if after is not None:
        query = query.where(InstanceRow.slug > after)
    return session.scalars(query.limit(limit)).all()


def count_instances(
    session: Session, *, within: Collection[str] | None, name_part: str | None
) -> int:
    """How many there are, of those within and named so."""
    query = sa.select(sa.func.count()).select_from(InstanceRow).where(*_named(within, name_part))
    return session.execute(query).scalar_one()


def _named(
    within: Collection[str] | None, name_part: str | None
) -> Iterator[sa.ColumnElement[bool]]:
    if within is not None:
        yield InstanceRow.slug.in_(within)
    if name_part is not None:
        yield InstanceRow.slug.icontains(name_part, autoescape=True)


def list_with_model_name(session: Session) -> Sequence[InstanceRow]:
    """Instances of which only their model's name is known, by slug."""
    return session.scalars(
        sa.select(InstanceRow)
        .where(InstanceRow.base_model.is_(None), InstanceRow.model_name.is_not(None))
        .order_by(InstanceRow.slug)
    ).all()


def list_heavy(session: Session, *, slugs: Collection[str] | None) -> Sequence[InstanceRow]:
    """Instances whose buffer holds the mass and the count that sleep takes, by slug.

    Args:
        slugs: Look only at these; None for all.
    """
    policy = defaults_of(session).policy
    query = _HEAVY if slugs is None else _HEAVY.where(is_listed(InstanceRow.slug, slugs))
    return session.scalars(
        query,
        {
            "mass_threshold": policy.mass_threshold,
            "adaptive_threshold": policy.adaptive_threshold,
            "min_experiences": policy.min_experiences,
        },
    ).all()


def list_with(session: Session, flag: str, *, default: bool) -> Sequence[str]:
    """Slugs of the instances whose policy has a flag set, by themselves or as the default."""
    is_set = _has_own_or(flag, sa.literal(default))
    query = sa.select(InstanceRow.slug).where(is_set).order_by(InstanceRow.slug)
    return session.scalars(query).all()


def is_within(
    instance_id: sa.ColumnElement[int] | InstrumentedAttribute[int], slugs: Collection[str]
) -> sa.ColumnElement[bool]:
    """The condition that a row belongs to an instance of these slugs."""
    return instance_id.in_(sa.select(InstanceRow.id).where(InstanceRow.slug.in_(slugs)))


def find_owner(
    session: Session, table: type[CheckpointRow | SleepCycleRow | ExperienceRow], public_id: str
) -> str | None:
    """Slug of the instance that a row of this public id belongs to; None if there is none."""
    return session.scalar(
        sa.select(InstanceRow.slug)
        .join(table, table.instance_id == InstanceRow.id)
        .where(table.id == public_id)
    )


def slugs_of(session: Session, instance_ids: Collection[int]) -> dict[int, str]:
    """Slugs of these instances, by id."""
    rows = session.execute(
        sa.select(InstanceRow.id, InstanceRow.slug).where(is_listed(InstanceRow.id, instance_ids))
    )
    return {row.id: row.slug for row in rows}


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


def totals_by_status(
    session: Session, instance_ids: Collection[int]
) -> dict[int, dict[str, StatusTotalsRow]]:
    """Count and salience sums by instance and status; a status with no experience may be absent."""
    found: dict[int, dict[str, StatusTotalsRow]] = {wanted: {} for wanted in instance_ids}
    query = sa.select(StatusTotalsRow).where(is_listed(StatusTotalsRow.instance_id, instance_ids))
    for row in session.scalars(query):
        found[row.instance_id][row.status] = row
    return found
