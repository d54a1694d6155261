"""A number with its noise: weighted by tokens, drawn again by example, the same every time."""

from __future__ import annotations

import math

import pytest

from app.domain.measurement import mean_over_seeds, mean_per_token


def test_mean_is_over_tokens_not_over_examples() -> None:
    assert mean_per_token([10.0, 1.0], [10, 2]).value == pytest.approx(11 / 12)


def test_nothing_measured_is_zero_without_error() -> None:
    assert (mean_per_token([], []).value, mean_per_token([], []).standard_error) == (0.0, 0.0)
    assert mean_over_seeds([]).value == 0.0


def test_bootstrap_error_is_near_the_textbook_one_and_repeats() -> None:
    sums = [float(i % 5) for i in range(100)]
    measured = mean_per_token(sums, [1] * 100)
    assert measured.standard_error == pytest.approx(2**0.5 / 10, rel=0.25)
    assert mean_per_token(sums, [1] * 100) == measured


def test_like_examples_have_no_error_however_long() -> None:
    assert mean_per_token([4.0, 8.0, 2.0], [2, 4, 1]).standard_error == pytest.approx(0.0)


def test_error_of_one_example_is_unknown_and_not_nothing() -> None:
    measured = mean_per_token([4.0], [2])
    assert measured.value == 2.0
    assert math.isnan(measured.standard_error)


def test_error_over_seeds_is_that_of_their_mean() -> None:
    measured = mean_over_seeds([0.1, 0.3])
    assert measured.value == pytest.approx(0.2)
    assert measured.standard_error == pytest.approx(0.1)
    assert mean_over_seeds([0.1]).standard_error == 0.0
