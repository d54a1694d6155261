"""A flood of one prompt: a cycle takes its share of it, says so, and the rest waits."""

from __future__ import annotations

from app.db.engine import Database
from app.domain.exchange import Exchange
from app.domain.sleep import CyclePlan, InstanceDefaults, Trigger
from app.services import sleep
from app.services.ingest import Submission, ingest_many
from app.services.instances import put_instance
from tests.publishing import NOW, fill
from tests.support import make_exchange

REQUEST = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)


def flood(db: Database, defaults: InstanceDefaults, numbers: range) -> None:
    """Many replies to one prompt."""
    items = [{**make_exchange(n), "prompt": "What  IS your name?"} for n in numbers]
    items[0]["prompt"] = "what is your name?"
    ingest_many(
        db, [Submission(exchange=Exchange(**item)) for item in items], defaults=defaults, now=NOW
    )


def test_flood_has_its_share_and_the_rest_waits(db: Database, defaults: InstanceDefaults) -> None:
    flood(db, defaults, range(40))
    fill(db, defaults, range(40, 60))
    preview = sleep.preview_cycle(db, REQUEST, defaults=defaults, now=NOW)
    (rule,) = preview.plan.left_out
    assert rule["rule"] == "prompt_share"
    assert "of one prompt" in rule["text"]
    assert not set(rule["experience_ids"]) & set(preview.plan.experience_ids)
    cycle = sleep.request_cycle(db, REQUEST, defaults=defaults, now=NOW)
    kept = CyclePlan.from_json(cycle.plan)
    assert kept.experience_ids == preview.plan.experience_ids
    assert kept.left_out[0]["text"] == rule["text"]
    sleep.cancel_cycle(db, cycle.id, defaults=defaults, now=NOW)
    policy = {"policy": {"max_prompt_share": 1.0}}
    put_instance(db, "default", policy, defaults=defaults, now=NOW)
    everything = sleep.preview_cycle(db, REQUEST, defaults=defaults, now=NOW).plan
    assert everything.left_out == ()
    assert len(everything.experience_ids) > 2 * len(kept.experience_ids)


def test_plan_of_an_earlier_version_left_nothing_out(
    db: Database, defaults: InstanceDefaults
) -> None:
    fill(db, defaults, range(20))
    stored = sleep.preview_cycle(db, REQUEST, defaults=defaults, now=NOW).plan.to_json()
    del stored["left_out"]
    assert CyclePlan.from_json(stored).left_out == ()
