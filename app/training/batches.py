"""Which examples share a step, how they are padded, and how much each counts.

Must not know where examples come from or what model they go to.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypedDict

import torch

from app.training.chat import IGNORED_LABEL
from app.training.examples import TrainingExample
from app.training.lanes import even_shares

WINDOW_BATCHES = 8
"""Batches that are cut from one window of the salience order: more of them pad less and keep the
order less. A guess."""

FORWARD_TOKENS = 512
"""Padded tokens that go through the model's own forward pass at once. A guess."""

WEIGHT_LIMITS = (0.5, 1.5)
"""Of an example's weight, so that one exchange seldom is most of a step. A guess."""


class Batch(TypedDict):
    """Right-padded examples; int64 (B, T), and salience float32 (B,)."""

    input_ids: torch.Tensor
    labels: torch.Tensor
    attention_mask: torch.Tensor
    salience: torch.Tensor


def pad_batch(examples: Sequence[TrainingExample], pad_token_id: int) -> Batch:
    """Pad on the right to the longest: `pad_token_id`, labels -100, mask 0.

    On the right, because causal attention then keeps padding out of every real token by itself and
    no mask is needed, which SDPA on a CPU is slow with.
    """

    def pad(rows: Sequence[torch.Tensor], value: int) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)

    return Batch(
        input_ids=pad([example["input_ids"] for example in examples], pad_token_id),
        labels=pad([example["labels"] for example in examples], IGNORED_LABEL),
        attention_mask=pad([example["attention_mask"] for example in examples], 0),
        salience=torch.tensor([example["salience"] for example in examples]),
    )


def move_batch(batch: Batch, device: torch.device) -> Batch:
    """The same batch on a device."""
    return Batch(
        input_ids=batch["input_ids"].to(device),
        labels=batch["labels"].to(device),
        attention_mask=batch["attention_mask"].to(device),
        salience=batch["salience"].to(device),
    )


def like_length_batches(
    lengths: Sequence[int], *, batch_size: int, order: random.Random
) -> list[list[int]]:
    """Batches of indices: early examples in early batches, like lengths together.

    The given order (that of time) holds from window to window of `WINDOW_BATCHES` batches.
    Within a window examples are sorted by length, cut into batches, and the batches shuffled, so
    that no epoch runs from short to long.
    """
    window = batch_size * WINDOW_BATCHES
    batches: list[list[int]] = []
    for start in range(0, len(lengths), window):
        # Equal lengths stand by index: the same plan gives the same batches on any machine.
        members = sorted(
            range(start, min(start + window, len(lengths))), key=lambda i: (lengths[i], i)
        )
        cut = [members[i : i + batch_size] for i in range(0, len(members), batch_size)]
        order.shuffle(cut)
        batches.extend(cut)
    return batches


def split_by_tokens(lengths: Sequence[int], limit: int = FORWARD_TOKENS) -> list[list[int]]:
    """Cut a batch into parts of at most `limit` padded tokens; an example alone may be longer.

    Gradients of the parts add up to the batch's, while only one part's activations are alive.
    """
    parts: list[list[int]] = []
    longest = 0
    for index, length in enumerate(lengths):
        longest = max(longest, length)  # every row of a part is padded to it
        if not parts or longest * (len(parts[-1]) + 1) > limit:
            parts.append([])
            longest = length
        parts[-1].append(index)
    return parts


def even_parts(lengths: Sequence[int], *, shared: int, limit: int) -> list[list[int]]:
    """Cut a batch into as few parts as fit, about equally long.

    Args:
        lengths: Tokens of each example, without those that all share.
        shared: Tokens that every part carries once.
        limit: Tokens of a part; an example alone may be longer.
    """
    for count in range(1, len(lengths) + 1):
        parts = even_shares(lengths, count)
        if max(sum(lengths[i] for i in part) for part in parts) + shared <= limit:
            break
    # Where not even that fits, each example is a part: smaller ones there are not.
    return parts


def loss_weights(salience: torch.Tensor) -> torch.Tensor:
    """Weight of each example in its batch: salience over the batch's mean, clipped to 0.5..1.5.

    Only the ratio within a batch matters: Adam cancels a factor that all share.

    Args:
        salience: float (B,), totals.
    """
    mean = salience.mean()
    if mean <= 0:
        return torch.ones_like(salience)
    return (salience / mean).clamp(*WEIGHT_LIMITS)
