"""Which known name is meant by another: slips are found, other words are left alone."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.nearest import MOST, did_you_mean, nearest

KNOWN = ("MASS_THRESHOLD", "MIN_SALIENCE", "PROMOTION", "BASE_MODEL", "PORT", "LOG_LEVEL")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MASS_TRESHOLD", "MASS_THRESHOLD"),
        ("mass-threshold", "MASS_THRESHOLD"),
        ("THRESHOLD", "MASS_THRESHOLD"),
        ("MODEL", "BASE_MODEL"),
        ("BASEMODEL", "BASE_MODEL"),
        ("PROMTION", "PROMOTION"),
    ],
)
def test_slip_finds_what_was_meant(name: str, meant: str) -> None:
    assert nearest(name, KNOWN)[0] == meant


@pytest.mark.parametrize("name", ["ROOT", "INSTANCE", "LOCAL", "NUM_THREADS", "LR", ""])
def test_another_word_is_near_to_none(name: str) -> None:
    assert nearest(name, KNOWN) == ()


@given(st.sampled_from(KNOWN), st.integers(0, 20), st.sampled_from(string.ascii_uppercase))
def test_one_letter_more_still_finds_it(name: str, at: int, letter: str) -> None:
    found = nearest(name[:at] + letter + name[at:], KNOWN)
    assert name in found
    assert len(found) <= MOST


def test_names_are_said_as_people_do() -> None:
    assert did_you_mean([]) == ""
    assert did_you_mean(["A"]) == "did you mean A?"
    assert did_you_mean(["A", "B", "C"]) == "did you mean A, B or C?"
