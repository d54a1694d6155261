"""Scorer `snarc-1` equals the stored values of real exchanges, where they are on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.domain.salience import score


@pytest.mark.parametrize("name", ["exchanges-gemma3-12b.json", "exchanges-qwen2.5-0.5b.json"])
def test_text_components_equal_those_of_every_real_exchange(shared_data: Path, name: str) -> None:
    exchanges = json.loads((shared_data / name).read_text())
    assert len(exchanges) > 300
    for exchange in exchanges:
        salience = score(exchange["response"], recent_responses=["y"], new_word_share=0.0)
        for component in ("arousal", "reward", "conflict"):
            stored = exchange["salience"][component]
            assert getattr(salience, component) == pytest.approx(stored, abs=1e-9)
