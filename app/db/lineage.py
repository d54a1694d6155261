"""What cycles used, and along the line of checkpoints: ancestors, descendants, all they learned.

An adapter goes on from its parent, so it has learned from the experiences of every ancestor.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from app.db.listed import is_listed
from app.db.tables import CheckpointRow, CycleExperienceRow, ExperienceRow, SleepCycleRow
from app.domain.experience import CycleRole, ExperienceStatus
from app.domain.provenance import LineageUse, UsedExperience
from app.domain.selection import Selectable


@dataclass(frozen=True, kw_only=True, slots=True)
class UsePlace:
    """Where an experience stands in a checkpoint's provenance; pages resume after one."""

    cycle_number: int
    role: CycleRole
    position: int


def count_stacked_updates(session: Session, checkpoint_id: str) -> int:
    """How many cycles went on from an adapter since one of its line started from the base."""
    line = _ancestors(checkpoint_id)
    return (session.scalar(sa.select(sa.func.count()).select_from(line)) or 1) - 1


def list_uses(
    session: Session,
    checkpoint_id: str,
    *,
    with_ancestors: bool,
    role: CycleRole | None,
    after: UsePlace | None,
    limit: int,
) -> list[LineageUse]:
    """Experiences of a checkpoint, its own cycle first; one more than `limit` if there are more."""
    line = _ancestors(checkpoint_id)
    number, use = SleepCycleRow.number, CycleExperienceRow
    query = (
        sa.select(use, ExperienceRow.id, number, line.c.id.label("checkpoint_id"))
        .join(line, line.c.cycle_id == use.cycle_id)
        .join(SleepCycleRow, SleepCycleRow.id == use.cycle_id)
        .join(ExperienceRow, ExperienceRow.seq == use.experience_seq)
        .order_by(number.desc(), use.role.desc(), use.position)
        .limit(limit + 1)
    )
    if not with_ancestors:
        query = query.where(line.c.id == checkpoint_id)
    if role is not None:
        query = query.where(use.role == role.value)
    if after is not None:
        is_later_role = sa.or_(
            use.role < after.role, sa.and_(use.role == after.role, use.position > after.position)
        )
        is_same_cycle = number == after.cycle_number
        query = query.where(
            sa.or_(number < after.cycle_number, sa.and_(is_same_cycle, is_later_role))
        )
    return [
        LineageUse(
            experience_id=experience_id,
            role=CycleRole(row.role),
            position=row.position,
            weight=row.weight,
            checkpoint_id=holder,
            sleep_cycle_id=row.cycle_id,
            cycle_number=cycle_number,
        )
        for row, experience_id, cycle_number, holder in session.execute(query)
    ]


def list_cycle_uses(session: Session, cycle_id: str) -> list[UsedExperience]:
    """What a cycle used: train first, heaviest first."""
    use = CycleExperienceRow
    rows = session.execute(
        sa.select(ExperienceRow.id, use.role, use.weight, ExperienceRow.status)
        .join(use, use.experience_seq == ExperienceRow.seq)
        .where(use.cycle_id == cycle_id)
        .order_by(use.role.desc(), use.weight.desc(), use.position)
    )
    return [
        UsedExperience(
            id=row.id,
            role=CycleRole(row.role),
            weight=row.weight,
            status=ExperienceStatus(row.status),
        )
        for row in rows
    ]


def list_trained_on(session: Session, seqs: Collection[int]) -> Sequence[CheckpointRow]:
    """Checkpoints that learned from one of these, by themselves or through an ancestor."""
    first = (
        sa.select(CheckpointRow.id)
        .join(CycleExperienceRow, CycleExperienceRow.cycle_id == CheckpointRow.cycle_id)
        .where(
            is_listed(CycleExperienceRow.experience_seq, seqs),
            CycleExperienceRow.role != CycleRole.HELD_OUT.value,
        )
        .cte("trained_on", recursive=True)
    )
    child = aliased(CheckpointRow)
    found = first.union(sa.select(child.id).where(child.parent_id == first.c.id))
    return session.scalars(
        sa.select(CheckpointRow)
        .where(CheckpointRow.id.in_(sa.select(found.c.id)))
        .order_by(CheckpointRow.seq)
    ).all()


def list_quoting_replies(session: Session, instance_id: int) -> list[SleepCycleRow | CheckpointRow]:
    """Cycles and checkpoints of an instance whose report quotes replies of a model."""
    found: list[SleepCycleRow | CheckpointRow] = []
    for table in (SleepCycleRow, CheckpointRow):
        quotes = sa.func.json_array_length(table.metrics["replies"]) > 0
        found += session.scalars(sa.select(table).where(table.instance_id == instance_id, quotes))
    return found


def insert_cycle_experiences(
    session: Session, cycle_id: str, role: CycleRole, chosen: Sequence[Selectable]
) -> None:
    """Record what each experience is to a cycle; its weight is its salience total."""
    if chosen:
        session.execute(
            sa.insert(CycleExperienceRow),
            [
                {
                    "cycle_id": cycle_id,
                    "experience_seq": item.seq,
                    "role": role.value,
                    "position": position,
                    "weight": item.total,
                }
                for position, item in enumerate(chosen)
            ],
        )


def keep_rehearsed(session: Session, cycle_id: str, experience_ids: Sequence[str]) -> None:
    """Forget what of the rehearsal pool a cycle did not train on."""
    rehearsed = sa.select(ExperienceRow.seq).where(is_listed(ExperienceRow.id, experience_ids))
    session.execute(
        sa.delete(CycleExperienceRow)
        .where(
            CycleExperienceRow.cycle_id == cycle_id,
            CycleExperienceRow.role == CycleRole.REHEARSAL.value,
            CycleExperienceRow.experience_seq.not_in(rehearsed),
        )
        .execution_options(synchronize_session=False)
    )


def set_aside(session: Session, cycle_id: str, experience_ids: Sequence[str]) -> None:
    """Note that a cycle could do nothing with experiences that it had taken."""
    wanted = sa.select(ExperienceRow.seq).where(is_listed(ExperienceRow.id, experience_ids))
    session.execute(
        sa.update(CycleExperienceRow)
        .where(
            CycleExperienceRow.cycle_id == cycle_id, CycleExperienceRow.experience_seq.in_(wanted)
        )
        .values(role=CycleRole.SET_ASIDE.value)
        .execution_options(synchronize_session=False)
    )


def list_last_setting_aside(session: Session) -> list[SleepCycleRow]:
    """Of each instance that has experiences set aside, the last cycle that could not hold some."""
    last = (
        sa.select(sa.func.max(SleepCycleRow.number), SleepCycleRow.instance_id)
        .join(CycleExperienceRow, CycleExperienceRow.cycle_id == SleepCycleRow.id)
        .join(ExperienceRow, ExperienceRow.seq == CycleExperienceRow.experience_seq)
        .where(
            CycleExperienceRow.role == CycleRole.SET_ASIDE.value,
            ExperienceRow.status == ExperienceStatus.SET_ASIDE,
        )
        .group_by(SleepCycleRow.instance_id)
    )
    wanted = sa.tuple_(SleepCycleRow.number, SleepCycleRow.instance_id).in_(last)
    return list(session.scalars(sa.select(SleepCycleRow).where(wanted)))


def list_cycles_of(
    session: Session, experience_seq: int
) -> list[tuple[CycleExperienceRow, SleepCycleRow, CheckpointRow | None]]:
    """The cycles that used an experience, with the checkpoint each published, oldest first."""
    query = (
        sa.select(CycleExperienceRow, SleepCycleRow, CheckpointRow)
        .join(SleepCycleRow, SleepCycleRow.id == CycleExperienceRow.cycle_id)
        .outerjoin(CheckpointRow, CheckpointRow.cycle_id == SleepCycleRow.id)
        .where(CycleExperienceRow.experience_seq == experience_seq)
        .order_by(SleepCycleRow.seq)
    )
    return [(use, cycle, checkpoint) for use, cycle, checkpoint in session.execute(query)]


def list_experiences_of(
    session: Session, cycle_id: str
) -> Sequence[sa.Row[CycleExperienceRow, str]]:
    """What a cycle used, with public ids, in the order of the plan."""
    query = (
        sa.select(CycleExperienceRow, ExperienceRow.id)
        .join(ExperienceRow, ExperienceRow.seq == CycleExperienceRow.experience_seq)
        .where(CycleExperienceRow.cycle_id == cycle_id)
        .order_by(CycleExperienceRow.role.desc(), CycleExperienceRow.position)
    )
    return session.execute(query).all()


def _ancestors(checkpoint_id: str) -> sa.CTE:
    """The checkpoint and every ancestor, with the cycle of each."""
    columns = (CheckpointRow.id, CheckpointRow.parent_id, CheckpointRow.cycle_id)
    line = (
        sa.select(*columns).where(CheckpointRow.id == checkpoint_id).cte("lineage", recursive=True)
    )
    parent = aliased(CheckpointRow)
    return line.union(
        sa.select(parent.id, parent.parent_id, parent.cycle_id).where(parent.id == line.c.parent_id)
    )
