"""A decoder's blocks above one another: from packed tokens to the loss and the adapters' gradients.

Tokens go side by side in ranges, attention side by side in rows, with a short wait between the two
(see `app.training.lanes`). Without autograd: each block's backward pass follows in reverse. Must
not know where a model keeps its weights, batches or optimisers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from app.training.attention import Segment, attend, attend_backward, segments_of
from app.training.blocks import (
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
from app.training.head import cross_entropy, divergence
from app.training.lanes import Lanes, even_ranges, even_shares
from app.training.packing import Packing

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
class Targets:
    """What M tokens are to predict.

    Attributes:
        wanted: int64 (M,), their packed indices, repeated ones too.
        weights: float32 (M,), of each in the loss.
        labels: int64 (M,), for cross-entropy; or
        hidden: (M, H), for the divergence from what the output layer makes of these states.
    """

    wanted: torch.Tensor
    weights: torch.Tensor
    labels: torch.Tensor | None = None
    hidden: torch.Tensor | None = None


def loss_and_gradients(
    stack: Stack,
    packing: Packing,
    targets: Targets,
    lanes: Lanes,
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The losses l of the wanted tokens, and the gradients of `sum_t w_t l_t`.

    Returns:
        float32 (M,) in nats, and a gradient for each of `stack.parameters()`.
    """
    cos, sin = stack.make_rope(packing.positions)
    rope = (cos.unsqueeze(1), sin.unsqueeze(1))
    segments = segments_of(packing, stack.blocks[0].heads, stack.embedding.dtype)
    shares = _shares(segments, lanes)
    ranges = _ranges(len(packing.input_ids), lanes, multiple=16)
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
    ranges = _ranges(len(packing.input_ids), lanes, multiple=16)
    with torch.no_grad():
        x = functional.embedding(packing.input_ids, stack.embedding)
        o = x.new_empty(len(x), heads.q_width)
        for block in stack.blocks:
            here, out = prepare(block, x, o), torch.empty_like(x)
            lanes.run(partial(enter, block, here, rope), ranges)
            lanes.run(lambda share: attend(here.qkv, heads, share, out=here.o), shares)  # noqa: B023
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
    kept: list[Kept] = []
    for block in blocks:
        kept.append(prepare(block, x, o))
        x = torch.empty_like(x)
    lanes.run(partial(enter, blocks[0], kept[0], rope), ranges)
    for index, block in enumerate(blocks):
        here = kept[index]
        lanes.run(lambda share: attend(here.qkv, heads, share, out=here.o), shares)  # noqa: B023  # run waits
        is_last = index + 1 == len(blocks)
        out = x if is_last else kept[index + 1].x

        def pass_on(rows: slice) -> None:
            leave(block, here, out, rows)  # noqa: B023
            if not is_last:  # noqa: B023
                enter(blocks[index + 1], kept[index + 1], rope, rows)  # noqa: B023

        lanes.run(pass_on, ranges)
    return kept, x


def _head(
    stack: Stack,
    x: torch.Tensor,
    targets: Targets,
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
        weights = targets.weights[part]
        if targets.labels is not None:
            losses[part] = cross_entropy(
                normed, stack.head, stack.head_bias, targets.labels[part], weights,
                gradient=d_normed,
            )  # fmt: skip
        elif targets.hidden is not None:
            losses[part] = divergence(
                normed, targets.hidden[part], stack.head, stack.head_bias, weights,
                gradient=d_normed,
            )  # fmt: skip
        d_chosen[part] = norm_backward(d_normed, chosen, stack.norm, scale)

    lanes.run(work, _ranges(len(wanted), lanes))
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
    d_o = torch.empty_like(kept[0].o)
    d_qkv = torch.empty_like(kept[0].qkv)
    gradients: list[torch.Tensor] = []
    above: list[torch.Tensor] = _summed(
        lanes.run(
            lambda rows: leave_backward(stack.blocks[-1], kept[-1], dx, d_o=d_o, rows=rows), ranges
        )
    )
    while kept:
        here = kept.pop()
        block = stack.blocks[len(kept)]
        below = (stack.blocks[len(kept) - 1], kept[-1]) if kept else None
        for ahead in lanes.run(
            lambda share: attend_backward(d_o, here.qkv, heads, share, d_qkv=d_qkv),  # noqa: B023
            shares,
        ):
            if ahead is not None:
                d_qkv[:prefix, heads.q_width :] += ahead

        def pass_down(rows: slice) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
            entered = enter_backward(
                block, here, rope, dx, d_qkv=d_qkv, rows=rows, needs_input=below is not None  # noqa: B023
            )  # fmt: skip
            if below is None:  # noqa: B023
                return entered, []
            return entered, leave_backward(*below, dx, d_o=d_o, rows=rows)  # noqa: B023

        passed = lanes.run(pass_down, ranges)
        gradients = [*_summed([entered for entered, _ in passed]), *above, *gradients]
        above = _summed([left for _, left in passed])
    return gradients


def _summed(shares: Sequence[Sequence[torch.Tensor]]) -> list[torch.Tensor]:
    """The sums over all shares, in their order."""
    first, *others = shares
    for other in others:
        for total, gradient in zip(first, other, strict=True):
            total.add_(gradient)
    return list(first)


def _ranges(length: int, lanes: Lanes, *, multiple: int = 1) -> list[slice]:
    cut = even_ranges(length, lanes.count, multiple=multiple)
    return [part for part in cut if part.start < part.stop]


def _shares(segments: Sequence[Segment], lanes: Lanes) -> list[list[Segment]]:
    shares = even_shares([segment.cost for segment in segments], lanes.count)
    return [[segments[index] for index in share] for share in shares if share]
