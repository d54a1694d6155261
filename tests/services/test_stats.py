"""Statistics and due instances, many at once: the same answers as one at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.db.engine import Database
from app.db.tables import InstanceRow
from app.domain.decision import Trigger
from app.domain.exchange import Exchange
from app.domain.progress import CycleStatus
from app.services import cycle_run, decisions, sleep
from app.services.ingest import Submission, ingest_many
from app.services.instances import put_instance
from app.services.stats import collect_stats, overlook
from tests.publishing import publish
from tests.support import make_exchange

NOW = datetime(2026, 1, 18, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=2)
COUNTS = {"heavy": 40, "light": 5, "own-limit": 5, "asleep": 40, "empty": 0}


@pytest.fixture(autouse=True)
def _five_instances(db: Database) -> None:
    """One over the threshold, one under it, one under it with a limit of its own, one at it."""
    own = {"policy": {"mass_threshold": 1.0, "min_experiences": 1}}
    for slug, count in COUNTS.items():
        values = own if slug == "own-limit" else {}
        put_instance(db, slug, values, now=NOW)
        submissions = [
            Submission(exchange=Exchange(**make_exchange(n, instance=slug))) for n in range(count)
        ]
        ingest_many(db, submissions, now=NOW)
    request = sleep.CycleRequest(instance="asleep", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(db, request, now=NOW)
    sleep.cancel_cycle(db, cycle.id, now=NOW)
    sleep.request_cycle(db, request, now=NOW)


def due(db: Database, slugs: set[str] | None = None) -> list[str]:
    return decisions.list_due(db, slugs=slugs, now=LATER)


def test_due_are_those_that_the_decision_says_are_due(db: Database) -> None:
    one_by_one = [
        slug for slug in sorted(COUNTS) if decisions.get_decision(db, slug, now=LATER).is_due
    ]
    assert due(db) == one_by_one == ["heavy", "own-limit"]
    assert due(db, {"heavy", "light", "nobody"}) == ["heavy"]
    assert decisions.list_due(db, slugs=None, now=NOW) == []


def test_instance_with_unreadable_settings_does_not_keep_others_awake(db: Database) -> None:
    with db.write() as session:
        session.execute(
            sa.update(InstanceRow).where(InstanceRow.slug == "heavy").values(timezone="Nowhere")
        )
    assert due(db) == ["heavy", "own-limit"]


def test_pages_of_statistics_are_the_statistics_of_each(db: Database) -> None:
    slugs = sorted([*COUNTS, "default"])
    alone = [collect_stats(db, instance=slug, now=LATER)[0].decision for slug in slugs]
    first = collect_stats(db, instance=None, now=LATER, limit=4)
    rest = collect_stats(db, instance=None, now=LATER, after=first[-1].instance)
    together = [*first, *rest]
    assert [item.instance for item in together] == slugs
    assert [item.decision for item in together] == alone
    by_slug = {item.instance: item for item in together}
    assert by_slug["asleep"].running_cycle is not None
    assert by_slug["asleep"].last_cycle is not None
    assert by_slug["asleep"].last_cycle.number == 1
    assert by_slug["heavy"].running_cycle is by_slug["heavy"].last_cycle is None


def test_overview_names_what_runs_of_all_that_may_be_seen_and_runs_first(
    db: Database, data_dir: Path
) -> None:
    request = sleep.CycleRequest(instance="heavy", trigger=Trigger.REQUEST, is_forced=True)
    running = sleep.request_cycle(db, request, now=LATER)
    cycle_run.start_cycle(db, running.id, worker_id="w", now=LATER)
    publish(db, data_dir / "checkpoints", range(20))
    found = overlook(db)
    assert [(slug, row.status) for slug, row in found.active] == [
        ("heavy", CycleStatus.TRAINING),
        ("asleep", CycleStatus.QUEUED),
    ]
    assert found.instance_count == len(COUNTS) + 1
    assert found.checkpoints_bytes > 0
    bound = overlook(db, within={"asleep", "light"}, name_part="L")
    assert [slug for slug, _ in bound.active] == ["asleep"]
    assert (bound.instance_count, bound.checkpoints_bytes) == (2, 0)
    assert overlook(db, within=(), name_part=None).active == []
