"""From a model's last hidden states to its logits, with whatever its family does after the product.

Must not know losses or what the logits are for.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")
"""Configuration entries of models whose logits are more than `W h`: Gemma, Cohere, Granite, ..."""


def logits_of(model: PreTrainedModel, states: torch.Tensor) -> torch.Tensor:
    """Logits float32 (N, V) of states (N, H)."""
    config = model.config
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    logits: torch.Tensor = head(states)
    if (scale := getattr(config, "logit_scale", None)) is not None:
        logits = logits * scale
    if (divisor := getattr(config, "logits_scaling", None)) is not None:
        logits = logits / divisor
    if (factor := getattr(config, "lm_head_multiplier", None)) is not None:
        logits = logits * factor
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        logits = torch.tanh(logits / cap) * cap
    return logits.float()


def changes_logits(model: PreTrainedModel) -> bool:
    """Whether the model does more to its output layer's product than leave it as it is."""
    return any(getattr(model.config, name, None) is not None for name in _CHANGES)
