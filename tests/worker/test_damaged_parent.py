"""A cycle whose parent's files are gone or altered: it goes on from the last good adapter."""

from __future__ import annotations

from collections.abc import Callable

from app.services import registry
from tests.publishing import aliases
from tests.worker.conftest import Place


def test_cycle_falls_back_with_its_parent_and_succeeds(make_place: Callable[[], Place]) -> None:
    place = make_place()
    place.fill(range(20))
    place.sleep()
    (first,) = aliases(place.db).values()
    name = registry.get_checkpoint(place.db, first).row.name
    path = place.settings.checkpoints_dir / name / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    place.fill(range(20, 40))
    cycle = place.sleep()
    assert cycle.status == "succeeded"
    assert registry.get_checkpoint(place.db, first).row.status == "damaged"
    second = aliases(place.db)["current"]
    assert registry.get_checkpoint(place.db, second).row.parent_id is None
