"""Frozen linear layers with LoRA, forward and backward by hand.

    y = W0 h + (alpha / r) B A h        (Hu et al. 2021, arXiv:2106.09685)

Only A and B get gradients. Must not know blocks or attention.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


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

    @property
    def width(self) -> int:
        """Columns of the output."""
        return sum(len(layer.weight) for layer in self.layers)

    @property
    def input_width(self) -> int:
        """Columns of the input."""
        return self.layers[0].weight.shape[1]

    @property
    def rank(self) -> int:
        """Rows of all A together."""
        return sum(len(adapter.a) for _, adapter in self.adapters)

    def parameters(self) -> list[nn.Parameter]:
        """A and B of every adapter in turn."""
        return [p for _columns, adapter in self.adapters for p in (adapter.a, adapter.b)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Narrowed:
    """A projection's adapters in the dtype of the states, for one step.

    Attributes:
        a: All A below one another, (sum of r, in).
        ups: For each adapter its columns, its rows of `a`, `(alpha / r) B` (out, r), and alpha / r.
    """

    a: torch.Tensor
    ups: tuple[tuple[slice, slice, torch.Tensor, float], ...]


def narrow(part: Projection, dtype: torch.dtype) -> Narrowed | None:
    """The adapters as `project` and `project_backward` multiply by them; None without any."""
    if not part.adapters:
        return None
    ups = []
    start = 0
    for columns, adapter in part.adapters:
        ranks = slice(start, start + len(adapter.a))
        start = ranks.stop
        # Scaled in fp32 and rounded once.
        up = (adapter.b.detach() * adapter.scale).to(dtype)
        ups.append((columns, ranks, up, adapter.scale))
    a = torch.cat([adapter.a.detach() for _columns, adapter in part.adapters]).to(dtype)
    return Narrowed(a=a, ups=tuple(ups))


def project(
    part: Projection,
    adapters: Narrowed | None,
    h: torch.Tensor,
    *,
    out: torch.Tensor,
    down: torch.Tensor | None,
    residual: torch.Tensor | None = None,
) -> None:
    """Write the projection of h (N, in) into `out` (N, width), and `A h` into `down` (N, rank)."""
    for layer in part.layers:
        start = layer.bias if residual is None else residual
        if start is None:
            torch.mm(h, layer.weight.T, out=out[:, layer.columns])
        else:
            torch.addmm(start, h, layer.weight.T, out=out[:, layer.columns])
            if residual is not None and layer.bias is not None:
                out[:, layer.columns] += layer.bias
    if adapters is None or down is None:
        return
    torch.mm(h, adapters.a.T, out=down)
    for columns, ranks, up, _scale in adapters.ups:
        out[:, columns].addmm_(down[:, ranks], up.T)


def project_backward(
    part: Projection,
    adapters: Narrowed | None,
    dy: torch.Tensor,
    h: torch.Tensor | None,
    down: torch.Tensor | None,
    *,
    needs_input: bool = True,
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Gradient of the input (N, in), and float32 ones of A and B of every adapter in turn."""
    dh = dy  # read by nobody where it is not needed
    if needs_input:
        first_layer, *others = part.layers
        dh = dy[:, first_layer.columns] @ first_layer.weight
        for layer in others:
            dh.addmm_(dy[:, layer.columns], layer.weight)
    if adapters is None or h is None or down is None:
        return dh, []
    d_down = torch.empty_like(down)
    grads_b = []
    for columns, ranks, up, scale in adapters.ups:
        torch.mm(dy[:, columns], up, out=d_down[:, ranks])
        # Widened at once: shares and parts of a batch add up in fp32.
        grads_b.append((dy[:, columns].T @ down[:, ranks]).float().mul_(scale))
    if needs_input:
        dh.addmm_(d_down, adapters.a)
    d_a = (d_down.T @ h).float()
    grads_a = [d_a[ranks] for _columns, ranks, _up, _scale in adapters.ups]
    return dh, [grad for pair in zip(grads_a, grads_b, strict=True) for grad in pair]
