"""Forward and backward of a Llama or Qwen2 decoder block with LoRA, written out by hand for a CPU.

Per block, with N packed tokens and no padding:

    h = rms(x) w1;  q, k, v = W_qkv h;  o = attention(rope(q), rope(k), v);  x' = x + W_o o
    h' = rms(x') w2;  g, u = W_gu h';  y = x' + W_d (silu(g) u)

Attention is between `enter` and `leave`; these two know no neighbours, so any range of tokens goes
through them alone. Must not know losses, models or optimisers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from app.training.by_hand.attention import Heads, rotate
from app.training.by_hand.projections import Narrowed, Projection, narrow, project, project_backward


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
    heads: Heads

    def projections(self) -> tuple[Projection, ...]:
        """In the order in which gradients of a block are listed."""
        return (self.qkv, self.o, self.gate_up, self.down)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What a block's forward pass leaves for its backward pass; the rest is made again.

    Attributes:
        x: The block's input (N, H), as is `middle`, x'.
        scale1: float32 (N, 1), the factors of both norms, as is `scale2`.
        qkv: q, k (both rotated) and v side by side.
        downs: `A h` of each projection that has adapters.
        adapters: Each projection's adapters as they were in the forward pass.
    """

    x: torch.Tensor
    scale1: torch.Tensor
    qkv: torch.Tensor
    o: torch.Tensor
    middle: torch.Tensor
    scale2: torch.Tensor
    gate_up: torch.Tensor
    downs: tuple[torch.Tensor | None, ...]
    adapters: tuple[Narrowed | None, ...]


def kept_width(block: Block) -> int:
    """Numbers kept per token, without the few of the norms and of A h."""
    o = block.heads.q_width if block.o.adapters else 0
    return 2 * block.qkv.input_width + block.qkv.width + block.gate_up.width + o


def prepare(block: Block, x: torch.Tensor, o: torch.Tensor) -> Kept:
    """Room for what a block keeps of its input x (N, H).

    Args:
        o: Room for the attention's output, used where the block need not keep its own.
    """
    rows = len(x)

    def room(width: int) -> torch.Tensor:
        return x.new_empty(rows, width)

    return Kept(
        x=x,
        scale1=x.new_empty(rows, 1, dtype=torch.float32),
        qkv=room(block.qkv.width),
        # Only the adapter of W_o asks for o again; without one all blocks write into the same.
        o=room(block.heads.q_width) if block.o.adapters else o,
        middle=torch.empty_like(x),
        scale2=x.new_empty(rows, 1, dtype=torch.float32),
        gate_up=room(block.gate_up.width),
        downs=tuple(room(part.rank) if part.rank else None for part in block.projections()),
        adapters=tuple(narrow(part, x.dtype) for part in block.projections()),
    )


def enter(block: Block, kept: Kept, rope: tuple[torch.Tensor, torch.Tensor], rows: slice) -> None:
    """From the input to q, k and v, for a range of tokens."""
    h, kept.scale1[rows] = norm(kept.x[rows], block.norm1, block.eps)
    project(block.qkv, kept.adapters[0], h, out=kept.qkv[rows], down=_rows(kept.downs[0], rows))
    rotate(kept.qkv[rows], block.heads, rope[0][rows], rope[1][rows])


def leave(block: Block, kept: Kept, out: torch.Tensor, rows: slice) -> None:
    """From the attention's output to the block's output (N, H), for a range of tokens."""
    _qkv, *adapters = kept.adapters
    _down, *downs = (_rows(down, rows) for down in kept.downs)
    middle = kept.middle[rows]
    project(block.o, adapters[0], kept.o[rows], out=middle, down=downs[0], residual=kept.x[rows])
    h, kept.scale2[rows] = norm(middle, block.norm2, block.eps)
    gate_up = kept.gate_up[rows]
    project(block.gate_up, adapters[1], h, out=gate_up, down=downs[1])
    gate, up = gate_up.chunk(2, dim=1)
    inner = functional.silu(gate).mul_(up)
    project(block.down, adapters[2], inner, out=out[rows], down=downs[2], residual=middle)


def leave_backward(
    block: Block, kept: Kept, dy: torch.Tensor, d_o: torch.Tensor, rows: slice
) -> list[torch.Tensor]:
    """Turn `dy` (N, H), the gradient of the output, into that of x', and write that of o.

    Returns:
        This range's share of the gradients of the adapters of o, gate and up, and down.
    """
    _qkv, *adapters = kept.adapters
    _down, *downs = (_rows(down, rows) for down in kept.downs)
    dy, middle = dy[rows], kept.middle[rows]
    gate_up = kept.gate_up[rows]
    gate, up = gate_up.chunk(2, dim=1)
    active = functional.silu(gate)
    # Only an adapter reads what went in; W_d is frozen.
    inner = active * up if block.down.adapters else None
    d_inner, grads_down = project_backward(block.down, adapters[2], dy, inner, downs[2])
    d_gate_up = torch.empty_like(gate_up)
    d_gate, d_up = d_gate_up.chunk(2, dim=1)
    torch.mul(d_inner, active, out=d_up)  # first: the next line writes over d_inner
    torch.ops.aten.silu_backward.grad_input(d_inner.mul_(up), gate, grad_input=d_gate)
    h = _norm_again(middle, block.norm2, kept.scale2[rows]) if block.gate_up.adapters else None
    dh, grads_gate_up = project_backward(block.gate_up, adapters[1], d_gate_up, h, downs[1])
    # By the residual dy came unchanged; with what came through the MLP it is the gradient of x'.
    dy.add_(norm_backward(dh, middle, block.norm2, kept.scale2[rows]))
    d_o[rows], grads_o = project_backward(block.o, adapters[0], dy, kept.o[rows], downs[0])
    return [*grads_o, *grads_gate_up, *grads_down]


def enter_backward(
    block: Block,
    kept: Kept,
    rope: tuple[torch.Tensor, torch.Tensor],
    dx: torch.Tensor,
    d_qkv: torch.Tensor,
    rows: slice,
    *,
    needs_input: bool,
) -> list[torch.Tensor]:
    """Turn `dx` (N, H), the gradient of x', into that of the input.

    Args:
        needs_input: False for the first block: nothing below it learns.

    Returns:
        This range's share of the gradients of the adapters of q, k and v.
    """
    d_qkv, x, scale = d_qkv[rows], kept.x[rows], kept.scale1[rows]
    # In place, in rows that no other lane touches: nobody needs the turned ones again.
    rotate(d_qkv, block.heads, rope[0][rows], -rope[1][rows])
    h = _norm_again(x, block.norm1, scale) if block.qkv.adapters else None
    dh, grads = project_backward(
        block.qkv, kept.adapters[0], d_qkv, h, _rows(kept.downs[0], rows), needs_input=needs_input
    )
    if needs_input:  # added: by the residual dx has come down already
        dx[rows] += norm_backward(dh, x, block.norm1, scale)
    return grads


def norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """`x / sqrt(mean(x^2) + eps) w` in the dtype of x, and the float32 (N, 1) factor of x."""
    # In fp32, and rounded before the weight, both as in Llama's own norm. `vector_norm` needs no
    # second (N, H) for the squares.
    wide = x.float()
    squares = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_()
    scale = squares.div_(x.shape[-1]).add_(eps).rsqrt_()
    return (wide * scale).to(x.dtype).mul_(weight), scale


def norm_backward(
    dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """`s (w dy) - x s^3 mean(x w dy)`."""
    wide = x.float()
    d_normed = (dy * weight).float()
    share = (d_normed * wide).sum(dim=-1, keepdim=True).mul_(scale**2 / x.shape[-1])
    return d_normed.addcmul_(wide, share, value=-1).mul_(scale).to(dy.dtype)


def _norm_again(x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return (x.float() * scale).to(x.dtype).mul_(weight)


def _rows(states: torch.Tensor | None, rows: slice) -> torch.Tensor | None:
    return None if states is None else states[rows]
