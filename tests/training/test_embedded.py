"""Real learning on the real embedded model, with few exchanges."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from app.domain.experience import TrainingExchange
from app.domain.gate import GatePolicy, Verdict, judge
from app.domain.instance import SAGE_SYSTEM_PROMPT
from app.domain.plan import TrainingJob
from app.domain.recipe import Recipe
from app.domain.report import TrainingReport
from app.training.chat import ChatEncoder
from app.training.evaluate import held_out_loss, token_log_probabilities
from app.training.examples import TrainingExample, make_example
from app.training.loading import BaseModel, load_base_model
from app.training.trainer import LoraTrainer

POLICY = GatePolicy()


@pytest.fixture(scope="module")
def job(
    embedded_model: Path,
    exchanges: tuple[TrainingExchange, ...],
    kept_directory: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> TrainingJob:
    return TrainingJob(
        base_model=str(embedded_model),
        parent_adapter=None,
        parent_base_sha256=None,
        output_directory=tmp_path_factory.mktemp("adapter"),
        system_prompt=SAGE_SYSTEM_PROMPT,
        recipe=Recipe(),
        train=exchanges[:8],
        held_out=exchanges[8:],
        kept_directory=kept_directory,
    )


@pytest.fixture(scope="module")
def report(job: TrainingJob) -> TrainingReport:
    return run(job)


def run(job: TrainingJob) -> TrainingReport:
    return LoraTrainer().run(job, on_progress=lambda _progress: None, should_stop=lambda: False)


def test_a_cycle_learns(report: TrainingReport) -> None:
    assert report.held_out_reloaded.nats_per_token < report.held_out_before.nats_per_token - 0.02
    assert report.loss_curve[-1] < report.loss_curve[0]
    assert report.effect_nats > 4 * POLICY.inert_limit
    verdict = judge(report, POLICY)
    assert verdict.is_accepted, verdict


def test_bare_from_pretrained_gives_the_same_loss(job: TrainingJob, report: TrainingReport) -> None:
    fresh = load_base_model(job.base_model)
    model = AutoModelForCausalLM.from_pretrained(job.base_model, dtype=fresh.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft's own, about transformers
        PeftModel.from_pretrained(model, str(job.output_directory))
    base = replace(fresh, model=model)  # peft adapts it in place
    loss = held_out_loss(*measure(base, job))
    assert loss.tokens == report.held_out_reloaded.tokens
    difference = abs(loss.nats_per_token - report.held_out_reloaded.nats_per_token)
    assert difference <= POLICY.reload_tolerance


def test_adapter_is_kept_in_fp32(job: TrainingJob, report: TrainingReport) -> None:
    from safetensors.torch import load_file

    weights = load_file(job.output_directory / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert sum(tensor.numel() for tensor in weights.values()) == report.trainable_parameters


def test_next_cycle_goes_on_from_the_adapter(
    job: TrainingJob, report: TrainingReport, tmp_path: Path
) -> None:
    following = replace(
        job,
        parent_adapter=job.output_directory,
        parent_base_sha256=report.base_sha256,
        output_directory=tmp_path,
    )
    second = run(following)
    start, end = second.held_out_before.nats_per_token, report.held_out_reloaded.nats_per_token
    assert abs(start - end) <= POLICY.reload_tolerance
    assert second.loss_curve[-1] < report.loss_curve[-1]


def test_tiny_learning_rate_is_refused_as_inert(job: TrainingJob, tmp_path: Path) -> None:
    recipe = replace(job.recipe, learning_rate=1e-7, epochs=1)
    verdict = judge(run(replace(job, recipe=recipe, output_directory=tmp_path)), POLICY)
    assert failed(verdict) == {"inertness"}


def test_huge_learning_rate_is_refused_and_no_smaller_scale_tried(
    job: TrainingJob, tmp_path: Path
) -> None:
    recipe = replace(job.recipe, learning_rate=5e-2)
    report = run(replace(job, recipe=recipe, output_directory=tmp_path))
    assert "update_norm" in failed(judge(report, POLICY))
    assert (report.measures.update_norm or 0) > POLICY.update_norm
    assert len(report.measures.trials) == 1


def failed(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.checks if not check.is_passed}


def measure(base: BaseModel, job: TrainingJob) -> tuple[torch.Tensor, list[TrainingExample]]:
    encoder = ChatEncoder(
        base.tokenizer, system_prompt=job.system_prompt, max_length=job.recipe.max_length
    )
    examples = [make_example(exchange, encoder) for exchange in job.held_out]
    return token_log_probabilities(base, examples), examples
