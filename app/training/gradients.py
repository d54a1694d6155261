"""A batch through the model: its loss, and the gradients of the adapter's parameters.

By hand where the model's decoder is one that is written out (`app.training.stack`), else by
autograd through the model's own forward pass. Either cuts a batch into parts whose gradients add up
to the batch's, so that only one part's activations are alive. Must not know optimisers or epochs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from app.training.batches import (
    TrainingExample,
    even_parts,
    move_batch,
    pad_batch,
    split_by_tokens,
)
from app.training.chat import IGNORED_LABEL
from app.training.lanes import Lanes
from app.training.loading import BaseModel
from app.training.loss import supervised_loss
from app.training.packing import common_prefix, pack_rows
from app.training.stack import Stack, loss_and_gradients

KEPT_BYTES = 330_000_000
"""Activations kept for the backward pass of one part of a batch: 1,060 tokens of SmolLM2-135M, 543
of the Qwen2.5-0.5B geometry. A part costs more per token the fewer rows share its prefix."""


def add_gradients(
    base: BaseModel,
    examples: Sequence[TrainingExample],
    weights: torch.Tensor,
    *,
    pad_token_id: int,
) -> float:
    """Add the gradients of `sum_t w_t nll_t` to the parameters that learn, by autograd.

    Args:
        weights: float32 (B,), of every supervised token of an example.

    Returns:
        The unweighted sum of the losses, in nats.
    """
    nll = 0.0
    for rows in split_by_tokens([len(example["input_ids"]) for example in examples]):
        part = pad_batch([examples[i] for i in rows], pad_token_id)
        loss = supervised_loss(
            base.model, move_batch(part, base.device), example_weights=weights[rows]
        )
        loss.total.backward()  # type: ignore[no-untyped-call]
        nll += float(loss.nll.double().sum())
    return nll


def add_gradients_by_hand(
    stack: Stack, examples: Sequence[TrainingExample], weights: torch.Tensor, lanes: Lanes
) -> float:
    """The same as `add_gradients`, through the hand-written decoder."""
    nll = 0.0
    for rows in _parts(stack, examples):
        losses, gradients = _part(stack, [examples[i] for i in rows], weights[rows], lanes)
        nll += float(losses.double().sum())
        for parameter, gradient in zip(stack.parameters(), gradients, strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
    return nll


def _parts(stack: Stack, examples: Sequence[TrainingExample]) -> list[list[int]]:
    rows = [example["input_ids"] for example in examples]
    prefix = common_prefix(rows)
    return even_parts(
        [len(row) - prefix for row in rows],
        shared=prefix,
        limit=KEPT_BYTES // stack.kept_bytes(1),
    )


def _part(
    stack: Stack, examples: Sequence[TrainingExample], weights: torch.Tensor, lanes: Lanes
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    packing = pack_rows([example["input_ids"] for example in examples])
    supervised = [
        (example["labels"][1:] != IGNORED_LABEL).nonzero().squeeze(1) for example in examples
    ]
    rows = torch.repeat_interleave(
        torch.arange(len(examples)), torch.tensor([len(positions) for positions in supervised])
    )
    labels = [
        example["labels"][positions + 1]
        for example, positions in zip(examples, supervised, strict=True)
    ]
    return loss_and_gradients(
        stack,
        packing,
        packing.index(rows, torch.cat(supervised)),
        torch.cat(labels),
        weights[rows],
        lanes,
    )
