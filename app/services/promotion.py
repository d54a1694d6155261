"""The aliases of an instance: where they point, and who moves them: promotion, dismissal, rollback.

The moves themselves, which reports and damage make too, are in `app.services.alias_moves`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from app.db import checkpoints, events, instances, sleep_cycles, statuses
from app.db.engine import Database
from app.db.tables import AliasHistoryRow, AliasRow, CheckpointRow
from app.domain.checkpoint import Alias, AliasAction, CheckpointStatus
from app.domain.decision import Trigger
from app.domain.events import CandidateMoved, EventType
from app.domain.stored import to_json
from app.errors import AliasesChanged, CheckpointNotPromotable, NoCandidate
from app.services.alias_moves import give_back_within, move_within, promote_within, roll_back_within
from app.services.file_guard import FileGuard


@dataclass(frozen=True, kw_only=True, slots=True)
class AliasesView:
    """The aliases of an instance; the revision grows with every move."""

    instance: str
    revision: int
    aliases: Sequence[AliasRow]


def get_aliases(db: Database, slug: str) -> AliasesView:
    """The aliases of an instance. Raises: InstanceNotFound."""
    with db.read() as session:
        return _aliases(session, instances.get_instance(session, slug).id)


def list_alias_history(
    db: Database, slug: str, *, before_seq: int | None, limit: int
) -> Sequence[AliasHistoryRow]:
    """Moves of an instance's aliases, newest first; one more than `limit` if there are more."""
    with db.read() as session:
        instance = instances.get_instance(session, slug)
        return checkpoints.list_alias_history(
            session, instance.id, before_seq=before_seq, limit=limit
        )


def promote(
    db: Database,
    checkpoint_id: str,
    *,
    guard: FileGuard,
    is_forced: bool,
    actor: str,
    reason: str | None,
    expected_revisions: frozenset[int] | None,
    now: datetime,
) -> AliasesView:
    """Make a checkpoint `current`, and what was current `previous`.

    What was never live takes the place of what was current when its cycle began, and of nothing
    else: it has not learned what another current has. A candidate that was dismissed, or that a
    later one took the place of, gave its experiences back; where another cycle has taken them
    since, they would be learned twice.

    Forced, a checkpoint that live reports took back is as good as new: the mark goes, and only
    reports from now on count.

    Args:
        guard: Looks at the files before they go live, outside of the transaction.
        is_forced: Promote although the verdict is not accepted, live reports took the checkpoint
            back, it was never live and `current` moved since its cycle began, or another cycle
            has taken what it gave back; then a reason is required.
        expected_revisions: Revisions of the aliases to act on (If-Match); None for any.

    Raises: CheckpointNotFound, CheckpointNotPromotable, AliasesChanged, CheckpointFilesUnreadable.
    """
    guard.check_promotion(checkpoint_id, now=now)
    with db.write() as session:
        row = checkpoints.get_checkpoint(session, checkpoint_id)
        _check_promotable(row, is_forced=is_forced, reason=reason)
        _check_revision(session, row.instance_id, expected_revisions)
        if not (is_forced and reason):
            _check_first_promotion(session, row)
        if row.regressed_at is not None:
            checkpoints.update_checkpoint(session, row.id, {"regressed_at": None})
            row = checkpoints.get_checkpoint(session, checkpoint_id)
        promote_within(session, row, actor=actor, reason=reason, now=now)
        return _aliases(session, row.instance_id)


def dismiss_candidate(
    db: Database,
    slug: str,
    *,
    actor: str,
    reason: str | None,
    expected_revisions: frozenset[int] | None,
    now: datetime,
) -> AliasesView:
    """Refuse the `candidate`, as the gate would: its experiences go back with an attempt counted.

    Raises: InstanceNotFound, NoCandidate, AliasesChanged.
    """
    with db.write() as session:
        instance = instances.get_instance(session, slug)
        _check_revision(session, instance.id, expected_revisions)
        candidate = checkpoints.find_alias_target(session, instance.id, Alias.CANDIDATE)
        if candidate is None:
            raise NoCandidate(f"{slug} has no candidate to dismiss.", instance=slug)
        moves: list[tuple[Alias, str | None]] = [(Alias.CANDIDATE, None)]
        move_within(
            session,
            instance.id,
            moves,
            AliasAction.DISMISS,
            actor=actor,
            reason=reason,
            now=now,
        )
        give_back_within(
            session,
            candidate,
            counts_attempt=True,
            reason=f"dismissed by {actor}: {reason or 'no reason given'}",
        )
        events.append_event(
            session,
            type_=EventType.CHECKPOINT_DISMISSED,
            instance_id=instance.id,
            checkpoint_id=candidate,
            now=now,
            facts=CandidateMoved(actor=actor, reason=reason),
        )
        return _aliases(session, instance.id)


def rollback(
    db: Database,
    slug: str,
    *,
    guard: FileGuard,
    actor: str,
    reason: str | None,
    expected_revisions: frozenset[int] | None,
    now: datetime,
) -> AliasesView:
    """Take `current` one promotion back; before the first stands the bare base model.

    Args:
        guard: Looks at the files of what it leads to, outside of the transaction.

    Raises: InstanceNotFound, NoPreviousCheckpoint, AliasesChanged, CheckpointFilesUnreadable.
    """
    guard.check_rollback(slug, now=now)
    with db.write() as session:
        instance = instances.get_instance(session, slug)
        _check_revision(session, instance.id, expected_revisions)
        roll_back_within(
            session, instance, actor=actor, reason=reason, passes_over_tainted=False, now=now
        )
        return _aliases(session, instance.id)


def _check_promotable(row: CheckpointRow, *, is_forced: bool, reason: str | None) -> None:
    if row.status != CheckpointStatus.READY:
        raise CheckpointNotPromotable(
            f"The files of checkpoint {row.id} are gone or altered."
            if row.status == CheckpointStatus.DAMAGED
            else f"The files of checkpoint {row.id} were deleted."
        )
    if is_forced and reason:
        return
    remedy = "to promote it all the same, send force and a reason."
    if not row.verdict.is_accepted:
        raise CheckpointNotPromotable(
            f"The gate rejected checkpoint {row.id} ({'; '.join(row.verdict.failed)}); {remedy}",
            verdict=to_json(row.verdict),
        )
    if row.regressed_at is not None:
        raise CheckpointNotPromotable(
            f"Session reports took checkpoint {row.id} back at {row.regressed_at:%Y-%m-%d %H:%M} "
            f"UTC (GET /v1/checkpoints/{row.id}/reports); {remedy}",
            regressed_at=row.regressed_at.isoformat(),
        )


def _check_first_promotion(session: Session, row: CheckpointRow) -> None:
    """What goes live for the first time replaces what it was made to, and is learned once."""
    if checkpoints.was_ever_current(session, row):
        return
    cycle = sleep_cycles.get_cycle(session, row.cycle_id)
    plan = cycle.plan
    current = checkpoints.find_alias_target(session, row.instance_id, Alias.CURRENT)
    if plan.replaces_checkpoint_id != current:
        raise CheckpointNotPromotable(
            f"Checkpoint {row.id} was made to replace {plan.replaces_checkpoint_id or 'the base'}, "
            f"and current is {current or 'the base'} now; to promote it all the same, send force "
            "and a reason.",
            replaces=plan.replaces_checkpoint_id,
            current=current,
        )
    is_candidate = row.id == checkpoints.find_alias_target(
        session, row.instance_id, Alias.CANDIDATE
    )
    if is_candidate or cycle.trigger == Trigger.REBUILD:  # neither gave anything back
        return
    if taken := statuses.count_taken_again(session, row.cycle_id):
        raise CheckpointNotPromotable(
            f"Checkpoint {row.id} was a candidate and gave its experiences back, and another cycle "
            f"has taken {taken} of them since; to promote it all the same and learn them twice, "
            "send force and a reason.",
            taken=taken,
        )


def _check_revision(session: Session, instance_id: int, expected: frozenset[int] | None) -> None:
    found = checkpoints.alias_revision(session, instance_id)
    if expected is not None and found not in expected:
        raise AliasesChanged(
            "The aliases moved since you read them; read them again and decide anew.",
            expected=sorted(expected),
            found=found,
        )


def _aliases(session: Session, instance_id: int) -> AliasesView:
    return AliasesView(
        instance=instances.get_instance_by_id(session, instance_id).slug,
        revision=checkpoints.alias_revision(session, instance_id),
        aliases=checkpoints.list_aliases(session, instance_id),
    )
