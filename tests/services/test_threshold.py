"""The adapted threshold in decision, list of the due, and figures: one number everywhere."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from app.db.engine import Database
from app.services import decisions, figures
from app.services.instances import put_instance
from tests.publishing import NOW, fill, publish

MINUTES = timedelta(minutes=5)


def threshold(db: Database, days: float) -> float:
    return decisions.get_decision(
        db, "default", now=NOW + MINUTES + timedelta(days=days)
    ).mass_threshold


@pytest.mark.parametrize("is_adaptive", [True, False])
def test_little_is_enough_after_weeks_where_the_policy_adapts(
    db: Database, data_dir: Path, *, is_adaptive: bool
) -> None:
    publish(db, data_dir / "checkpoints", range(40))
    fill(db, range(40, 70))
    mass = decisions.get_decision(db, "default", now=NOW).mass
    policy = {"mass_threshold": 2 * mass, "adaptive_threshold": is_adaptive}
    put_instance(db, "default", {"policy": policy}, now=NOW)
    assert decisions.list_due(db, slugs=None, now=NOW + MINUTES) == []
    later = NOW + timedelta(days=8)
    assert decisions.list_due(db, slugs=None, now=later) == (["default"] if is_adaptive else [])
    decision = decisions.get_decision(db, "default", now=later)
    (reason,) = (one for one in decision.reasons if one.rule == "mass")
    assert ("adapted, 8.0 d since the last sleep" in reason.text) == is_adaptive
    assert decision.mass_threshold == pytest.approx(
        2 * mass * (0.5 ** (8 / 7) if is_adaptive else 1)
    )


def test_rejection_asks_for_more_and_success_for_the_usual(db: Database, data_dir: Path) -> None:
    policy = {"mass_threshold": 20.0, "adaptive_threshold": True}
    fill(db, range(1))
    put_instance(db, "default", {"policy": policy}, now=NOW)
    root = data_dir / "checkpoints"
    usual = threshold(db, 0)
    _, status = publish(db, root, range(1, 40), after=9.5)
    assert status == "rejected"
    assert threshold(db, 0) == pytest.approx(1.5 * usual, rel=1e-3)
    _, status = publish(db, root, range(40, 80))
    assert status == "succeeded"
    assert threshold(db, 0) == pytest.approx(usual, rel=1e-3)


def test_figures_have_the_decisions_number(db: Database, data_dir: Path) -> None:
    publish(db, data_dir / "checkpoints", range(40))
    policy = {"mass_threshold": 20.0, "adaptive_threshold": True}
    put_instance(db, "default", {"policy": policy}, now=NOW)
    (found,) = figures.FigureReader(db).read()
    assert found.mass_threshold == pytest.approx(5.0)  # of an instance that waits since January
