"""An instance is sent with what it sets itself, also where that is out of range today."""

from __future__ import annotations

from app.api.answers.instances import instance_out
from app.db.engine import Database
from app.services.instances import get_instance
from tests.services.test_instances import store


def test_only_what_an_instance_sets_is_sent_as_its_own_and_as_it_is_stored(db: Database) -> None:
    own = {"policy": {"max_experiences": 9999, "min_salience": 0.2}, "recipe": {"epochs": 5}}
    store(db, **own)
    sent = instance_out(get_instance(db, "default")).model_dump(mode="json", exclude_unset=True)
    assert sent["overrides"] == own
    assert sent["policy"]["min_salience"] == 0.2
    assert sent["recipe"]["epochs"] == 5
