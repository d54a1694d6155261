"""Forward and backward of a Llama or Qwen2 decoder with LoRA, written out by hand for a CPU.

Per block, with N packed tokens and no padding:

    h = rms(x) w1;  q, k, v = W_qkv h;  o = attention(rope(q), rope(k), v);  x' = x + W_o o
    h' = rms(x') w2;  g, u = W_gu h';  y = x' + W_d (silu(g) u)
    every W h stands for  W0 h + (alpha / r) B A h       (Hu et al. 2021, arXiv:2106.09685)

Rows of a batch that begin with the same tokens share them: the prefix goes through once and its
keys and values serve every row, with exact gradients. Only the adapter's A and B get gradients.

What each part gains is measured by tests/benchmarks/test_training_speed.py; the figures stand in
the docstrings. Must not know losses, models, losses or optimisers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from app.training.packing import Packing


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapter:
    """LoRA of one linear layer: `a` float32 (r, in), `b` float32 (out, r), `scale` alpha / r."""

    a: nn.Parameter
    b: nn.Parameter
    scale: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A frozen linear layer, the columns of its projection's output, and its adapter if it has one.

    Attributes:
        weight: The model's own (out, in); nothing is copied.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    columns: slice
    adapter: Adapter | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Projection:
    """Linear layers that read the same input; their outputs stand side by side."""

    layers: tuple[Layer, ...]

    @property
    def adapters(self) -> list[tuple[slice, Adapter]]:
        """Columns and adapter of the layers that have one."""
        return [(part.columns, part.adapter) for part in self.layers if part.adapter is not None]

    def parameters(self) -> list[nn.Parameter]:
        """A and B of every adapter in turn."""
        return [p for _columns, adapter in self.adapters for p in (adapter.a, adapter.b)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One decoder block's frozen weights and adapters."""

    norm1: torch.Tensor
    norm2: torch.Tensor
    eps: float
    qkv: Projection
    o: Projection
    gate_up: Projection
    down: Projection
    heads: int
    kv_heads: int
    head_dim: int

    def projections(self) -> tuple[Projection, ...]:
        """In the order in which their parameters enter `BlockFunction`."""
        return (self.qkv, self.o, self.gate_up, self.down)


def causal_masks(packing: Packing, block: Block, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Per segment: 0 or -inf, (group * T, prefix + T), for `_grouped` queries."""
    group = block.heads // block.kv_heads
    masks = []
    for start, end in packing.segments:
        before = packing.prefix if start else 0
        mask = torch.full((end - start, before + end - start), float("-inf"), dtype=dtype)
        masks.append(mask.triu_(before + 1).repeat(group, 1))
    return tuple(masks)


class BlockFunction(torch.autograd.Function):
    """One block. Keeps x, x', q, k, v, g, u (and o for an adapter); makes the rest again.

    Attention is written as matrix products with the queries of a group of heads behind one another:
    the single products of 200 tokens behind a prefix of 66, forward and backward, add up to 2.7 ms,
    where torch's flash kernel with a mask takes 5.9 ms (its causal backward alone 3.7 ms).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        block: Block,
        packing: Packing,
        rope: tuple[torch.Tensor, torch.Tensor],
        masks: tuple[torch.Tensor, ...],
        *_parameters: torch.Tensor,
    ) -> torch.Tensor:
        """Packed states (N, H) -> (N, H); the parameters are there for autograd to ask about."""
        h, scale1 = _norm(x, block.norm1, block.eps)
        qkv, down_qkv = _forward(block.qkv, h)
        _rotate(qkv, block, *rope)
        o = _attend(qkv, block, packing, masks)
        middle, down_o = _forward(block.o, o, x)
        h, scale2 = _norm(middle, block.norm2, block.eps)
        gate_up, down_gate_up = _forward(block.gate_up, h)
        gate, up = gate_up.chunk(2, dim=1)
        out, down_down = _forward(block.down, functional.silu(gate).mul_(up), middle)
        ctx.kept = (
            x, scale1, qkv, o if block.o.adapters else None, middle, scale2, gate_up,
            down_qkv, down_o, down_gate_up, down_down,
        )  # fmt: skip
        ctx.facts = (block, packing, rope, masks)
        return out

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of the states and of each A and B."""
        block, packing, rope, masks = ctx.facts
        (
            x, scale1, qkv, o, middle, scale2, gate_up,
            down_qkv, down_o, down_gate_up, down_down,
        ) = ctx.kept  # fmt: skip
        del ctx.kept, ctx.facts
        (dy,) = outputs
        gate, up = gate_up.chunk(2, dim=1)
        active = functional.silu(gate)
        inner = active * up if block.down.adapters else None
        d_inner, grads_down = _backward(block.down, dy, inner, down_down)
        d_gate_up = torch.empty_like(gate_up)
        d_gate, d_up = d_gate_up.chunk(2, dim=1)
        torch.mul(d_inner, active, out=d_up)
        torch.ops.aten.silu_backward.grad_input(d_inner.mul_(up), gate, grad_input=d_gate)
        h = _norm_again(middle, block.norm2, scale2) if block.gate_up.adapters else None
        dh, grads_gate_up = _backward(block.gate_up, d_gate_up, h, down_gate_up)
        d_middle = _norm_backward(dh, middle, block.norm2, scale2).add_(dy)
        d_o, grads_o = _backward(block.o, d_middle, o, down_o)
        d_qkv = _attend_backward(d_o, qkv, block, packing, masks)
        _rotate(d_qkv, block, rope[0], -rope[1])
        h = _norm_again(x, block.norm1, scale1) if block.qkv.adapters else None
        needs_dx = ctx.needs_input_grad[0]
        dh, grads_qkv = _backward(block.qkv, d_qkv, h, down_qkv, needs_input=needs_dx)
        dx = _norm_backward(dh, x, block.norm1, scale1).add_(d_middle) if needs_dx else None
        grads = (*grads_qkv, *grads_o, *grads_gate_up, *grads_down)
        return dx, None, None, None, None, *grads


def _norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """`x / sqrt(mean(x^2) + eps) w` in the dtype of x, and the float32 (N, 1) factor of x."""
    wide = x.float()
    squares = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_()
    scale = squares.div_(x.shape[-1]).add_(eps).rsqrt_()
    return (wide * scale).to(x.dtype).mul_(weight), scale


def _norm_again(x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return (x.float() * scale).to(x.dtype).mul_(weight)


def _norm_backward(
    dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """`s (w dy) - x s^3 mean(x w dy)`."""
    wide = x.float()
    d_normed = (dy * weight).float()
    share = (d_normed * wide).sum(dim=-1, keepdim=True).mul_(scale**2 / x.shape[-1])
    return d_normed.addcmul_(wide, share, value=-1).mul_(scale).to(dy.dtype)


def _forward(
    part: Projection, h: torch.Tensor, residual: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The projection's output (N, out), and `A h` of all its adapters (N, sum of r)."""
    y = h.new_empty(len(h), part.layers[-1].columns.stop)
    for layer in part.layers:
        start = layer.bias if residual is None else residual
        if start is None:
            torch.mm(h, layer.weight.T, out=y[:, layer.columns])
        else:
            torch.addmm(start, h, layer.weight.T, out=y[:, layer.columns])
            if residual is not None and layer.bias is not None:
                y[:, layer.columns] += layer.bias
    if not part.adapters:
        return y, None
    down = functional.linear(h, _all_a(part, h.dtype))
    first = 0
    for columns, adapter in part.adapters:
        r = len(adapter.a)
        up = (adapter.b.detach() * adapter.scale).to(h.dtype)
        y[:, columns].addmm_(down[:, first : first + r], up.T)
        first += r
    return y, down


def _backward(
    part: Projection,
    dy: torch.Tensor,
    h: torch.Tensor | None,
    down: torch.Tensor | None,
    *,
    needs_input: bool = True,
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Gradient of the input (N, in), and of A and B of every adapter in turn."""
    dh = dy
    if needs_input:
        first_layer, *others = part.layers
        dh = dy[:, first_layer.columns] @ first_layer.weight
        for layer in others:
            dh.addmm_(dy[:, layer.columns], layer.weight)
    if h is None or down is None:
        return dh, []
    d_down = torch.empty_like(down)
    grads_b = []
    start = 0
    for columns, adapter in part.adapters:
        ranks = slice(start, start + len(adapter.a))
        start = ranks.stop
        up = (adapter.b.detach() * adapter.scale).to(dy.dtype)
        d_down[:, ranks] = dy[:, columns] @ up
        grads_b.append((dy[:, columns].T @ down[:, ranks]).float().mul_(adapter.scale))
    if needs_input:
        dh.addmm_(d_down, _all_a(part, dy.dtype))
    ranks_of = [len(adapter.a) for _columns, adapter in part.adapters]
    grads_a = torch.split((d_down.T @ h).float(), ranks_of)
    return dh, [grad for pair in zip(grads_a, grads_b, strict=True) for grad in pair]


def _all_a(part: Projection, dtype: torch.dtype) -> torch.Tensor:
    return torch.cat([adapter.a.detach() for _columns, adapter in part.adapters]).to(dtype)


def _rotate(qkv: torch.Tensor, block: Block, cos: torch.Tensor, sin: torch.Tensor) -> None:
    """Rotary embedding of q and k in place; with `-sin` its transpose."""
    heads = block.heads + block.kv_heads
    qk = qkv[:, : heads * block.head_dim].view(len(qkv), heads, block.head_dim)
    first, second = qk.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1).mul_(sin)
    qk.mul_(cos).add_(turned)


def _heads(
    qkv: torch.Tensor, block: Block, start: int, end: int, prefix: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Q (kv_heads, group * T, D), and k, v (kv_heads, prefix + T, D) of one segment."""
    q_width = block.heads * block.head_dim
    q = _grouped(qkv[start:end, :q_width], block)
    kv = qkv[:, q_width:]
    rows = torch.cat((kv[:prefix], kv[start:end])) if prefix else kv[start:end]
    k, v = (
        half.view(len(rows), block.kv_heads, block.head_dim).transpose(0, 1)
        for half in rows.chunk(2, dim=1)
    )
    return q, k, v


def _grouped(states: torch.Tensor, block: Block) -> torch.Tensor:
    """(T, heads * D) -> (kv_heads, group * T, D)."""
    split = _grouped_view(states, block).permute(1, 2, 0, 3)
    return split.reshape(block.kv_heads, -1, block.head_dim)


def _ungrouped(states: torch.Tensor, block: Block) -> torch.Tensor:
    """(kv_heads, group * T, D) -> (T, kv_heads, group, D), a view."""
    group = block.heads // block.kv_heads
    return states.view(block.kv_heads, group, -1, block.head_dim).permute(2, 0, 1, 3)


def _weights(q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor, head_dim: int) -> torch.Tensor:
    scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=head_dim**-0.5)
    return torch.softmax(scores, dim=-1)


def _softmax_backward(dy: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    backward = torch.ops.aten._softmax_backward_data  # noqa: SLF001  # torch's only name for it
    dx: torch.Tensor = backward(dy, y, -1, y.dtype)
    return dx


def _attend(
    qkv: torch.Tensor, block: Block, packing: Packing, masks: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Causal attention of every segment over the prefix and itself, (N, heads * D)."""
    q_width = block.heads * block.head_dim
    out = qkv.new_empty(len(qkv), q_width)
    for (start, end), mask in zip(packing.segments, masks, strict=True):
        prefix = packing.prefix if start else 0
        q, k, v = _heads(qkv, block, start, end, prefix)
        attended = torch.bmm(_weights(q, k, mask, block.head_dim), v)
        _grouped_view(out[start:end], block).copy_(_ungrouped(attended, block))
    return out


def _attend_backward(
    d_out: torch.Tensor,
    qkv: torch.Tensor,
    block: Block,
    packing: Packing,
    masks: Sequence[torch.Tensor],
) -> torch.Tensor:
    """Gradient of q, k and v (N, width of qkv); the attention weights are made again."""
    q_width, kv_width = block.heads * block.head_dim, block.kv_heads * block.head_dim
    d_qkv = torch.empty_like(qkv)
    d_kv = d_qkv[:, q_width:]
    d_prefix = torch.zeros(packing.prefix, 2 * kv_width)  # float32: a sum over all rows
    scale = block.head_dim**-0.5
    for (start, end), mask in zip(packing.segments, masks, strict=True):
        prefix = packing.prefix if start else 0
        q, k, v = _heads(qkv, block, start, end, prefix)
        weights = _weights(q, k, mask, block.head_dim)
        d_attended = _grouped(d_out[start:end], block)
        d_v = torch.bmm(weights.transpose(1, 2), d_attended)
        d_weights = torch.bmm(d_attended, v.transpose(1, 2))
        d_scores = _softmax_backward(d_weights, weights)
        d_scores.mul_(scale)
        d_q = torch.bmm(d_scores, k)
        d_k = torch.bmm(d_scores.transpose(1, 2), q)
        _grouped_view(d_qkv[start:end, :q_width], block).copy_(_ungrouped(d_q, block))
        rows = torch.cat((d_k.transpose(0, 1).flatten(1), d_v.transpose(0, 1).flatten(1)), dim=1)
        if prefix:
            d_prefix += rows[:prefix]
        d_kv[start:end] = rows[prefix:]
    if packing.prefix:
        d_kv[: packing.prefix] += d_prefix
    return d_qkv


def _grouped_view(states: torch.Tensor, block: Block) -> torch.Tensor:
    """(T, heads * D) -> (T, kv_heads, group, D)."""
    group = block.heads // block.kv_heads
    return states.view(len(states), block.kv_heads, group, block.head_dim)
