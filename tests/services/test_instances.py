"""Settings of an instance as they are stored: old ones are read, what cannot be used is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from app.db.engine import Database
from app.db.tables import InstanceRow
from app.domain.decision import Trigger
from app.domain.policy import Promotion, QuietHours, SleepPolicy
from app.domain.recipe import Recipe
from app.errors import InvalidPolicy, SettingsUnusable
from app.services import decisions, retention, sleep
from app.services.instances import get_instance, list_instances, put_instance
from app.services.stats import collect_stats
from tests.publishing import NOW, fill
from tests.support import Reopen, migrate_again

FORCED = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)


def store(db: Database, **values: Any) -> None:
    """Write into the row what an older version may have written."""
    with db.write() as session:
        session.execute(sa.update(InstanceRow).values(**values))


def test_settings_as_older_versions_stored_them_are_read(db: Database) -> None:
    policy: dict[str, Any] = {
        "mass_threshold": 12.0, "min_salience": 0.4, "min_experiences": 3,
        "quiet_hours": "22:00-07:00",
        "min_interval_seconds": 60, "idle_seconds": 0.0, "max_experiences": 64,
        "category_floors": {"identity": 0.1}, "categories": {"identity": ["who are you"]},
        "promotion": "manual", "rebuild_every_cycles": 0, "retain_text_days": 30,
    }  # fmt: skip
    recipe = {"preset": "gentle", "epochs": 3, "target_modules": ["k_proj"], "seed": 7}  # fmt: skip
    store(db, policy=policy, recipe=recipe, timezone="Europe/Lisbon")
    found = get_instance(db, "default")
    assert not found.faults
    assert found.policy.categories["identity"] == ("who are you",)
    assert found.policy == replace(
        SleepPolicy(),
        **{
            **policy,
            "quiet_hours": QuietHours.parse("22:00-07:00"),
            "categories": {**SleepPolicy().categories, "identity": ("who are you",)},
            "promotion": Promotion.MANUAL,
        },
    )
    assert (found.recipe.epochs, found.recipe.learning_rate, found.recipe.seed) == (3, 1e-5, 7)
    assert found.recipe.target_modules == ("k_proj",)


@pytest.mark.sqlite_file("no version that wrote such a recipe could use another")
def test_recipe_of_before_0015_loses_what_is_gone_and_nothing_else(db: Database) -> None:
    store(db, recipe={"epochs": 3, "variations": ["dropped_context"], "variation_share": 1.0})
    assert len(get_instance(db, "default").faults) == 2
    migrate_again(db, "0014")
    found = get_instance(db, "default")
    assert not found.faults
    assert found.recipe.epochs == 3


@pytest.mark.parametrize(
    ("column", "stored", "said"),
    [
        ("policy", {"max_experiences": 9999}, "policy.max_experiences: Input should be less than"),
        ("policy", {"mass_threshold": 0}, "policy.mass_threshold: Input should be greater than 0"),
        ("policy", {"quiet_hours": "late"}, "policy.quiet_hours: quiet_hours must look like 22:00"),
        ("policy", {"promotion": "never"}, "policy.promotion: Input should be 'automatic' or"),
        ("policy", {"categories": "none"}, "policy.categories: Input should be a valid dictionary"),
        ("policy", {"lullaby": True}, "policy.lullaby: Unexpected keyword argument"),
        ("recipe", {"target_modules": []}, "recipe.target_modules: List should have at least 1"),
        ("recipe", {"preset": "rough"}, "recipe.preset: there is no preset 'rough'"),
        ("timezone", "Mars/Base", "timezone: unknown time zone 'Mars/Base'"),
    ],
)
def test_stored_setting_that_cannot_be_used_is_named_and_nothing_sleeps(
    db: Database, column: str, stored: Any, said: str
) -> None:
    fill(db, range(40))
    store(db, **{column: stored})
    (listed,) = list_instances(db)
    assert [fault[: len(said)] for fault in listed.faults] == [said]
    (stats,) = collect_stats(db, instance=None, now=NOW)
    assert not stats.decision.is_due
    assert [reason.text for reason in stats.decision.reasons if reason.rule == "settings"] == list(
        listed.faults
    )
    assert decisions.list_due(db, slugs=None, now=NOW + timedelta(minutes=2)) == ["default"]
    for ask in (sleep.request_cycle, sleep.preview_cycle):
        with pytest.raises(SettingsUnusable) as refused:
            ask(db, FORCED, now=NOW)
        assert said in refused.value.message
        assert "PUT /v1/instances/default" in refused.value.message
    fill(db, range(40, 41))


def test_what_can_be_used_is_used_beside_what_cannot(db: Database) -> None:
    store(db, policy={"mass_threshold": -1, "min_salience": 0.2}, recipe={"r": 0, "epochs": 5})
    found = get_instance(db, "default")
    assert [fault.split(":")[0] for fault in found.faults] == ["policy.mass_threshold", "recipe.r"]
    assert (found.policy.mass_threshold, found.policy.min_salience) == (20.0, 0.2)
    assert found.recipe == replace(Recipe(), epochs=5)


def test_nothing_is_removed_or_promoted_by_itself_while_settings_cannot_be_used(
    reopen: Reopen,
) -> None:
    db = reopen(policy={"retain_text_days": 1, "min_salience": 1.0})
    fill(db, range(40))
    much_later = NOW + timedelta(days=400)
    (expiring,) = retention.list_prunable(db, instance=None, now=much_later)
    assert expiring.texts
    store(db, policy={"retain_text_days": -1})
    (kept,) = retention.list_prunable(db, instance=None, now=much_later)
    assert not kept.texts
    assert get_instance(db, "default").policy.promotion is Promotion.MANUAL


def test_settings_that_are_put_anew_can_be_used_again(db: Database) -> None:
    store(db, policy={"max_experiences": 9999})
    with pytest.raises(InvalidPolicy, match=r"policy\.max_experiences") as refused:
        put_instance(db, "default", {"policy": {"max_experiences": 9999}}, now=NOW)
    assert refused.value.pointer == "/policy/max_experiences"
    instance, is_new = put_instance(db, "default", {"policy": {"max_experiences": 99}}, now=NOW)
    assert not is_new
    assert (instance.faults, instance.policy.max_experiences) == ((), 99)


def test_window_that_holds_fewer_sessions_than_must_report_is_refused(db: Database) -> None:
    with pytest.raises(InvalidPolicy, match="regression_window 3") as refused:
        put_instance(
            db, "default", {"policy": {"regression_reports": 4, "regression_window": 3}}, now=NOW
        )
    assert refused.value.pointer == "/policy/regression_window"
    put_instance(db, "default", {"policy": {"regression_reports": 9}}, now=NOW)
