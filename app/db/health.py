"""Queries that look for what must not be: damage, broken references, states that contradict."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.engine import dialect_of
from app.db.tables import (
    AliasRow,
    CheckpointRow,
    CycleExperienceRow,
    ExperienceRow,
    SleepCycleRow,
    StatusTotalsRow,
)
from app.domain.checkpoint import CheckpointStatus
from app.domain.decision import Trigger
from app.domain.experience import CycleRole, ExperienceStatus
from app.domain.progress import ACTIVE_STATUSES
from app.domain.salience import COMPONENTS

MAX_SHOWN = 20
TOLERANCE = 1e-6
"""Sums of salience that were added up in another order differ by rounding."""

_SUMMED = (*COMPONENTS, "total")


def find_damage(session: Session) -> list[str]:
    """What the engine's own check finds wrong; empty for nothing."""
    return dialect_of(session).find_damage(session)


def list_tables(session: Session) -> list[str]:
    """The names of all tables."""
    return sa.inspect(session.connection()).get_table_names()


def is_table_whole(session: Session, name: str) -> bool:
    """Whether a table and its indexes hold together; reads all of them."""
    return dialect_of(session).is_table_whole(session, name)


def find_broken_references(session: Session) -> list[str]:
    """Rows that refer to a row that is not there, in words."""
    return dialect_of(session).find_broken_references(session, MAX_SHOWN)


def find_fault(session: Session) -> str | None:
    """What of how the engine is set up keeps no promise; None for nothing."""
    return dialect_of(session).find_fault(session)


def count_unowned_claims(session: Session) -> int:
    """How many experiences are claimed, and by no active cycle."""
    return session.scalar(sa.select(sa.func.count()).where(*_is_unowned())) or 0


def release_unowned_claims(session: Session) -> int:
    """Put them back into the buffer; the instance's own limit is laid over by `regrade`."""
    result = session.execute(
        sa.update(ExperienceRow)
        .where(*_is_unowned())
        .values(status=ExperienceStatus.BUFFERED)
        .execution_options(synchronize_session=False)
    )
    return int(result.rowcount)  # type: ignore[attr-defined]  # CursorResult of an UPDATE


def count_unclaimed_plans(session: Session) -> int:
    """How many experiences an active cycle is to train on, and another status has them."""
    query = (
        sa.select(sa.func.count())
        .select_from(CycleExperienceRow)
        .join(SleepCycleRow, SleepCycleRow.id == CycleExperienceRow.cycle_id)
        .join(ExperienceRow, ExperienceRow.seq == CycleExperienceRow.experience_seq)
        .where(
            SleepCycleRow.status.in_(ACTIVE_STATUSES),
            SleepCycleRow.trigger != Trigger.REBUILD,
            CycleExperienceRow.role == CycleRole.TRAIN.value,
            ExperienceRow.status != ExperienceStatus.CLAIMED,
        )
    )
    return session.scalar(query) or 0


def list_misplaced_aliases(session: Session) -> Sequence[CheckpointRow]:
    """Checkpoints that an alias names although their files are not whole."""
    return session.scalars(
        sa.select(CheckpointRow)
        .where(
            CheckpointRow.id.in_(sa.select(AliasRow.checkpoint_id)),
            CheckpointRow.status != CheckpointStatus.READY,
        )
        .order_by(CheckpointRow.seq)
    ).all()


def list_wrong_totals(session: Session) -> list[tuple[int, str]]:
    """Instance and status of the running totals that are not what the experiences add up to."""
    counted = {
        (row.instance_id, row.status): (row.count, *(getattr(row, name) for name in _SUMMED))
        for row in session.execute(_counted())
    }
    kept = {
        (row.instance_id, row.status): (row.count, *(getattr(row, name) for name in _SUMMED))
        for row in session.scalars(sa.select(StatusTotalsRow))
    }
    nothing = (0, *(0.0 for _ in _SUMMED))
    return [
        key
        for key in sorted(counted.keys() | kept.keys())
        if not _is_near(counted.get(key, nothing), kept.get(key, nothing))
    ]


def count_totals_again(session: Session) -> None:
    """Write the running totals as the experiences add up."""
    session.execute(sa.delete(StatusTotalsRow).execution_options(synchronize_session=False))
    names = ["instance_id", "status", "count", *_SUMMED]
    session.execute(sa.insert(StatusTotalsRow).from_select(names, _counted()))


def _is_unowned() -> Sequence[sa.ColumnElement[bool]]:
    owned = (
        sa.select(CycleExperienceRow.cycle_id)
        .join(SleepCycleRow, SleepCycleRow.id == CycleExperienceRow.cycle_id)
        .where(
            CycleExperienceRow.experience_seq == ExperienceRow.seq,
            CycleExperienceRow.role == CycleRole.TRAIN.value,
            SleepCycleRow.status.in_(ACTIVE_STATUSES),
        )
        .exists()
    )
    return ExperienceRow.status == ExperienceStatus.CLAIMED, ~owned


def _counted() -> sa.Select[*tuple[object, ...]]:
    sums = [sa.func.sum(getattr(ExperienceRow, name)).label(name) for name in _SUMMED]
    return sa.select(
        ExperienceRow.instance_id,
        ExperienceRow.status,
        sa.func.count().label("count"),
        *sums,
    ).group_by(ExperienceRow.instance_id, ExperienceRow.status)


def _is_near(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] == other[0] and all(
        abs(a - b) <= TOLERANCE * max(1.0, one[0]) for a, b in zip(one, other, strict=True)
    )
