"""What follows from a checkpoint's damage, within one transaction: its mark, and what falls back.

Must not look at files: `app.services.file_guard` does, outside of any transaction.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy.orm import Session

from app.db import checkpoints, events, instances, sleep_cycles
from app.db.tables import CheckpointRow, InstanceRow
from app.domain.checkpoint import (
    Alias,
    AliasAction,
    CheckpointStatus,
    promotion_line,
    rollback_targets,
)
from app.domain.events import CheckpointDamaged, CycleReplanned, EventType
from app.domain.progress import CycleStatus
from app.errors import ArtifactError
from app.services.alias_moves import give_back_within, move_within, roll_back_within
from app.services.planning import GEOMETRY

ACTOR = "file-check"
"""Who moves the aliases in the history when files are found damaged."""


def mark_within(
    session: Session,
    row: CheckpointRow,
    error: ArtifactError,
    *,
    now: datetime,
) -> None:
    """Within a transaction: mark a ready checkpoint, and let what stands on it fall back."""
    named = checkpoints.list_aliases_of(session, row.id)
    checkpoints.update_checkpoint(session, row.id, {"status": CheckpointStatus.DAMAGED})
    events.append_event(
        session,
        type_=EventType.CHECKPOINT_DAMAGED,
        instance_id=row.instance_id,
        cycle_id=row.cycle_id,
        checkpoint_id=row.id,
        now=now,
        facts=CheckpointDamaged(
            code=error.code, file=error.facts.get("file"), aliases=tuple(named)
        ),
    )
    reason = f"files of {row.name} are gone or altered: {error.message}"
    fall_back_within(session, row, reason, now=now)
    replan_within(session, row, now=now)


def fall_back_within(
    session: Session,
    row: CheckpointRow,
    reason: str,
    *,
    now: datetime,
) -> None:
    """Within a transaction: move the aliases away from a checkpoint that is not ready."""
    instance = instances.get_instance_by_id(session, row.instance_id)
    named = checkpoints.list_aliases_of(session, row.id)
    if Alias.CURRENT in named:
        roll_back_within(
            session,
            instance,
            actor=ACTOR,
            reason=reason,
            # Where nothing erased was live, no automatic move brings it back.
            passes_over_tainted=row.tainted_at is None,
            now=now,
        )
    elif Alias.PREVIOUS in named:
        target = find_rollback_target(session, instance)
        _move(session, instance, Alias.PREVIOUS, target, AliasAction.ROLLBACK, reason, now=now)
    if Alias.CANDIDATE in named:
        _move(session, instance, Alias.CANDIDATE, None, AliasAction.DISMISS, reason, now=now)
        give_back_within(session, row.id, counts_attempt=False, reason="")


def replan_within(session: Session, row: CheckpointRow, *, now: datetime) -> None:
    """Within a transaction: let a queued cycle start from `current` instead of this checkpoint.

    It keeps its experiences and its number; hyper-parameters that an adapter keeps for life are
    those of the new parent.
    """
    cycle = sleep_cycles.find_active(session, row.instance_id)
    if cycle is None or cycle.status != CycleStatus.QUEUED:
        return
    plan = cycle.plan
    if row.id not in {plan.parent_checkpoint_id, plan.replaces_checkpoint_id}:
        return
    current_id = checkpoints.find_alias_target(session, row.instance_id, Alias.CURRENT)
    if plan.replaces_checkpoint_id == row.id:
        plan = replace(plan, replaces_checkpoint_id=current_id)
    if plan.parent_checkpoint_id == row.id:
        plan = replace(plan, parent_checkpoint_id=current_id)
        if current_id is not None:
            made_by = checkpoints.get_checkpoint(session, current_id).cycle_id
            made_with = sleep_cycles.get_cycle(session, made_by).plan.recipe
            kept = {name: getattr(made_with, name) for name in GEOMETRY}
            plan = replace(plan, recipe=replace(plan.recipe, **kept))
    sleep_cycles.update_cycle(
        session, cycle.id, {"plan": plan}, from_statuses=(CycleStatus.QUEUED,)
    )
    events.append_event(
        session,
        type_=EventType.CYCLE_REPLANNED,
        instance_id=row.instance_id,
        cycle_id=cycle.id,
        checkpoint_id=current_id,
        now=now,
        facts=CycleReplanned(from_checkpoint=row.id, parent=plan.parent_checkpoint_id, actor=ACTOR),
    )


def find_rollback_target(session: Session, instance: InstanceRow) -> str | None:
    """Within a transaction: the checkpoint that a rollback leads to; None for the base or none."""
    line = promotion_line(checkpoints.list_moves(session, instance.id, Alias.CURRENT))
    targets = rollback_targets(
        line, checkpoints.list_unfit(session, instance.id, with_tainted=False)
    )
    return targets[0] if targets else None


def _move(
    session: Session,
    instance: InstanceRow,
    alias: Alias,
    target: str | None,
    action: AliasAction,
    reason: str,
    *,
    now: datetime,
) -> None:
    move_within(
        session, instance.id, [(alias, target)], action, actor=ACTOR, reason=reason, now=now
    )
