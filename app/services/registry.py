"""The registry: checkpoints, the aliases that point at them, promotion and rollback."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app import artifacts
from app.db import checkpoints, events, experiences, instances, lineage, sleep_cycles
from app.db.engine import Database
from app.db.paging import Page
from app.db.tables import (
    AliasHistoryRow,
    AliasRow,
    CheckpointRow,
    CycleExperienceRow,
)
from app.domain.checkpoint import (
    Alias,
    AliasAction,
    CheckpointFile,
    CheckpointStatus,
)
from app.domain.decision import Trigger
from app.domain.experience import CycleRole
from app.domain.gate import VerdictStatus
from app.domain.plan import CyclePlan
from app.errors import (
    AliasesChanged,
    ArtifactError,
    CheckpointDamaged,
    CheckpointFileNotFound,
    CheckpointInUse,
    CheckpointNotPromotable,
    NoCandidate,
)
from app.services.alias_moves import (
    give_back_within,
    move_within,
    promote_within,
    roll_back_within,
)
from app.services.instances import load_effective


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointView:
    """A checkpoint with what else is known of it."""

    row: CheckpointRow
    instance: str
    cycle_number: int
    aliases: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class AliasesView:
    """The aliases of an instance; the revision grows with every move."""

    instance: str
    revision: int
    aliases: Sequence[AliasRow]


def get_checkpoint(db: Database, checkpoint_id: str) -> CheckpointView:
    """Return one checkpoint. Raises: CheckpointNotFound."""
    with db.read() as session:
        return _view(session, checkpoints.get_checkpoint(session, checkpoint_id))


def list_provenance(db: Database, checkpoint_id: str) -> list[tuple[CycleExperienceRow, str]]:
    """Every experience a checkpoint's cycle used, with role and weight.

    Raises: CheckpointNotFound.
    """
    with db.read() as session:
        row = checkpoints.get_checkpoint(session, checkpoint_id)
        return [
            (used, experience_id)
            for used, experience_id in experiences.list_experiences_of(session, row.cycle_id)
        ]


def list_uses(
    db: Database,
    checkpoint_id: str,
    *,
    with_ancestors: bool,
    role: CycleRole | None,
    after: lineage.UsePlace | None,
    limit: int,
) -> list[lineage.LineageUse]:
    """Experiences a checkpoint was made with, its own cycle's first; one more if there are more.

    Args:
        with_ancestors: Also those its ancestors were made with, whose adapter it went on from.

    Raises: CheckpointNotFound.
    """
    with db.read() as session:
        checkpoints.get_checkpoint(session, checkpoint_id)
        return lineage.list_uses(
            session,
            checkpoint_id,
            with_ancestors=with_ancestors,
            role=role,
            after=after,
            limit=limit,
        )


def list_checkpoints(
    db: Database,
    *,
    instance: str | None,
    status: str | None,
    cursor: str | None,
    limit: int,
    within: Collection[str] | None = None,
) -> tuple[list[CheckpointView], str | None]:
    """One page of checkpoints, newest first, and the next cursor.

    Args:
        within: Only of instances of these slugs; None for all. `instance` is one of them.
    """
    with db.read() as session:
        instance_id = instances.get_instance(session, instance).id if instance else None
        page: Page[CheckpointRow] = checkpoints.list_checkpoints(
            session,
            instance_id=instance_id,
            slugs=None if instance else within,
            status=status,
            cursor=cursor,
            limit=limit,
        )
        return [_view(session, row) for row in page.rows], page.next_cursor


def find_file(view: CheckpointView, name: str) -> CheckpointFile:
    """The checkpoint's file of this name, as the registry knows it.

    Raises: CheckpointFileNotFound, also when the checkpoint was deleted; CheckpointDamaged.
    """
    _demand_undamaged(view.row)
    for file in _files(view.row):
        if file.name == name and view.row.status == CheckpointStatus.READY:
            return file
    raise CheckpointFileNotFound(
        f"Checkpoint {view.row.id} ({view.row.status}) has no file {name!r}.",
        files=[file.name for file in _files(view.row)],
    )


def open_archive(view: CheckpointView, root: Path) -> artifacts.Archive:
    """The checkpoint as one tar.

    Raises: CheckpointFileNotFound when it was deleted, CheckpointDamaged.
    """
    _demand_undamaged(view.row)
    if view.row.status != CheckpointStatus.READY:
        raise CheckpointFileNotFound(f"The files of checkpoint {view.row.id} were deleted.")
    return artifacts.build_archive(
        root / view.row.name, view.row.name.replace("/", "-"), _files(view.row)
    )


def promote(
    db: Database,
    checkpoint_id: str,
    *,
    root: Path,
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
        root: Where checkpoints lie; the files are verified before they go live.
        is_forced: Promote although the verdict is not accepted, live reports took the checkpoint
            back, it was never live and `current` moved since its cycle began, or another cycle
            has taken what it gave back; then a reason is required.
        expected_revisions: Revisions of the aliases to act on (If-Match); None for any.

    Raises: CheckpointNotFound, CheckpointNotPromotable, AliasesChanged.
    """
    seen = get_checkpoint(db, checkpoint_id).row
    _check_promotable(seen, is_forced=is_forced, reason=reason)
    _verify_files(seen, root)
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
        instance = load_effective(session, slug)
        _check_revision(session, instance.row.id, expected_revisions)
        candidate = checkpoints.find_alias_target(session, instance.row.id, Alias.CANDIDATE)
        if candidate is None:
            raise NoCandidate(f"{slug} has no candidate to dismiss.", instance=slug)
        moves: list[tuple[Alias, str | None]] = [(Alias.CANDIDATE, None)]
        move_within(
            session,
            instance.row.id,
            moves,
            AliasAction.DISMISS,
            actor=actor,
            reason=reason,
            now=now,
        )
        give_back_within(
            session,
            candidate,
            min_salience=instance.policy.min_salience,
            counts_attempt=True,
            reason=f"dismissed by {actor}: {reason or 'no reason given'}",
        )
        events.append_event(
            session,
            type_="checkpoint.dismissed",
            instance_id=instance.row.id,
            checkpoint_id=candidate,
            now=now,
            data={"actor": actor, "reason": reason},
        )
        return _aliases(session, instance.row.id)


def rollback(
    db: Database,
    slug: str,
    *,
    actor: str,
    reason: str | None,
    expected_revisions: frozenset[int] | None,
    now: datetime,
) -> AliasesView:
    """Take `current` one promotion back; before the first stands the bare base model.

    Raises: InstanceNotFound, NoPreviousCheckpoint, AliasesChanged.
    """
    with db.write() as session:
        instance = instances.get_instance(session, slug)
        _check_revision(session, instance.id, expected_revisions)
        roll_back_within(
            session, instance, actor=actor, reason=reason, passes_over_tainted=False, now=now
        )
        return _aliases(session, instance.id)


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


def annotate_checkpoint(
    db: Database, checkpoint_id: str, values: Mapping[str, Any]
) -> CheckpointView:
    """Change a checkpoint's note or pin. Raises: CheckpointNotFound."""
    with db.write() as session:
        row = checkpoints.get_checkpoint(session, checkpoint_id)
        if values:
            checkpoints.update_checkpoint(session, row.id, values)
        return _view(session, checkpoints.get_checkpoint(session, checkpoint_id))


def delete_checkpoint(
    db: Database, checkpoint_id: str, *, root: Path, now: datetime, actor: str = "api"
) -> None:
    """Delete a checkpoint's files; its row stays for the record. Twice is the same as once.

    Raises: CheckpointNotFound, CheckpointInUse.
    """
    with db.write() as session:
        row = checkpoints.get_checkpoint(session, checkpoint_id)
        names = checkpoints.list_aliases_of(session, checkpoint_id)
        if names:
            way = "dismiss it" if names == [Alias.CANDIDATE] else "promote another"
            raise CheckpointInUse(
                f"Checkpoint {checkpoint_id} is {' and '.join(names)}; {way} first.",
                aliases=names,
            )
        if row.is_pinned:
            raise CheckpointInUse(f"Checkpoint {checkpoint_id} is pinned; unpin it first.")
        active = sleep_cycles.find_active(session, row.instance_id)
        if active is not None and active.plan["parent_checkpoint_id"] == checkpoint_id:
            raise CheckpointInUse(f"Cycle {active.number} starts from this checkpoint.")
        if row.status != CheckpointStatus.DELETED:
            checkpoints.update_checkpoint(
                session, row.id, {"status": CheckpointStatus.DELETED, "deleted_at": now}
            )
            events.append_event(
                session,
                type_="checkpoint.deleted",
                instance_id=row.instance_id,
                checkpoint_id=checkpoint_id,
                now=now,
                data={"actor": actor},
            )
        name = row.name
    artifacts.remove(root, name)


def list_deleted_names(db: Database) -> frozenset[str]:
    """Directory names of every checkpoint whose files should be gone."""
    with db.read() as session:
        return checkpoints.list_deleted_names(session)


def list_names(db: Database) -> frozenset[str]:
    """Directory names of every checkpoint whose files belong there."""
    with db.read() as session:
        return checkpoints.list_names(session)


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
    if row.verdict.get("status") != VerdictStatus.ACCEPTED:
        failed = [check["text"] for check in row.verdict.get("checks", ()) if not check["passed"]]
        raise CheckpointNotPromotable(
            f"The gate refused checkpoint {row.id} ({'; '.join(failed)}); {remedy}"
            if failed
            else f"No gate has accepted checkpoint {row.id}; {remedy}",
            verdict=row.verdict,
        )
    if row.regressed_at is not None:
        raise CheckpointNotPromotable(
            f"Session reports took checkpoint {row.id} back at {row.regressed_at:%Y-%m-%d %H:%M} "
            f"UTC (GET /v1/checkpoints/{row.id}/reports); {remedy}",
            regressed_at=row.regressed_at.isoformat(),
        )


def _demand_undamaged(row: CheckpointRow) -> None:
    if row.status == CheckpointStatus.DAMAGED:
        raise CheckpointDamaged(
            f"Files of checkpoint {row.id} are gone or altered, so it is not served; "
            "`sage-sleep restore` brings them back from a backup."
        )


def _check_first_promotion(session: Session, row: CheckpointRow) -> None:
    """What goes live for the first time replaces what it was made to, and is learned once."""
    if checkpoints.was_ever_current(session, row):
        return
    cycle = sleep_cycles.get_cycle(session, row.cycle_id)
    plan = CyclePlan.from_json(cycle.plan)
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
    if taken := experiences.count_taken_again(session, row.cycle_id):
        raise CheckpointNotPromotable(
            f"Checkpoint {row.id} was a candidate and gave its experiences back, and another cycle "
            f"has taken {taken} of them since; to promote it all the same and learn them twice, "
            "send force and a reason.",
            taken=taken,
        )


def _verify_files(row: CheckpointRow, root: Path) -> None:
    try:
        artifacts.verify(root, row.name, _files(row))
    except ArtifactError as error:
        raise CheckpointNotPromotable(f"Checkpoint {row.id}: {error.message}") from error


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


def _view(session: Session, row: CheckpointRow) -> CheckpointView:
    return CheckpointView(
        row=row,
        instance=instances.get_instance_by_id(session, row.instance_id).slug,
        cycle_number=sleep_cycles.get_cycle(session, row.cycle_id).number,
        aliases=checkpoints.list_aliases_of(session, row.id),
    )


def _files(row: CheckpointRow) -> list[CheckpointFile]:
    return [CheckpointFile(**file) for file in row.files]
