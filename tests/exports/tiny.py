"""Tiny bases of random weights with adapters of random numbers, as PEFT computes and saves them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from tests.exports.llama import Table
from tests.exports.taught import next_tokens
from tests.training.families import tokenizer_of
from tests.training.tiny_families import TINY, make_family

PROMPTS = [[5, 9, 40, 77, 300, 22, 31], [100, 101, 7, 800, 9, 4, 4, 4, 12, 90], [500, 2, 3]]
VOCABULARY = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapted:
    """A base and an adapter on disk, and what torch says of them."""

    base: Path
    adapter: Path
    bare: Table
    adapted: Table


def save_base(directory: Path, family: str = "llama", **changes: Any) -> torch.nn.Module:
    """Write a tiny base whose every number matters, norms and biases too; returns it."""
    own = TINY[family].changes
    before = dict(own)
    own.update(changes)
    try:
        model = make_family(family)
    finally:
        own.clear()
        own.update(before)
    torch.manual_seed(3)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.mul_(3)
        else:
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(str(directory))
    tokenizer_of("chatml").save_pretrained(str(directory))
    return model


def adapt(model: Any, directory: Path, settings: Mapping[str, Any]) -> torch.nn.Module:
    """Put an adapter of random numbers on a model and write it; returns the adapted model."""
    torch.manual_seed(1)
    common = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    adapted = get_peft_model(model, LoraConfig(**{**common, **settings}))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name or "lora_embedding_B" in name:
                parameter.normal_(0, 0.3)
    adapted.save_pretrained(str(directory))
    return adapted


def make_adapted(
    directory: Path, family: str = "llama", *, settings: Mapping[str, Any], **changes: Any
) -> Adapted:
    """A tiny base and its adapter.

    Args:
        settings: Of peft's LoraConfig.
        changes: Of the base's configuration.
    """
    model = save_base(directory / "base", family, **changes)
    bare = next_tokens(model, PROMPTS)
    adapted = adapt(model, directory / "adapter", settings)
    return Adapted(
        base=directory / "base",
        adapter=directory / "adapter",
        bare=bare,
        adapted=next_tokens(adapted, PROMPTS),
    )
