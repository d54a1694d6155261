"""The registry of checkpoints: reading them, opening their files, notes and deletion."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.artifacts import directories
from app.artifacts.archive import Archive, build_archive
from app.db import checkpoints, events, instances, lineage, sleep_cycles
from app.db.engine import Database
from app.db.paging import Page
from app.db.tables import CheckpointRow
from app.domain.checkpoint import Alias, CheckpointFile, CheckpointStatus
from app.domain.events import CheckpointDeleted, EventType
from app.domain.experience import CycleRole
from app.domain.export import OF_CHECKPOINTS
from app.domain.provenance import LineageUse, Provenance
from app.errors import CheckpointDamaged, CheckpointFileNotFound, CheckpointInUse


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointView:
    """A checkpoint with what else is known of it."""

    row: CheckpointRow
    instance: str
    cycle_number: int
    aliases: Sequence[str]


def get_checkpoint(db: Database, checkpoint_id: str) -> CheckpointView:
    """Return one checkpoint. Raises: CheckpointNotFound."""
    with db.read() as session:
        return view_within(session, checkpoint_id)


def view_within(session: Session, checkpoint_id: str) -> CheckpointView:
    """The same within a transaction. Raises: CheckpointNotFound."""
    return _view(session, checkpoints.get_checkpoint(session, checkpoint_id))


def list_provenance(db: Database, checkpoint_id: str) -> list[Provenance]:
    """Every experience a checkpoint's cycle used, with role and weight.

    Raises: CheckpointNotFound.
    """
    with db.read() as session:
        row = checkpoints.get_checkpoint(session, checkpoint_id)
        return [
            Provenance(
                experience_id=experience_id,
                role=CycleRole(used.role),
                position=used.position,
                weight=used.weight,
            )
            for used, experience_id in lineage.list_experiences_of(session, row.cycle_id)
        ]


def list_uses(
    db: Database,
    checkpoint_id: str,
    *,
    with_ancestors: bool,
    role: CycleRole | None,
    after: lineage.UsePlace | None,
    limit: int,
) -> list[LineageUse]:
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
    id_prefix: str | None = None,
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
            id_prefix=id_prefix,
        )
        return [_view(session, row) for row in page.rows], page.next_cursor


def find_file(view: CheckpointView, name: str) -> CheckpointFile:
    """The checkpoint's file of this name, as the registry knows it.

    Raises: CheckpointFileNotFound, also when the checkpoint was deleted; CheckpointDamaged.
    """
    _demand_undamaged(view.row)
    for file in view.row.files:
        if file.name == name and view.row.status == CheckpointStatus.READY:
            return file
    raise CheckpointFileNotFound(
        f"Checkpoint {view.row.id} ({view.row.status}) has no file {name!r}.",
        files=[*(file.name for file in view.row.files), *(name.value for name in OF_CHECKPOINTS)],
    )


def open_archive(view: CheckpointView, root: Path) -> Archive:
    """The checkpoint as one tar.

    Raises: CheckpointFileNotFound when it was deleted, CheckpointDamaged.
    """
    _demand_undamaged(view.row)
    if view.row.status != CheckpointStatus.READY:
        raise CheckpointFileNotFound(f"The files of checkpoint {view.row.id} were deleted.")
    return build_archive(root / view.row.name, view.row.name.replace("/", "-"), view.row.files)


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
        if active is not None and active.plan.parent_checkpoint_id == checkpoint_id:
            raise CheckpointInUse(f"Cycle {active.number} starts from this checkpoint.")
        if row.status != CheckpointStatus.DELETED:
            checkpoints.update_checkpoint(
                session, row.id, {"status": CheckpointStatus.DELETED, "deleted_at": now}
            )
            events.append_event(
                session,
                type_=EventType.CHECKPOINT_DELETED,
                instance_id=row.instance_id,
                checkpoint_id=checkpoint_id,
                now=now,
                facts=CheckpointDeleted(actor=actor),
            )
        name = row.name
    directories.remove(root, name)


def _demand_undamaged(row: CheckpointRow) -> None:
    if row.status == CheckpointStatus.DAMAGED:
        raise CheckpointDamaged(
            f"Files of checkpoint {row.id} are gone or altered, so it is not served; "
            "`sage-sleep restore` brings them back from a backup."
        )


def _view(session: Session, row: CheckpointRow) -> CheckpointView:
    return CheckpointView(
        row=row,
        instance=instances.get_instance_by_id(session, row.instance_id).slug,
        cycle_number=sleep_cycles.get_cycle(session, row.cycle_id).number,
        aliases=checkpoints.list_aliases_of(session, row.id),
    )
