"""What a scrape reads: it agrees with the statistics, and a cycle's outcome is read once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.db import scrape
from app.db.engine import Database
from app.domain.decision import Trigger
from app.services import sleep
from app.services.figures import FigureReader
from app.services.instances import put_instance
from app.services.stats import collect_stats
from tests.publishing import NOW, end, fill, publish, report


def test_figures_agree_with_the_statistics(db: Database) -> None:
    put_instance(db, "own", {"policy": {"mass_threshold": 3}}, now=NOW)
    fill(db, range(20))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    sleep.request_cycle(db, request, now=NOW)
    figures = FigureReader(db).read()
    summaries = collect_stats(db, instance=None, now=NOW)
    for figure, summary in zip(figures, summaries, strict=True):
        assert figure.instance == summary.instance
        assert figure.mass == summary.decision.mass
        assert figure.mass_threshold == summary.decision.mass_threshold
        assert figure.has_active_cycle == (summary.running_cycle is not None)
        assert {status: figure.counts.get(status, 0) for status in summary.counts} == summary.counts


def test_outcomes_are_counted_from_the_start_and_each_once(db: Database, data_dir: Path) -> None:
    root = data_dir / "checkpoints"
    publish(db, root, range(20))
    reader = FigureReader(db)
    (figure,) = reader.read()
    assert sum(figure.outcomes.values()) == 0
    assert figure.last_success_at == NOW
    publish(db, root, range(20, 40))
    publish(db, root, range(40, 60), after=3.5)
    for _ in range(2):
        (figure,) = reader.read()
        assert (figure.outcomes["succeeded"], figure.outcomes["rejected"]) == (1, 1)
        assert figure.checkpoint_events["promoted"] == 1
    assert reader.read(within=["nobody"]) == []


def test_what_the_last_cycle_came_to_is_read_once(
    db: Database,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = data_dir / "checkpoints"
    publish(db, root, range(20))
    reads: list[Collection[str]] = []
    honest = scrape.list_outcomes

    def counted(session: Session, cycle_ids: Collection[str]) -> Sequence[Any]:
        reads.append(cycle_ids)
        return honest(session, cycle_ids)

    monkeypatch.setattr(scrape, "list_outcomes", counted)
    reader = FigureReader(db)
    for _ in range(3):
        (figure,) = reader.read()
        assert figure.last_cycle is not None
        assert (figure.last_cycle.held_out_before, figure.last_cycle.held_out_after) == (3.0, 2.5)
        assert "general_kl" in {check.name for check in figure.last_cycle.checks}
    assert len(reads) == 1
    fill(db, range(20, 40))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(db, request, now=NOW)
    end(db, root, cycle, report(3.5), now=NOW + timedelta(hours=1))
    (figure,) = reader.read()
    assert figure.last_cycle is not None
    assert figure.last_cycle.held_out_after == 3.5
    assert figure.last_success_at == NOW
