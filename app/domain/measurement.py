"""A measured number with its noise. Must not know what was measured."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.stored import Figure

RESAMPLES = 200
"""Bootstrap resamples: they give a standard error to about 5 % of itself (1 / sqrt(2 x 200))."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """A value and its standard error: NaN, unknown, where one sample alone was measured."""

    value: Figure
    standard_error: Figure


def mean_per_token(sums: Sequence[float], tokens: Sequence[int]) -> Measurement:
    """`sum(sums) / sum(tokens)` with the bootstrap error over whole examples; 0 for no token.

    Tokens of one example depend on each other, so examples are drawn again, not tokens. The draw
    is seeded: the same sums give the same error.

    Args:
        sums: One per example, over its tokens.
        tokens: Of each example.
    """
    total = sum(tokens)
    if not total:
        return Measurement(value=0.0, standard_error=0.0)
    draw = random.Random(0)  # noqa: S311  # a resample, not a secret
    means = []
    for _ in range(RESAMPLES):
        chosen = draw.choices(range(len(sums)), k=len(sums))
        weight = sum(tokens[i] for i in chosen)
        if weight:
            means.append(sum(sums[i] for i in chosen) / weight)
    error = statistics.pstdev(means) if len(sums) > 1 else math.nan
    return Measurement(value=sum(sums) / total, standard_error=error)


def mean_over_seeds(values: Sequence[float]) -> Measurement:
    """The mean of one value per seed, and its standard error from their spread."""
    if not values:
        return Measurement(value=0.0, standard_error=0.0)
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return Measurement(value=statistics.fmean(values), standard_error=error)
