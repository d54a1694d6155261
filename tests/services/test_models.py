"""An instance whose model's base nobody named trains nothing, and says how to name it."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from app.db.engine import Database
from app.db.tables import InstanceRow
from app.domain.decision import SleepDecision, Trigger
from app.domain.exchange import Exchange
from app.domain.model_names import ModelTable
from app.errors import BaseModelUnnamed, NothingToConsolidate
from app.services import decisions, sleep
from app.services.ingest import Submission, ingest_many
from app.services.instances import (
    get_instance,
    list_unknown_models,
    patch_instance,
    put_instance,
    settle_base,
)
from tests.publishing import NOW
from tests.support import Reopen, make_exchange, migrate_again


def post(db: Database, slug: str, number: int = 0, **values: Any) -> None:
    exchange = Exchange(**make_exchange(number, instance=slug, **values))
    (result,) = ingest_many(db, [Submission(exchange=exchange)], now=NOW)
    assert result.error is None


def base_reason(decision: SleepDecision) -> str | None:
    return next((r.text for r in decision.reasons if r.rule == "base_model"), None)


def forced(slug: str) -> sleep.CycleRequest:
    return sleep.CycleRequest(instance=slug, trigger=Trigger.REQUEST, is_forced=True)


def test_model_that_no_table_knows_waits_with_the_command_that_names_it(db: Database) -> None:
    put_instance(db, "legion-mine", {"model_name": "mine:14b"}, now=NOW)
    post(db, "legion-mine")
    reason = base_reason(decisions.get_decision(db, "legion-mine", now=NOW))
    assert reason is not None
    assert "'mine:14b'" in reason
    assert "sage-sleep model use legion-mine BASE" in reason
    with pytest.raises(BaseModelUnnamed, match="model use legion-mine"):
        sleep.request_cycle(db, forced("legion-mine"), now=NOW)
    preview = sleep.preview_cycle(db, forced("legion-mine"), now=NOW)
    assert isinstance(preview.refusal, BaseModelUnnamed)
    assert preview.question is None
    with pytest.raises(BaseModelUnnamed):
        sleep.request_rebuild(
            db, "legion-mine", actor="a", reason=None, idempotency_key=None, now=NOW
        )


def test_named_base_lets_it_sleep_and_keeps_the_other_settings(db: Database) -> None:
    values = {"model_name": "mine:14b", "policy": {"mass_threshold": 3.0}, "timezone": "Asia/Tokyo"}
    put_instance(db, "legion-mine", values, now=NOW)
    after = patch_instance(db, "legion-mine", {"base_model": "owner/mine-14b"}, now=NOW)
    assert (after.base_model, after.base_unnamed) == ("owner/mine-14b", None)
    assert (after.policy.mass_threshold, after.timezone) == (3.0, "Asia/Tokyo")
    with pytest.raises(NothingToConsolidate):  # and no more for want of a base
        sleep.request_cycle(db, forced("legion-mine"), now=NOW)


def test_settings_that_are_put_anew_leave_what_the_runtime_said(db: Database) -> None:
    put_instance(db, "legion-phi4-14b", {"model_name": "phi4:14b"}, now=NOW)
    put_instance(db, "legion-phi4-14b", {"policy": {"mass_threshold": 3.0}}, now=NOW)
    assert get_instance(db, "legion-phi4-14b").base_model == "microsoft/phi-4"
    patch_instance(db, "legion-phi4-14b", {"model_name": None}, now=NOW)
    assert get_instance(db, "legion-phi4-14b").base_model == db.defaults.base_model


def test_known_model_has_its_own_base_and_never_that_of_the_settings(db: Database) -> None:
    put_instance(db, "legion-phi4-14b", {"model_name": "phi4:14b"}, now=NOW)
    found = get_instance(db, "legion-phi4-14b")
    assert (found.base_model, found.base_unnamed) == ("microsoft/phi-4", None)


def test_base_of_the_settings_is_meant_where_nothing_was_said_or_the_same(
    db: Database, reopen: Reopen
) -> None:
    put_instance(db, "garden", {}, now=NOW)
    for slug in ("default", "garden"):
        assert get_instance(db, slug).base_model == db.defaults.base_model
    put_instance(db, "sprout", {"model_name": "qwen2.5:0.5b"}, now=NOW)
    here = reopen(base_model="/models/Qwen2.5-0.5B-Instruct")
    assert get_instance(here, "sprout").base_model == "/models/Qwen2.5-0.5B-Instruct"


def test_operators_table_may_name_a_directory(db: Database, reopen: Reopen) -> None:
    put_instance(db, "sprout", {"model_name": "epistemic-pragmatism"}, now=NOW)
    assert get_instance(db, "sprout").base_unnamed is not None
    own = reopen(models=ModelTable(own=(("epistemic-pragmatism", "/models/ep"),)))
    assert get_instance(own, "sprout").base_model == "/models/ep"


def test_exchanges_of_an_older_collector_say_what_its_instance_is(db: Database) -> None:
    for slug, metadata, said in (
        ("legion-phi4-14b", {"machine": "Legion", "model": "phi4:14b"}, "phi4:14b"),
        ("garden", {"machine": "Legion", "model": "phi4:14b"}, None),
        ("legion-mine", {"model": "mine"}, None),
        ("legion-odd", {"machine": 3, "model": ["odd"]}, None),
    ):
        put_instance(db, slug, {}, now=NOW)
        post(db, slug, metadata=metadata)
        assert get_instance(db, slug).row.model_name == said
    post(db, "default", metadata={"machine": "default", "model": ""})
    assert get_instance(db, "default").row.model_name is None
    put_instance(db, "thor-named", {"base_model": "owner/named"}, now=NOW)
    post(db, "thor-named", metadata={"machine": "thor", "model": "named"})
    assert get_instance(db, "thor-named").base_model == "owner/named"


def test_base_that_somebody_named_is_not_replaced_by_what_a_runtime_says(db: Database) -> None:
    put_instance(db, "a", {"model_name": "mine"}, now=NOW)
    put_instance(db, "b", {"model_name": "mine", "base_model": "owner/named"}, now=NOW)
    assert list_unknown_models(db) == {"a": "mine"}
    assert settle_base(db, "a", "mine", "owner/told", now=NOW)
    assert not settle_base(db, "a", "mine", "owner/again", now=NOW)
    assert not settle_base(db, "b", "mine", "owner/told", now=NOW)
    assert not settle_base(db, "gone", "mine", "owner/told", now=NOW)
    assert get_instance(db, "a").base_model == "owner/told"
    assert list_unknown_models(db) == {}


def test_upgrade_gives_instances_of_session_scripts_their_model(db: Database) -> None:
    for slug in ("legion-phi4-14b", "garden", "thor-named"):
        put_instance(db, slug, {}, now=NOW)
        for number, model in enumerate(("older", slug.partition("-")[2] or "phi4:14b")):
            machine = slug.partition("-")[0]
            post(db, slug, number, metadata={"machine": machine, "model": model})
    patch_instance(db, "thor-named", {"base_model": "owner/named"}, now=NOW)
    with db.write() as session:
        session.execute(sa.update(InstanceRow).values(model_name=None))
    migrate_again(db, "0008")
    with db.read() as session:
        rows = session.execute(sa.select(InstanceRow.slug, InstanceRow.model_name))
        found = {row.slug: row.model_name for row in rows}
    assert found == {
        "default": None, "garden": None, "legion-phi4-14b": "phi4-14b", "thor-named": None,
    }  # fmt: skip
