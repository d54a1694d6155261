"""Reading, searching and erasing experiences."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from app.db import events, experiences, instances, lineage, sleep_cycles
from app.db.engine import Database
from app.db.paging import Page
from app.db.tables import CheckpointRow, CycleExperienceRow, ExperienceRow, SleepCycleRow
from app.domain.experience import ExperienceStatus
from app.domain.verbatim import without_copies
from app.errors import ExperienceInUse


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperienceView:
    """An experience with the cycles and checkpoints that hold it."""

    row: ExperienceRow
    instance: str
    uses: Sequence[tuple[CycleExperienceRow, SleepCycleRow, CheckpointRow | None]]


def get_experience(db: Database, experience_id: str) -> ExperienceView:
    """Return one experience. Raises: ExperienceNotFound."""
    with db.read() as session:
        row = experiences.get_experience(session, experience_id)
        return ExperienceView(
            row=row,
            instance=instances.get_instance_by_id(session, row.instance_id).slug,
            uses=experiences.list_cycles_of(session, row.seq),
        )


def list_experiences(
    db: Database,
    *,
    instance: str | None,
    status: str | None,
    session_name: str | None,
    session_number: int | None,
    phase: str | None,
    min_total: float | None,
    text: str | None,
    cursor: str | None,
    limit: int,
    within: Collection[str] | None = None,
) -> tuple[Page[ExperienceRow], dict[int, str]]:
    """One page of experiences, newest first, and the slugs of their instances.

    Args:
        within: Only of instances of these slugs; None for all. `instance` is one of them.
    """
    with db.read() as session:
        wanted = experiences.ExperienceFilter(
            instance_id=instances.get_instance(session, instance).id if instance else None,
            slugs=None if instance else within,
            status=status,
            session=session_name,
            session_number=session_number,
            phase=phase,
            min_total=min_total,
            text=text,
        )
        page = experiences.list_experiences(session, wanted, cursor=cursor, limit=limit)
        return page, instances.slugs_of(session, {row.instance_id for row in page.rows})


def erase_experience(
    db: Database, experience_id: str, *, now: datetime
) -> tuple[ExperienceRow, Sequence[CheckpointRow]]:
    """Remove an experience's text for good; twice is the same as once.

    The checkpoints trained on it, and those that went on from them, are marked: their weights
    still hold what they learned. Replies in their cycles' reports that repeat it word for word go
    too. What stays is hash, scores, provenance, and what a person wrote elsewhere (notes, reasons).

    Returns:
        The experience, and every checkpoint that learned from it, oldest first.

    Raises: ExperienceNotFound, ExperienceInUse while a cycle trains on it.
    """
    with db.write() as session:
        row = experiences.get_experience(session, experience_id)
        if experiences.is_in_active_cycle(session, row.seq):
            raise ExperienceInUse("A cycle works with this experience; cancel it or wait for it.")
        trained = lineage.list_trained_on(session, row.seq)
        if row.status != ExperienceStatus.ERASED:
            _taint(session, row, trained, now=now)
            experiences.erase(session, row.seq, reason="erased", now=now)
            events.append_event(
                session,
                type_="experience.erased",
                instance_id=row.instance_id,
                now=now,
                data={"experience_id": experience_id, "checkpoints": len(trained)},
            )
        session.expire_all()
        return (
            experiences.get_experience(session, experience_id),
            lineage.list_trained_on(session, row.seq),
        )


def _taint(
    session: Session, row: ExperienceRow, trained: Sequence[CheckpointRow], *, now: datetime
) -> None:
    """Mark the checkpoints, and take word-for-word copies out of what their cycles reported."""
    said = [row.prompt, row.response, *(str(turn.get("content", "")) for turn in row.history)]
    for checkpoint in trained:
        for holder in (checkpoint, sleep_cycles.get_cycle(session, checkpoint.cycle_id)):
            cleaned = without_copies(holder.metrics, said)
            if cleaned != holder.metrics:
                holder.metrics = cleaned
        if checkpoint.tainted_at is None:
            checkpoint.tainted_at = now
            events.append_event(
                session,
                type_="checkpoint.tainted",
                instance_id=row.instance_id,
                cycle_id=checkpoint.cycle_id,
                checkpoint_id=checkpoint.id,
                now=now,
                data={"experience_id": row.id},
            )
    session.flush()
