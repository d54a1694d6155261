"""Moves of the aliases within a transaction of another service, each with history and event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from app.db import checkpoints, events, sleep_cycles, statuses
from app.db.tables import CheckpointRow, InstanceRow
from app.domain.checkpoint import Alias, AliasAction, promotion_line, rollback_targets
from app.domain.decision import Trigger
from app.domain.events import CandidateMoved, CurrentMoved, EventType
from app.errors import NoPreviousCheckpoint
from app.services.instances import load_policy


def promote_within(
    session: Session, row: CheckpointRow, *, actor: str, reason: str | None, now: datetime
) -> None:
    """Within a transaction: move `current` here, `previous` to where it was, drop `candidate`.

    What its cycle trained on is consumed, if it was given back: the live model has learned it.
    """
    before = checkpoints.find_alias_target(session, row.instance_id, Alias.CURRENT)
    if before == row.id:
        return
    moves: list[tuple[Alias, str | None]] = [(Alias.CURRENT, row.id), (Alias.PREVIOUS, before)]
    if checkpoints.find_alias_target(session, row.instance_id, Alias.CANDIDATE) == row.id:
        moves.append((Alias.CANDIDATE, None))
    move_within(
        session, row.instance_id, moves, AliasAction.PROMOTE, actor=actor, reason=reason, now=now
    )
    statuses.consolidate_released(session, row.cycle_id)
    events.append_event(
        session,
        type_=EventType.CHECKPOINT_PROMOTED,
        instance_id=row.instance_id,
        cycle_id=row.cycle_id,
        checkpoint_id=row.id,
        now=now,
        facts=CurrentMoved(
            from_checkpoint=before, to_checkpoint=row.id, actor=actor, reason=reason
        ),
    )


def propose_within(
    session: Session, row: CheckpointRow, *, actor: str, reason: str, now: datetime
) -> None:
    """Within a transaction: make a checkpoint the `candidate`, for a person to promote.

    An earlier candidate never went live, so what it learned goes back to the buffer.
    """
    earlier = checkpoints.find_alias_target(session, row.instance_id, Alias.CANDIDATE)
    if earlier is not None:
        give_back_within(session, earlier, counts_attempt=False, reason="")
    move_within(
        session,
        row.instance_id,
        [(Alias.CANDIDATE, row.id)],
        AliasAction.PROPOSE,
        actor=actor,
        reason=reason,
        now=now,
    )
    events.append_event(
        session,
        type_=EventType.CHECKPOINT_PROPOSED,
        instance_id=row.instance_id,
        cycle_id=row.cycle_id,
        checkpoint_id=row.id,
        now=now,
        facts=CandidateMoved(actor=actor, reason=reason),
    )


def roll_back_within(
    session: Session,
    instance: InstanceRow,
    *,
    actor: str,
    reason: str | None,
    passes_over_tainted: bool,
    now: datetime,
) -> str | None:
    """Within a transaction: take `current` one promotion back; returns where it stands then.

    Checkpoints that were deleted, are damaged, or that live reports took back are passed over.

    Args:
        passes_over_tainted: Also pass over those that hold something erased.

    Raises: NoPreviousCheckpoint.
    """
    line = promotion_line(checkpoints.list_moves(session, instance.id, Alias.CURRENT))
    unfit = checkpoints.list_unfit(session, instance.id, with_tainted=passes_over_tainted)
    targets = rollback_targets(line, unfit)
    if targets is None:
        raise NoPreviousCheckpoint(
            f"{instance.slug} runs the bare base model; there is nothing to roll back to.",
            instance=instance.slug,
        )
    target, previous = targets
    move_within(
        session,
        instance.id,
        [(Alias.CURRENT, target), (Alias.PREVIOUS, previous)],
        AliasAction.ROLLBACK,
        actor=actor,
        reason=reason,
        now=now,
    )
    events.append_event(
        session,
        type_=EventType.CHECKPOINT_ROLLED_BACK,
        instance_id=instance.id,
        checkpoint_id=target,
        now=now,
        facts=CurrentMoved(
            from_checkpoint=line[-1], to_checkpoint=target, actor=actor, reason=reason
        ),
    )
    return target


def move_within(
    session: Session,
    instance_id: int,
    moves: Sequence[tuple[Alias, str | None]],
    action: AliasAction,
    *,
    actor: str,
    reason: str | None,
    now: datetime,
) -> None:
    """Within a transaction: move some aliases of an instance for one reason."""
    for alias, target in moves:
        checkpoints.move_alias(
            session,
            instance_id=instance_id,
            alias=alias,
            to_checkpoint_id=target,
            action=action,
            actor=actor,
            reason=reason,
            now=now,
        )


def give_back_within(
    session: Session, checkpoint_id: str, *, counts_attempt: bool, reason: str
) -> None:
    """Within a transaction: put back what a checkpoint that never went live has consumed.

    What a rebuild trains on was consolidated before it, and stays so.
    """
    cycle = sleep_cycles.get_cycle(
        session, checkpoints.get_checkpoint(session, checkpoint_id).cycle_id
    )
    if cycle.trigger == Trigger.REBUILD:
        return
    statuses.release_consolidated(
        session,
        cycle.id,
        min_salience=load_policy(session, cycle.instance_id).min_salience,
        counts_attempt=counts_attempt,
        reason=reason,
    )
