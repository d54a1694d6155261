"""A decoder's blocks above one another: from packed tokens to the loss and the adapters' gradients.

Tokens go side by side in ranges, attention side by side in rows, with a short wait between the two
(see `lanes.py`). Without autograd: each block's backward pass follows in reverse. Must
not know where a model keeps its weights, batches or optimisers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from app.training.by_hand.attention import Segment, attend, attend_backward, segments_of
from app.training.by_hand.blocks import (
    Block,
    Kept,
    enter,
    enter_backward,
    kept_width,
    leave,
    leave_backward,
    norm,
    norm_backward,
    prepare,
)
from app.training.by_hand.packing import FILLED_TO, Packing
from app.training.head import cross_entropy, divergence
from app.training.lanes import Lanes, even_ranges, even_shares

Rope = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """A causal LM's frozen weights and adapters; all tensors are the model's own.

    Attributes:
        embedding: (V, H), as is `head`; often the same tensor.
        norm: Weight of the last norm (H,); `eps` is its own.
        make_rope: Cosines and sines (N, D) for positions int64 (N,).
    """

    embedding: torch.Tensor
    blocks: tuple[Block, ...]
    norm: torch.Tensor
    eps: float
    head: torch.Tensor
    head_bias: torch.Tensor | None
    make_rope: Callable[[torch.Tensor], Rope]

    def parameters(self) -> list[nn.Parameter]:
        """The adapters' A and B, in the order of the gradients."""
        return [
            p for block in self.blocks for part in block.projections() for p in part.parameters()
        ]

    def kept_bytes(self, tokens: int) -> int:
        """Memory between the forward and the backward pass of so many tokens."""
        width = sum(kept_width(block) for block in self.blocks)
        return tokens * width * self.embedding.element_size()


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """Tokens that M others are to predict, for cross-entropy.

    Attributes:
        wanted: int64 (M,), packed indices of the predicting tokens, repeated ones too.
        weights: float32 (M,), of each in the loss.
        labels: int64 (M,).
    """

    wanted: torch.Tensor
    weights: torch.Tensor
    labels: torch.Tensor

    def losses(
        self, stack: Stack, states: torch.Tensor, part: slice, *, gradient: torch.Tensor
    ) -> torch.Tensor:
        """Losses of a part whose states are given; see `cross_entropy`."""
        labels, weights = self.labels[part], self.weights[part]
        return cross_entropy(
            states, stack.head, stack.head_bias, labels, weights, gradient=gradient
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseStates:
    """States of the base that M tokens' predictions are to stay near, for the divergence.

    Attributes:
        wanted: As in `Labels`, as is `weights`.
        hidden: (M, H), what the output layer reads in the base.
    """

    wanted: torch.Tensor
    weights: torch.Tensor
    hidden: torch.Tensor

    def losses(
        self, stack: Stack, states: torch.Tensor, part: slice, *, gradient: torch.Tensor
    ) -> torch.Tensor:
        """Losses of a part whose states are given; see `divergence`."""
        hidden, weights = self.hidden[part], self.weights[part]
        return divergence(states, hidden, stack.head, stack.head_bias, weights, gradient=gradient)


def loss_and_gradients(
    stack: Stack,
    packing: Packing,
    targets: Labels | BaseStates,
    lanes: Lanes,
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The losses l of the wanted tokens, and the gradients of `sum_t w_t l_t`.

    Returns:
        float32 (M,) in nats, and a gradient for each of `stack.parameters()`.
    """
    cos, sin = stack.make_rope(packing.positions)
    rope = (cos.unsqueeze(1), sin.unsqueeze(1))
    # The masks are the same in every block, as are the heads of the families that are known here.
    segments = segments_of(packing, stack.blocks[0].heads, stack.embedding.dtype)
    shares = _shares(segments, lanes)
    ranges = _ranges(len(packing.input_ids), lanes, multiple=FILLED_TO)
    with torch.no_grad():
        x = functional.embedding(packing.input_ids, stack.embedding)
        kept, out = _forward(stack, x, rope, ranges, shares, lanes)
        losses, d_out = _head(stack, out, targets, lanes)
        gradients = _backward(stack, kept, d_out, rope, ranges, shares, packing.prefix, lanes)
    return losses, gradients


def last_states(stack: Stack, packing: Packing, wanted: torch.Tensor, lanes: Lanes) -> torch.Tensor:
    """The states (M, H) that the output layer reads for the wanted tokens, without gradient.

    Args:
        wanted: int64 (M,), packed indices.
    """
    heads = stack.blocks[0].heads
    cos, sin = stack.make_rope(packing.positions)
    rope = (cos.unsqueeze(1), sin.unsqueeze(1))
    shares = _shares(segments_of(packing, heads, stack.embedding.dtype), lanes)
    ranges = _ranges(len(packing.input_ids), lanes, multiple=FILLED_TO)
    with torch.no_grad():
        x = functional.embedding(packing.input_ids, stack.embedding)
        o = x.new_empty(len(x), heads.q_width)
        for block in stack.blocks:
            here, out = prepare(block, x, o), torch.empty_like(x)
            lanes.run(partial(enter, block, here, rope), ranges)
            lanes.run(partial(attend, here.qkv, heads, out=here.o), shares)
            lanes.run(partial(leave, block, here, out), ranges)
            x = out
        return norm(x[wanted], stack.norm, stack.eps)[0]


def _forward(
    stack: Stack,
    x: torch.Tensor,
    rope: Rope,
    ranges: Sequence[slice],
    shares: Sequence[Sequence[Segment]],
    lanes: Lanes,
) -> tuple[list[Kept], torch.Tensor]:
    """What every block keeps, and the output (N, H) of the last."""
    blocks = stack.blocks
    heads = blocks[0].heads
    o = x.new_empty(len(x), heads.q_width)
    # Room for all blocks at once: one lane may enter a block while another leaves the one below.
    kept: list[Kept] = []
    for block in blocks:
        kept.append(prepare(block, x, o))
        x = torch.empty_like(x)
    lanes.run(partial(enter, blocks[0], kept[0], rope), ranges)
    for index, here in enumerate(kept):
        lanes.run(partial(attend, here.qkv, heads, out=here.o), shares)
        lanes.run(partial(_pass_up, blocks, kept, index, rope, x), ranges)
    return kept, x


def _pass_up(
    blocks: Sequence[Block],
    kept: Sequence[Kept],
    index: int,
    rope: Rope,
    last: torch.Tensor,
    rows: slice,
) -> None:
    """Leave a block, and enter the one above; the output of the last goes into `last`."""
    above = index + 1
    if above == len(blocks):
        leave(blocks[index], kept[index], last, rows)
        return
    leave(blocks[index], kept[index], kept[above].x, rows)
    enter(blocks[above], kept[above], rope, rows)


def _head(
    stack: Stack,
    x: torch.Tensor,
    targets: Labels | BaseStates,
    lanes: Lanes,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses (M,), and the gradient (N, H) of the last block's output."""
    wanted = targets.wanted
    losses = torch.empty(len(wanted), dtype=torch.float32)
    d_chosen = x.new_empty(len(wanted), x.shape[1])

    def work(part: slice) -> None:
        chosen = x[wanted[part]]
        normed, scale = norm(chosen, stack.norm, stack.eps)
        d_normed = torch.empty_like(normed)
        losses[part] = targets.losses(stack, normed, part, gradient=d_normed)
        d_chosen[part] = norm_backward(d_normed, chosen, stack.norm, scale)

    lanes.run(work, _ranges(len(wanted), lanes))
    # Added: the last token of a prefix predicts the first one of every row.
    return losses, torch.zeros_like(x).index_add_(0, wanted, d_chosen)


def _backward(
    stack: Stack,
    kept: list[Kept],
    dx: torch.Tensor,
    rope: Rope,
    ranges: Sequence[slice],
    shares: Sequence[Sequence[Segment]],
    prefix: int,
    lanes: Lanes,
) -> list[torch.Tensor]:
    """Gradients of every adapter. Frees what a block kept as soon as it is through."""
    heads = stack.blocks[0].heads
    # One room for all blocks: each writes all of it before it is read.
    d_o = torch.empty_like(kept[0].o)
    d_qkv = torch.empty_like(kept[0].qkv)
    gradients = _summed(
        lanes.run(partial(leave_backward, stack.blocks[-1], kept[-1], dx, d_o), ranges)
    )
    while kept:
        here = kept.pop()
        attended = partial(attend_backward, d_o, here.qkv, heads, d_qkv=d_qkv)
        # After both lanes and in their order: at once they would race, and round differently.
        for ahead in lanes.run(attended, shares):
            if ahead is not None:
                d_qkv[:prefix, heads.q_width :] += ahead
        block = stack.blocks[len(kept)]
        below = (stack.blocks[len(kept) - 1], kept[-1]) if kept else None
        entered = partial(
            enter_backward, block, here, rope, dx, d_qkv, needs_input=below is not None
        )
        passed = lanes.run(partial(_pass_down, entered, below, dx, d_o), ranges)
        own = _summed([gradients_here for gradients_here, _ in passed])
        # As `Stack.parameters` lists them: lower blocks first, a block's q, k, v before the rest.
        gradients = [*_summed([left for _, left in passed]), *own, *gradients]
    return gradients


def _pass_down(
    enter_here: Callable[[slice], list[torch.Tensor]],
    below: tuple[Block, Kept] | None,
    dx: torch.Tensor,
    d_o: torch.Tensor,
    rows: slice,
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Back through a block's entrance, and through the exit of the one below; both gradients."""
    entered = enter_here(rows)
    if below is None:
        return entered, []
    return entered, leave_backward(*below, dx, d_o, rows)


def _summed(shares: Sequence[Sequence[torch.Tensor]]) -> list[torch.Tensor]:
    """The sums over all shares, in their order."""
    first, *others = shares
    for other in others:
        for total, gradient in zip(first, other, strict=True):
            total.add_(gradient)
    return list(first)


def _ranges(length: int, lanes: Lanes, *, multiple: int = 1) -> list[slice]:
    cut = even_ranges(length, lanes.count, multiple=multiple)
    return [part for part in cut if part.start < part.stop]  # fewer tokens than lanes


def _shares(segments: Sequence[Segment], lanes: Lanes) -> list[list[Segment]]:
    shares = even_shares([segment.cost for segment in segments], lanes.count)
    return [[segments[index] for index in share] for share in shares if share]
