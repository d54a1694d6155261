"""Several adapters of one base on the same held-out exchanges, loss by loss.

A report gives means; to compare two trainings it takes the loss of every exchange, since the
exchanges differ among each other by far more than the adapters do. Must not know what is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from app.domain.calibration import ExampleLosses
from app.domain.experience import TrainingExchange
from app.training.chat import ChatEncoder
from app.training.evaluate import token_log_probabilities
from app.training.examples import count_targets, make_examples
from app.training.loading import load_base_model
from app.training.lora import detach_adapter, read_adapter


def measure_adapters(
    base_model: str,
    adapters: Sequence[Path | None],
    held_out: Sequence[TrainingExchange],
    *,
    system_prompt: str,
    max_length: int,
) -> list[ExampleLosses]:
    """The held-out losses with each adapter, None for the bare base; one base is in memory.

    Raises: BaseModelNotFound, ChatTemplateMissing, CheckpointFilesMissing, BaseModelMismatch.
    """
    base = load_base_model(base_model)
    encoder = ChatEncoder(base.tokenizer, system_prompt=system_prompt, max_length=max_length)
    examples, _ = make_examples(held_out, encoder)
    tokens = tuple(count_targets(example) for example in examples)
    measured = []
    for adapter in adapters:
        adapted = None
        if adapter is not None:
            adapted = read_adapter(base.model, adapter, is_trainable=False)
        losses = -token_log_probabilities(base, examples)
        if adapted is not None:
            detach_adapter(adapted)
        sums = tuple(float(part.double().sum()) for part in torch.split(losses, list(tokens)))
        measured.append(ExampleLosses(sums=sums, tokens=tokens))
    return measured
