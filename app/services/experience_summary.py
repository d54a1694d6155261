"""What an instance has collected, in a few numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from app.db import experiences, instances
from app.db.engine import Database
from app.domain.experience import COUNTED_STATUSES
from app.services.stats import average_salience


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperienceSummary:
    """The experiences that counted; `averages` is None before the first."""

    count: int
    salient: int
    averages: Mapping[str, float] | None
    oldest_at: datetime | None
    newest_at: datetime | None


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
