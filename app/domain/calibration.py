"""Does salience choose well? A salient selection against an equally large random one.

Both train from the same parent with the same recipe and are measured on the same held-out
experiences, so that the loss of each experience is its own pair. Must not know training or files.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from app.domain.measurement import Measurement, mean_over_seeds, mean_per_token
from app.errors import ControlTooSmall

CLEAR_STANDARD_ERRORS = 2.0
"""A difference below so many standard errors is called noise: chance gives one in twenty more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleLosses:
    """Of each held-out experience the summed loss, nats, and the tokens it is over."""

    sums: tuple[float, ...]
    tokens: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One of the two selections, and what training on it gained.

    Attributes:
        mean_salience: Of the experiences, 0..1.
        supervised_tokens: That loss was taken on, over all epochs; the mean over seeds.
        gain: Held-out loss before less after, nats per token.
        general_kl: KL to the base on general replies, nats per token; the mean over seeds.
    """

    experiences: int
    mean_salience: float
    supervised_tokens: float
    gain: Measurement
    general_kl: float


class Answer(StrEnum):
    """Whether salience chooses well."""

    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "unclear"


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Both arms and the difference of their gains.

    Attributes:
        difference: Salient less random, nats per token, paired by held-out experience.
    """

    instance: str
    seeds: tuple[int, ...]
    held_out_experiences: int
    held_out_tokens: int
    salient: Arm
    control: Arm
    difference: Measurement

    @property
    def answer(self) -> Answer:
        """Better or worse only where the difference is clear of its noise."""
        value, error = self.difference.value, self.difference.standard_error
        if abs(value) <= CLEAR_STANDARD_ERRORS * error:
            return Answer.UNCLEAR
        return Answer.BETTER if value > 0 else Answer.WORSE

    def describe(self) -> dict[str, Any]:
        """The outcome for programs."""
        return {**asdict(self), "answer": self.answer.value, "explanation": self.explanation()}

    def explanation(self) -> str:
        """The outcome in words."""
        salient, control = self.salient, self.control
        ratio = salient.supervised_tokens / max(control.supervised_tokens, 1.0)
        closing = {
            Answer.BETTER: "salience chose better than chance.",
            Answer.WORSE: "chance chose better than salience.",
            Answer.UNCLEAR: "that is within the noise; more seeds or held-out exchanges may tell.",
        }[self.answer]
        return (
            f"{salient.experiences} salient experiences (mean salience "
            f"{salient.mean_salience:.2f}) gained {_shown(salient.gain)} nats per token on "
            f"{self.held_out_experiences} held-out experiences; {control.experiences} random ones "
            f"(mean {control.mean_salience:.2f}) gained {_shown(control.gain)}. The salient ones "
            f"have {ratio:.2f} times as many supervised tokens "
            f"({salient.supervised_tokens:.0f} to {control.supervised_tokens:.0f}). "
            f"Difference {self.difference.value:+.3f} ± {self.difference.standard_error:.3f}: "
            f"{closing}"
        )


def draw_control(
    trainable: Sequence[int], taken: Collection[int], *, size: int, seed: int
) -> tuple[int, ...]:
    """Draw an equally large random sample of what was not taken.

    Args:
        trainable: Numbers of all experiences that may be trained, those taken included or not.
        taken: The salient selection, and what it is measured with.
        size: Of the salient selection.

    Raises: ControlTooSmall.
    """
    others = [number for number in trainable if number not in taken]
    if not size or len(others) < size:
        most = (size + len(others)) // 2
        remedy = f"try --max-experiences {most}" if most else "post more exchanges"
        raise ControlTooSmall(
            f"A cycle would train on {size} experiences, and {len(others)} others could be a "
            f"control: {remedy}.",
            selected=size,
            others=len(others),
        )
    return tuple(random.Random(seed).sample(others, size))  # noqa: S311  # no secret


def gain_of(before: ExampleLosses, runs: Sequence[ExampleLosses]) -> Measurement:
    """By how much the loss fell, averaged over runs."""
    return difference_of([before] * len(runs), runs)


def difference_of(worse: Sequence[ExampleLosses], better: Sequence[ExampleLosses]) -> Measurement:
    """By how much the second losses lie below the first, paired by experience and by seed.

    The error has two parts, which add as squares: the draw of the held-out experiences (bootstrap
    over the means of all seeds) and the draws of the seeds (their spread, where there are several).

    Args:
        worse: One per seed, over the same experiences.
        better: The same.
    """
    pairs = list(zip(worse, better, strict=True))
    tokens = worse[0].tokens
    by_seed = [
        [first - second for first, second in zip(one.sums, other.sums, strict=True)]
        for one, other in pairs
    ]
    means = [sum(column) / len(pairs) for column in zip(*by_seed, strict=True)]
    over_examples = mean_per_token(means, tokens)
    over_seeds = mean_over_seeds([sum(sums) / max(sum(tokens), 1) for sums in by_seed])
    error = math.hypot(over_examples.standard_error, over_seeds.standard_error)
    return Measurement(value=over_examples.value, standard_error=error)


def _shown(measurement: Measurement) -> str:
    return f"{measurement.value:.3f} ± {measurement.standard_error:.3f}"
