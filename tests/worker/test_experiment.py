"""A checkpoint made again from its manifest: real trainings of a tiny model, equal bytes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.artifacts import directories
from app.db.tables import CheckpointRow
from app.domain.decision import Trigger
from app.domain.recipe import Recipe
from app.errors import (
    BaseModelMismatch,
    CheckpointFilesAltered,
    CheckpointFilesMissing,
    CheckpointNotFound,
    CheckpointNotReproducible,
    ExperimentActive,
    SleepCycleActive,
)
from app.services import cycle_end, cycle_run, cycles, registry, sleep
from app.services.erasure import erase_experience
from app.services.instances import put_instance
from app.training.trainer import LoraTrainer
from app.worker import experiment
from tests.patience import seconds_left, wait_until
from tests.publishing import NOW, roll_back
from tests.support import run_command
from tests.worker.conftest import Place, make_again


@dataclass
class Line:
    """A place with a first checkpoint, one that went on from it, and one that was scaled down."""

    place: Place
    first: CheckpointRow
    second: CheckpointRow
    scaled: CheckpointRow


def published(place: Place, cycle: Any) -> CheckpointRow:
    checkpoint_id = cycles.get_cycle(place.db, cycle.id)[2]
    assert checkpoint_id is not None
    return registry.get_checkpoint(place.db, checkpoint_id).row


@pytest.fixture(scope="module")
def line(make_place: Callable[[], Place]) -> Line:
    place = make_place()
    place.fill(range(12))
    first = place.sleep()
    place.fill(range(12, 24))
    second = place.sleep(recipe={"seed": 5, "rehearsal_share": 0.5})
    assert first.metrics is not None
    kl = first.metrics.measures.after.retention.general_kl.value
    put_instance(place.db, "other", {}, now=NOW)
    place.fill(range(12), instance="other")
    gate = place.db.defaults.gate
    place.restart(gate=replace(gate, general_kl=0.4 * kl))
    scaled = place.sleep("other")
    place.restart(gate=gate)
    return Line(place, *(published(place, cycle) for cycle in (first, second, scaled)))


def fingerprint(place: Place) -> dict[str, str]:
    """Every file of the data directory but SQLite's own side files and scratch."""
    data_dir = place.settings.data_dir
    return {
        str(path.relative_to(data_dir)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(data_dir.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm")) and path.name != ".lock"
    }


@pytest.mark.parametrize("which", ["first", "second", "scaled"])
def test_checkpoint_is_made_again_byte_for_byte_and_nothing_changes(line: Line, which: str) -> None:
    row: CheckpointRow = getattr(line, which)
    before = fingerprint(line.place)
    outcome = make_again(line.place, row.name if which == "second" else row.id)
    assert outcome.is_reproduced, outcome.explanation()
    assert outcome.environment == ()
    assert outcome.held_out_now == outcome.held_out_then
    assert fingerprint(line.place) == before
    assert {file.name: file.found_sha256 for file in outcome.files} == {
        file.name: file.sha256 for file in row.files if file.name != "manifest.json"
    }


def test_the_line_holds_what_the_test_is_about(line: Line) -> None:
    assert line.first.parent_id is None
    assert line.second.parent_id == line.first.id
    assert 0 < len(line.second.metrics.rehearsed_ids) < 12
    assert line.scaled.metrics.measures.scale == 0.5


def test_another_recipe_gives_other_bytes_and_the_outcome_says_so(line: Line) -> None:
    place = line.place
    root = place.settings.checkpoints_dir
    prepared = experiment.prepare_reproduction(place.db, line.first.id[:20].lower(), root=root)
    recipe: Recipe = replace(prepared.recorded.plan.recipe, learning_rate=4e-3)
    recorded = replace(
        prepared.recorded,
        plan=replace(prepared.recorded.plan, recipe=recipe),
        environment={**prepared.recorded.environment, "threads": "64"},
    )
    with experiment.experiment_room(place.settings.scratch_dir, place.settings.kept_dir) as room:
        outcome = experiment.reproduce(
            replace(prepared, recorded=recorded),
            room,
            root=root,
            gate=place.db.defaults.gate,
            trainer=LoraTrainer(),
            on_progress=lambda _progress: None,
            should_stop=lambda: False,
        )
    assert not outcome.is_reproduced
    words = " ".join(outcome.explanation())
    assert "adapter_model.safetensors differs" in words
    assert "threads: 64 then" in words
    assert [file["equal"] for file in outcome.describe()["files"]] == [False, True]


def test_command_says_that_it_is_equal_or_what_is_wrong(line: Line) -> None:
    place = line.place
    environment = {
        "SAGE_DATA_DIR": str(place.settings.data_dir),
        "SAGE_BASE_MODEL": str(place.settings.base_model),
    }
    result = run_command("reproduce", line.first.name, "--json", environment=environment)
    told = json.loads(result.stdout)
    assert told["reproduced"] is True
    assert "equal byte for byte" in told["explanation"][0]
    assert "training" in result.stderr
    absent = run_command("reproduce", "default/1-none", environment=environment, check=False)
    assert (absent.returncode, "no checkpoint" in absent.stderr) == (1, True)


def test_interrupted_command_yields_its_cores_ends_with_1_and_leaves_nothing(line: Line) -> None:
    place = line.place
    environment = {
        **os.environ,
        "SAGE_DATA_DIR": str(place.settings.data_dir),
        "SAGE_BASE_MODEL": str(place.settings.base_model),
        "SAGE_CHILD_NICENESS": "7",
    }
    scratch = place.settings.scratch_dir
    command = [sys.executable, "-m", "app", "reproduce", line.first.id]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        wait_until(lambda: any(path.is_dir() for path in scratch.glob("*")), "it has begun")
        (child,) = psutil.Process(process.pid).children()
        assert child.nice() >= 7
        assert os.getsid(child.pid) == child.pid
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=seconds_left())
    assert (process.returncode, b"stopped before" in told) == (1, True), told
    assert [path.name for path in scratch.iterdir()] == [".lock"]


def prepare(place: Place, wanted: str) -> experiment.PreparedReproduction:
    return experiment.prepare_reproduction(place.db, wanted, root=place.settings.checkpoints_dir)


def test_unknown_checkpoint_is_named(line: Line) -> None:
    for wanted in ("01J", "default/1-01J"):
        with pytest.raises(CheckpointNotFound, match="01J"):
            prepare(line.place, wanted)


def test_one_experiment_at_a_time_and_what_a_killed_one_left_goes(line: Line) -> None:
    scratch, kept = line.place.settings.scratch_dir, line.place.settings.kept_dir
    (scratch / "left").mkdir(parents=True)
    with experiment.experiment_room(scratch, kept) as room:
        assert not (scratch / "left").exists()
        assert line.first.base_sha256 in {path.name for path in room.kept.iterdir()}
        with pytest.raises(ExperimentActive), experiment.experiment_room(scratch, kept):
            pass
        assert room.kept.is_dir()
    assert [path.name for path in scratch.iterdir()] == [".lock"]


def test_altered_manifest_or_parent_is_not_run(line: Line) -> None:
    root = line.place.settings.checkpoints_dir
    manifest = root / line.second.name / "manifest.json"
    parent = root / line.first.name / "adapter_model.safetensors"
    for path in (manifest, parent):
        original = path.read_bytes()
        path.write_bytes(original[:-1] + b" ")
        with pytest.raises(CheckpointFilesAltered, match=path.name):
            prepare(line.place, line.second.id)
        path.unlink()
        with pytest.raises(CheckpointFilesMissing, match=path.name):
            prepare(line.place, line.second.id)
        path.write_bytes(original)
    assert prepare(line.place, line.second.id).order.parent is not None


def test_another_base_in_the_same_place_is_not_run(line: Line, tiny_model: Path) -> None:
    config = tiny_model / "config.json"
    original = config.read_text()
    config.write_text(json.dumps({**json.loads(original), "rope_theta": 12345.0}))
    try:
        with pytest.raises(BaseModelMismatch, match="was trained on base"):
            prepare(line.place, line.first.id)
    finally:
        config.write_text(original)


def test_what_is_gone_or_under_way_is_said(make_place: Callable[[], Place]) -> None:
    place = make_place()
    place.fill(range(12))
    row = published(place, place.sleep())
    place.fill(range(12, 24))
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(place.db, request, now=NOW)
    assert prepare(place, row.id).order.parent is None
    cycle_run.start_cycle(place.db, cycle.id, worker_id="w", now=NOW)
    with pytest.raises(SleepCycleActive):
        prepare(place, row.id)
    cycle_end.stop_cycle(place.db, cycle.id, worker_id="w", now=NOW)
    sleep.cancel_cycle(place.db, cycle.id, now=NOW)
    trained = registry.list_provenance(place.db, row.id)[0].experience_id
    erase_experience(place.db, trained, now=NOW)
    with pytest.raises(CheckpointNotReproducible, match=f"1 of the .* are erased .{trained}"):
        prepare(place, row.id)
    roll_back(place.db, place.settings.checkpoints_dir)
    directories.remove(place.settings.checkpoints_dir, row.name)
    with pytest.raises(CheckpointFilesMissing, match="manifest"):
        prepare(place, row.id)
    registry.delete_checkpoint(place.db, row.id, root=place.settings.checkpoints_dir, now=NOW)
    with pytest.raises(CheckpointFilesMissing, match="deleted"):
        prepare(place, row.id)
