"""A tiny model with the embedded one's tokenizer, and a buffer as the older scripts wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import make_tiny_model

BUFFER = Path(__file__).parents[1] / "training" / "experience_buffer.json"
"""A dozen exchanges in the older scripts' format; the eleventh reply is cut."""


@pytest.fixture(scope="session")
def tiny_model(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its directory."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny", tokenizer_of=embedded_model)


@pytest.fixture
def buffer_path(tmp_path: Path) -> Path:
    """A copy of the buffer, for tests that write."""
    path = tmp_path / "experience_buffer.json"
    path.write_bytes(BUFFER.read_bytes())
    return path
