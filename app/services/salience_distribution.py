"""How the salience of what an instance said of late is spread over its range."""

from __future__ import annotations

from dataclasses import dataclass

from app.db import experiences, instances
from app.db.engine import Database
from app.domain.salience import COMPONENTS, count_bins
from app.services.stats import SCORED_STATUSES


@dataclass(frozen=True, kw_only=True, slots=True)
class SalienceDistribution:
    """Counts by component, and of the total; `count` is how many experiences were looked at."""

    count: int
    dimensions: dict[str, list[int]]


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
