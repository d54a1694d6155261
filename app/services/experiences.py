"""Reading experiences: one, a page of them, and in a few numbers what an instance collected."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.db import experiences, instances, lineage
from app.db.engine import Database
from app.db.paging import Page
from app.db.tables import (
    CheckpointRow,
    CycleExperienceRow,
    ExperienceRow,
    SleepCycleRow,
    StatusTotalsRow,
)
from app.domain.experience import COUNTED_STATUSES, ExperienceStatus
from app.domain.salience import COMPONENTS, count_bins


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
            uses=lineage.list_cycles_of(session, row.seq),
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
    id_prefix: str | None = None,
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
            id_prefix=id_prefix,
        )
        page = experiences.list_experiences(session, wanted, cursor=cursor, limit=limit)
        return page, instances.slugs_of(session, {row.instance_id for row in page.rows})


SCORED_STATUSES = frozenset(ExperienceStatus) - {
    ExperienceStatus.FILTERED,
    ExperienceStatus.ERASED,
}
"""Statuses that salience averages are taken over: collapsed replies would distort them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperienceSummary:
    """The experiences that counted; `averages` is None before the first."""

    count: int
    salient: int
    averages: Mapping[str, float] | None
    oldest_at: datetime | None
    newest_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SalienceDistribution:
    """Counts by component, and of the total; `count` is how many experiences were looked at."""

    count: int
    dimensions: dict[str, list[int]]


def summarise_experiences(db: Database, slug: str, *, min_salience: float) -> ExperienceSummary:
    """Count and average; `salient` have at least this total. Raises: InstanceNotFound."""
    with db.read() as session:
        instance_id = instances.get_instance(session, slug).id
        by_status = instances.totals_by_status(session, [instance_id])[instance_id]
        totals = [total for status, total in by_status.items() if status in COUNTED_STATUSES]
        ends = experiences.find_ends(session, instance_id, COUNTED_STATUSES)
        times = [row.occurred_at or row.received_at for row in ends] if ends else [None, None]
        return ExperienceSummary(
            count=sum(total.count for total in totals),
            salient=experiences.count_salient(
                session, instance_id, COUNTED_STATUSES, min_total=min_salience
            ),
            averages=average_salience(totals),
            oldest_at=times[0],
            newest_at=times[1],
        )


def distribute_salience(db: Database, slug: str, *, newest: int) -> SalienceDistribution:
    """Spread the newest scored experiences over the bins. Raises: InstanceNotFound."""
    with db.read() as session:
        instance_id = instances.get_instance(session, slug).id
        rows = experiences.list_newest_scores(session, instance_id, SCORED_STATUSES, limit=newest)
    names = (*COMPONENTS, "total")
    return SalienceDistribution(
        count=len(rows),
        dimensions={name: count_bins(row[at] for row in rows) for at, name in enumerate(names)},
    )


def average_salience(totals: Sequence[StatusTotalsRow]) -> dict[str, float] | None:
    """Mean of each component and of the total over several statuses; None without experience."""
    count = sum(total.count for total in totals)
    if count == 0:
        return None
    return {
        name: sum(getattr(total, name) for total in totals) / count
        for name in (*COMPONENTS, "total")
    }
