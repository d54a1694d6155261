"""A whole job on the tiny model, and the loop below it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from app.domain.experience import TrainingExchange
from app.domain.gate import GatePolicy, judge
from app.domain.plan import TrainingJob
from app.domain.progress import Progress, Stage
from app.domain.report import TrainingReport
from app.domain.stored import to_json
from app.errors import (
    BaseModelMismatch,
    CheckpointFilesMissing,
    NonFiniteLoss,
    NoSupervisedTokens,
    TargetModulesUnmatched,
    TrainingStopped,
)
from app.older import RaisingTrainingDataBuilder
from app.training.loop import TrainingLoop
from app.training.models import base_sha256
from app.training.trainer import LoraTrainer
from tests.tiny import make_tiny_model
from tests.training.tiny_jobs import make_tiny_job


def run(
    job: TrainingJob,
    *,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingReport:
    return LoraTrainer().run(job, on_progress=on_progress, should_stop=should_stop)


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that was run once for all tests that read what it left, or go on from it."""

    job: TrainingJob
    report: TrainingReport
    seen: tuple[Progress, ...]


@pytest.fixture(scope="module")
def ended(
    tiny_model: Path,
    exchanges: tuple[TrainingExchange, ...],
    kept: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Ended:
    output = tmp_path_factory.mktemp("ended")
    job = make_tiny_job(tiny_model, exchanges, kept, output)
    seen: list[Progress] = []
    return Ended(job, run(job, on_progress=seen.append), tuple(seen))


@pytest.fixture
def following(ended: Ended, tiny_job: TrainingJob) -> TrainingJob:
    """The job after that, into a directory of its own."""
    return replace(
        tiny_job,
        parent_adapter=ended.job.output_directory,
        parent_base_sha256=ended.report.base_sha256,
    )


@pytest.mark.parametrize("is_same_base", [True, False])
def test_new_start_is_measured_beside_the_adapter_it_replaces(
    ended: Ended, tiny_job: TrainingJob, is_same_base: bool
) -> None:
    first = ended.report
    assert first.held_out_replaced is None
    anew = replace(
        tiny_job,
        replaced_adapter=ended.job.output_directory,
        replaced_base_sha256=first.base_sha256 if is_same_base else "of another base",
        recipe=replace(tiny_job.recipe, learning_rate=1e-7),
    )
    second = run(anew)
    assert second.held_out_before == first.held_out_before
    assert second.held_out_replaced == (first.held_out_after if is_same_base else None)
    verdict = judge(second, GatePolicy(replaced_tolerance=0.0))
    failed = [check.name for check in verdict.checks if not check.is_passed]
    assert ("replaced_held_out_loss" in failed) is is_same_base


@pytest.mark.parametrize(("learning_rate", "fault"), [(1e-7, "inertness"), (5e-2, "update_norm")])
def test_what_taught_nothing_or_broke_the_model_is_refused(
    tiny_job: TrainingJob, learning_rate: float, fault: str
) -> None:
    recipe = replace(tiny_job.recipe, learning_rate=learning_rate)
    report = run(replace(tiny_job, recipe=recipe, gate=GatePolicy()))
    failed = {check.name for check in judge(report, GatePolicy()).checks if not check.is_passed}
    assert failed == {fault} if fault == "inertness" else fault in failed
    assert len(report.measures.trials) == 1  # no smaller scale helps against either


def test_job_writes_plain_peft_files_and_a_true_report(ended: Ended) -> None:
    report, seen = ended.report, ended.seen
    assert sorted(path.name for path in ended.job.output_directory.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    config = json.loads((ended.job.output_directory / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"
    assert config["target_modules"] == [
        "down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj",
    ]  # fmt: skip
    assert report.layers is not None
    assert report.layers.summary == "14 of 14 layers"
    assert report.steps == len(report.loss_curve) == 6
    assert report.base_sha256 == base_sha256(ended.job.base_model)
    assert report.held_out_before.experiences == 3
    assert report.unfit == ()
    assert report.held_out_after.nats_per_token < report.held_out_before.nats_per_token
    assert report.held_out_reloaded == report.held_out_after
    assert report.effect_nats > 0
    assert 0 < report.supervised_tokens < report.trained_tokens
    assert report.peak_memory_bytes > 100 * 2**20
    assert set(report.seconds) == {
        "imports", "loading", "references", "evaluating_before", "training", "saving",
        "evaluating_after", "replies",
    }  # fmt: skip
    assert report.environment["adapter"].startswith("r=4 lora_alpha=8")
    assert [reply.prompt for reply in report.replies] == ["Who are you?"]
    assert judge(report, GatePolicy()).checks
    assert report.measures.scale == 1.0
    assert report.measures.before == report.measures.base
    assert report.measures.after.retention.general_kl.value > 0
    for measures in (report.measures.base, report.measures.after):
        assert measures.session_retention != measures.retention
    assert all(trial.session_retention is not None for trial in report.measures.trials)
    assert report.measures.after.replies.replies == 24
    gain = report.held_out_before.nats_per_token - report.held_out_after.nats_per_token
    assert report.measures.held_out_gain.value == pytest.approx(gain, abs=1e-4)
    json.dumps(to_json(report), allow_nan=False)
    stages = list(dict.fromkeys(progress.stage for progress in seen))
    assert stages == [
        Stage.LOADING, Stage.EVALUATING_BEFORE, Stage.TRAINING, Stage.SAVING,
        Stage.EVALUATING_AFTER,
    ]  # fmt: skip
    steps = [p.step for p in seen if p.loss is not None]  # a sign of life tells one again
    assert list(dict.fromkeys(steps)) == [1, 2, 3, 4, 5, 6]


def test_same_job_gives_the_same_bytes(ended: Ended, tiny_job: TrainingJob) -> None:
    assert run(tiny_job).loss_curve == ended.report.loss_curve
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        again = (tiny_job.output_directory / name).read_bytes()
        assert again == (ended.job.output_directory / name).read_bytes()


def test_another_process_gives_the_same_bytes(
    tiny_model: Path, buffer_path: Path, tmp_path: Path
) -> None:
    code = (
        "import sys\n"
        "from app.older import RaisingTrainingDataBuilder\n"
        "from app.training.loop import TrainingLoop\n"
        "buffer, model, output = sys.argv[1:]\n"
        "examples = RaisingTrainingDataBuilder(buffer, model).build_training_set(0.0)\n"
        "TrainingLoop(model, output).train_on_experiences(examples, epochs=1, lr=1e-3)\n"
    )
    for name, seed in (("first", "1"), ("second", "2")):
        subprocess.run(
            [sys.executable, "-c", code, str(buffer_path), str(tiny_model), str(tmp_path / name)],
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        )
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_another_seed_gives_another_adapter(ended: Ended, tiny_job: TrainingJob) -> None:
    other = replace(tiny_job, recipe=replace(tiny_job.recipe, seed=1))
    assert run(other).loss_curve != ended.report.loss_curve


def test_next_job_starts_where_its_parent_ended(ended: Ended, following: TrainingJob) -> None:
    first, second = ended.report, run(following)
    assert second.held_out_before == first.held_out_reloaded
    assert second.held_out_after.nats_per_token < first.held_out_after.nats_per_token
    # And what was measured of the parent then is kept since.
    assert second.measures.before.retention == first.measures.after.retention
    assert second.measures.before.session_retention == first.measures.after.session_retention
    assert second.replies[0].before == first.replies[0].after
    assert second.measures.base == first.measures.base


def test_parents_measures_are_made_again_where_nothing_was_kept(
    ended: Ended, following: TrainingJob, tmp_path: Path
) -> None:
    first, second = ended.report, run(replace(following, kept_directory=tmp_path / "other"))
    for before, after in (
        (second.measures.before.retention, first.measures.after.retention),
        (second.measures.before.session_retention, first.measures.after.session_retention),
    ):
        assert before is not None
        assert after is not None
        assert before.general_kl.value == pytest.approx(after.general_kl.value, rel=1e-2)


def test_adapter_that_forgets_is_published_at_a_smaller_scale(
    ended: Ended, tiny_job: TrainingJob
) -> None:
    kl = ended.report.measures.after.retention.general_kl.value
    scaled = run(replace(tiny_job, gate=replace(tiny_job.gate, general_kl=0.4 * kl)))
    assert [trial.scale for trial in scaled.measures.trials] == [1.0, 0.75, 0.5]
    assert [bool(trial.failed) for trial in scaled.measures.trials] == [True, True, False]
    assert scaled.measures.scale == 0.5
    assert scaled.measures.after.retention.general_kl.value <= 0.4 * kl
    assert scaled.held_out_reloaded == scaled.held_out_after
    first, second = (
        load_file(job.output_directory / "adapter_model.safetensors")
        for job in (ended.job, tiny_job)
    )
    for name, weight in first.items():
        factor = 0.5 if "lora_B" in name else 1.0
        assert torch.equal(weight * factor, second[name]), name


def test_adapter_that_forgets_at_every_scale_stays_as_trained(tiny_job: TrainingJob) -> None:
    report = run(replace(tiny_job, gate=replace(tiny_job.gate, general_kl=0.0)))
    assert [trial.scale for trial in report.measures.trials] == [1.0, 0.75, 0.5, 0.25]
    assert report.measures.scale == 1.0
    assert not judge(report, replace(tiny_job.gate, general_kl=0.0)).is_accepted


def test_parent_keeps_its_own_geometry(following: TrainingJob) -> None:
    recipe = replace(following.recipe, r=16, target_modules=("q_proj",))
    report = run(replace(following, recipe=recipe))
    assert report.environment["adapter"].startswith("r=4 lora_alpha=8")
    assert "down_proj" in report.environment["adapter"]


def test_parent_of_another_base_is_refused(following: TrainingJob) -> None:
    with pytest.raises(BaseModelMismatch):
        run(replace(following, parent_base_sha256="0" * 64))
    assert not list(following.output_directory.iterdir())


def test_parent_of_another_shape_is_refused(following: TrainingJob, tmp_path: Path) -> None:
    tiny = Path(following.base_model)
    wide = make_tiny_model(tmp_path / "wide", tokenizer_of=tiny, hidden_size=48)
    with pytest.raises(BaseModelMismatch):
        run(replace(following, base_model=str(wide), parent_base_sha256=None))


def test_absent_parent_is_named(tiny_job: TrainingJob, tmp_path: Path) -> None:
    with pytest.raises(CheckpointFilesMissing):
        run(replace(tiny_job, parent_adapter=tmp_path / "absent"))


def test_target_modules_that_do_not_exist_are_an_error(tiny_job: TrainingJob) -> None:
    recipe = replace(tiny_job.recipe, target_modules=("no_such_layer",))
    with pytest.raises(TargetModulesUnmatched):
        run(replace(tiny_job, recipe=recipe))


def test_stop_is_heeded_between_steps_and_leaves_nothing(tiny_job: TrainingJob) -> None:
    seen: list[Progress] = []
    with pytest.raises(TrainingStopped):
        run(tiny_job, on_progress=seen.append, should_stop=lambda: bool(seen) and seen[-1].step > 1)
    assert seen[-1].step == 2
    assert not list(tiny_job.output_directory.iterdir())


def test_loss_that_is_no_number_fails_the_job(tiny_job: TrainingJob) -> None:
    recipe = replace(tiny_job.recipe, warmup_ratio=0.0, epochs=8)
    # Beyond its range, within which the tiny model does not get so far.
    object.__setattr__(recipe, "learning_rate", 1e30)
    with pytest.raises(NonFiniteLoss):
        run(replace(tiny_job, recipe=recipe))
    assert not list(tiny_job.output_directory.iterdir())


def test_empty_training_set_is_an_error(tiny_job: TrainingJob) -> None:
    with pytest.raises(NoSupervisedTokens):
        run(replace(tiny_job, train=()))


def test_unusable_yardstick_is_left_out(
    tiny_job: TrainingJob, exchanges: tuple[TrainingExchange, ...]
) -> None:
    too_long = replace(exchanges[0], system_prompt="on and on " * 600)
    report = run(replace(tiny_job, held_out=(*tiny_job.held_out, too_long)))
    assert report.held_out_before.experiences == 3
    assert [one.code for one in report.unfit] == ["exchange-too-long"]


def test_nothing_held_out_still_shows_the_effect(tiny_job: TrainingJob) -> None:
    report = run(replace(tiny_job, held_out=()))
    assert report.held_out_before.tokens == report.held_out_reloaded.tokens == 0
    assert report.held_out_before.nats_per_token == 0.0
    assert report.effect_nats > 0


def test_loop_of_the_older_scripts_trains_and_saves(
    tiny_model: Path, buffer_path: Path, tmp_path: Path
) -> None:
    examples = RaisingTrainingDataBuilder(buffer_path, tiny_model).build_training_set(0.0)
    loop = TrainingLoop(model_path=tiny_model, checkpoint_dir=tmp_path / "checkpoint")
    outcome = loop.train_on_experiences(training_data=examples, epochs=3, lr=5e-3)
    assert outcome["epochs"] == 3
    assert outcome["steps"] == 9
    assert outcome["final_loss"] < outcome["loss_curve"][0]
    assert (Path(outcome["checkpoint_path"]) / "adapter_model.safetensors").is_file()
