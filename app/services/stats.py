"""What an operator sees at a glance: one summary per instance, at a cost that does not grow.

Every query is about a page of instances at once, so a page costs as many queries as one of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from app.db import checkpoints, instances, sleep_cycles
from app.db.engine import Database
from app.db.tables import CheckpointRow, InstanceRow, SleepCycleRow
from app.domain.checkpoint import Alias
from app.domain.decision import SleepDecision
from app.domain.experience import ExperienceStatus
from app.domain.progress import CycleStatus
from app.services.decisions import decide_many_within
from app.services.experiences import SCORED_STATUSES, average_salience
from app.services.instances import effective

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """What of all instances stands beside a page of them.

    `active`: queued and running cycles with the slugs of their instances, the running one first.
    """

    instance_count: int
    active: Sequence[tuple[str, SleepCycleRow]]
    checkpoints_bytes: int


def overlook(
    db: Database,
    *,
    instance: str | None = None,
    within: Collection[str] | None = None,
    name_part: str | None = None,
) -> Overview:
    """What runs and waits in all instances within, and how many have that name."""
    with db.read() as session:
        active = sleep_cycles.list_active(session, within=within)
        slugs = instances.slugs_of(session, {row.instance_id for row in active})
        return Overview(
            instance_count=1
            if instance
            else instances.count_instances(session, within=within, name_part=name_part),
            active=[(slugs[row.instance_id], row) for row in active],
            checkpoints_bytes=checkpoints.sum_sizes(session, within=within),
        )


def collect_stats(
    db: Database,
    *,
    instance: str | None,
    now: datetime,
    within: Collection[str] | None = None,
    name_part: str | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> list[InstanceStats]:
    """Summarise one instance, or so many by slug. Raises: InstanceNotFound.

    Args:
        within: Only of these slugs; None for all.
        name_part: Only slugs that hold this; None for all.
        after: Begin behind this slug.
        limit: None for all.
    """
    with db.read() as session:
        rows = (
            [instances.get_instance(session, instance)]
            if instance
            else instances.list_instances(
                session, within=within, name_part=name_part, after=after, limit=limit
            )
        )
        return _summarise(session, rows, now=now)


def _summarise(
    session: Session, rows: Sequence[InstanceRow], *, now: datetime
) -> list[InstanceStats]:
    ids = [row.id for row in rows]
    totals = instances.totals_by_status(session, ids)
    decisions = decide_many_within(session, [effective(session, row) for row in rows], now=now)
    last = sleep_cycles.last_ended_by_instance(session, ids, ENDED)
    active = sleep_cycles.active_by_instance(session, ids)
    current = checkpoints.alias_targets_by_instance(session, ids, Alias.CURRENT)
    return [
        InstanceStats(
            instance=row.slug,
            counts={
                status.value: totals[row.id][status].count if status in totals[row.id] else 0
                for status in ExperienceStatus
            },
            decision=decision,
            salience_averages=average_salience(
                [total for status, total in totals[row.id].items() if status in SCORED_STATUSES]
            ),
            last_exchange_at=row.last_exchange_at,
            last_cycle=last.get(row.id),
            running_cycle=active.get(row.id),
            current_checkpoint=current.get(row.id),
        )
        for row, decision in zip(rows, decisions, strict=True)
    ]
