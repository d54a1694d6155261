"""A short torture; `make torture` is the long one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.torture.rig import Rig

pytestmark = pytest.mark.timeout(900)

KILLS = 12


def test_kills_lose_nothing_and_consume_nothing_twice(tmp_path: Path) -> None:
    seed = str(random.SystemRandom().randrange(10**6))
    outcome = Rig(tmp_path / "data", seed=seed, lull_seconds=(0.0, 1.5)).run(KILLS)
    assert outcome.broken == [], f"seed {seed}"
    assert outcome.manual_steps == 0
    assert outcome.kills.total() == KILLS
    assert outcome.acknowledged > 0
    assert outcome.cycles["succeeded"] > 0
