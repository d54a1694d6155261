"""The benchmark of choices compares like with like; `python -m tests.benchmarks.choice` runs it."""

from __future__ import annotations

import pytest
import torch

from tests.benchmarks.choice import Row, compare
from tests.benchmarks.choices import covering, farthest_first, fill, together


def row(falls: list[float]) -> Row:
    return Row(
        choice="any",
        falls=falls,
        held_out_tokens=[10] * len(falls),
        rare=0.0,
        each=0.0,
        exchanges=1,
        steps=1,
        supervised=1,
        tokens=1,
        seconds=1.0,
    )


def test_budget_is_never_overrun_and_order_of_time_is_kept() -> None:
    assert fill([3, 1, 2, 0], [5, 4, 9, 3], budget=8) == [1, 3]
    assert fill([2, 0, 1], [5, 4, 9], budget=8) == [0]


def test_choices_of_coverage_leave_a_copy_for_last() -> None:
    likeness = torch.tensor([[1.0, 0.99, -0.5], [0.99, 1.0, -0.5], [-0.5, -0.5, 1.0]])
    assert farthest_first(likeness)[1] == 2
    assert covering(likeness)[1] == 2


def test_places_are_added_not_scores() -> None:
    assert together([0.0, 1.0, 2.0], [0.0, 1000.0, 999.0]) == [1, 2, 0]


def test_interval_of_a_like_choice_holds_one_and_of_a_better_one_does_not() -> None:
    others = [row([1.0, 2.0, 3.0, 4.0]), row([1.2, 2.0, 2.8, 4.0])]
    _, low, high = compare(others, others)
    assert low <= 1 <= high
    ratio, low, _ = compare([row([1.5, 3.0, 4.5, 6.0])], others)
    assert ratio == pytest.approx(1.5)
    assert low > 1
