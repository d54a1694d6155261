"""How experiences move between statuses: claimed by a cycle, consolidated, given back, set aside.

Every move demands the statuses it comes from, in the UPDATE itself.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.elements import looked_up
from app.db.listed import is_listed
from app.db.tables import CycleExperienceRow, ExperienceRow
from app.domain.experience import MAX_ATTEMPTS, CycleRole, ExperienceStatus
from app.domain.selection import Selectable

WAITING = (ExperienceStatus.BUFFERED, ExperienceStatus.BELOW_THRESHOLD)
"""What may be trained, in the order in which it is; the first counts towards the mass."""

TAKEN = (ExperienceStatus.CLAIMED, ExperienceStatus.HELD_OUT)
"""What a cycle works with: to train on, and to measure with."""

_CONSOLIDATED = {
    "status": ExperienceStatus.CONSOLIDATED,
    "reason": None,
    "near_copy_of": None,
}
"""Why an earlier cycle left it out is no longer so."""


def claim(session: Session, chosen: Sequence[Selectable]) -> int:
    """Take experiences for a cycle; returns how many were still free."""
    result = session.execute(
        sa.update(ExperienceRow)
        .where(
            is_listed(ExperienceRow.seq, [item.seq for item in chosen]),
            ExperienceRow.status.in_(WAITING),
        )
        .values(status=ExperienceStatus.CLAIMED)
        .execution_options(synchronize_session=False)
    )
    return int(result.rowcount)  # type: ignore[attr-defined]  # CursorResult of an UPDATE


def consolidate_claimed(session: Session, cycle_id: str) -> int:
    """Mark the experiences that the cycle claimed as consumed; returns how many."""
    return _update_claimed(session, cycle_id, _CONSOLIDATED)


def mark_copies(session: Session, copies: Mapping[str, str], *, reason: str) -> None:
    """Take waiting near copies of what was consolidated from the mass; they wait on for its end.

    Args:
        copies: What each id is a near copy of.
        reason: Follows the id of that.
    """
    trained = session.scalars(
        sa.select(ExperienceRow.id).where(
            is_listed(ExperienceRow.id, set(copies.values())),
            ExperienceRow.status == ExperienceStatus.CONSOLIDATED,
        )
    )
    known = set(trained)
    done = {copy: near for copy, near in copies.items() if near in known}
    near = looked_up(json.dumps(done), ExperienceRow.id)
    why = sa.literal("near copy of ").concat(near).concat(f", {reason}")
    values = {"status": ExperienceStatus.BELOW_THRESHOLD, "reason": why, "near_copy_of": near}
    _update_status(session, list(done), WAITING, values)


def leave_out(session: Session, experience_ids: Sequence[str], *, reason: str) -> None:
    """Take buffered experiences from the salience mass; they wait on."""
    values = {"status": ExperienceStatus.BELOW_THRESHOLD, "reason": reason}
    _update_status(session, experience_ids, [ExperienceStatus.BUFFERED], values)


def set_aside(session: Session, reasons: Mapping[str, str]) -> None:
    """Put what a cycle could not give its model aside, each with its reason: to train or measure.

    Args:
        reasons: By id, of experiences that the cycle took.
    """
    why = looked_up(json.dumps(dict(reasons)), ExperienceRow.id)
    values = {"status": ExperienceStatus.SET_ASIDE, "reason": why}
    _update_status(session, list(reasons), (*TAKEN, ExperienceStatus.BUFFERED), values)


def give_set_aside_back(session: Session, instance_id: int, min_salience: float) -> None:
    """Let an instance's experiences wait again that another model, or more room, may hold."""
    is_waiting = sa.case(
        (ExperienceRow.total < min_salience, ExperienceStatus.BELOW_THRESHOLD.value),
        (ExperienceRow.is_kept_out.is_(True), ExperienceStatus.HELD_OUT.value),
        else_=ExperienceStatus.BUFFERED.value,
    )
    session.execute(
        sa.update(ExperienceRow)
        .where(
            ExperienceRow.instance_id == instance_id,
            ExperienceRow.status == ExperienceStatus.SET_ASIDE,
        )
        .values(status=is_waiting, reason=None)
        .execution_options(synchronize_session=False)
    )


def release_claimed(
    session: Session, cycle_id: str, *, min_salience: float, counts_attempt: bool, reason: str
) -> int:
    """Give the cycle's experiences back; the third counted attempt quarantines.

    Args:
        min_salience: The instance's limit, which tells buffered from below_threshold.
        counts_attempt: False for a cancel, which is nobody's fault.
        reason: Kept with an experience that is quarantined.
    """
    values = _released(min_salience, counts_attempt=counts_attempt, reason=reason)
    return _update_claimed(session, cycle_id, values)


def release_consolidated(
    session: Session, cycle_id: str, *, min_salience: float, counts_attempt: bool, reason: str
) -> int:
    """As `release_claimed`, but of what was consumed: the checkpoint never went live."""
    values = _released(min_salience, counts_attempt=counts_attempt, reason=reason)
    return _update_trained(session, cycle_id, [ExperienceStatus.CONSOLIDATED], values)


def consolidate_released(session: Session, cycle_id: str) -> int:
    """Mark what a cycle had given back as consumed after all; returns how many."""
    return _update_trained(session, cycle_id, WAITING, _CONSOLIDATED)


def count_taken_again(session: Session, cycle_id: str) -> int:
    """How many of those a cycle gave back another cycle has learned, or claimed, since."""
    taken = (ExperienceStatus.CONSOLIDATED, ExperienceStatus.CLAIMED)
    query = sa.select(sa.func.count()).where(
        ExperienceRow.seq.in_(_trained_by(cycle_id)), ExperienceRow.status.in_(taken)
    )
    return session.scalars(query).one()


def regrade(session: Session, instance_id: int, min_salience: float) -> None:
    """Move waiting experiences across a changed salience limit, in both directions."""
    waiting = ExperienceRow.instance_id == instance_id
    moves: tuple[tuple[list[sa.ColumnElement[bool]], ExperienceStatus], ...] = (
        (
            [
                ExperienceRow.status.in_([ExperienceStatus.BUFFERED, ExperienceStatus.HELD_OUT]),
                ExperienceRow.total < min_salience,
            ],
            ExperienceStatus.BELOW_THRESHOLD,
        ),
        (
            [
                ExperienceRow.status == ExperienceStatus.BELOW_THRESHOLD,
                ExperienceRow.near_copy_of.is_(None),
                ExperienceRow.total >= min_salience,
                ExperienceRow.is_kept_out.is_(True),
            ],
            ExperienceStatus.HELD_OUT,
        ),
        (
            [
                ExperienceRow.status == ExperienceStatus.BELOW_THRESHOLD,
                ExperienceRow.near_copy_of.is_(None),
                ExperienceRow.total >= min_salience,
                ExperienceRow.is_kept_out.is_(False),
            ],
            ExperienceStatus.BUFFERED,
        ),
    )
    for conditions, status in moves:
        session.execute(
            sa.update(ExperienceRow)
            .where(waiting, *conditions)
            .values(status=status)
            .execution_options(synchronize_session=False)
        )


def _released(min_salience: float, *, counts_attempt: bool, reason: str) -> dict[str, Any]:
    attempts = ExperienceRow.attempts + (1 if counts_attempt else 0)
    is_spent = attempts >= MAX_ATTEMPTS if counts_attempt else sa.false()
    return {
        "attempts": attempts,
        "status": sa.case(
            (is_spent, ExperienceStatus.QUARANTINED.value),
            (ExperienceRow.total < min_salience, ExperienceStatus.BELOW_THRESHOLD.value),
            else_=ExperienceStatus.BUFFERED.value,
        ),
        "reason": sa.case((is_spent, reason), else_=ExperienceRow.reason),
    }


def _update_status(
    session: Session,
    experience_ids: Sequence[str],
    from_statuses: Collection[ExperienceStatus],
    values: Mapping[str, Any],
) -> None:
    session.execute(
        sa.update(ExperienceRow)
        .where(
            is_listed(ExperienceRow.id, experience_ids),
            ExperienceRow.status.in_(from_statuses),
        )
        .values(**values)
        .execution_options(synchronize_session=False)
    )


def _update_claimed(session: Session, cycle_id: str, values: Mapping[str, Any]) -> int:
    return _update_trained(session, cycle_id, [ExperienceStatus.CLAIMED], values)


def _update_trained(
    session: Session,
    cycle_id: str,
    from_statuses: Collection[ExperienceStatus],
    values: Mapping[str, Any],
) -> int:
    result = session.execute(
        sa.update(ExperienceRow)
        .where(
            ExperienceRow.seq.in_(_trained_by(cycle_id)),
            ExperienceRow.status.in_(from_statuses),
        )
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    return int(result.rowcount)  # type: ignore[attr-defined]  # CursorResult of an UPDATE


def _trained_by(cycle_id: str) -> sa.Select[int]:
    return sa.select(CycleExperienceRow.experience_seq).where(
        CycleExperienceRow.cycle_id == cycle_id,
        CycleExperienceRow.role == CycleRole.TRAIN.value,
    )
