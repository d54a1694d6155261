"""Calibration on a tiny model: two real trainings from the same parent, and nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from app.domain.calibration import Calibration
from app.errors import ControlTooSmall, NothingToConsolidate
from app.services import experiments
from app.training.comparison import measure_adapters
from app.training.trainer import LoraTrainer
from app.worker import experiment
from tests.support import run_command
from tests.worker.conftest import Place
from tests.worker.test_experiment import fingerprint


def order(place: Place, *, at_most: int | None, seeds: int = 1) -> experiments.CalibrationOrder:
    return experiments.order_calibration(place.db, "default", max_experiences=at_most, seeds=seeds)


def run(place: Place, wanted: experiments.CalibrationOrder) -> Calibration:
    with experiment.experiment_room(place.settings.scratch_dir, place.settings.kept_dir) as room:
        return experiment.calibrate(
            wanted,
            room,
            root=place.settings.checkpoints_dir,
            gate=place.db.defaults.gate,
            trainer=LoraTrainer(),
            measure=measure_adapters,
            on_progress=lambda _what, _progress: None,
            should_stop=lambda: False,
        )


def test_both_arms_start_from_the_same_parent_and_nothing_changes(
    make_place: Callable[[], Place],
) -> None:
    place = make_place()
    place.fill(range(10))
    place.sleep()
    place.fill(range(10, 40))
    wanted = order(place, at_most=8, seeds=2)
    assert wanted.parent is not None
    before = fingerprint(place)
    found = run(place, wanted)
    assert fingerprint(place) == before
    assert (found.salient.experiences, found.control.experiences) == (8, 8)
    assert found.seeds == (0, 1)
    assert found.held_out_experiences == len(wanted.held_out) > 0
    assert found.salient.mean_salience >= found.control.mean_salience
    assert found.salient.supervised_tokens > 0
    gained = found.salient.gain.value - found.control.gain.value
    assert found.difference.value == pytest.approx(gained, abs=1e-6)
    assert "Difference" in found.explanation()


def test_control_is_drawn_by_seed_from_all_that_the_selection_left(
    make_place: Callable[[], Place],
) -> None:
    place = make_place()
    place.fill(range(40))
    found = order(place, at_most=8, seeds=3)
    taken = {item.experience_id for item in (*found.salient.exchanges, *found.held_out)}
    drawn = [{item.experience_id for item in control.exchanges} for control in found.controls]
    assert all(len(control) == 8 and taken.isdisjoint(control) for control in drawn)
    assert drawn[0] != drawn[1]
    assert [[i.experience_id for i in c.exchanges] for c in order(place, at_most=8).controls] == [
        [i.experience_id for i in found.controls[0].exchanges]
    ]


def test_too_few_for_a_control_or_nothing_at_all_is_said(
    make_place: Callable[[], Place],
) -> None:
    place = make_place()
    with pytest.raises(NothingToConsolidate):
        order(place, at_most=None)
    place.fill(range(20))
    with pytest.raises(ControlTooSmall, match="--max-experiences"):
        order(place, at_most=None)


def test_command_says_what_keeps_it_from_starting(make_place: Callable[[], Place]) -> None:
    place = make_place()
    environment = {"SAGE_DATA_DIR": str(place.settings.data_dir)}
    for arguments, word in (([], "nothing held out"), (["-i", "nobody"], "no instance")):
        result = run_command("calibrate", *arguments, environment=environment, check=False)
        assert (result.returncode, word in result.stderr) == (1, True), result.stderr


def test_an_adapter_compared_with_itself_differs_by_nothing(
    make_place: Callable[[], Place],
) -> None:
    place = make_place()
    place.fill(range(30))
    wanted = order(place, at_most=8)
    same = replace(wanted, controls=(wanted.salient,))
    found = run(place, same)
    assert found.difference.value == 0.0
    assert found.answer == "unclear"
