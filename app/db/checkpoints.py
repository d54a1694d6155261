"""Queries on checkpoints, aliases and the aliases' history."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import instances
from app.db.conflicts import insert_into
from app.db.listed import is_listed
from app.db.paging import Page, fetch_page
from app.db.tables import AliasHistoryRow, AliasRow, CheckpointRow, InstanceRow, SleepCycleRow
from app.domain.base_parts import BaseParts
from app.domain.checkpoint import Alias, AliasAction, CheckpointStatus
from app.domain.decision import Trigger
from app.errors import CheckpointNotFound

_IN_FILE_CHECK = [
    sa.orm.defer(column, raiseload=True)
    for column in (CheckpointRow.verdict, CheckpointRow.metrics)
]
"""What no look at files needs."""


def insert_checkpoint(session: Session, values: Mapping[str, Any]) -> CheckpointRow:
    """Add a published checkpoint."""
    row = CheckpointRow(**values)
    session.add(row)
    session.flush()
    return row


def get_checkpoint(session: Session, checkpoint_id: str) -> CheckpointRow:
    """Return one checkpoint. Raises: CheckpointNotFound."""
    row = session.scalar(sa.select(CheckpointRow).where(CheckpointRow.id == checkpoint_id))
    if row is None:
        raise CheckpointNotFound(f"There is no checkpoint {checkpoint_id!r}.")
    return row


def get_by_name(session: Session, name: str) -> CheckpointRow:
    """Return the checkpoint of this directory name. Raises: CheckpointNotFound."""
    row = session.scalar(sa.select(CheckpointRow).where(CheckpointRow.name == name))
    if row is None:
        raise CheckpointNotFound(f"There is no checkpoint {name!r}.")
    return row


def is_registered(session: Session, checkpoint_id: str) -> bool:
    """Whether there is a checkpoint of this id, deleted or not."""
    found = sa.select(sa.exists().where(CheckpointRow.id == checkpoint_id))
    return bool(session.scalar(found))


def base_parts_of(session: Session, checkpoint: CheckpointRow) -> BaseParts:
    """What a checkpoint's base was made of: by its own record, or by that of the first after it.

    A checkpoint of before there were parts gets them from the first cycle that went on from it.
    """
    if checkpoint.metrics.base_parts:
        return checkpoint.metrics.base_parts
    later = session.scalars(
        sa.select(CheckpointRow)
        .where(CheckpointRow.parent_id == checkpoint.id)
        .order_by(CheckpointRow.created_at, CheckpointRow.id)
    )
    return next((row.metrics.base_parts for row in later if row.metrics.base_parts), {})


def find_by_cycle(session: Session, cycle_id: str) -> CheckpointRow | None:
    """The checkpoint a cycle published, or None."""
    return session.scalar(sa.select(CheckpointRow).where(CheckpointRow.cycle_id == cycle_id))


def ids_by_cycle(session: Session, cycle_ids: Sequence[str]) -> dict[str, str]:
    """Checkpoint id by cycle id, for those cycles that published one."""
    rows = session.execute(
        sa.select(CheckpointRow.cycle_id, CheckpointRow.id).where(
            CheckpointRow.cycle_id.in_(cycle_ids)
        )
    )
    return {row.cycle_id: row.id for row in rows}


def list_checkpoints(
    session: Session,
    *,
    instance_id: int | None,
    slugs: Collection[str] | None,
    status: str | None,
    cursor: str | None,
    limit: int,
    id_prefix: str | None = None,
) -> Page[CheckpointRow]:
    """One page of checkpoints, newest first."""
    conditions: list[sa.ColumnElement[Any]] = []
    if instance_id is not None:
        conditions.append(CheckpointRow.instance_id == instance_id)
    if slugs is not None:
        conditions.append(instances.is_within(CheckpointRow.instance_id, slugs))
    if status is not None:
        conditions.append(CheckpointRow.status == status)
    return fetch_page(
        session, CheckpointRow, conditions, cursor=cursor, limit=limit, id_prefix=id_prefix
    )


def find_by_beginning(session: Session, beginning: str) -> Sequence[CheckpointRow]:
    """Checkpoints whose ids begin so; two at most, which is too many to mean one."""
    page = fetch_page(session, CheckpointRow, (), cursor=None, limit=2, id_prefix=beginning)
    return page.rows


def list_by_ids(session: Session, ids: Collection[str]) -> Sequence[CheckpointRow]:
    """The checkpoints of these ids, those that are there."""
    return session.scalars(sa.select(CheckpointRow).where(is_listed(CheckpointRow.id, ids))).all()


def list_adopted(
    session: Session, instance_id: int, origins: Collection[str]
) -> dict[str, CheckpointRow]:
    """What an instance made of adopted checkpoints, by their maker's ids; of each the newest."""
    origin = SleepCycleRow.plan["adopted_from"]["checkpoint_id"].as_string()
    rows = session.execute(
        sa.select(CheckpointRow, origin)
        .join(SleepCycleRow, SleepCycleRow.id == CheckpointRow.cycle_id)
        .where(
            SleepCycleRow.instance_id == instance_id,
            SleepCycleRow.trigger == Trigger.ADOPT,
            is_listed(origin, origins),
        )
        .order_by(CheckpointRow.seq)
    )
    return {made_by: row for row, made_by in rows}


def list_names(session: Session) -> frozenset[str]:
    """Directory names of all checkpoints whose files should be there."""
    return frozenset(
        session.scalars(sa.select(CheckpointRow.name).where(CheckpointRow.deleted_at.is_(None)))
    )


def list_deleted_names(session: Session) -> frozenset[str]:
    """Directory names of all checkpoints whose files should be gone."""
    return frozenset(
        session.scalars(sa.select(CheckpointRow.name).where(CheckpointRow.deleted_at.is_not(None)))
    )


def list_undeleted(session: Session) -> Sequence[CheckpointRow]:
    """All checkpoints whose files should be there, oldest first."""
    return session.scalars(
        sa.select(CheckpointRow)
        .where(CheckpointRow.deleted_at.is_(None))
        .options(*_IN_FILE_CHECK)
        .order_by(CheckpointRow.seq)
    ).all()


def list_named(session: Session) -> Sequence[CheckpointRow]:
    """The checkpoints that an alias names, oldest first."""
    return session.scalars(
        sa.select(CheckpointRow)
        .where(CheckpointRow.id.in_(sa.select(AliasRow.checkpoint_id)))
        .options(*_IN_FILE_CHECK)
        .order_by(CheckpointRow.seq)
    ).all()


def sum_sizes(session: Session, *, within: Collection[str] | None) -> int:
    """Bytes of the checkpoints whose files are there, of all instances or those within."""
    query = sa.select(sa.func.coalesce(sa.func.sum(CheckpointRow.archive_size_bytes), 0)).where(
        CheckpointRow.status != CheckpointStatus.DELETED
    )
    if within is not None:
        own = sa.select(InstanceRow.id).where(InstanceRow.slug.in_(within))
        query = query.where(CheckpointRow.instance_id.in_(own))
    return int(session.execute(query).scalar_one())


def update_checkpoint(session: Session, checkpoint_id: str, values: Mapping[str, Any]) -> None:
    """Replace columns of a checkpoint."""
    session.execute(
        sa.update(CheckpointRow)
        .where(CheckpointRow.id == checkpoint_id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    session.expire_all()


def list_aliases(session: Session, instance_id: int) -> Sequence[AliasRow]:
    """The aliases of an instance, by name."""
    return session.scalars(
        sa.select(AliasRow).where(AliasRow.instance_id == instance_id).order_by(AliasRow.name)
    ).all()


def find_alias_target(session: Session, instance_id: int, alias: Alias) -> str | None:
    """Id of the checkpoint an alias points at, or None."""
    return session.scalar(
        sa.select(AliasRow.checkpoint_id).where(
            AliasRow.instance_id == instance_id, AliasRow.name == alias.value
        )
    )


def alias_targets_by_instance(
    session: Session, instance_ids: Collection[int], alias: Alias
) -> dict[int, CheckpointRow]:
    """The checkpoint an alias points at, for those of the instances where it points at one."""
    rows = session.scalars(
        sa.select(CheckpointRow)
        .join(AliasRow, AliasRow.checkpoint_id == CheckpointRow.id)
        .where(AliasRow.name == alias.value, is_listed(AliasRow.instance_id, instance_ids))
    )
    return {row.instance_id: row for row in rows}


def list_aliases_of(session: Session, checkpoint_id: str) -> list[str]:
    """Names of the aliases that point at a checkpoint."""
    return list(
        session.scalars(
            sa.select(AliasRow.name)
            .where(AliasRow.checkpoint_id == checkpoint_id)
            .order_by(AliasRow.name)
        )
    )


def alias_revision(session: Session, instance_id: int) -> int:
    """A number that grows with every alias move of the instance; 0 before the first."""
    return (
        session.scalar(
            sa.select(sa.func.coalesce(sa.func.max(AliasHistoryRow.seq), 0)).where(
                AliasHistoryRow.instance_id == instance_id
            )
        )
        or 0
    )


def move_alias(
    session: Session,
    *,
    instance_id: int,
    alias: Alias,
    to_checkpoint_id: str | None,
    action: AliasAction,
    actor: str,
    reason: str | None,
    now: datetime,
) -> str | None:
    """Point an alias at a checkpoint, or at none, and write its history; returns the old target."""
    before = find_alias_target(session, instance_id, alias)
    if before == to_checkpoint_id:
        return before
    if to_checkpoint_id is None:
        session.execute(
            sa.delete(AliasRow).where(
                AliasRow.instance_id == instance_id, AliasRow.name == alias.value
            )
        )
    else:
        values = {"checkpoint_id": to_checkpoint_id, "updated_at": now}
        session.execute(
            insert_into(session, AliasRow)
            .values(instance_id=instance_id, name=alias.value, **values)
            .on_conflict_do_update(index_elements=["instance_id", "name"], set_=values)
        )
    session.add(
        AliasHistoryRow(
            instance_id=instance_id,
            alias=alias.value,
            from_checkpoint_id=before,
            to_checkpoint_id=to_checkpoint_id,
            action=action.value,
            actor=actor,
            reason=reason,
            at=now,
        )
    )
    session.flush()
    return before


def find_last_move(session: Session, instance_id: int, alias: Alias) -> AliasHistoryRow | None:
    """The move that put an alias where it stands, or None."""
    return session.scalar(
        sa.select(AliasHistoryRow)
        .where(AliasHistoryRow.instance_id == instance_id, AliasHistoryRow.alias == alias.value)
        .order_by(AliasHistoryRow.seq.desc())
        .limit(1)
    )


def was_ever_current(session: Session, row: CheckpointRow) -> bool:
    """Whether a checkpoint is or was live."""
    moves_there = sa.exists().where(
        AliasHistoryRow.instance_id == row.instance_id,
        AliasHistoryRow.alias == Alias.CURRENT.value,
        AliasHistoryRow.to_checkpoint_id == row.id,
    )
    return bool(session.scalar(sa.select(moves_there)))


def list_unfit(session: Session, instance_id: int, *, with_tainted: bool) -> frozenset[str]:
    """Checkpoints that a rollback passes over: deleted, taken back and, if asked, tainted ones."""
    marks: list[sa.ColumnElement[bool]] = [
        CheckpointRow.status != CheckpointStatus.READY,
        CheckpointRow.regressed_at.is_not(None),
    ]
    if with_tainted:
        marks.append(CheckpointRow.tainted_at.is_not(None))
    return frozenset(
        session.scalars(
            sa.select(CheckpointRow.id).where(
                CheckpointRow.instance_id == instance_id, sa.or_(*marks)
            )
        )
    )


def list_moves(
    session: Session, instance_id: int, alias: Alias
) -> list[tuple[AliasAction, str | None]]:
    """Action and target of every move of one alias, oldest first."""
    rows = session.execute(
        sa.select(AliasHistoryRow.action, AliasHistoryRow.to_checkpoint_id)
        .where(AliasHistoryRow.instance_id == instance_id, AliasHistoryRow.alias == alias.value)
        .order_by(AliasHistoryRow.seq)
    )
    return [(AliasAction(row.action), row.to_checkpoint_id) for row in rows]


def list_alias_history(
    session: Session, instance_id: int, *, before_seq: int | None, limit: int
) -> Sequence[AliasHistoryRow]:
    """Moves of an instance's aliases, newest first; one more than `limit` if there are more."""
    query = sa.select(AliasHistoryRow).where(AliasHistoryRow.instance_id == instance_id)
    if before_seq is not None:
        query = query.where(AliasHistoryRow.seq < before_seq)
    return session.scalars(query.order_by(AliasHistoryRow.seq.desc()).limit(limit + 1)).all()
