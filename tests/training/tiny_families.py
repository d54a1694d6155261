"""Tiny models of random weights, each of a family's real configuration class.

A configuration takes every size that it knows of the common ones below; what a family needs besides
stands with it. `template` names the chat template (`families.py`) of its like.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tests.training.families import tokenizer_of

SIZES: dict[str, Any] = {
    "hidden_size": 32, "d_model": 32, "n_embd": 32, "word_embed_proj_dim": 32, "ffn_dim": 64,
    "n_inner": 64, "intermediate_size": 64, "ffn_hidden_size": 64, "num_hidden_layers": 2,
    "n_layer": 2, "n_layers": 2, "num_layers": 2, "num_attention_heads": 4, "n_head": 4,
    "n_heads": 4, "num_key_value_heads": 2, "num_kv_heads": 2, "head_dim": 8,
    "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "num_experts": 4,
    "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "q_lora_rank": 16,
    "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
    "n_group": 1, "topk_group": 1, "mamba_d_state": 8, "mamba_d_conv": 4, "mamba_expand": 2,
    "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_ssm": 64,
    "mamba_chunk_size": 16, "state_size": 8, "time_step_rank": 4, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "block_ff_dim": 64, "max_position_embeddings": 1024, "n_positions": 1024,
    "sliding_window": 64, "pad_token_id": 0, "bos_token_id": 1,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """A family: what its tiny model is made of, and of its layers how many are adapted of all."""

    layers: str
    template: str = "chatml"
    model_type: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)


_FOUR = {"num_hidden_layers": 4}
_VISION = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4,
    "image_size": 28, "patch_size": 14, "vision_use_head": False,
}  # fmt: skip
_TEXT = {
    "vocab_size": 1024, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 64,
    "max_position_embeddings": 1024,
}  # fmt: skip

TINY = {
    "llama": Tiny(layers="14 of 14", template="llama3"),
    "qwen2": Tiny(layers="14 of 14"),
    "qwen3": Tiny(layers="14 of 14", template="qwen3"),
    "qwen3_moe": Tiny(layers="12 of 12", template="qwen3"),
    "qwen3_next": Tiny(layers="33 of 33", template="qwen3", changes=_FOUR),
    "qwen3_5": Tiny(layers="31 of 31", template="qwen3", model_type="qwen3_5_text", changes=_FOUR),
    "gemma2": Tiny(layers="14 of 14", template="gemma2", changes={"final_logit_softcapping": 0.5}),
    "gemma3": Tiny(layers="14 of 14", template="gemma3", model_type="gemma3_text"),
    "gemma3_vision": Tiny(
        layers="14 of 14",
        template="gemma3",
        model_type="gemma3",
        changes={
            "text_config": _TEXT,
            "vision_config": _VISION,
            "image_token_index": 900,
            "boi_token_index": 901,
            "eoi_token_index": 902,
            "mm_tokens_per_image": 4,
        },
    ),
    "gemma3n": Tiny(
        layers="58 of 58",
        template="gemma3",
        model_type="gemma3n_text",
        changes={
            **_FOUR,
            "intermediate_size": 64,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "num_kv_shared_layers": 2,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": 1024,
            "laurel_rank": 4,
            "activation_sparsity_pattern": None,
        },
    ),
    "phi3": Tiny(layers="8 of 8", template="phi3"),
    "glm4": Tiny(layers="12 of 12", template="glm4"),
    "gpt2": Tiny(layers="8 of 8", template="vicuna"),
    "gpt_neox": Tiny(layers="8 of 8", template="vicuna"),
    "opt": Tiny(layers="12 of 12", template="vicuna"),
    "falcon_h1": Tiny(
        layers="16 of 18", changes={"lm_head_multiplier": 0.0195, "mamba_n_heads": 4}
    ),
    "mistral": Tiny(layers="14 of 14", template="mistral"),
    "mixtral": Tiny(layers="12 of 12", template="mistral"),
    "granite": Tiny(layers="14 of 14", template="granite", changes={"logits_scaling": 8.0}),
    "granitemoe": Tiny(layers="12 of 12", template="granite", changes={"logits_scaling": 6.0}),
    "cohere": Tiny(layers="14 of 14", template="cohere"),
    "cohere2": Tiny(layers="14 of 14", template="cohere", changes={"logit_scale": 0.25}),
    "olmo2": Tiny(layers="14 of 14"),
    "smollm3": Tiny(layers="14 of 14", template="qwen3"),
    "stablelm": Tiny(layers="14 of 14"),
    "starcoder2": Tiny(layers="12 of 12", template="vicuna"),
    "lfm2": Tiny(layers="12 of 12", changes={"layer_types": ["conv", "full_attention"]}),
    "mamba": Tiny(layers="4 of 8"),
    "hyperclovax": Tiny(layers="14 of 14", changes={"logits_scaling": 0.125}),
    "bamba": Tiny(layers="12 of 12", changes={"attn_layer_indices": [1]}),
    "gpt_oss": Tiny(layers="12 of 12"),
    "llama4": Tiny(layers="18 of 18", template="llama3", model_type="llama4_text"),
}


def make_family(name: str) -> PreTrainedModel:
    """A family's tiny model, in memory and frozen; the same every time."""
    tiny = TINY[name]
    tokenizer = tokenizer_of(tiny.template)
    config_class: Any = CONFIG_MAPPING[tiny.model_type or name]
    default = config_class()
    own = default.to_dict()
    sizes = {
        **SIZES, "vocab_size": 1024, "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    known = {key: value for key, value in sizes.items() if key in own or hasattr(default, key)}
    if "text_config" in tiny.changes:
        known = {"eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(0)
    config = config_class(**{**known, **tiny.changes})
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    model.train(False)
    model.requires_grad_(False)
    return model


def tokenizer_for(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of its like."""
    return tokenizer_of(TINY[name].template)


def save_family(name: str, path: Path) -> Path:
    """Write a family's tiny model and its tokenizer."""
    make_family(name).save_pretrained(str(path))
    tokenizer_for(name).save_pretrained(str(path))
    return path
