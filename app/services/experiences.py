"""Reading, searching and erasing experiences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.db import events, experiences, instances
from app.db.engine import Database
from app.db.paging import Page
from app.db.tables import CheckpointRow, CycleExperienceRow, ExperienceRow, SleepCycleRow
from app.domain.experience import ExperienceStatus
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
) -> tuple[Page[ExperienceRow], dict[int, str]]:
    """One page of experiences, newest first, and the slugs of their instances."""
    with db.read() as session:
        wanted = experiences.ExperienceFilter(
            instance_id=instances.get_instance(session, instance).id if instance else None,
            status=status,
            session=session_name,
            session_number=session_number,
            phase=phase,
            min_total=min_total,
            text=text,
        )
        page = experiences.list_experiences(session, wanted, cursor=cursor, limit=limit)
        return page, instances.slugs_of(session, {row.instance_id for row in page.rows})


def erase_experience(db: Database, experience_id: str, *, now: datetime) -> ExperienceView:
    """Remove an experience's text for good; twice is the same as once.

    Returns:
        The experience with the cycles and checkpoints that were trained on it.

    Raises: ExperienceNotFound, ExperienceInUse while a cycle trains on it.
    """
    with db.write() as session:
        row = experiences.get_experience(session, experience_id)
        if experiences.is_in_active_cycle(session, row.seq):
            raise ExperienceInUse("A cycle works with this experience; cancel it or wait for it.")
        if row.status != ExperienceStatus.ERASED:
            experiences.erase(session, row.seq, now=now)
            events.append_event(
                session,
                type_="experience.erased",
                instance_id=row.instance_id,
                now=now,
                data={"experience_id": experience_id},
            )
    return get_experience(db, experience_id)
