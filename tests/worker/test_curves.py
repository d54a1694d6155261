"""A cycle leaves its curves where it is asked to, and ends well where it cannot."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.worker.conftest import Place


def test_cycle_that_was_asked_for_curves_ends_well_with_and_without_the_package(
    make_place: Callable[[], Place], tmp_path: Path
) -> None:
    place = replace(make_place(), tensorboard_dir=tmp_path / "curves")
    place.fill(range(20))
    cycle = place.sleep()
    assert cycle.status == "succeeded"
    found = [str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("events.*")]
    has_package = importlib.util.find_spec("tensorboard") is not None
    assert found == ([f"curves/default/00001-{cycle.id}"] if has_package else [])
