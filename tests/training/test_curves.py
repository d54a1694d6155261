"""TensorBoard files: every step, every epoch and every check; nothing where it is not installed."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from app.domain.gate import GatePolicy, judge
from app.domain.recipe import Recipe
from app.training.curves import write_curves
from tests.measured import make_training_report

has_package = importlib.util.find_spec("tensorboard") is not None


@pytest.mark.skipif(has_package, reason="the extra `tensorboard` is installed")
def test_without_the_package_nothing_is_left(tmp_path: Path) -> None:
    report = make_training_report(before=3.0, after=2.5)
    with pytest.raises(ImportError):
        write_curves(tmp_path / "run", report, judge(report, GatePolicy()), Recipe())
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not has_package, reason="the extra `tensorboard` is not installed")
def test_curves_are_read_back(tmp_path: Path) -> None:
    report = replace(
        make_training_report(before=3.0, after=2.5),
        loss_curve=(3.0, 2.9, 2.8, 2.7),
        validation_curve=(2.8, 2.5),
    )
    write_curves(tmp_path, report, judge(report, GatePolicy()), Recipe(epochs=2))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(tmp_path))
    read.Reload()
    losses = [(event.step, round(event.value, 4)) for event in read.Scalars("train/loss")]
    assert losses == [(1, 3.0), (2, 2.9), (3, 2.8), (4, 2.7)]
    held_out = [(event.step, round(event.value, 4)) for event in read.Scalars("held_out/loss")]
    assert held_out == [(0, 3.0), (2, 2.8), (4, 2.5)]
    rates = [event.value for event in read.Scalars("train/learning_rate")]
    assert rates[0] == pytest.approx(Recipe().learning_rate)
    assert rates == sorted(rates, reverse=True)
    assert "gate/general_kl" in read.Tags()["scalars"]
