"""The output layer's loss by Liger-Kernel: on CUDA, where that is installed and agrees with ours.

Its gradient for the states is made in the same pass, as ours is (`head.py`); it is compared with
ours once for each model, and not taken where it is another. Must not know batches.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from app.training.head import cross_entropy

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Of states (N, H), labels (N,) and weights (N,): `sum_t nll_t`, with the gradient of
`sum_t w_t nll_t`."""

_TRIED = 48
_DEVIATION = 5e-2
"""Of the largest gradient, by which it may differ from ours in 16 bits. A guess."""

_found: weakref.WeakKeyDictionary[nn.Module, tuple[Loss | None, str]] = weakref.WeakKeyDictionary()


def liger_loss(head: nn.Linear) -> tuple[Loss | None, str]:
    """The loss of an output layer, or None; and which it is in words."""
    if head.weight.device.type != "cuda" or find_spec("liger_kernel") is None:
        return None, "chunks"
    if head not in _found:
        _found[head] = _try_out(head)
    return _found[head]


class _Weighted(torch.autograd.Function):
    """Leaves states (N, H) as they are, and weighs their gradients by (N,)."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The states."""
        ctx.save_for_backward(weights)
        return states.view_as(states)

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Each row's gradient times its weight."""
        (weights,) = ctx.saved_tensors
        return outputs[0] * weights.to(outputs[0].dtype).unsqueeze(1), None


def weighted(states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """States whose gradients will be weighted: Liger's own sum knows no weight of a token."""
    return _Weighted.apply(states, weights)  # type: ignore[no-any-return, no-untyped-call]


def _try_out(head: nn.Linear) -> tuple[Loss | None, str]:
    name = f"liger-kernel {version('liger-kernel')}"
    try:
        fused = import_module("liger_kernel.transformers").LigerFusedLinearCrossEntropyLoss(
            reduction="sum"
        )

        def loss(states: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            return fused(head.weight, weighted(states, weights), labels, head.bias)  # type: ignore[no-any-return]

        generator = torch.Generator().manual_seed(0)
        states = torch.randn(_TRIED, head.in_features, generator=generator).to(head.weight)
        labels = torch.randint(head.out_features, (_TRIED,), generator=generator).to(states.device)
        weights = torch.linspace(0.5, 1.5, _TRIED, device=states.device)
        expected = torch.empty_like(states)
        cross_entropy(states, head.weight, head.bias, labels, weights, gradient=expected)
        with torch.enable_grad():
            learning = states.clone().requires_grad_()
            (found,) = torch.autograd.grad(loss(learning, labels, weights), learning)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is: ours needs nothing
        return None, f"chunks; {name}: {type(error).__name__}"
    deviation = float((found - expected).abs().max() / expected.abs().max())
    if not deviation <= _DEVIATION:
        return None, f"chunks; {name} differs by {deviation:.2g}"
    return loss, name
