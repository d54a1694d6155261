"""How far a training moved the layers, against the layers themselves.

    max over layers of  || (alpha / r) (B A - B' A') ||_2 / || W0 ||_2      A', B' of the parent

An update that rivals a layer's own largest singular value puts directions into it that the base
never had, and such intruders go with forgetting that no small sample of replies need show
(Shuttleworth et al. 2024, arXiv:2410.21228). Must not know training or what is concluded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.lora.layer import ParamWrapper
from safetensors.torch import load_file

from app.domain.checkpoint import ADAPTER_FILE
from app.training.lora import ADAPTER_NAME, parameter_of
from app.training.quantized import whole_weight

POWER_STEPS = 12
"""Of the power iteration for a layer's own norm. On every seventh layer of the embedded model it
came to 0.92 to 1.00 of what an SVD gives, from below, so that an update looks larger, not
smaller."""

_A, _B = ".lora_A.weight", ".lora_B.weight"


def update_norm(adapted: PeftModel, parent_adapter: Path | None) -> float:
    """The largest relative update of any layer; 0 where nothing moved.

    Args:
        adapted: With the adapter as it was trained.
        parent_adapter: Directory of the adapter it started from; None for a new one.
    """
    now: dict[str, torch.Tensor] = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    then = {} if parent_adapter is None else load_file(str(parent_adapter / ADAPTER_FILE))
    largest = 0.0
    for key in now:
        if not key.endswith(_A):
            continue
        name = key.removesuffix(_A)
        layer: Any = adapted.get_submodule(name)
        a, b = now[name + _A].detach(), now[name + _B].detach()
        if name + _A in then:
            before = then[name + _A].to(a.device), then[name + _B].to(a.device)
            # B A - B' A' as one product of twice the rank, so that it need never be multiplied out.
            a, b = torch.cat([a, before[0]]), torch.cat([b, -before[1]], dim=1)
        for moved, weight in _pairs(layer, a, b):
            largest = max(largest, layer.scaling[ADAPTER_NAME] * moved / _norm(weight))
    return largest


def _pairs(layer: Any, a: torch.Tensor, b: torch.Tensor) -> Iterator[tuple[float, torch.Tensor]]:
    """`|| B A ||_2` and the frozen matrix; of a stack of experts each one's."""
    if not isinstance(layer, ParamWrapper):
        base_layer = layer.get_base_layer()
        weight = base_layer.weight
        if not weight.is_floating_point():  # a quantised layer's numbers are no matrix
            weight = whole_weight(base_layer)
        yield _product_norm(a, b), weight
        return
    weight = parameter_of(layer)
    if weight.dim() == 2:
        yield _product_norm(a, b), weight
        return
    # As peft lays them out: A has the experts one below the other, B has them interleaved.
    experts = len(weight)
    a_of = a.reshape(-1, experts, layer.r[ADAPTER_NAME], a.shape[1]).transpose(0, 1).flatten(1, 2)
    b_of = b.reshape(len(b), -1, experts).permute(2, 0, 1)
    for expert in range(experts):
        yield _product_norm(a_of[expert], b_of[expert]), weight[expert]


def _product_norm(a: torch.Tensor, b: torch.Tensor) -> float:
    """`|| B A ||_2` without the product: the triangles of both factors have its singular values."""
    # B = Q R and A^T = Q' R' give B A = Q (R R'^T) Q'^T, and Q turns without stretching.
    left = torch.linalg.qr(b.double()).R
    right = torch.linalg.qr(a.double().T).R
    return float(torch.linalg.matrix_norm(left @ right.T, 2))


def _norm(weight: torch.Tensor) -> float:
    """`|| W ||_2`, from below; tiny but not 0 for a layer of zeros."""
    wide = weight.detach().float()
    # Drawn on the CPU from a seed of its own, so that no training's random numbers change.
    start = torch.randn(wide.shape[1], generator=torch.Generator().manual_seed(0))
    vector = start.to(wide.device)
    for _ in range(POWER_STEPS):
        vector = torch.nn.functional.normalize(wide.T @ (wide @ vector), dim=0)
    return max(float((wide @ vector).norm()), torch.finfo(torch.float32).tiny)
