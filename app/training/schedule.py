"""What every step of a training works on, and at which rate: all of it known before the first.

A function of lengths, recipe and seed alone, so that a training that was interrupted goes on where
it stood. Must not know models or losses.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.recipe import Recipe
from app.training.batches import like_length_batches
from app.training.examples import TrainingExample

ANCHOR_LEAD = 16
"""Anchors stand beside every one of the first so many batches, whatever the interval: the model
moves furthest from its base at first. After 12 steps on the demo's exchanges the KL on general
pairs was 0.100 with anchors beside every second batch, and 0.049 beside every one."""


UNTOLD_PER_BATCH = 6
"""Questions about what nobody told, beside every batch: short, and what they begin with is read
once for all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One update of the parameters.

    Attributes:
        number: Counted from 1, over all epochs.
        epoch: Counted from 1.
        ends_epoch: Whether it is the last one of its epoch.
        examples: Indices into the training set.
        anchors: Indices into the anchors; empty where none stand beside the batch.
        untold: Indices into the questions about what nobody told.
        learning_rate: Of this step.
    """

    number: int
    epoch: int
    ends_epoch: bool
    examples: tuple[int, ...]
    anchors: tuple[int, ...]
    untold: tuple[int, ...]
    learning_rate: float


def plan_steps(
    training_data: Sequence[TrainingExample],
    recipe: Recipe,
    *,
    epochs: int,
    peak_learning_rate: float,
    anchor_count: int,
    untold_count: int = 0,
) -> list[Step]:
    """Plan every step of a training.

    Args:
        training_data: Most important first; see `like_length_batches`.
        anchor_count: How many anchors there are; 0 for none.
        untold_count: How many questions about what nobody told.
    """
    lengths = [len(example["input_ids"]) for example in training_data]
    # Numbers of its own, as the anchors have theirs: with other anchors, or with dropout, the
    # batches stay the same ones.
    order = random.Random(recipe.seed)  # noqa: S311  # a schedule, not a secret
    epochs_of_batches = [
        like_length_batches(lengths, batch_size=recipe.batch_size, order=order)
        for _ in range(epochs)
    ]
    total = sum(len(batches) for batches in epochs_of_batches)
    warmup = math.ceil(recipe.warmup_ratio * total)
    beside = _plan_anchors(anchor_count if recipe.anchor_weight else 0, total, recipe)
    untold = _in_turn(
        untold_count if recipe.anchor_weight else 0,
        [UNTOLD_PER_BATCH] * total,
        random.Random(recipe.seed),  # noqa: S311  # a schedule, not a secret
    )
    steps: list[Step] = []
    for epoch, batches in enumerate(epochs_of_batches, start=1):
        for place, members in enumerate(batches, start=1):
            number = len(steps) + 1
            steps.append(
                Step(
                    number=number,
                    epoch=epoch,
                    ends_epoch=place == len(batches),
                    examples=tuple(members),
                    anchors=beside[number - 1],
                    untold=untold[number - 1],
                    learning_rate=peak_learning_rate * learning_rate_factor(number, total, warmup),
                )
            )
    return steps


def learning_rate_factor(step: int, total_steps: int, warmup_steps: int) -> float:
    """Share of the peak rate at a step counted from 1: linear up, then a cosine down to a tenth."""
    if step <= warmup_steps:
        return step / warmup_steps
    done = (step - warmup_steps) / max(total_steps - warmup_steps, 1)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done))


def _plan_anchors(count: int, steps: int, recipe: Recipe) -> list[tuple[int, ...]]:
    """Indices of the anchors beside each step."""
    wanted = [
        recipe.anchors_per_batch
        if place < ANCHOR_LEAD or not (place - ANCHOR_LEAD) % recipe.anchor_interval
        else 0
        for place in range(steps)
    ]
    return _in_turn(count, wanted, random.Random(recipe.seed))  # noqa: S311  # no secret


def _in_turn(count: int, wanted: Sequence[int], order: random.Random) -> list[tuple[int, ...]]:
    """So many indices below `count` for each step: each comes once before any comes again."""
    waiting: list[int] = []
    plan: list[tuple[int, ...]] = []
    for number in wanted:
        while count and len(waiting) < number:
            waiting += order.sample(range(count), count)
        plan.append(tuple(waiting[:number]))
        del waiting[:number]
    return plan
