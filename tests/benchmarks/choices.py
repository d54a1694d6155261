"""Choices of what to train, and what each may know of the exchanges that it takes from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from app.domain.recipe import Recipe
from app.training.evaluate import token_log_probabilities
from app.training.examples import TrainingExample, count_targets, targets_of
from app.training.loading import BaseModel
from app.training.loop import TrainingLoop
from app.training.lora import detach_adapter
from app.training.states import supervised_states


@dataclass(frozen=True)
class Trained:
    """A new adapter that stays in the base until it is taken off, and what it took."""

    loop: TrainingLoop
    steps: int
    tokens: int

    @classmethod
    def on(cls, base: BaseModel, examples: Sequence[TrainingExample], recipe: Recipe) -> Trained:
        """Train on examples in their order."""
        with tempfile.TemporaryDirectory() as directory:
            loop = TrainingLoop("", directory, recipe=recipe, base=base)
            run = loop.train_on_experiences(examples)
        return cls(loop=loop, steps=run["steps"], tokens=run["trained_tokens"])


def split(values: torch.Tensor, examples: Sequence[TrainingExample]) -> tuple[torch.Tensor, ...]:
    """Of each example the values of its tokens."""
    return torch.split(values.double(), [count_targets(example) for example in examples])


class Pool:
    """What a choice may know of the exchanges it takes from; nothing of it sees what is measured.

    In the order of time. Each measure is taken when a choice first asks for it.
    """

    def __init__(
        self,
        base: BaseModel,
        examples: Sequence[TrainingExample],
        checked: Sequence[TrainingExample],
        recipe: Recipe,
    ) -> None:
        self._base = base
        self._recipe = recipe
        self.examples = examples
        self._checked = checked
        self.tokens = [count_targets(example) for example in examples]
        self.salience = [example["salience"] for example in examples]

    @cached_property
    def losses(self) -> list[float]:
        """Nats per token under the bare base."""
        return self._losses(self.examples)

    @cached_property
    def reducible(self) -> list[float]:
        """By how much the loss of each falls where the second held-out part was trained.

        Mindermann et al. 2022 (arXiv:2206.07137); to first order the likeness of gradients.
        """
        known = self.losses
        trained = Trained.on(self._base, self._checked, replace(self._recipe, seed=0))
        after = self._losses(self.examples)
        detach_adapter(trained.loop.adapted)
        return [was - now for was, now in zip(known, after, strict=True)]

    @cached_property
    def likeness(self) -> torch.Tensor:
        """Of each two the cosine of their replies' mean states, less the mean of all; (n, n)."""
        with torch.no_grad():
            states = supervised_states(self._base, self.examples)
        means = torch.stack([one.float().mean(0) for one in states])
        means = torch.nn.functional.normalize(means - means.mean(0), dim=1)
        return means @ means.T

    @cached_property
    def gradients(self) -> torch.Tensor:
        """Of each the gradient of its loss at the last states, its mean; (n, H), of length one."""
        return self._gradients(self.examples)

    @cached_property
    def checked_gradient(self) -> torch.Tensor:
        """The same of the second held-out part, one for all."""
        return self._gradients(self._checked).mean(0)

    def _losses(self, examples: Sequence[TrainingExample]) -> list[float]:
        found = token_log_probabilities(self._base, examples)
        return [-float(part.mean()) for part in split(found, examples)]

    def _gradients(self, examples: Sequence[TrainingExample]) -> torch.Tensor:
        found = []
        with torch.no_grad():
            head: Any = self._base.model.get_output_embeddings()  # type: ignore[no-untyped-call]
            for example, states in zip(
                examples, supervised_states(self._base, examples), strict=True
            ):
                error = torch.softmax((states @ head.weight.T).float(), dim=1)
                error[torch.arange(len(error)), targets_of(example)] -= 1
                found.append(error.mean(0) @ head.weight.float())
        return torch.nn.functional.normalize(torch.stack(found), dim=1)


def by(scores: Sequence[float]) -> list[int]:
    """Indices, the highest score first, of equals the oldest."""
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))


def ranks(scores: Sequence[float]) -> list[float]:
    """Of each its place from the lowest, 0..1."""
    places = {i: 1 - place / max(len(scores) - 1, 1) for place, i in enumerate(by(scores))}
    return [places[i] for i in range(len(scores))]


def negative(scores: Sequence[float]) -> list[float]:
    """The other way round."""
    return [-score for score in scores]


def around_median(scores: Sequence[float]) -> list[int]:
    """The middle of the scores first."""
    return by([-abs(rank - 0.5) for rank in ranks(scores)])


def farthest_first(likeness: torch.Tensor) -> list[int]:
    """Each the one least like those before it (k-center; Sener and Savarese 2018)."""
    order = [int(likeness.mean(1).argmax())]
    nearest = likeness[order[0]].clone()
    while len(order) < len(likeness):
        nearest[order] = torch.inf
        order.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, likeness[order[-1]])
    return order


def covering(likeness: torch.Tensor, tokens: Sequence[int] | None = None) -> list[int]:
    """Each the one that brings most of the pool nearer to what is taken (facility location).

    Args:
        tokens: Of each; then the gain for each token counts.
    """
    cost = torch.tensor(tokens or [1] * len(likeness), dtype=torch.float)
    covered = torch.full((len(likeness),), -1.0)
    order: list[int] = []
    while len(order) < len(likeness):
        gains = torch.clamp(likeness - covered, min=0).sum(1) / cost
        gains[order] = -1
        order.append(int(gains.argmax()))
        covered = torch.maximum(covered, likeness[order[-1]])
    return order


def together(*scores: Sequence[float]) -> list[int]:
    """By the sum of the ranks."""
    return by([sum(places) for places in zip(*map(ranks, scores), strict=True)])


CHOICES: dict[str, Callable[[Pool], list[int]]] = {
    "oldest": lambda pool: list(range(len(pool.examples))),
    "newest": lambda pool: list(reversed(range(len(pool.examples)))),
    "salience": lambda pool: by(pool.salience),
    "high loss": lambda pool: by(pool.losses),
    "low loss": lambda pool: by(negative(pool.losses)),
    "middle loss": lambda pool: around_median(pool.losses),
    "short": lambda pool: by(negative(pool.tokens)),
    "long": lambda pool: by(pool.tokens),
    "farthest": lambda pool: farthest_first(pool.likeness),
    "covering": lambda pool: covering(pool.likeness),
    "covering a token": lambda pool: covering(pool.likeness, pool.tokens),
    "prototype": lambda pool: by(pool.likeness.mean(1).tolist()),
    "reducible": lambda pool: by(pool.reducible),
    "gradient": lambda pool: by((pool.gradients @ pool.checked_gradient).tolist()),
    "salience, high loss": lambda pool: together(pool.salience, pool.losses),
    "salience, low loss": lambda pool: together(pool.salience, negative(pool.losses)),
    "salience, reducible": lambda pool: together(pool.salience, pool.reducible),
    "salience, short": lambda pool: together(pool.salience, negative(pool.tokens)),
    "reducible, high loss": lambda pool: together(pool.reducible, pool.losses),
    "reducible, short": lambda pool: together(pool.reducible, negative(pool.tokens)),
}


def fill(order: Sequence[int], tokens: Sequence[int], budget: int) -> list[int]:
    """What fits into the budget, taken in this order; in the order of time."""
    taken: list[int] = []
    for i in order:
        if tokens[i] <= budget:
            taken.append(i)
            budget -= tokens[i]
    return sorted(taken)
