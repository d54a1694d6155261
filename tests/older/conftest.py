"""A buffer as the older scripts wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest

BUFFER = Path(__file__).parents[1] / "training" / "experience_buffer.json"
"""A dozen exchanges in the older scripts' format; the eleventh reply is cut."""


@pytest.fixture
def buffer_path(tmp_path: Path) -> Path:
    """A copy of the buffer, for tests that write."""
    path = tmp_path / "experience_buffer.json"
    path.write_bytes(BUFFER.read_bytes())
    return path
