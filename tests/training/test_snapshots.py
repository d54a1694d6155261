"""A training that is interrupted goes on to the same bytes."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from app.domain.plan import TrainingJob
from app.domain.recipe import Recipe
from app.errors import TrainingStopped
from app.older import RaisingTrainingDataBuilder
from app.training.examples import TrainingExample
from app.training.loop import TrainingLoop
from app.training.snapshots import Snapshot, SnapshotFile
from app.training.trainer import LoraTrainer

LAST_STEP = 6


class Line:
    """Trainings of the same examples, each into a directory of its own."""

    def __init__(self, model: Path, examples: list[TrainingExample], directory: Path) -> None:
        self.model = model
        self.examples = examples
        self.directory = directory

    def snapshots(self, key: str = "this") -> SnapshotFile:
        """The one place for snapshots, as a new process finds it."""
        return SnapshotFile(self.directory / "snapshot", key=key, interval_seconds=3600)

    def train(
        self,
        name: str,
        *,
        snapshots: SnapshotFile | None = None,
        stop_before: int = 0,
        dropout: float = 0.0,
    ) -> list[float]:
        """Train for two epochs, the first of them the better one; returns the steps' losses."""
        recipe = Recipe(learning_rate=5e-3, r=4, lora_alpha=8, lora_dropout=dropout)
        loop = TrainingLoop(self.model, self.directory / name, recipe=recipe)
        asked = count(1)
        run = loop.train_on_experiences(
            self.examples,
            validate=float,
            snapshots=snapshots,
            should_stop=lambda: next(asked) == stop_before,
        )
        assert run["validation_curve"] == [1.0, 2.0]
        assert run["best_epoch"] == 1
        return run["loss_curve"]

    def adapter(self, name: str) -> bytes:
        """The weights that a training wrote."""
        return (self.directory / name / "adapter_model.safetensors").read_bytes()


@pytest.fixture
def line(tiny_model: Path, buffer_path: Path, tmp_path: Path) -> Line:
    examples = RaisingTrainingDataBuilder(buffer_path, tiny_model).build_training_set(0.0)[:9]
    return Line(tiny_model, examples, tmp_path)


@pytest.mark.parametrize(("step", "dropout"), [(2, 0.0), (5, 0.0), (LAST_STEP, 0.1)])
def test_interrupted_training_ends_in_the_same_bytes(line: Line, step: int, dropout: float) -> None:
    losses = line.train("whole", dropout=dropout)
    assert len(losses) == LAST_STEP
    with pytest.raises(TrainingStopped, match=f"before step {step} "):
        line.train("killed", snapshots=line.snapshots(), stop_before=step, dropout=dropout)
    assert not (line.directory / "killed").exists()
    found = line.snapshots().find()
    assert found is not None
    assert found.facts["losses"] == losses[: step - 1]
    assert line.train("resumed", snapshots=line.snapshots(), dropout=dropout) == losses
    assert line.adapter("resumed") == line.adapter("whole")


def test_snapshot_of_another_training_is_not_found(line: Line) -> None:
    with pytest.raises(TrainingStopped):
        line.train("killed", snapshots=line.snapshots(), stop_before=4)
    assert line.snapshots(key="other").find() is None


def test_damaged_snapshot_begins_the_training_again(line: Line) -> None:
    with pytest.raises(TrainingStopped):
        line.train("killed", snapshots=line.snapshots(), stop_before=4)
    path = line.directory / "snapshot"
    path.write_bytes(path.read_bytes()[:-100])
    assert line.snapshots().find() is None
    assert len(line.train("resumed", snapshots=line.snapshots())) == LAST_STEP


def test_job_knows_its_snapshot_by_all_that_its_result_depends_on(
    tiny_job: TrainingJob, tmp_path: Path
) -> None:
    def run(name: str, **changed: Any) -> list[int]:
        """Run the job and return the steps that it took itself."""
        output = tmp_path / name
        output.mkdir()
        taken: list[int] = []  # a sign of life between two steps tells the last one again
        job = replace(
            tiny_job, output_directory=output, snapshot_file=tmp_path / "snapshot", **changed
        )
        killed_after = {1, 2} if name == "killed" else None
        LoraTrainer().run(
            job,
            on_progress=lambda p: taken.append(p.step) if p.loss is not None else None,
            should_stop=lambda: set(taken) == killed_after,
        )
        return list(dict.fromkeys(taken))

    with pytest.raises(TrainingStopped):
        run("killed")
    assert run("other", train=tiny_job.train[1:])[0] == 1
    assert run("resumed") == [3, 4, 5, 6]


def test_unwritable_place_costs_the_snapshot_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    file = SnapshotFile(tmp_path / "file" / "cycle", key="k", interval_seconds=0)
    file.keep(Snapshot(tensors={"a": torch.ones(2)}, facts={}))
    assert file.find() is None


def test_snapshot_is_due_after_the_interval_and_replaces_the_one_before(tmp_path: Path) -> None:
    always = SnapshotFile(tmp_path / "a", key="k", interval_seconds=0)
    assert always.is_due
    assert not SnapshotFile(tmp_path / "b", key="k", interval_seconds=3600).is_due
    for value in (1.0, 2.0):
        always.keep(Snapshot(tensors={"a": torch.tensor([value])}, facts={"steps": value}))
    found = always.find()
    assert found is not None
    assert float(found.tensors["a"]) == found.facts["steps"] == 2.0
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert SnapshotFile(tmp_path / "a", key="other", interval_seconds=0).find() is None
