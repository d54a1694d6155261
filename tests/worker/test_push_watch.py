"""A watch over all instances: one fault keeps no other back, and a runtime away ends the round."""

from __future__ import annotations

import pytest

from app.db.engine import Database
from app.db.instances import get_instance, update_instance
from app.errors import RuntimeRefuses, RuntimeUnavailable
from app.services.bringing import Brought
from app.services.instances import put_instance
from app.worker.push_watch import PushWatch
from tests.publishing import NOW

SLUGS = ("a", "b", "c")


class Pushes:
    """Notes what it is asked for; one instance's fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked: list[str] = []

    def __call__(self, slug: str) -> Brought:
        """As `OllamaPush.push`."""
        self.asked.append(slug)
        if slug == "b":
            raise self.error
        return Brought(model=slug, checkpoint_id=None)


@pytest.fixture
def pushed(db: Database) -> Database:
    for slug in (*SLUGS, "d"):
        put_instance(db, slug, {"policy": {"push_to_vllm": slug != "d"}}, now=NOW)
    return db


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (RuntimeRefuses("no"), ["a", "b", "c"]),
        (KeyError("a fault of ours"), ["a", "b", "c"]),
        (RuntimeUnavailable("nobody"), ["a", "b"]),
    ],
)
def test_fault_of_one_keeps_others_back_only_where_nobody_answers(
    pushed: Database, error: Exception, asked: list[str]
) -> None:
    pushes = Pushes(error)
    PushWatch(pushed, flag="push_to_vllm", push=pushes).look()
    assert pushes.asked == asked


def test_instance_whose_settings_cannot_be_used_is_left_alone(pushed: Database) -> None:
    with pushed.write() as session:
        broken = {"push_to_vllm": True, "mass_threshold": 0}
        update_instance(session, get_instance(session, "a").id, {"policy": broken}, now=NOW)
    pushes = Pushes(RuntimeRefuses("no"))
    PushWatch(pushed, flag="push_to_vllm", push=pushes).look()
    assert pushes.asked == ["b", "c"]
