"""What llama.cpp loads lies ready when a checkpoint goes live; no cycle fails for want of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from app.artifacts import exports
from app.artifacts.exports import MadeExport
from app.domain.export import Export
from app.services.exporting import order_export
from app.services.registry import get_checkpoint
from tests.publishing import aliases
from tests.worker.conftest import Place


@pytest.fixture
def place(make_place: Callable[[], Place]) -> Place:
    place = replace(make_place(), max_export_bytes=1024**3)
    place.fill(range(20))
    return place


def find_ready(place: Place) -> MadeExport | None:
    """The live adapter's file, as whoever talks to it looks for it."""
    view = get_checkpoint(place.db, aliases(place.db)["current"])
    order = order_export(place.db, view, Export.ADAPTER_GGUF, root=place.settings.checkpoints_dir)
    return exports.find_made(order, exports.key_of(order))


def test_accepted_adapter_is_ready_for_llama_cpp(place: Place) -> None:
    assert place.sleep().status == "succeeded"
    ready = find_ready(place)
    assert ready is not None
    assert ready.file.size_bytes == ready.content.size_bytes > 0


def test_adapter_that_cannot_be_made_ready_is_published_all_the_same(place: Place) -> None:
    place.settings.checkpoints_dir.mkdir(exist_ok=True)
    (place.settings.checkpoints_dir / ".exports").write_text("no room here")
    assert place.sleep().status == "succeeded"
    assert find_ready(place) is None
