"""Which earlier experiences are rehearsed: those that the model as it is finds most surprising.

What it still knows needs no rehearsal. Must not know where the pool comes from.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from app.training.evaluate import token_log_probabilities
from app.training.examples import TrainingExample, count_targets
from app.training.loading import BaseModel


def choose_surprising(
    base: BaseModel, pool: Sequence[TrainingExample], count: int
) -> list[TrainingExample]:
    """The `count` pool with the highest loss per token, in the order they came in.

    All of them, unmeasured, where there are no more than that.
    """
    if count >= len(pool):
        return list(pool)
    if count <= 0:
        return []
    tokens = [count_targets(example) for example in pool]
    parts = torch.split(token_log_probabilities(base, pool), tokens)
    losses = [-float(part.double().mean()) for part in parts]
    surprising = sorted(range(len(pool)), key=lambda i: (-losses[i], i))[:count]
    # In their first order again: batches are cut along it.
    return [pool[i] for i in sorted(surprising)]
