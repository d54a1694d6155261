"""A base held in 8 or 4 bits: chosen by what is free, trained on, judged, and read back."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from app.domain.plan import TrainingJob
from app.errors import BaseModelNotFound, BaseModelUnsupported
from app.training.evaluate import exact_log_probabilities, token_log_probabilities
from app.training.examples import make_examples
from app.training.job import encoder_of
from app.training.loading import load_base_model
from app.training.lora import read_adapter
from app.training.quantized import (
    choose_holding,
    demand_possible,
    is_rounded,
    mildest,
    sizes_of,
    whole_weight,
)
from app.training.trainer import LoraTrainer

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
IS_INSTALLED = find_spec("bitsandbytes") is not None
needs_package = pytest.mark.skipif(
    not IS_INSTALLED, reason="bitsandbytes (the extra quantized) is not installed"
)


def test_cpu_trains_on_its_base_as_it_is_and_says_nothing_of_it(tiny_model: Path) -> None:
    for wanted in ("auto", "none"):
        held = choose_holding(wanted, str(tiny_model), CPU, torch.float32)
        assert held.kind == "none"
    assert choose_holding("auto", str(tiny_model), CPU, torch.float32).described == {}


def test_mildest_that_fits_half_of_the_free_memory_is_taken(tiny_model: Path) -> None:
    sizes = sizes_of(tiny_model, torch.bfloat16)
    assert sizes is not None
    base = load_base_model(str(tiny_model), dtype=torch.bfloat16)
    whole = sum(one.numel() * 2 for one in base.model.parameters())
    assert sizes["none"] == whole > sizes["8bit"] > sizes["4bit"]

    def chosen(room: float) -> str:
        return mildest(sizes, int(room), is_installed=True)[0]

    assert chosen(2 * sizes["none"] + 2) == "none"
    assert chosen(2 * sizes["none"] - 2) == chosen(2 * sizes["8bit"] + 2) == "8bit"
    assert chosen(2 * sizes["8bit"] - 2) == chosen(1) == "4bit"
    kind, why = mildest(sizes, 1, is_installed=False)
    assert kind == "none"
    assert why.endswith("MB free, and bitsandbytes is not installed")


def test_what_cannot_be_had_is_refused_with_what_to_do(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseModelUnsupported, match="this is mps; SAGE_QUANTIZATION=none"):
        demand_possible("4bit", str(tiny_model), torch.device("mps"))
    rounded = shutil.copytree(tiny_model, tmp_path / "rounded")
    config = json.loads((rounded / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (rounded / "config.json").write_text(json.dumps(config))
    with pytest.raises(BaseModelUnsupported, match=r"quantised already \(gptq\)"):
        demand_possible("8bit", str(rounded), CUDA)
    assert choose_holding("auto", str(rounded), CUDA, torch.bfloat16).kind == "none"


@pytest.mark.skipif(IS_INSTALLED, reason="bitsandbytes is installed")
def test_package_that_is_missing_is_named(tiny_job: TrainingJob) -> None:
    job = replace(tiny_job, recipe=replace(tiny_job.recipe, quantization="4bit"))
    with pytest.raises(BaseModelNotFound, match=r"pip install 'sage-sleep\[quantized\]'"):
        LoraTrainer().run(job, on_progress=lambda _: None, should_stop=lambda: False)


@needs_package
@pytest.mark.parametrize("kind", ["8bit", "4bit"])
def test_cycle_on_a_rounded_base_is_judged_as_it_was_trained(
    tiny_job: TrainingJob, kind: str
) -> None:
    recipe = replace(tiny_job.recipe, quantization=kind, device="cpu")
    job = replace(tiny_job, recipe=recipe)
    report = LoraTrainer().run(job, on_progress=lambda _: None, should_stop=lambda: False)
    assert report.environment["base_weights"].startswith(f"{kind[0]} bits")
    assert report.environment["base_weights"].endswith(": as asked")
    assert report.environment["dtype"].endswith(kind)
    before, after = report.held_out_before, report.held_out_after
    assert report.held_out_reloaded.nats_per_token == pytest.approx(after.nats_per_token, abs=1e-5)
    assert after.nats_per_token < before.nats_per_token
    assert report.effect_nats > 1e-3
    assert report.measures.update_norm
    assert len(report.replies) == len(job.probe_prompts)

    # Its files are an adapter as any other: the base as it is takes it, and has learned, too.
    base = load_base_model(job.base_model, device=CPU)
    examples, _ = make_examples(job.held_out, encoder_of(job, base))
    bare = float(token_log_probabilities(base, examples).mean())
    read_adapter(base.model, job.output_directory, is_trainable=False)
    assert float(token_log_probabilities(base, examples).mean()) > bare


@needs_package
@pytest.mark.parametrize("kind", ["8bit", "4bit"])
def test_exact_measures_round_no_inputs(tiny_job: TrainingJob, kind: str) -> None:
    held = load_base_model(tiny_job.base_model, device=CPU, dtype=torch.bfloat16, quantization=kind)
    examples, _ = make_examples(tiny_job.held_out, encoder_of(tiny_job, held))
    exact = exact_log_probabilities(held, examples)
    # The same weights, without what holds them.
    plain = load_base_model(tiny_job.base_model, device=CPU, dtype=torch.bfloat16)
    plain.model.float()  # type: ignore[no-untyped-call]
    for name, module in held.model.named_modules():
        if is_rounded(module):
            plain.model.get_submodule(name).weight.data.copy_(whole_weight(module))  # type: ignore[operator]
    expected = token_log_probabilities(plain, examples, by_hand=False)
    torch.testing.assert_close(exact, expected, rtol=0, atol=1e-4)
    assert not torch.allclose(token_log_probabilities(held, examples), expected, atol=1e-4)
