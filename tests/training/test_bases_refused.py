"""Bases that load, and yet cannot learn to go on with a text: each is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BertConfig, PreTrainedConfig, T5Config

from app.domain.fit import FitQuestion
from app.domain.reply_parts import Thinking
from app.errors import BaseModelNotFound, BaseModelUnsupported, DeviceUnavailable
from app.training.causality import demand_causal
from app.training.fit import look
from app.training.loading import load_base_model
from tests.training.tiny_families import make_family, save_family, tokenizer_for

BERT: dict[str, Any] = {
    "vocab_size": 1024, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4,
}  # fmt: skip


def save(path: Path, config: PreTrainedConfig) -> str:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(str(path))  # type: ignore[no-untyped-call]
    tokenizer_for("qwen2").save_pretrained(str(path))
    return str(path)


def question(base_model: str, **values: Any) -> FitQuestion:
    return FitQuestion(
        base_model=base_model,
        system_prompt="",
        max_length=200,
        thinking=Thinking.STRIP,
        train=(),
        held_out=(),
        **values,
    )


def test_encoder_with_a_decoder_is_refused_before_a_weight_is_read(tmp_path: Path) -> None:
    T5Config(vocab_size=1024, d_model=32, d_ff=64, num_layers=2).save_pretrained(str(tmp_path))
    (tmp_path / "model.safetensors").touch()
    tokenizer_for("qwen2").save_pretrained(str(tmp_path))
    with pytest.raises(BaseModelUnsupported, match=r"encoder with a decoder \(t5\)"):
        load_base_model(str(tmp_path))
    with pytest.raises(BaseModelUnsupported, match="Name a causal language model"):
        look(question(str(tmp_path)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_model_that_reads_in_both_directions_is_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    base = save(tmp_path, BertConfig(**BERT))
    with pytest.raises(BaseModelUnsupported, match="depends on those that come after it"):
        load_base_model(base, device=torch.device("cpu"), dtype=dtype)


def test_same_layers_with_a_mask_are_a_base(tmp_path: Path) -> None:
    load_base_model(save(tmp_path, BertConfig(**BERT, is_decoder=True)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["gemma3_vision", "mamba", "qwen3_5", "qwen3_moe", "falcon_h1"])
def test_families_with_masks_of_any_kind_are_causal(name: str, dtype: torch.dtype) -> None:
    model = make_family(name)
    torch.nn.Module.to(model, dtype)
    demand_causal(model)
    assert all(parameter.grad is None for parameter in model.parameters())


def take_away(base: Path, names: Sequence[str]) -> None:
    stored = load_file(base / "model.safetensors")
    for name in names:
        del stored[name]
    save_file(stored, base / "model.safetensors", metadata={"format": "pt"})


DOWN, QUERY = "model.layers.1.mlp.down_proj.weight", "model.layers.1.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([DOWN], f"its weight {DOWN} is missing. "),
        ([QUERY, DOWN], f"{DOWN} is missing, and 1 more"),
    ],
)
def test_weight_that_is_not_there_is_named(tmp_path: Path, names: list[str], said: str) -> None:
    base = save_family("llama", tmp_path)
    take_away(base, names)
    with pytest.raises(BaseModelNotFound, match="is no whole LlamaForCausalLM") as caught:
        load_base_model(str(base))
    assert said in caught.value.message


def test_device_that_is_not_there_is_told_before_a_cycle(tmp_path: Path) -> None:
    base = str(save_family("llama", tmp_path))
    absent = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(DeviceUnavailable, match=f"no {absent} here"):
        look(question(base, device=absent))
    assert look(question(base, device="cpu")).layers is not None
