"""A cycle that the gate rejects, as the worker runs it: a real training that teaches nothing."""

from __future__ import annotations

from collections.abc import Callable

from app.db import experiences
from app.domain.policy import Promotion
from app.services import cycles, registry
from tests.publishing import aliases
from tests.worker.conftest import Place


def test_refused_cycle_moves_no_alias_and_the_third_refusal_quarantines(
    make_place: Callable[[], Place],
) -> None:
    place = make_place()
    place.fill(range(10))
    live = cycles.get_cycle(place.db, place.sleep().id)[2]
    place.fill(range(10, 20))
    place.restart(gate={"inert_limit": 5e-3})
    for attempt in (1, 2, 3):
        ended = place.sleep(recipe={"learning_rate": 1e-9})
        assert ended.status == "rejected"
        assert aliases(place.db) == {"current": live}
        with place.db.read() as session:
            rows = experiences.list_by_ids(session, ended.plan.experience_ids)
        assert len(rows) >= 5
        expected = "buffered" if attempt < 3 else "quarantined"
        assert {(row.status, row.attempts) for row in rows} == {(expected, attempt)}
        refused = cycles.get_cycle(place.db, ended.id)[2]
        assert refused is not None
        row = registry.get_checkpoint(place.db, refused).row
        assert (place.settings.checkpoints_dir / row.name / "manifest.json").is_file()
        assert row.verdict.status == "rejected"
    with place.db.read() as session:
        (reason,) = {
            row.reason for row in experiences.list_by_ids(session, ended.plan.experience_ids)
        }
    assert reason is not None
    assert reason.startswith("rejected: held-out log-probabilities moved by 0.0000")


def test_accepted_cycle_under_manual_policy_only_proposes(
    make_place: Callable[[], Place],
) -> None:
    place = make_place()
    place.restart(policy={"promotion": Promotion.MANUAL})
    place.fill(range(10))
    first = place.sleep()
    assert first.status == "succeeded"
    assert aliases(place.db) == {"candidate": cycles.get_cycle(place.db, first.id)[2]}
    place.fill(range(10, 20))
    second = place.sleep()
    assert second.plan.parent_checkpoint_id is None
    assert set(second.plan.experience_ids).isdisjoint(first.plan.experience_ids)
    assert aliases(place.db) == {"candidate": cycles.get_cycle(place.db, second.id)[2]}
