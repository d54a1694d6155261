"""Calibration: the control is as large and disjoint, and the verdict knows its noise."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.calibration import (
    Answer,
    Arm,
    Calibration,
    ExampleLosses,
    difference_of,
    draw_control,
    gain_of,
)
from app.domain.measurement import Measurement
from app.errors import ControlTooSmall


@given(st.integers(1, 40), st.integers(0, 60), st.integers(0, 5))
def test_control_is_as_large_as_the_selection_and_shares_nothing(
    size: int, others: int, seed: int
) -> None:
    trainable = range(size + others)
    taken = set(range(size))
    if others < size:
        with pytest.raises(ControlTooSmall, match=f"{others} others"):
            draw_control(trainable, taken, size=size, seed=seed)
        return
    control = draw_control(trainable, taken, size=size, seed=seed)
    assert len(set(control)) == size
    assert taken.isdisjoint(control)
    assert control == draw_control(trainable, taken, size=size, seed=seed)


def test_too_few_for_a_control_says_which_size_would_do() -> None:
    with pytest.raises(ControlTooSmall, match="--max-experiences 15"):
        draw_control(range(30), set(range(20)), size=20, seed=0)
    with pytest.raises(ControlTooSmall, match="post more"):
        draw_control([], set(), size=0, seed=0)


def losses(*sums: float) -> ExampleLosses:
    return ExampleLosses(sums=sums, tokens=(10,) * len(sums))


def test_pairing_takes_out_what_the_experiences_differ_by() -> None:
    before = losses(*(10.0 + n * 7 % 40 for n in range(32)))
    salient = losses(*(value - 3.0 for value in before.sums))
    control = losses(*(value - 2.0 for value in before.sums))
    assert gain_of(before, [salient]).value == pytest.approx(0.3)
    difference = difference_of([control], [salient])
    assert difference.value == pytest.approx(0.1)
    assert difference.standard_error == pytest.approx(0.0, abs=1e-9)


def test_spread_over_seeds_is_part_of_the_error() -> None:
    before = losses(30.0, 40.0)
    runs = [losses(28.0, 38.0), losses(24.0, 34.0)]
    gain = gain_of(before, runs)
    assert gain.value == pytest.approx(0.4)
    assert gain.standard_error == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("value", "error", "answer", "words"),
    [
        (0.1, 0.02, Answer.BETTER, "salience chose better than chance"),
        (-0.1, 0.02, Answer.WORSE, "chance chose better than salience"),
        (0.1, 0.06, Answer.UNCLEAR, "within the noise"),
        (0.0, 0.0, Answer.UNCLEAR, "within the noise"),
    ],
)
def test_verdict_is_clear_only_beyond_two_standard_errors(
    value: float, error: float, answer: Answer, words: str
) -> None:
    arm = Arm(
        experiences=8,
        mean_salience=0.7,
        supervised_tokens=400.0,
        gain=Measurement(value=0.5, standard_error=0.1),
        general_kl=0.02,
    )
    found = Calibration(
        instance="default",
        seeds=(0,),
        held_out_experiences=4,
        held_out_tokens=200,
        salient=arm,
        control=arm,
        difference=Measurement(value=value, standard_error=error),
    )
    assert found.answer is answer
    assert words in found.explanation()
    assert json.loads(json.dumps(found.describe()))["answer"] == answer.value
