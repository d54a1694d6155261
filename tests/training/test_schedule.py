"""What every step works on, known before the first."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from app.domain.recipe import Recipe
from app.training.examples import TrainingExample
from app.training.schedule import (
    ANCHOR_LEAD,
    UNTOLD_PER_BATCH,
    Step,
    learning_rate_factor,
    plan_steps,
)


def example(length: int) -> TrainingExample:
    ids = torch.arange(length)
    return TrainingExample(
        input_ids=ids,
        labels=ids,
        attention_mask=torch.ones_like(ids),
        salience=0.7,
        salience_breakdown={},
        experience_id=str(length),
        session=None,
        phase=None,
    )


def plan(recipe: Recipe, *, count: int = 10, epochs: int = 3, anchors: int = 5) -> list[Step]:
    examples = [example(5 + i) for i in range(count)]
    return plan_steps(examples, recipe, epochs=epochs, peak_learning_rate=1.0, anchor_count=anchors)


def test_every_epoch_takes_every_example_once_and_ends_with_its_last_step() -> None:
    steps = plan(Recipe(batch_size=4))
    assert [step.number for step in steps] == list(range(1, 10))
    for epoch in (1, 2, 3):
        taken = [step for step in steps if step.epoch == epoch]
        assert Counter(i for step in taken for i in step.examples) == dict.fromkeys(range(10), 1)
        assert [step.ends_epoch for step in taken] == [False, False, True]


def test_every_anchor_comes_once_before_any_comes_again() -> None:
    steps = plan(Recipe(anchors_per_batch=2, anchor_interval=1), anchors=6)
    first = [anchor for step in steps[:3] for anchor in step.anchors]
    assert sorted(first) == list(range(6))
    assert all(len(step.anchors) == 2 for step in steps)


def test_anchors_stand_beside_the_first_batches_and_then_one_of_an_interval() -> None:
    recipe = Recipe(batch_size=1, anchors_per_batch=2, anchor_interval=3)
    steps = plan(recipe, anchors=6, count=11, epochs=2)
    assert [len(step.anchors) for step in steps] == [2] * ANCHOR_LEAD + [2, 0, 0] * 2


@pytest.mark.parametrize("recipe", [Recipe(anchor_weight=0), Recipe()])
def test_no_anchors_without_weight_or_without_any(recipe: Recipe) -> None:
    anchors = 0 if recipe.anchor_weight else 6
    assert {step.anchors for step in plan(recipe, anchors=anchors)} == {()}


def test_what_nobody_told_is_asked_for_beside_every_batch() -> None:
    examples = [example(n) for n in range(1, 11)]
    for count in (1, 3, 50):
        steps = plan_steps(
            examples,
            Recipe(),
            epochs=4,
            peak_learning_rate=1.0,
            anchor_count=0,
            untold_count=count,
        )
        assert {len(step.untold) for step in steps} == {UNTOLD_PER_BATCH}
        times = Counter(place for step in steps for place in step.untold)
        assert set(times) == set(range(count))
        assert max(times.values()) - min(times.values()) <= 1
    assert {step.untold for step in plan(Recipe())} == {()}


def test_the_seed_decides_the_order() -> None:
    recipe = Recipe(batch_size=1)
    assert plan(recipe) == plan(recipe)
    assert plan(recipe) != plan(replace(recipe, seed=1))


def test_rate_rises_to_its_peak_and_falls_to_a_tenth() -> None:
    rates = [learning_rate_factor(step, 100, 10) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([i / 10 for i in range(1, 11)])
    assert max(rates) == rates[9] == 1.0
    assert rates[-1] == pytest.approx(0.1)
    assert rates[9:] == sorted(rates[9:], reverse=True)
