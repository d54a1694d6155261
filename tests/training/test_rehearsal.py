"""What is rehearsed: what the model finds most surprising."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.older import RaisingTrainingDataBuilder
from app.training.evaluate import token_log_probabilities
from app.training.examples import TrainingExample
from app.training.loading import BaseModel
from app.training.rehearsal import choose_surprising


@pytest.fixture
def pool(tiny_model: Path, buffer_path: Path) -> list[TrainingExample]:
    return RaisingTrainingDataBuilder(buffer_path, tiny_model).build_training_set(0.0)


def test_the_most_surprising_are_chosen_in_the_order_they_came(
    tiny_base: BaseModel, pool: list[TrainingExample]
) -> None:
    losses = [-float(token_log_probabilities(tiny_base, [c]).mean()) for c in pool]
    chosen = choose_surprising(tiny_base, pool, 4)
    expected = sorted(sorted(losses, reverse=True)[:4])
    places = [next(i for i, c in enumerate(pool) if c is example) for example in chosen]
    assert places == sorted(places)
    assert sorted(losses[i] for i in places) == pytest.approx(expected)


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (12, 12), (99, 12)])
def test_none_or_all_need_no_measuring(
    tiny_base: BaseModel, pool: list[TrainingExample], count: int, expected: int
) -> None:
    assert len(pool) == 12
    assert len(choose_surprising(tiny_base, pool, count)) == expected
