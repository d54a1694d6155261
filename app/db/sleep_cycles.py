"""Queries on sleep cycles; every change of state demands the state it comes from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from app.db import instances
from app.db.elements import unindexed
from app.db.listed import is_listed, listed, number_of
from app.db.paging import Page, fetch_page
from app.db.tables import InstanceRow, SleepCycleRow
from app.domain.decision import SLEEPS, Trigger
from app.domain.progress import ACTIVE_STATUSES, RUNNING_STATUSES, CycleStatus
from app.errors import CycleOwnershipLost, SleepCycleNotFound

# Spelled as the partial index spells it: with bound values SQLite does not see that it fits, and
# reads every cycle there ever was.
IS_ACTIVE = sa.text(
    f"sleep_cycles.status IN ({', '.join(repr(status.value) for status in ACTIVE_STATUSES)})"
)
# Unindexed keeps SQLite on the other index: in the order of the rows it would read all that ended.
_QUEUED = (
    sa.select(SleepCycleRow)
    .where(IS_ACTIVE, SleepCycleRow.status == CycleStatus.QUEUED)
    .order_by(unindexed(SleepCycleRow.seq))
)
_IN_SUMMARY = [
    sa.orm.defer(column, raiseload=True)
    for column in (SleepCycleRow.plan, SleepCycleRow.decision, SleepCycleRow.verdict)
]
"""What no summary shows: a plan alone holds hundreds of ids."""


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


def list_known(session: Session, cycle_ids: Collection[str]) -> frozenset[str]:
    """Those of the ids that are cycles' of this database."""
    query = sa.select(SleepCycleRow.id).where(is_listed(SleepCycleRow.id, cycle_ids))
    return frozenset(session.scalars(query))


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
        sa.select(SleepCycleRow).where(SleepCycleRow.instance_id == instance_id, IS_ACTIVE)
    )


def list_active(session: Session, *, within: Collection[str] | None) -> Sequence[SleepCycleRow]:
    """Queued and running cycles of all instances, or those within, in summary; running first."""
    query = (
        sa.select(SleepCycleRow)
        .where(IS_ACTIVE)
        .order_by(SleepCycleRow.status == CycleStatus.QUEUED, SleepCycleRow.seq)
        .options(*_IN_SUMMARY)
    )
    if within is not None:
        own = sa.select(InstanceRow.id).where(InstanceRow.slug.in_(within))
        query = query.where(SleepCycleRow.instance_id.in_(own))
    return session.scalars(query).all()


def active_by_instance(session: Session, instance_ids: Collection[int]) -> dict[int, SleepCycleRow]:
    """The queued or running cycle of those of the instances that have one, in summary."""
    rows = session.scalars(
        sa.select(SleepCycleRow)
        .where(is_listed(SleepCycleRow.instance_id, instance_ids), IS_ACTIVE)
        .options(*_IN_SUMMARY)
    )
    return {row.instance_id: row for row in rows}


def last_ended_by_instance(
    session: Session,
    instance_ids: Collection[int],
    statuses: Collection[CycleStatus],
    *,
    triggers: Collection[Trigger] = tuple(Trigger),
) -> dict[int, SleepCycleRow]:
    """The newest cycle of each instance that ended in one of these states, in summary."""
    wanted = listed(instance_ids)
    newest = (
        sa.select(SleepCycleRow.seq)
        .where(
            SleepCycleRow.instance_id == number_of(wanted),
            SleepCycleRow.status.in_(statuses),
            SleepCycleRow.trigger.in_(triggers),
        )
        .order_by(SleepCycleRow.number.desc())
        .limit(1)
        .correlate(wanted)
        .scalar_subquery()
    )
    rows = session.scalars(
        sa.select(SleepCycleRow)
        .where(SleepCycleRow.seq.in_(sa.select(newest).select_from(wanted)))
        .options(*_IN_SUMMARY)
    )
    return {row.instance_id: row for row in rows}


@dataclass(frozen=True, kw_only=True, slots=True)
class InARow:
    """Cycles of an instance that ended alike one after the other, and when the last did."""

    count: int
    last_at: datetime


def in_a_row_by_instance(
    session: Session,
    instance_ids: Collection[int],
    status: CycleStatus,
    *,
    since: Collection[CycleStatus],
) -> dict[int, InARow]:
    """The cycles of each instance in a state after its last in one of these others, if any.

    Only those that sleep count.
    """
    cycle, other = aliased(SleepCycleRow), aliased(SleepCycleRow)
    last_number = (
        sa.select(sa.func.max(other.number))
        .where(
            other.instance_id == cycle.instance_id,
            other.status.in_(since),
            other.trigger.in_(SLEEPS),
        )
        .correlate(cycle)
        .scalar_subquery()
    )
    rows = session.execute(
        sa.select(cycle.instance_id, sa.func.count(), sa.func.max(cycle.finished_at))
        .where(
            is_listed(cycle.instance_id, instance_ids),
            cycle.status == status,
            cycle.trigger.in_(SLEEPS),
            cycle.number > sa.func.coalesce(last_number, 0),
        )
        .group_by(cycle.instance_id)
    )
    return {
        instance_id: InARow(count=count, last_at=last_at)
        for instance_id, count, last_at in rows
        if last_at is not None
    }


def count_since_rejected_start(session: Session, instance_id: int) -> int | None:
    """Cycles since the newest that started from the base beside an adapter and was rejected.

    None where there is none.
    """
    plan, number = SleepCycleRow.plan, SleepCycleRow.number
    own = SleepCycleRow.instance_id == instance_id
    rejected = session.scalar(
        sa.select(sa.func.max(number)).where(
            own,
            SleepCycleRow.status == CycleStatus.REJECTED,
            SleepCycleRow.trigger.in_(SLEEPS),
            plan["parent_checkpoint_id"].as_string().is_(None),
            plan["replaces_checkpoint_id"].as_string().is_not(None),
        )
    )
    if rejected is None:
        return None
    return (session.scalar(sa.select(sa.func.max(number)).where(own)) or 0) - rejected


def find_next_queued(session: Session) -> SleepCycleRow | None:
    """The cycle that waits longest and was not woken, or None."""
    return session.scalar(_QUEUED.where(SleepCycleRow.woken_at.is_(None)).limit(1))


def list_woken(session: Session) -> Sequence[SleepCycleRow]:
    """Queued cycles whose instances were woken, the one that waits longest first."""
    return session.scalars(_QUEUED.where(SleepCycleRow.woken_at.is_not(None))).all()


def list_running(session: Session) -> Sequence[SleepCycleRow]:
    """Cycles in training or evaluation."""
    return session.scalars(
        sa.select(SleepCycleRow).where(IS_ACTIVE, SleepCycleRow.status.in_(RUNNING_STATUSES))
    ).all()


def list_measured(
    session: Session, *, instance_id: int | None, limit: int
) -> Sequence[SleepCycleRow]:
    """The newest cycles that trained and have a report, newest first; of all instances for None."""
    query = (
        sa.select(SleepCycleRow)
        .where(SleepCycleRow.metrics.is_not(None), SleepCycleRow.trigger.in_(SLEEPS))
        .limit(limit)
    )
    if instance_id is None:
        return session.scalars(query.order_by(SleepCycleRow.seq.desc())).all()
    own = query.where(SleepCycleRow.instance_id == instance_id)
    return session.scalars(own.order_by(SleepCycleRow.number.desc())).all()


def list_asleep(session: Session, slugs: Collection[str]) -> list[str]:
    """Those of the instances that have a queued or running cycle which was not woken."""
    return list(
        session.scalars(
            sa.select(InstanceRow.slug)
            .join(SleepCycleRow, SleepCycleRow.instance_id == InstanceRow.id)
            .where(IS_ACTIVE, SleepCycleRow.woken_at.is_(None), is_listed(InstanceRow.slug, slugs))
        )
    )


def list_active_ids(session: Session) -> list[str]:
    """Ids of queued and running cycles."""
    return list(session.scalars(sa.select(SleepCycleRow.id).where(IS_ACTIVE)))


def list_cycles(
    session: Session,
    *,
    instance_id: int | None,
    slugs: Collection[str] | None,
    status: str | None,
    cursor: str | None,
    limit: int,
    id_prefix: str | None = None,
) -> Page[SleepCycleRow]:
    """One page of cycles, newest first."""
    conditions: list[sa.ColumnElement[Any]] = []
    if instance_id is not None:
        conditions.append(SleepCycleRow.instance_id == instance_id)
    if slugs is not None:
        conditions.append(instances.is_within(SleepCycleRow.instance_id, slugs))
    if status is not None:
        conditions.append(SleepCycleRow.status == status)
    return fetch_page(
        session, SleepCycleRow, conditions, cursor=cursor, limit=limit, id_prefix=id_prefix
    )


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


def update_owned(
    session: Session, cycle_id: str, worker_id: str | None, values: Mapping[str, Any]
) -> None:
    """Change a running cycle of this worker; None for any. Raises: CycleOwnershipLost."""
    is_owner = update_cycle(
        session, cycle_id, values, from_statuses=RUNNING_STATUSES, worker_id=worker_id
    )
    if not is_owner:
        raise CycleOwnershipLost(f"Cycle {cycle_id} is no longer with this worker.")


def count_start(session: Session, cycle_id: str) -> bool:
    """Count a start of a cycle that is still queued; False when it is not."""
    return update_cycle(
        session,
        cycle_id,
        {"attempts": SleepCycleRow.attempts + 1},
        from_statuses=(CycleStatus.QUEUED,),
    )


def mark_woken(session: Session, cycle_id: str, *, now: datetime) -> bool:
    """Note that an active cycle's instance was woken; False when the cycle has ended."""
    return update_cycle(session, cycle_id, {"woken_at": now}, from_statuses=ACTIVE_STATUSES)


def request_cancel(session: Session, cycle_id: str, *, now: datetime) -> bool:
    """Ask a running cycle to stop; False when it is not running."""
    return update_cycle(
        session, cycle_id, {"cancel_requested_at": now}, from_statuses=RUNNING_STATUSES
    )
