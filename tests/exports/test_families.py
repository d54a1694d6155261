"""What llama.cpp computes with an exported adapter, or a merged model, is what PEFT computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from app.domain.export import Export
from app.exports.architectures import FAMILIES
from app.exports.lora import read_adapter
from app.exports.making import make
from app.exports.merged import Numbers, write_merged_gguf
from tests.exports.llama import Llama, Table
from tests.exports.taught import next_tokens
from tests.exports.tiny import PROMPTS, VOCABULARY, Adapted, make_adapted

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

SAME = 1e-6
"""KL between torch and llama.cpp, both in float32; adapters here move it by 2e-3 to 2e-1."""

_LLAMA_3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip
_BASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in ("mistral", "smollm3", "granite", "qwen2", "qwen3", "olmo2")},
    "llama": ("llama", {"rope_parameters": _LLAMA_3, "attention_bias": True}),
    "mixtral": ("mixtral", {}),
    "qwen3_moe": ("qwen3_moe", {"norm_topk_prob": True}),
    "phi3": ("phi3", {}),
    "gemma2": ("gemma2", {"query_pre_attn_scalar": 8}),
    "gemma3_text": ("gemma3", {"query_pre_attn_scalar": 8, "num_hidden_layers": 7}),
}

_STACKS = {
    "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "target_parameters": ["gate_up_proj", "down_proj"],
}
"""As our own recipe adapts experts, beside the linear layers."""

_MIXED = {
    "rank_pattern": {"q_proj": 8, "layers.1.mlp.down_proj": 2},
    "alpha_pattern": {"k_proj": 32, "layers.0.mlp.up_proj": 1},
}
_SETTINGS: dict[str, dict[str, Any]] = {
    "rslora": {"use_rslora": True},
    "rank_pattern": {"rank_pattern": _MIXED["rank_pattern"]},
    "alpha_pattern": {"alpha_pattern": _MIXED["alpha_pattern"]},
    "all of them": {"use_rslora": True, "r": 6, "lora_alpha": 3, **_MIXED},
    "q and k alone": {"target_modules": ["q_proj", "k_proj"]},
}


def kl(here: Table, there: Table) -> float:
    return float((np.exp(here) * (here - there)).sum(axis=1).mean())


def check(adapted: Adapted, directory: Path) -> None:
    """Compare the adapter over its base, and the merged models, with PEFT."""
    base, adapter = directory / "base.gguf", directory / "adapter.gguf"
    merged, tensors = directory / "merged.gguf", directory / "merged"
    tensors.mkdir()
    write_merged_gguf([], adapted.base, base, numbers=Numbers.F32, name="base")
    make(Export.ADAPTER_GGUF, adapted.adapter, adapted.base, adapter)
    pairs = read_adapter(adapted.adapter)
    write_merged_gguf(pairs, adapted.base, merged, numbers=Numbers.F32, name="merged")
    make(Export.MERGED_SAFETENSORS, adapted.adapter, adapted.base, tensors)
    assert kl(adapted.adapted, adapted.bare) > 1000 * SAME
    said = {
        "base": Llama(base).next_tokens(PROMPTS, vocabulary=VOCABULARY),
        "adapter": Llama(base, adapter).next_tokens(PROMPTS, vocabulary=VOCABULARY),
        "merged": Llama(merged).next_tokens(PROMPTS, vocabulary=VOCABULARY),
    }
    assert kl(adapted.bare, said["base"]) < SAME
    assert kl(adapted.adapted, said["adapter"]) < SAME
    assert kl(adapted.adapted, said["merged"]) < SAME
    loaded = AutoModelForCausalLM.from_pretrained(str(tensors), dtype=torch.float32)
    assert kl(adapted.adapted, next_tokens(loaded, PROMPTS)) < SAME


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_the_table_computes_the_same(family: str, tmp_path: Path) -> None:
    name, changes = _BASES[family]
    settings = _STACKS if FAMILIES[family].experts is not None else {}
    check(make_adapted(tmp_path, name, settings=settings, **changes), tmp_path)


@pytest.mark.parametrize("settings", _SETTINGS.values(), ids=_SETTINGS)
def test_scale_of_every_layer_is_in_its_matrices(settings: dict[str, Any], tmp_path: Path) -> None:
    check(make_adapted(tmp_path, settings=settings), tmp_path)


def test_same_adapter_gives_the_same_bytes(tmp_path: Path) -> None:
    adapted = make_adapted(tmp_path, settings={})
    for number in (1, 2):
        make(Export.ADAPTER_GGUF, adapted.adapter, adapted.base, tmp_path / f"{number}.gguf")
        make(Export.MERGED_Q8_0, adapted.adapter, adapted.base, tmp_path / f"{number}-q8.gguf")
    assert (tmp_path / "1.gguf").read_bytes() == (tmp_path / "2.gguf").read_bytes()
    assert (tmp_path / "1-q8.gguf").read_bytes() == (tmp_path / "2-q8.gguf").read_bytes()
