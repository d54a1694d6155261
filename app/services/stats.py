"""What an operator sees at a glance: one summary per instance, at a cost that does not grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from app.db import checkpoints, instances, sleep_cycles
from app.db.engine import Database
from app.db.tables import CheckpointRow, SleepCycleRow, StatusTotalsRow
from app.domain.checkpoint import Alias
from app.domain.experience import ExperienceStatus
from app.domain.salience import COMPONENTS
from app.domain.sleep import CycleStatus, InstanceDefaults, SleepDecision
from app.services.instances import effective
from app.services.sleep import decide_within

SCORED_STATUSES = frozenset(ExperienceStatus) - {
    ExperienceStatus.FILTERED,
    ExperienceStatus.ERASED,
}
"""Statuses that salience averages are taken over: collapsed replies would distort them."""

ENDED = tuple(status for status in CycleStatus if not status.is_active)


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceStats:
    """The summary of one instance."""

    instance: str
    counts: Mapping[str, int]
    decision: SleepDecision
    salience_averages: Mapping[str, float] | None
    last_exchange_at: datetime | None
    last_cycle: SleepCycleRow | None
    running_cycle: SleepCycleRow | None
    current_checkpoint: CheckpointRow | None


def collect_stats(
    db: Database, *, instance: str | None, defaults: InstanceDefaults, now: datetime
) -> list[InstanceStats]:
    """Summarise one instance, or all. Raises: InstanceNotFound."""
    with db.read() as session:
        rows = (
            [instances.get_instance(session, instance)]
            if instance
            else instances.list_instances(session)
        )
        return [_summarise(session, row.slug, defaults, now=now) for row in rows]


def _summarise(
    session: Session, slug: str, defaults: InstanceDefaults, *, now: datetime
) -> InstanceStats:
    row = instances.get_instance(session, slug)
    totals = instances.totals_by_status(session, row.id)
    current = checkpoints.find_alias_target(session, row.id, Alias.CURRENT)
    return InstanceStats(
        instance=slug,
        counts={
            status.value: totals[status].count if status in totals else 0
            for status in ExperienceStatus
        },
        decision=decide_within(session, effective(row, defaults), now=now),
        salience_averages=_averages(
            [total for status, total in totals.items() if status in SCORED_STATUSES]
        ),
        last_exchange_at=row.last_exchange_at,
        last_cycle=sleep_cycles.find_last_ended(session, row.id, ENDED),
        running_cycle=sleep_cycles.find_active(session, row.id),
        current_checkpoint=checkpoints.get_checkpoint(session, current) if current else None,
    )


def _averages(totals: Sequence[StatusTotalsRow]) -> dict[str, float] | None:
    count = sum(total.count for total in totals)
    if count == 0:
        return None
    return {
        name: sum(getattr(total, name) for total in totals) / count
        for name in (*COMPONENTS, "total")
    }
