"""The adapted threshold: it falls while an instance waits, and rises with rejections."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.threshold import HALF_LIFE_SECONDS, LEAST_FACTOR, MOST_FACTOR, adapt

DAY = 86400.0


@pytest.mark.parametrize(
    ("days", "rejections", "mass"),
    [
        (0, 0, 20.0),
        (7, 0, 10.0),
        (14, 0, 5.0),
        (365, 0, 5.0),
        (0, 1, 30.0),
        (0, 2, 45.0),
        (7, 1, 15.0),
        (0, 9, 80.0),
        (-3, 0, 20.0),  # by a clock that was set back
    ],
)
def test_threshold_halves_in_a_week_and_rises_by_half(
    days: float, rejections: int, mass: float
) -> None:
    assert adapt(20.0, waited_seconds=days * DAY, rejections=rejections).mass == mass


def test_it_says_why() -> None:
    assert adapt(20.0, waited_seconds=7 * DAY, rejections=0).why == (
        "20.0 adapted, 7.0 d since the last sleep"
    )
    assert adapt(20.0, waited_seconds=0, rejections=1).why.endswith(", 1 rejection")
    assert adapt(20.0, waited_seconds=0, rejections=3).why.endswith(", 3 rejections in a row")


@given(st.floats(0.1, 1e6), st.floats(0, 1e12), st.integers(0, 10**6))
def test_it_stays_within_its_bounds(mass: float, waited: float, rejections: int) -> None:
    found = adapt(mass, waited_seconds=waited, rejections=rejections).mass
    assert LEAST_FACTOR * mass - 1e-6 <= found <= MOST_FACTOR * mass + 1e-6
    later = adapt(mass, waited_seconds=waited + HALF_LIFE_SECONDS, rejections=rejections).mass
    assert later <= found
